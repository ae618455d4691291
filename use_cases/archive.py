"""Archive of the history: whole sealed days as files, and the proof of such files.

A file `audit-YYYY-MM-DD.jsonl` holds one line an entry, `{"digest": ..., "entry": {...}}`, and the day's seal as its
last line. The digest is the SHA-256 of the entry as it stands in the line, byte for byte, and the entry holds the
number and digest of the one before it of the same connector; the seal's is that of `previous|day|entries|digests`. So a
file is proved with nothing but itself, and several with each other.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.people import Actor
from database import audit_archive
from database.audit_archive import Seal


class ArchiveError(RuntimeError):
    """A day was not moved out, or a file is not what was sealed. The message is a sentence for operations."""


@dataclass(frozen=True, slots=True)
class Archived:
    """One day that was moved out."""

    path: Path
    entries: int


async def archive(engine: AsyncEngine, actor: Actor, directory: Path, keep_days: int) -> list[Archived]:
    """Export every sealed day that is older than that, and move each out once its file is on the disk and proved.

    If the process dies before a day's commit, the day is still in the database, and its file is written anew.

    Raises:
        ArchiveError: a day's entries are not those that were sealed. It and all later ones stay.
    """
    done = []
    async with engine.connect() as connection:
        seals = await audit_archive.older_than(connection, keep_days)
    for seal in seals:
        path = directory / f"audit-{seal.day}.jsonl"
        async with engine.begin() as connection:
            if not await audit_archive.fits(connection, seal):
                raise ArchiveError(
                    f"The entries of {seal.day} are not those that were sealed, so they stay where they are: see what "
                    "GET /api/v1/audit/verify names."
                )
            await _export(connection, seal, path)
            check_files([path])
            await audit_archive.move_out(connection, actor, seal, _digest_of(path))
        done.append(Archived(path, seal.entries))
    return done


async def _export(connection: AsyncConnection, seal: Seal, path: Path) -> None:
    """Write a day's file, under its name only once it is whole and on the disk."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:  # a command of its own, with nothing beside it
        async for digest, text in audit_archive.lines(connection, seal):
            file.write(f'{{"digest": "{digest}", "entry": {text}}}\n')
        told = {"day": str(seal.day), "entries": seal.entries, "previous": seal.previous, "digest": seal.digest}
        file.write(json.dumps({"seal": told}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def check_files(paths: Sequence[Path]) -> int:
    """Prove files of an archive, in the order of their days; returns how many entries they hold.

    Raises:
        ArchiveError: names the first line that is not what was sealed.
    """
    newest: dict[int, tuple[int, str]] = {}
    last_seal: str | None = None
    count = 0
    for number, path in enumerate(sorted(paths)):
        *lines, seal_line = path.read_text(encoding="utf-8").splitlines()
        digests = [_checked(line, newest, f"{path.name}, line {row}") for row, line in enumerate(lines, 1)]
        seal = json.loads(seal_line).get("seal")
        if seal is None:
            raise ArchiveError(f"{path.name} has no seal: its last line is missing.")
        if number and seal["previous"] != last_seal:
            raise ArchiveError(f"{path.name} does not follow the file before it: a day between them is missing.")
        parts = [seal["previous"], seal["day"], str(len(digests)), ",".join(digests)]
        sealed = "|".join(part for part in parts if part is not None)
        if hashlib.sha256(sealed.encode()).hexdigest() != seal["digest"]:
            raise ArchiveError(
                f"{path.name} does not fit its seal, which is one of {seal['entries']} entries: {len(digests)} are "
                "there, and some were removed, put in or changed."
            )
        last_seal = seal["digest"]
        count += len(digests)
    return count


def _checked(line: str, newest: dict[int, tuple[int, str]], where: str) -> str:
    """The digest of a line's entry, which fits its text and the entry before it of the same connector."""
    head, _, text = line.partition('", "entry": ')
    digest = head.removeprefix('{"digest": "')
    if hashlib.sha256(text.removesuffix("}").encode()).hexdigest() != digest:
        raise ArchiveError(f"{where} was changed: its digest is that of another text.")
    entry = json.loads(text.removesuffix("}"))
    chain = entry["connector_id"] or 0
    before = newest.get(chain)
    if before is not None and (entry["previous_id"], entry["previous"]) != before:
        raise ArchiveError(f"{where} does not follow entry {before[0]}: one between them is missing, or one too many.")
    newest[chain] = (entry["id"], digest)
    return digest


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
