"""The page and the API on a port, in a thread of the tests' own process, with the real readers for looks at sources."""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn

from api.app import create_app
from api.sources.asking import Looks
from connectors.connector import ConnectorRow
from connectors.discovery import Question
from pipelines.answering import answer
from settings import Settings
from tests.support.api_rig import no_prefect
from tests.support.people import KeptValues
from tests.support.servers.prefect_server import free_port


async def ask(question: Question, row: ConnectorRow, cursor: str | None) -> Mapping[str, Any]:
    """The answer of the readers themselves, without the process that a look has for itself elsewhere."""
    found: dict[str, Any] = json.loads(await asyncio.to_thread(answer, question, row, cursor, Settings()))
    return found


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serves an installation of these settings; its address."""
    looks = Looks(ask)
    app = create_app(settings, no_prefect, looks.reach, looks.discovered)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    ready = threading.Event()
    while not server.started and thread.is_alive():
        ready.wait(0.05)
    app.state.blocks = KeptValues()  # no Prefect holds them here
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
