"""The keeper of a worker's fork server: one that is old, fat, dead or of older code is replaced."""

import asyncio
import ctypes
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from workers.code_version import code_version
from workers.messages import Order
from workers.run_process import RunProcess
from workers.server_process import ForkServerError, ServerProcess

logger = logging.getLogger("prefect.workers.warm")

OWN_PACKAGES = ("workers",)
"""The code that worker and fork server must have the same version of: they speak to each other."""

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Wear:
    """How long a fork server is used."""

    max_age_seconds: float
    max_bytes: int

    def why_replaced(self, age_seconds: float, size_bytes: int) -> str | None:
        """Why one of this age and size is replaced, as the end of a sentence; None when it is kept."""
        if age_seconds > self.max_age_seconds:
            return f"is {age_seconds:.0f} s old"
        if size_bytes > self.max_bytes:
            return f"holds {size_bytes / 2**20:.0f} MiB"
        return None


class Keeper:
    """Gives the fork server to fork from. Its lifetime is the worker's: enter it first, leave it last."""

    def __init__(self, root: Path, wear: Wear) -> None:
        self._root = root
        self._wear = wear
        self._current: ServerProcess | None = None
        self._version = ""
        self._own_version = code_version(root, OWN_PACKAGES)
        self._retired: list[ServerProcess] = []
        self._lock = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    async def server(self) -> ServerProcess:
        """The fork server to fork from now.

        One that is worn is still used while its successor is being made; a run of older code is never begun.

        Raises:
            ForkServerError: none can be made.
        """
        async with self._lock:
            version = await asyncio.to_thread(code_version, self._root)
            if await asyncio.to_thread(code_version, self._root, OWN_PACKAGES) != self._own_version:
                raise ForkServerError("The code of this worker itself has changed: start it again.")
            current = self._current
            if current is None:
                return await self._replace(version)
            if current.dead:
                logger.warning("The fork server %s has died: another one is made.", current.pid)
                return await self._replace(version)
            if version != self._version:
                logger.info("The code has changed: another fork server is made.")
                return await self._replace(version)
            if (why := self._worn(current)) is not None and self._renewal is None:
                logger.info("The fork server %s %s: another one is made.", current.pid, why)
                self._renewal = asyncio.create_task(self._renew())
            return current

    async def fork(self, order: Order, server: ServerProcess) -> RunProcess:
        """A new process that runs what the order says, forked from this server if it is still the one of now.

        One that was looked up may have been replaced meanwhile and takes no more: then its successor is asked. One
        that has died without anybody's knowing is replaced, and the order is given again: nothing ran.

        Raises:
            ForkServerError: none can be made, or a new one died at once too.
            ForkRefusedError: a run may have begun.
        """
        if server is not self._current:
            server = await self.server()
        try:
            return await server.fork(order)
        except ForkServerError as error:
            logger.warning("The fork server %s takes no orders: another one is asked. %s", server.pid, error)
        async with self._lock:
            if self._current is server:
                server.retire()
                self._retired.append(server)
                self._current = None
        return await (await self.server()).fork(order)

    def _worn(self, server: ServerProcess) -> str | None:
        return self._wear.why_replaced(time.monotonic() - server.started_at, server.memory_bytes)

    async def _renew(self) -> None:
        try:
            # Before it is imported: what changes meanwhile is seen at the next run.
            version = await asyncio.to_thread(code_version, self._root)
            made = await ServerProcess.start(self._root)
            async with self._lock:
                self._take(made, version)
        except ForkServerError as error:
            logger.warning("%s The one before goes on.", error)
        finally:
            self._renewal = None

    async def _replace(self, version: str) -> ServerProcess:
        made = await ServerProcess.start(self._root)
        self._take(made, version)
        return made

    def _take(self, made: ServerProcess, version: str) -> None:
        if self._current is not None:
            self._current.retire()
            self._retired = [server for server in (*self._retired, self._current) if not server.dead]
        self._current, self._version = made, version
        logger.info("The fork server %s is ready (%.0f MiB).", made.pid, made.memory_bytes / 2**20)

    def close(self) -> None:
        """Want no more runs. Fork servers go when their last run has ended."""
        if self._renewal is not None:
            self._renewal.cancel()
        if self._current is not None:
            self._current.retire()


def become_subreaper() -> None:
    """Let orphans become this process's children, so that the exits of a dead fork server's runs are seen."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
