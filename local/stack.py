"""`make run`: the whole platform on one machine, from nothing, and gone again with Ctrl-C.

One supervisor in the foreground. Everything else is its child, in a session of its own, with a log file below
CAI_DATA_DIR: the embedded PostgreSQL, the Prefect server, two workers (one for loads, one for the controller's runs),
the controller and the REST API. A child that dies is started again; PostgreSQL is the exception, since nothing is true
without it. A second start finds what the first one left: the data, the ports, and the processes of a killed one.
"""

import asyncio
import contextlib
import fcntl
import getpass
import os
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import httpx
from pydantic import ValidationError

from connectors.people import EVERYTHING
from database.connection.engine import open_engine
from local import environment
from local.embedded_postgres import EmbeddedPostgres
from local.ports import PortTakenError, require_free
from local.postgres_binaries import EmbeddedPostgresError
from local.processes import MARK, Child, describe_exit, end, end_with_make, marked, tail
from local.recovery import crash_dead_runs
from local.terminal import say
from prefect_api.names import WARM_POOL_TYPE
from settings import ROOT, Settings, asks_for_names
from use_cases.sessions import Sessions

_PREFECT_PORT = 4200
_SERVER_SECONDS = 180.0
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 15.0
_CONTROLLER_QUEUE = "controller"
_SERVER = "prefect-server"
_AUTH = "PREFECT_API_AUTH_STRING"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StackError(RuntimeError):
    """The platform cannot run here; the message says why and what to do."""


class _EndAsked(BaseException):
    """Somebody asked for the end, by Ctrl-C or SIGTERM."""


class Stack:
    """The supervisor of one local installation.

    Args:
        settings: of this installation; everything is kept below ``settings.data_dir``.
        prefect_port: of the Prefect server, on 127.0.0.1.
        demo: whether the demo's connector is made.
    """

    def __init__(self, settings: Settings, prefect_port: int, *, demo: bool) -> None:
        self.settings = settings
        self.prefect_port = prefect_port
        self.demo = demo
        self._mark = f"{settings.data_dir}:{uuid.uuid4()}"
        self._postgres: EmbeddedPostgres | None = None
        self._children: list[Child] = []
        self._variables: dict[str, str] = {}

    @property
    def _temporary(self) -> Path:
        """The temporary directory of this installation's processes, which no other user's have part in."""
        directory = self.settings.data_dir / "tmp"
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory

    @property
    def api(self) -> str:
        """URL of Prefect's API."""
        return f"http://127.0.0.1:{self.prefect_port}/api"

    def run(self) -> None:
        """Starts everything and keeps it running until it is asked to end.

        Raises:
            StackError, EmbeddedPostgresError, PortTakenError: it cannot start, or PostgreSQL has died.
        """
        self.settings.data_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        with self._only_one():
            self._end_leftovers()
            self._require_ports()
            with self._watched():
                try:
                    self._start()
                    self._keep_running()
                finally:
                    self._stop()

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        """Two supervisors on one directory would end each other's processes."""
        with (self.settings.data_dir / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"The platform already runs on {self.settings.data_dir}: use it, end it, or set CAI_DATA_DIR to "
                    "another directory."
                ) from None
            yield

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """While inside, a killed supervisor is cleaned up after: see `local.watchdog`."""
        with subprocess.Popen(
            [sys.executable, "-m", "local.watchdog", self._mark],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            start_new_session=True,
        ):
            yield

    def _end_leftovers(self) -> None:
        left = marked(f"{self.settings.data_dir}:")
        if left:
            say(f"Ending {len(left)} processes that an earlier, killed start left behind.")
            end(left, _GRACE_SECONDS)

    def _require_ports(self) -> None:
        require_free(self.prefect_port, "the Prefect server", "PREFECT_SERVER_API_PORT")
        require_free(self.settings.api_port, "the REST API", "CAI_API_PORT")

    def _start(self) -> None:
        began = time.monotonic()
        data = self.settings.data_dir
        (data / "prefect").mkdir(mode=0o700, exist_ok=True)
        # It starts slowly, so it starts first.
        server = self._child(_SERVER, "prefect", "server", "start")
        server.environment.update(environment.prefect_server(self.settings, self.prefect_port))
        self._launch(server)
        database_url, clinic_url = self._databases()
        self._variables = environment.joining(self.settings, self.prefect_port, database_url, clinic_url)
        environment.write_env_file(data / "env", self._variables)
        self._finish(self._begin("migrations", "alembic", "upgrade", "head"))
        # While Prefect's server starts: what needs no answer of it yet, and the imports of what does.
        kind = WARM_POOL_TYPE if self.settings.warm_workers else "process"
        bootstrap = self._begin(
            "bootstrap", "deployments.bootstrap", "--pool-type", kind, "--wait", str(_SERVER_SECONDS)
        )
        self._launch(self._child("api", "api"))
        self._wait_for_server(server)
        if crashed := crash_dead_runs(self.api, os.environ.get(_AUTH)):
            say(f"Runs that died with an earlier start and are now marked Crashed: {crashed}.")
        self._finish(bootstrap)
        self._launch(self._worker("worker", self.settings.work_queue))
        self._launch(self._worker("controller-worker", _CONTROLLER_QUEUE))
        self._launch(self._child("controller", "flows.controller"))
        self._greet(time.monotonic() - began)
        if self.demo:
            demo = self._child("demo", "local.demo", restarts=False)
            demo.log = None
            self._launch(demo)

    def _child(self, name: str, module: str, *arguments: str, restarts: bool = True) -> Child:
        """A child that runs a Python module, told what this installation's processes are told."""
        # Prefect's worker keeps files in the system's temporary directory, with the rights of whoever came first.
        told = {MARK: self._mark, "PYTHONUNBUFFERED": "1", "TMPDIR": str(self._temporary), **self._variables}
        # Whoever runs `python` from a child (a worker does, for a run) means this one.
        told["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        command = [sys.executable, "-m", module, *arguments]
        return Child(
            name, command, {**os.environ, **told}, ROOT, self.settings.data_dir / "logs" / f"{name}.log", restarts
        )

    def _worker(self, name: str, queue: str) -> Child:
        pool = self.settings.work_pool
        start: tuple[str, ...] = ("prefect", "worker", "start", "--type", "process", "--install-policy", "never")
        if self.settings.warm_workers:
            start = ("workers",)  # of a pool of the type process too, which an earlier start may have made
        worker = self._child(name, *start, "--pool", pool, "--work-queue", queue, "--name", f"local-{name}")
        worker.environment.setdefault("PREFECT_WORKER_QUERY_SECONDS", "2")
        return worker

    def _launch(self, child: Child) -> None:
        self._children.append(child)
        child.start()

    def _begin(self, name: str, module: str, *arguments: str) -> Child:
        """Begins something that must be done before the rest starts."""
        step = self._child(name, module, *arguments, restarts=False)
        self._launch(step)
        return step

    def _finish(self, step: Child) -> None:
        """Waits until it is done.

        Raises:
            StackError: it failed.
        """
        while (code := step.ended()) is None:
            self._require_postgres()
            time.sleep(_POLL_SECONDS)
        self._children.remove(step)
        if code:
            raise StackError(_failure(f"The {step.name} failed ({describe_exit(code)})", step.log))

    def _greet(self, seconds: float) -> None:
        data = self.settings.data_dir
        say(f"The platform runs after {seconds:.1f} s.")
        say(f"    Prefect UI   http://127.0.0.1:{self.prefect_port}")
        say(f"    Page         {self._page()}")
        say(f"    REST API     {self._variables['CAI_API_URL']}/api/v1/connectors")
        say(f"    Logs         {data / 'logs'}")
        say(f"    Join in      set -a; . {shlex.quote(str(data / 'env'))}; set +a")
        say("    End          Ctrl-C")

    def _page(self) -> str:
        """The address of the page; where it asks for names, one that logs whoever has started this in, once."""
        address = self._variables["CAI_API_URL"]
        if not asks_for_names(self.settings):
            return address
        key = asyncio.run(_link(self._variables["CAI_DATABASE_URL"]))
        return f"{address}/login/link?key={key}"

    def _databases(self) -> tuple[str, str | None]:
        """Starts PostgreSQL as far as it is needed, and returns the platform's URL and the clinic's."""
        embedded = EmbeddedPostgres(self.settings.data_dir / "postgres")
        own = self.settings.database_url
        given = own.get_secret_value() if own is not None else None
        if given is not None and embedded.owns(given):
            given = None  # whoever has sourced `env` has our URL of last time in the environment
        if given is not None and not self.demo:
            return given, None
        began = time.monotonic()
        self._postgres = embedded
        self._postgres.start()
        say(f"PostgreSQL 18 runs after {time.monotonic() - began:.1f} s.")
        platform = given if given is not None else self._postgres.create_database("cai")
        return platform, self._postgres.create_database("clinic") if self.demo else None

    def _wait_for_server(self, server: Child) -> None:
        deadline = time.monotonic() + _SERVER_SECONDS
        with httpx.Client(timeout=5) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if client.get(f"{self.api}/health").is_success:
                        return
                if server.ended() is not None or time.monotonic() > deadline:
                    raise StackError(_failure("The Prefect server did not start", server.log))
                self._require_postgres()
                time.sleep(_POLL_SECONDS)

    def _keep_running(self) -> None:
        while True:
            self._require_postgres()
            for child in list(self._children):
                if child.restarts:
                    if child.hopeless:
                        what = f"The {child.name} keeps ending, however often it is started"
                        raise StackError(_failure(what, child.log))
                    if sentence := child.restart_when_due(time.monotonic()):
                        say(sentence)
                elif (code := child.ended()) is not None:
                    self._children.remove(child)
                    if code and child.log is not None:
                        say(_failure(f"The {child.name} failed ({describe_exit(code)})", child.log))
            time.sleep(_POLL_SECONDS)

    def _require_postgres(self) -> None:
        server = self._postgres
        if server is not None and server.process is not None and server.process.poll() is not None:
            raise StackError(_failure("The embedded PostgreSQL has ended", server.log))

    def _stop(self) -> None:
        """Ends everything in reverse order: the Prefect server is still told which runs were cut off."""
        for name in _ENDING:
            signal.signal(name, signal.SIG_IGN)  # it ends as fast as it can: asked twice, nothing is left behind
        say("Stopping.")
        for child in reversed(self._children):
            if child.name == _SERVER:
                with contextlib.suppress(httpx.HTTPError):
                    crash_dead_runs(self.api, os.environ.get(_AUTH))
            child.end(_GRACE_SECONDS)
        end(marked(self._mark), _GRACE_SECONDS)
        if self._postgres is not None:
            self._postgres.stop()
        say(f"Stopped. Everything is kept in {self.settings.data_dir}.")


async def _link(database_url: str) -> str:
    """A key that logs the user of this machine in once, as an admin."""
    engine = open_engine(database_url)
    try:
        return await Sessions(engine).make_link(getpass.getuser(), EVERYTHING)
    finally:
        await engine.dispose()


def _failure(what: str, log: Path | None) -> str:
    return f"{what}. Its log {log} ends with:\n{tail(log)}" if log is not None else f"{what}."


def _end(number: int, frame: FrameType | None) -> None:
    raise _EndAsked


def main() -> None:
    """Entry point. The environment variable DEMO=0 leaves the table empty; PREFECT_SERVER_API_PORT moves Prefect."""
    for name in _ENDING:
        if name is not signal.SIGHUP or signal.getsignal(name) is not signal.SIG_IGN:  # nohup stays nohup
            signal.signal(name, _end)
    end_with_make()
    # On one person's machine whoever writes a connector has the secrets as well.
    os.environ.setdefault("CAI_CREDENTIALS", "open")
    try:
        settings = Settings()
        port = int(os.environ.get("PREFECT_SERVER_API_PORT", _PREFECT_PORT))
        Stack(settings, port, demo=os.environ.get("DEMO", "1") != "0").run()
    except _EndAsked:
        return
    except ValidationError as error:
        for problem in error.errors():
            say(f"CAI_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}")
        sys.exit(1)
    except (StackError, EmbeddedPostgresError, PortTakenError) as error:
        say(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
