"""One fork server, as its worker sees it: started, asked for runs, told that no more are wanted, and seen to die."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from workers.messages import Event, Order, Said, hear, written
from workers.run_process import RunProcess

START_SECONDS = 120.0
"""A machine under load takes long to import everything."""

_KEPT = {
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
    "PREFECT_HOME", "CAI_LOCAL_STACK", "DO_NOT_TRACK", "RUNTIME__DLTHUB_TELEMETRY",
}  # fmt: skip
_KEPT_BEGINNINGS = ("LC_", "PYTHON", "MALLOC_", "ARROW_", "PREFECT_LOGGING_")


class ForkServerError(RuntimeError):
    """There is no fork server to fork from; the message says why, and what the log may show."""


class ForkRefusedError(RuntimeError):
    """The run could not be forked; the message says why."""


def environment_without_secrets(environment: Mapping[str, str], root: Path) -> dict[str, str]:
    """What a fork server is told of its worker's environment: how to import our code, and nothing that runs need."""
    kept = {name: value for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_BEGINNINGS)}
    return {
        **kept,
        "PYTHONPATH": str(root),
        # A profile may hold a key of Prefect's API.
        "PREFECT_PROFILES_PATH": os.devnull,
        # A thread that pyarrow starts when it is imported.
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
    }


class ServerProcess:
    """A fork server's process. Made by `start`."""

    def __init__(self, process: "subprocess.Popen[bytes]", channel: socket.socket) -> None:
        self.started_at = time.monotonic()
        self.dead = False
        self._process = process
        self._channel = channel
        self._end = os.pidfd_open(process.pid)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked: dict[int, asyncio.Future[RunProcess]] = {}
        self._orders = 0
        self.runs: dict[int, RunProcess] = {}
        loop = asyncio.get_running_loop()
        loop.add_reader(channel, self._hear)
        loop.add_reader(self._end, self._died)

    @classmethod
    async def start(cls, root: Path) -> Self:
        """A fork server that has imported the code below `root`.

        Raises:
            ForkServerError: it ended at its start, or was not ready in time.
        """
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            process = subprocess.Popen(  # noqa: ASYNC220  # it forks, and waits for nothing
                [sys.executable, "-P", "-m", "workers.fork_server", str(its.fileno())],
                cwd="/",  # where no .env and no prefect.toml is
                env=environment_without_secrets(os.environ, root),
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is its worker's matter
            )
        except OSError as error:
            ours.close()
            raise ForkServerError(f"The fork server can't be started: {error}") from error
        finally:
            its.close()
        ours.setblocking(False)
        server = cls(process, ours)
        try:
            await asyncio.wait_for(asyncio.shield(server._ready), START_SECONDS)
        except TimeoutError:
            server.kill()
            raise ForkServerError(f"The fork server was not ready after {START_SECONDS:.0f} s.") from None
        except BaseException:
            server.kill()
            raise
        return server

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def memory_bytes(self) -> int:
        """What it holds in memory; 0 when it is gone."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def fork(self, order: Order) -> RunProcess:
        """A new process that runs what the order says.

        Raises:
            ForkServerError: the fork server died before it was asked: nothing runs.
            ForkRefusedError: it could not fork, or died while it was asked. Not to be tried again: a run may have
                begun.
        """
        if self.dead:
            raise ForkServerError("The fork server has died.")
        self._orders += 1
        answer: asyncio.Future[RunProcess] = asyncio.get_running_loop().create_future()
        self._asked[self._orders] = answer
        descriptor = written(order)
        try:
            socket.send_fds(self._channel, [str(self._orders).encode()], [descriptor])
        except OSError as error:
            del self._asked[self._orders]
            raise ForkServerError(f"The fork server takes no orders: {error}") from error
        finally:
            os.close(descriptor)
        return await answer

    def retire(self) -> None:
        """Want no more runs: it goes when its last one has ended."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it now. Its runs go on."""
        if not self.dead:
            self._process.kill()

    def _hear(self) -> None:
        while not self.dead:
            try:
                heard = hear(self._channel)
            except BlockingIOError:
                return
            except ConnectionError:
                heard = None
            if heard is None:
                asyncio.get_running_loop().remove_reader(self._channel)
                return
            self._take(*heard)

    def _take(self, said: Said, descriptors: list[int]) -> None:
        if said.kind is Event.READY:
            if not self._ready.done():
                self._ready.set_result(None)
        elif said.kind is Event.ENDED:
            if (ended := self.runs.pop(said.pid, None)) is not None:
                ended.end(said.exit_code)
        elif said.kind is Event.REFUSED:
            self._fail(said.number, ForkRefusedError(said.why))
        else:
            run = RunProcess(said.pid, descriptors[0])
            self.runs[said.pid] = run
            answer = self._asked.pop(said.number)
            if answer.done():  # whoever asked has been cancelled meanwhile
                run.graceful_kill()
            else:
                answer.set_result(run)

    def _fail(self, number: int, error: Exception) -> None:
        answer = self._asked.pop(number)
        if not answer.done():
            answer.set_exception(error)

    def _died(self) -> None:
        """Take what it still said; its runs are this process's children now."""
        self._hear()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._end)
        loop.remove_reader(self._channel)
        self.dead = True
        code = self._process.wait()
        os.close(self._end)
        self._channel.close()
        if not self._ready.done():
            self._ready.set_exception(
                ForkServerError(f"The fork server ended at its start with exit code {code}; its log shows why.")
            )
        for number in list(self._asked):
            self._fail(number, ForkRefusedError(f"The fork server died with exit code {code} when it was to fork."))
        for run in self.runs.values():
            run.orphaned()
        self.runs.clear()
