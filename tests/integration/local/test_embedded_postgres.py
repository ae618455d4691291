"""The embedded PostgreSQL: started, ended, and found again."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from local.embedded_postgres import EmbeddedPostgres
from local.postgres_binaries import EmbeddedPostgresError
from settings import ROOT


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path / "postgres", throwaway=True) as server:
        yield server


async def _query(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


async def test_serves_postgresql_18_and_creates_a_database_once(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("cai")
    assert postgres.create_database("cai") == url
    assert str(await _query(url, "SHOW server_version")).startswith("18.")


async def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres) -> None:
    password = postgres.url("postgres").split("postgres:")[1].split("@")[0]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await _query(postgres.url("postgres").replace(password, "guess"), "SELECT 1")


def test_a_database_name_that_is_no_identifier_is_refused(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        postgres.create_database("a'; DROP")


async def test_a_restart_keeps_data_and_url(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "postgres") as first:
        url = first.create_database("cai")
        await _query(url, "CREATE TABLE kept AS SELECT 7 AS n")
    try:
        with EmbeddedPostgres(tmp_path / "postgres") as second:
            assert second.url("cai") == url
            assert second.owns(url)
            assert not second.owns("postgresql://postgres:another@127.0.0.1/cai")
            assert await _query(url, "SELECT n FROM kept") == 7
    finally:
        second.throwaway = True
        second.start()
        second.stop()
    assert not second.cluster.exists()


def test_a_private_parent_stays_private(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with EmbeddedPostgres(private / "postgres", throwaway=True) as server:
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert stat.S_IMODE((private / "postgres" / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE(server.cluster.stat().st_mode) == 0o700
        assert private in server.cluster.parents or os.geteuid() == 0


def test_two_supervisors_of_one_directory_refuse(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(EmbeddedPostgresError, match="Another process"):
        EmbeddedPostgres(postgres.data_dir, throwaway=True).start()
    assert postgres.process is not None
    assert postgres.process.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_supervisor_leaves_no_server_and_the_next_start_takes_over(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from local.embedded_postgres import EmbeddedPostgres
        server = EmbeddedPostgres(Path({str(tmp_path / "postgres")!r}), throwaway=True)
        server.start()
        print(server.process.pid, flush=True)
        time.sleep(600)
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
    _wait_until_gone(pid)
    with EmbeddedPostgres(tmp_path / "postgres", throwaway=True) as server:
        server.create_database("cai")


def test_an_orphan_of_ours_is_ended_at_the_next_start(tmp_path: Path) -> None:
    first = EmbeddedPostgres(tmp_path / "postgres", throwaway=True)
    first.start()
    assert first.process is not None
    assert first._lock is not None
    first._lock.close()  # what the death of a supervisor does, on a system that does not end its children
    with EmbeddedPostgres(tmp_path / "postgres", throwaway=True) as second:
        assert first.process.wait(10) == 0
        second.create_database("cai")


def test_a_pid_file_that_names_a_stranger_does_not_hinder_the_start(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", throwaway=True)
    server.start()
    assert server.process is not None
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    pid_file = server.cluster / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(str(server.process.pid), str(os.getpid()), 1))
    assert server._lock is not None
    server._lock.close()
    with EmbeddedPostgres(tmp_path / "postgres", throwaway=True) as again:
        again.create_database("cai")
