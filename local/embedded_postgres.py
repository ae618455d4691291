"""PostgreSQL 18 without an installation: the binaries of a package from the index, under our own rules.

The package's own handle opens private parent directories when it runs as root, speaks no TCP and leaves its server to
whoever registered last. This one touches nothing outside its own directories, listens on 127.0.0.1 with a password,
and keeps the server a direct child, so that it ends with the process that asked for it.

PostgreSQL refuses to run as root. Root therefore runs it as an unprivileged user (`local.postgres_binaries`), and where
that user cannot reach ``data_dir`` (a private parent), the cluster stands under ``/var/lib/clinical-ai-prefect`` and
``data_dir/location`` says where. Removing both directories removes everything.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

import psutil

from local.postgres_binaries import PLAIN, Binaries, EmbeddedPostgresError, Package, environment
from local.processes import die_with_parent

_PUBLIC_ROOT = Path("/var/lib/clinical-ai-prefect")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    # Nothing replicates from here: less log to write for a bulk load.
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
_THROWAWAY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
}


class EmbeddedPostgres:
    """One PostgreSQL cluster that lives as long as its caller.

    Start it from a thread that stays (the main thread): on Linux the server also ends when that thread does.

    Args:
        data_dir: where its state is; made when absent. The password and the last port are kept there, so URLs stay
            valid across restarts.
        throwaway: for tests. Nothing is flushed to disk, and ``stop`` removes the cluster.
        package: whose binaries run.
        settings: further settings of PostgreSQL (``{"shared_buffers": "256MB"}``).
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        throwaway: bool = False,
        package: Package = PLAIN,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.throwaway = throwaway
        self.process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._password = ""
        self._home = self.data_dir
        self._settings = dict(settings or {})
        self._binaries = Binaries(package)
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self.data_dir)!r}, port={self._port})"

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self._home / "cluster"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.data_dir / "postgres.log"

    def start(self) -> None:
        """Starts the server and returns when it answers. A leftover of an earlier run is ended first.

        Raises:
            EmbeddedPostgresError: it did not start, or another process holds this directory.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._place()
            self._lock_home()
            self._end_orphan()
            self._binaries.make_reachable(self._home)
            self._initialise()
            self._serve()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops the server: clients are cut off, what was committed is safe. Does nothing when it is not running."""
        if self.process is not None:
            server = psutil.Process(self.process.pid) if self.process.poll() is None else None
            _end(server, at_once=self.throwaway)
            self.process.wait()
            self.process = None
        if self.throwaway and self._lock is not None:
            shutil.rmtree(self.cluster, ignore_errors=True)
            if self._home != self.data_dir:
                shutil.rmtree(self._home, ignore_errors=True)
                (self.data_dir / "location").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def url(self, database: str) -> str:
        """``postgresql://`` URL of a database, with its password: never log it."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self._port}/{database}"

    def owns(self, url: str) -> bool:
        """Whether a URL is one of this cluster's, of this start or an earlier one: the password is nobody else's."""
        password_file = self.data_dir / "password"
        return password_file.exists() and urlsplit(url).password == password_file.read_text().strip()

    def create_database(self, name: str) -> str:
        """Makes the database unless it is there, and returns its URL. Names are letters, digits and underscores."""
        if not name.isidentifier():
            raise ValueError(f"A database's name has letters, digits and underscores (clinic, say), not {name!r}.")
        if self._psql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") != "1":  # noqa: S608 - an identifier
            self._psql(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def _place(self) -> None:
        """Decides where the cluster stands, and remembers it, so that a later start finds it there."""
        pointer = self.data_dir / "location"
        if pointer.exists():
            self._home = Path(pointer.read_text().strip())
        elif self._binaries.user is not None and not _reachable(self.data_dir):
            if self.throwaway:
                self._home = Path(tempfile.mkdtemp(prefix="cai-postgres-", dir="/tmp"))
            else:
                _PUBLIC_ROOT.mkdir(parents=True, exist_ok=True)
                _PUBLIC_ROOT.chmod(0o755)  # whatever the caller's umask: names only, the clusters in it are private
                self._home = _PUBLIC_ROOT / hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:16]
            pointer.write_text(f"{self._home}\n")
        if self._home != self.data_dir:
            self._home.mkdir(parents=True, exist_ok=True)
            self._home.chmod(0o711)  # root's, and passable: the server's user owns the cluster in it and nothing else

    def _lock_home(self) -> None:
        """One supervisor a cluster. The server does not inherit the lock: who holds it may end whatever runs there."""
        lock = (self._home / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EmbeddedPostgresError(
                f"Another process runs the embedded PostgreSQL of {self.data_dir}: end it, or set CAI_DATA_DIR to "
                "another directory."
            ) from None
        self._lock = lock

    def _end_orphan(self) -> None:
        """Ends a server that outlived a killed supervisor: nobody else's, since the lock is ours."""
        pid_file = self.cluster / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
            command_line = process.cmdline()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return  # no file, half a file, or a process that is gone: PostgreSQL itself clears such a file
        except psutil.AccessDenied:
            command_line = []
        if str(self.cluster) in command_line:
            _end(process)
        else:
            # After a reboot the number belongs to somebody else, and PostgreSQL would refuse to start.
            pid_file.unlink()

    def _initialise(self) -> None:
        """Makes the cluster once. A run that dies in here leaves `cluster.new`, which the next one removes."""
        password_file = self.data_dir / "password"
        if (self.cluster / "PG_VERSION").exists():
            self._password = password_file.read_text().strip()
            return
        self._password = secrets.token_urlsafe(24)
        _write_private(password_file, self._password)
        fresh = self._home / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._binaries.own(fresh)
        handed = self._home / "initial-password"
        _write_private(handed, self._password)
        self._binaries.own(handed)
        try:
            done = self._binaries.run(
                "initdb",
                f"--pgdata={fresh}",
                "--username=postgres",
                "--auth=scram-sha-256",
                f"--pwfile={handed}",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                *(["--no-sync"] if self.throwaway else []),
            )
        finally:
            handed.unlink()
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"The embedded PostgreSQL could not be made in {fresh}: {done.stderr.strip()}")
        fresh.rename(self.cluster)

    def _serve(self) -> None:
        """Starts the server as a child and waits until it takes connections."""
        port_file = self.data_dir / "port"
        self._port = _free_port(int(port_file.read_text()) if port_file.exists() else 0)
        port_file.write_text(str(self._port))
        throwaway = _THROWAWAY_SETTINGS if self.throwaway else {}
        settings = {**_SETTINGS, **throwaway, **self._settings, "port": str(self._port)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self._binaries.path("postgres"),
                    "-D",
                    self.cluster,
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                cwd="/",
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal must not reach it: it goes last, when its clients are gone.
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - one call of prctl, nothing that locks
                **self._binaries.as_user,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"The embedded PostgreSQL of {self.data_dir} did not start. Its log {self.log} ends with: "
                    f"{_tail(self.log)}"
                )
            time.sleep(0.01)

    def _ready(self) -> bool:
        """The last line of the server's own pid file says so; the first must be our child, not a predecessor."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            self.process is not None
            and bool(lines)
            and lines[0] == str(self.process.pid)
            and lines[-1].strip() == "ready"
        )

    def _psql(self, statement: str) -> str:
        done = self._binaries.run(
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
            f"postgresql://postgres@127.0.0.1:{self._port}/postgres",
            variables={"PGPASSWORD": self._password},
        )
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"The embedded PostgreSQL refused {statement!r}: {done.stderr.strip()}")
        return done.stdout.strip()


def _reachable(directory: Path) -> bool:
    """Whether everybody may pass through a directory and all its parents (symbolic links resolved)."""
    resolved = directory.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (resolved, *resolved.parents))


def _write_private(path: Path, text: str) -> None:
    """Writes a file that was never readable by others, not even for a moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _free_port(preferred: int) -> int:
    """The preferred port when it is free (0: none preferred), else any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end(server: psutil.Process | None, *, at_once: bool = False) -> None:
    """Fast shutdown, then immediate shutdown, then kill: it does not outlive this call.

    `at_once` leaves out the first, which writes a checkpoint of what is thrown away then: minutes after a long suite.
    """
    if server is None:
        return
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)[int(at_once) :]:
        try:
            server.send_signal(how)
            server.wait(_STOP_SECONDS)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            continue
        return


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-5:])
