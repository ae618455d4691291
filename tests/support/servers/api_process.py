"""The REST API in a process of its own, as `python -m api` serves it, with nobody at PREFECT_API_URL."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from settings import ROOT
from tests.support.servers.prefect_server import free_port

START_SECONDS = 60


@contextmanager
def served(database_url: str, home: Path, token: str = "", *, port: int = 0, **settings: str) -> Iterator[str]:
    """Its address, while it is served.

    Args:
        database_url: of its tables.
        home: a directory for Prefect's settings.
        token: an admin's, or nobody needs one.
        port: where it listens; 0: at a free one.
        settings: further variables.
    """
    port = port or free_port()
    told = {
        **settings,
        "CAI_DATABASE_URL": database_url,
        "CAI_API_PORT": str(port),
        "CAI_API_TOKEN": token,
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
        "PREFECT_HOME": str(home),
    }
    with subprocess.Popen([sys.executable, "-m", "api"], cwd=ROOT, env={**os.environ, **told}) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/ready", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx.get(url).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)  # the condition is the answer; this is only how often it is asked
        else:
            return
    raise RuntimeError("The API did not start.")
