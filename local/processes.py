"""Children that end with their parent, even when the parent is killed and can say nothing.

Every process of one local installation carries `MARK` in its environment, its own children (a worker's runs) included.
So whatever is left of an installation can be found and ended by its number, and nothing else is ever touched.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK = "CAI_LOCAL_STACK"

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_LOG_BYTES = 20_000_000
_RESTART_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
_STEADY_SECONDS = 60.0


def die_with_parent(how: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends ``how`` to the child when the thread that started it ends (Linux only).

    It runs after the child has changed its user, which would clear the request.
    """
    parent = os.getpid()

    def request() -> None:
        _request_signal(how)
        if os.getppid() != parent:  # the parent died in between: nobody would send the signal
            os._exit(1)

    return request


def end_with_make() -> None:
    """Asks for SIGTERM when the `make` that runs this process is killed: a killed `make` tells nobody (Linux only)."""
    if "MAKELEVEL" in os.environ:
        _request_signal(signal.SIGTERM)


def _request_signal(how: signal.Signals) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(how))


MOST_DEATHS = 5
"""Deaths in a row, each soon after a start, after which a child is given up."""


@dataclass
class Child:
    """One long-running process of the stack, with its log file.

    Args:
        name: what the console and the log file call it.
        command: what it runs.
        environment: all of its environment.
        directory: where it runs.
        log: file that takes what it prints; None: it prints on our console.
        restarts: whether it is started again when it ends.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    directory: Path
    log: Path | None
    restarts: bool
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _started_at: float = field(default=0.0, init=False)
    _deaths: int = field(default=0, init=False)
    _due_at: float | None = field(default=None, init=False)

    def start(self) -> None:
        """Starts it in a session of its own, so that Ctrl-C in the terminal reaches the supervisor alone."""
        out = open_log(self.log) if self.log else None
        try:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT if out else None,
                start_new_session=True,
                umask=0o077,  # DuckDB files, Prefect's database and the working directories are the user's alone
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - one call of prctl, nothing that locks
            )
        finally:
            if out is not None:
                os.close(out)
        self._started_at = time.monotonic()
        self._due_at = None

    def ended(self) -> int | None:
        """Its exit code when it has ended by itself, else None."""
        return self.process.poll() if self.process is not None else None

    def restart_when_due(self, now: float) -> str | None:
        """Starts it again after a death, later each time that it dies young.

        Returns a sentence for the console when something happened, else None.
        """
        code = self.ended()
        if code is None:
            return None
        if self._due_at is None:
            if now - self._started_at > _STEADY_SECONDS:
                self._deaths = 0
            wait = _RESTART_SECONDS[min(self._deaths, len(_RESTART_SECONDS) - 1)]
            self._deaths += 1
            self._due_at = now + wait
            said = tail(self.log, 1) if self.log else ""
            why = f" Its last words: {said.strip()[-300:]}" if said.strip() else ""
            what = f"{self.name} ended ({describe_exit(code)}) and starts again in {wait:.0f} s"
            return f"{what}; its log is {self.log}.{why}"
        if now >= self._due_at:
            self.start()
            return f"{self.name} was started again."
        return None

    @property
    def hopeless(self) -> bool:
        """Whether it has died young so often that another start would be no better."""
        return self._deaths >= MOST_DEATHS and self.ended() is not None

    def end(self, grace_seconds: float) -> None:
        """Ends it and what it started, and waits for it, so that no zombie stays.

        A worker asked to end waits for its runs, so they are asked with it.
        """
        if self.process is None:
            return
        if self.process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(self.process.pid)
                end([process, *process.children(recursive=True)], grace_seconds)
        self.process.wait()


def describe_exit(code: int) -> str:
    """An exit code in words: ``exit code 1``, or the signal that ended the process."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def open_log(path: Path) -> int:
    """Opens a log for appending and returns its descriptor; a log that has grown long makes room first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.rename(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log; empty when there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def marked(mark: str) -> list[psutil.Process]:
    """Every process whose mark starts with ``mark``, this one excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK, "").startswith(mark):
                found.append(process)
        except psutil.Error:
            continue  # it ended meanwhile, or belongs to another user: not ours
    return found


def end(processes: Iterable[psutil.Process], grace_seconds: float) -> None:
    """Asks processes to end, waits, and kills those that have not ended by then."""
    asked = list(processes)
    for how, wait in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        for process in asked:
            try:
                process.send_signal(how)
            except psutil.NoSuchProcess:
                continue
        _, asked = psutil.wait_procs(asked, timeout=wait)
        if not asked:
            return
