"""`python -m benchmarks.memory`: a controller's cycles, thousands of them, in a process of their own.

It prints its memory as it goes, and how many rows the quiet cycles before left in Prefect's database.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys

import psutil

from benchmarks.rig.figures import Figure, spread
from benchmarks.rig.parts import parts
from benchmarks.rig.stage import SCHEDULE, Server, Stage
from settings import ROOT

FLEET = 100
CYCLES = 10_000
WARM = 500
QUIET = 1_000
EVERY = 10
"""Cycles between two looks at the memory."""

_HOUR = SCHEDULE.split()[1]
CHANGES: tuple[dict[str, object], ...] = (
    {"schedule": f"1 {_HOUR} * * *"},
    {"is_active": False},
    {"is_active": True},
    {"schedule": "never"},
    {"schedule": f"2 {_HOUR} * * *"},
    {"schedule": "61 * * * *"},
)
"""What happens to each connector, in this order, again and again: one change a cycle."""


def memory(stage: Stage) -> list[Figure]:
    """The memory of a controller over ten thousand cycles with a change each; Prefect's rows over quiet ones."""
    cycles, warm, quiet = stage.size(CYCLES), stage.size(WARM), stage.size(QUIET)
    database = stage.connectors(FLEET)
    with stage.server(FLEET, services=False) as server:
        command = [
            sys.executable,
            "-m",
            "benchmarks.memory",
            server.api,
            server.database,
            database,
            str(cycles),
            str(quiet),
        ]
        done = subprocess.run(command, cwd=ROOT, env=stage.environment(), check=True, stdout=subprocess.PIPE, text=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    samples = answer["megabytes"]
    first = samples[: max(1, warm // EVERY)]
    last = samples[-max(1, warm // EVERY) :]
    grown = statistics.median(last) / first[-1]
    middle, around = spread(last)
    rows = answer["rows"]
    return [
        Figure(
            f"memory of the controller over {cycles:,} cycles with changes",
            f"{middle} MB ({around})",
            f"{first[-1]:.1f} MB after the first {warm}",
            grown,
            "at most 1.05",
            grown <= 1.05,
        ),
        Figure(f"rows in Prefect's database for {quiet:,} quiet cycles", f"{rows:+d}", "", None, "+0", rows == 0),
    ]


async def _run(server: Server, database: str, cycles: int, quiet: int) -> dict[str, object]:
    process = psutil.Process()
    megabytes = []
    async with parts(server, database) as (controller, _):
        await controller.cycle(audit=True)
        before = await _rows(server)
        for _ in range(quiet):
            await controller.cycle()
        rows = await _rows(server) - before
        for number in range(cycles):
            change = CHANGES[number // FLEET % len(CHANGES)]
            await controller.change(number % FLEET + 1, **change)
            await controller.cycle(hints=[number % FLEET + 1])
            if number % EVERY == EVERY - 1:
                megabytes.append(process.memory_info().rss / 2**20)
    return {"megabytes": megabytes, "rows": rows}


async def _rows(server: Server) -> int:
    """Rows of all tables of Prefect's database."""
    tables = await server.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return sum([(await server.query(f'SELECT count(*) FROM "{table[0]}"'))[0][0] for table in tables])


def main() -> None:
    """Entry point of the process that is watched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("api")
    parser.add_argument("prefect_database")
    parser.add_argument("database")
    parser.add_argument("cycles", type=int)
    parser.add_argument("quiet", type=int)
    given = parser.parse_args()
    server = Server(given.api, given.prefect_database)
    print(json.dumps(asyncio.run(_run(server, given.database, given.cycles, given.quiet))))


if __name__ == "__main__":
    main()
