"""The API and a back end as processes of their own, which are killed and come again."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import httpx

from settings import ROOT
from tests.support.api_rig import TOKEN
from tests.support.doors.sql_writer import NAME
from tests.support.people import Browser
from tests.support.servers.prefect_server import free_port
from tests.support.waiting import until

START_SECONDS = 120.0

Transaction = Sequence[tuple[str, Sequence[Any], str | None]]
"""Statements, each with its values, or with the rows of a COPY."""


class Api:
    """`python -m api` on a port of its own, with a client of the REST API and a browser at its page."""

    def __init__(self, database_url: str) -> None:
        self.port = free_port()
        url = f"http://127.0.0.1:{self.port}"
        self.rest = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
        self.browser = Browser(base_url=url, timeout=60)
        self._process: asyncio.subprocess.Process | None = None
        self._environment = {
            **os.environ,
            "CAI_DATABASE_URL": database_url,
            "CAI_API_HOST": "127.0.0.1",
            "CAI_API_PORT": str(self.port),
            "CAI_API_TOKEN": TOKEN,
            "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
        }

    async def start(self) -> None:
        """Return when it answers."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api", cwd=ROOT, env=self._environment,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

        async def answers() -> bool:
            try:
                return (await self.rest.get("/ready")).is_success
            except httpx.TransportError:
                return False

        await until("the API answers", answers, START_SECONDS)

    async def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def close(self) -> None:
        """End it and its clients."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()
        await self.rest.aclose()
        await self.browser.aclose()


class BackEnd:
    """`tests.support.doors.sql_writer`, one transaction at a time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return when it is connected."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.doors.sql_writer", self._address, cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        said = await asyncio.wait_for(self._process.stdout.readline(), START_SECONDS)
        assert said == b"ready\n", said

    async def write(self, transaction: Transaction) -> bool | None:
        """Run a transaction: whether it was committed; None when that is not known, for the writer has died."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(transaction).encode() + b"\n")
        said = (await self._process.stdout.readline()).decode().strip()
        return {"": None, "committed": True, "refused OperationalError": None}.get(said, False)

    @property
    def is_alive(self) -> bool:
        """Whether its process lives and is connected."""
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self.is_alive:
            assert self._process is not None
            self._process.kill()
        await self.wait()

    async def wait(self) -> None:
        """Wait until it is gone."""
        assert self._process is not None
        await self._process.wait()


async def kill_database_session(connection: Any) -> None:
    """Kill -9 of the database's own process that works for the back end: the whole database starts again."""
    for row in await connection.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = $1", NAME):
        os.kill(row["pid"], signal.SIGKILL)
