"""Fixtures of cycles on a real Prefect server."""

import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from database.store import Store
from prefect_api.deployment_calls import PrefectGateway, open_gateway
from rigs.control_plane import Rig, rig
from tests.support.servers.prefect_server import Patient, PrefectServer


@pytest.fixture
async def gateway(prefect_server: PrefectServer) -> AsyncIterator[PrefectGateway]:
    """The real gateway to the real server."""
    async with open_gateway(timeout_seconds=20, connections=10) as gateway:
        yield gateway


@pytest.fixture
async def controller(store: Store, gateway: PrefectGateway) -> AsyncIterator[Rig]:
    """A leading controller's parts on it."""
    async with rig(store, gateway) as parts:
        yield parts


@pytest.fixture
def api(prefect_server: PrefectServer) -> httpx.Client:
    """Prefect's API as a person with curl sees it."""
    return httpx.Client(base_url=prefect_server.url, timeout=30, transport=Patient())


@pytest.fixture
def heard() -> Iterator[tuple[str, list[str]]]:
    """A webhook's address on loopback, and what it was told."""
    told: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", told
    server.shutdown()


@pytest.fixture
def own_prefect_server(tmp_path: Path) -> Iterator[PrefectServer]:
    home = tmp_path / "prefect"
    home.mkdir()
    server = PrefectServer(home)
    server.start()
    yield server
    server.stop()
