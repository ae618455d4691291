"""Archive of the history: `python -m api.history.archive DIR` exports whole sealed days and moves them out.

Days that ended more than CAI_AUDIT_KEEP_DAYS ago go; with that unset, none does. `--check` proves the files that are in
DIR instead, without a database.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from connectors.people import Actor, Via
from database.connection.engine import open_engine
from settings import Settings
from use_cases.archive import Archived, ArchiveError, archive, check_files

COMMAND = Actor("audit_archive", Via.SQL)
"""Who moves days out, in the history: whoever has the database's address."""


async def _archive(settings: Settings, directory: Path, keep_days: int) -> list[Archived]:
    engine = open_engine(settings.resolved_database_url(), statement_timeout_seconds=None)
    try:
        return await archive(engine, COMMAND, directory, keep_days)
    finally:
        await engine.dispose()


def main() -> None:
    """Entry point. Exits with a sentence when a day could not be moved out, or a file is not what was sealed."""
    parser = argparse.ArgumentParser(prog="python -m api.history.archive", description=__doc__)
    parser.add_argument("directory", type=Path, help="where the files of the days are, or go")
    parser.add_argument("--check", action="store_true", help="prove the files in DIR, and change nothing")
    arguments = parser.parse_args()
    settings = Settings()
    if not arguments.directory.is_dir():
        sys.exit(f"{arguments.directory} is no directory: make it first, where only operations can write.")
    try:
        if arguments.check:
            files = sorted(arguments.directory.glob("audit-*.jsonl"))
            print(f"{check_files(files)} entries in {len(files)} files are what was sealed.")
        elif settings.audit_keep_days is None:
            sys.exit("CAI_AUDIT_KEEP_DAYS is not set, so all of the history is kept where it is.")
        else:
            moved = asyncio.run(_archive(settings, arguments.directory, settings.audit_keep_days))
            for each in moved:
                print(f"{each.path}: {each.entries} entries")
            print(f"{len(moved)} days were moved out.")
    except ArchiveError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
