"""The platform as a user starts it, once: it is expensive, so everything that only the whole can show is here."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.clinic import TABLES
from local.demo import landed
from local.processes import marked
from settings import ROOT, read_env_file
from tests.support.servers.prefect_server import free_port

_FIRST_LOAD_SECONDS = 240
_STOP_SECONDS = 60


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose cluster is removed wherever it stands."""
    directory = tmp_path / "data"
    yield directory
    location = directory / "postgres" / "location"
    if location.exists():
        shutil.rmtree(location.read_text().strip())


def _start(data_dir: Path, log: Path) -> subprocess.Popen[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CAI_", "PREFECT_")) and name != "DEMO"
    }
    environment |= {
        "CAI_DATA_DIR": str(data_dir),
        "PREFECT_SERVER_API_PORT": str(free_port()),
        "CAI_API_PORT": str(free_port()),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "local.stack"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
        start_new_session=True,
    )


def _read_until(stack: subprocess.Popen[str], start: str) -> list[str]:
    """Lines of the console up to one that starts so; the end of the stack, or the time limit, ends it too."""
    limit = threading.Timer(_FIRST_LOAD_SECONDS, stack.send_signal, [signal.SIGTERM])
    limit.start()
    lines = []
    try:
        assert stack.stdout is not None
        for line in stack.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith(start):
                return lines
    finally:
        limit.cancel()
    pytest.fail("\n".join(lines))


@pytest.mark.alone
@pytest.mark.timeout(420)
def test_make_run_lands_the_clinics_rows_and_leaves_nothing_behind(data_dir: Path, tmp_path: Path) -> None:
    stack = _start(data_dir, tmp_path / "stderr")
    try:
        lines = _read_until(stack, "Next run:")
        assert any(line.startswith("Deployment:") for line in lines)
        counts = landed(data_dir / "warehouse.duckdb", "connector_1")
        assert set(counts) == set(TABLES)
        assert sum(counts.values()) == 218_232
        assert stat.S_IMODE((data_dir / "env").stat().st_mode) == 0o600
        assert stat.S_IMODE((data_dir / "warehouse.duckdb").stat().st_mode) == 0o600
        assert read_env_file(data_dir / "env")["CAI_DATABASE_URL"].endswith("/cai")
        left = marked(f"{data_dir}:") + psutil.Process(stack.pid).children(recursive=True)
        stack.terminate()
        assert stack.wait(_STOP_SECONDS) == 0
        assert [process for process in left if process.is_running()] == []
    finally:
        stack.kill()
        stack.wait()
