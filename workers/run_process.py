"""The process of a forked run, as its worker sees it: another one's child, known by a descriptor of its own (pidfd)."""

import asyncio
import contextlib
import logging
import os
import select
import signal

logger = logging.getLogger(__name__)

UNKNOWN_EXIT_CODE = 255
"""Of a process whose end was seen and whose exit code was not: its fork server died between the two."""


class RunProcess:
    """What Prefect's process manager needs of a process. Signals go by descriptor and never reach a stranger."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid: int | None = pid
        self.returncode: int | None = None
        self._descriptor = descriptor
        self._ended = asyncio.Event()

    async def wait(self) -> None:
        """Wait for its end; then `returncode` says how it was."""
        await self._ended.wait()

    def end(self, exit_code: int) -> None:
        """It has ended, as somebody saw."""
        if self.returncode is None:
            self.returncode = exit_code
            self._ended.set()

    def orphaned(self) -> None:
        """Its fork server has died: from now on its end is watched for here.

        The kernel made it this process's child, a subreaper's, so its exit code is not lost either.
        """
        if self.returncode is None:
            asyncio.get_running_loop().add_reader(self._descriptor, self._reap)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        try:
            found = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED)
        except ChildProcessError:
            found = None
        if found is None:
            logger.warning("How the process %s ended is not known: its fork server died with it.", self.pid)
            self.end(UNKNOWN_EXIT_CODE)
            return
        self.end(found.si_status if found.si_code == os.CLD_EXITED else -found.si_status)

    # What Prefect's `ProcessHandle` has.

    @property
    def raw_process(self) -> "RunProcess":
        """Itself."""
        return self

    @property
    def termination_scope(self) -> "RunProcess":
        """Itself."""
        return self

    wait_after_graceful_kill = True

    def is_alive(self, pid: int | None = None) -> bool:
        """Whether it has not ended."""
        del pid
        return self.returncode is None and not select.select([self._descriptor], [], [], 0)[0]

    def graceful_kill(self, pid: int | None = None) -> None:
        """SIGTERM."""
        self._signal(signal.SIGTERM, pid)

    def hard_kill(self, pid: int | None = None) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL, pid)

    def _signal(self, number: signal.Signals, pid: int | None) -> None:
        del pid
        if self.returncode is not None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._descriptor, number)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor >= 0:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
