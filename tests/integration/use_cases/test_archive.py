"""Sealed days of the history go to files that prove themselves, and the proof in the database goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.history import Fault
from connectors.people import Actor, Via
from database import audit
from database.audit_proof import verify
from settings import ROOT
from tests.support.audit import connected, insert, many_entries, silently, yesterday
from use_cases.archive import ArchiveError, archive, check_files

OPERATIONS = Actor("operations", Via.SQL)


async def test_a_sealed_day_is_moved_out_and_the_proof_goes_on(
    database_url: str, engine: AsyncEngine, tmp_path: Path
) -> None:
    async with connected(database_url) as connection:
        await many_entries(connection, 60)
        await yesterday(connection)
        async with engine.begin() as ours:
            assert len(await audit.seal(ours)) == 1
        await insert(connection, "today")
        assert await archive(engine, OPERATIONS, tmp_path, keep_days=1) == []
        (moved,) = await archive(engine, OPERATIONS, tmp_path, keep_days=0)
        assert moved.entries == 60
        assert check_files([moved.path]) == 60
        assert await archive(engine, OPERATIONS, tmp_path, keep_days=0) == []
        assert await connection.fetchval("SELECT count(*) FROM cai_audit") == 2
        assert (await verify(engine)).first is None
        await connection.execute("UPDATE cai_connectors SET description = 'after'")
        assert (await verify(engine)).first is None
        first = await connection.fetchval("SELECT min(id) FROM cai_audit WHERE action = 'update'")
        await silently(connection, f"DELETE FROM cai_audit WHERE id = {first}")
        found = (await verify(engine)).first
        assert found is not None
        assert (found.fault, found.entry_id) == (Fault.REMOVED, first)

        lines = moved.path.read_text().splitlines(keepends=True)
        for tampered in (
            [lines[0].replace("create", "update"), *lines[1:]],
            lines[1:],
            [*lines[:30], *lines[31:]],
            [*lines[:-2], lines[-1]],
            lines[:-1],
        ):
            moved.path.write_text("".join(tampered))
            with pytest.raises(ArchiveError):
                check_files([moved.path])


async def test_a_day_that_is_not_what_was_sealed_stays(database_url: str, engine: AsyncEngine, tmp_path: Path) -> None:
    async with connected(database_url) as connection:
        await many_entries(connection, 40)
        await yesterday(connection)
        async with engine.begin() as ours:
            await audit.seal(ours)
        await silently(connection, "DELETE FROM cai_audit WHERE id = (SELECT max(id) FROM cai_audit)")
        with pytest.raises(ArchiveError, match="not those that were sealed"):
            await archive(engine, OPERATIONS, tmp_path, keep_days=0)
        assert await connection.fetchval("SELECT count(*) FROM cai_audit") == 39


def test_the_command_says_what_it_needs(database_url: str, tmp_path: Path) -> None:
    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "api.history.archive", *arguments]
        environment = {**os.environ, "CAI_DATABASE_URL": database_url, **settings}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert "CAI_AUDIT_KEEP_DAYS is not set" in run(str(tmp_path)).stderr
    assert "is no directory" in run(str(tmp_path / "nothing")).stderr
    done = run(str(tmp_path), CAI_AUDIT_KEEP_DAYS="30")
    assert (done.returncode, done.stdout) == (0, "0 days were moved out.\n")
    assert run(str(tmp_path), "--check").stdout == "0 entries in 0 files are what was sealed.\n"
