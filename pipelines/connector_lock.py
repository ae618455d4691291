"""One run of a connector at a time, and one writer of a DuckDB file: advisory locks of PostgreSQL.

They live in the platform's own database, on a connection that does nothing else, so they hold across workers and
machines and fall by themselves when the process that holds them dies. Prefect's concurrency slot keeps runs from
piling up; these locks are what keeps the data safe when a slot is lost.

They fall as well when the database restarts under a run that lives. It connects anew, takes them again and goes on, but
only if it can prove that nobody had them meanwhile: rather a run that fails than a row that lands twice.
"""

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import psycopg2  # type: ignore[import-untyped]
import psycopg2.errors  # type: ignore[import-untyped]
import psycopg2.extensions  # type: ignore[import-untyped]
import psycopg2.extras  # type: ignore[import-untyped]

from connectors.loads import FailureKind
from database.connection.address import dsn
from database.connection.session_check import POOLED, is_pooled
from pipelines.error_causes.classification import as_fault
from pipelines.errors import RunError, Step, UnexpectedError

CONNECTOR_NAMESPACE = 0x0CA1
"""The upper 16 bits of the key of a connector's lock; its id is the rest."""

POLL_SECONDS = 0.5

CONNECT_WAITS_SECONDS = (1, 2, 4, 8)
"""Waits between tries to reach the platform's database."""

RELEASE_SECONDS = 120
"""How long the server may take to notice that our lost connection is gone: a little more than its keepalives need."""

SESSION = """
    SET idle_session_timeout = 0;
    SET tcp_keepalives_idle = 30;
    SET tcp_keepalives_interval = 10;
    SET tcp_keepalives_count = 6
"""
"""Of the server's side. Without them it would keep the locks of a worker that lost its network for hours."""

ROW_WAIT_MILLISECONDS = 5_000
"""How long one statement waits for a row that somebody else's transaction holds."""

logger = logging.getLogger("prefect.pipelines")


class RowHeldError(RunError):
    """A row of the platform's database is held by somebody else's open transaction."""

    kind = FailureKind.ROW_HELD

    def __init__(self) -> None:
        super().__init__("Another session's open transaction holds the row in the platform's database.")


class LockLostError(RunError):
    """The locks fell with their connection, and another run may have had them meanwhile: no retry of a step helps."""

    kind = FailureKind.LOCK_LOST

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "The connection to the platform's database was lost, and another run of this connector may have begun "
            "meanwhile: this one ended, so that no row lands twice. The next run loads what is missing."
        )


def connector_key(connector_id: int) -> int:
    """The key of the lock that every run of this connector takes."""
    return _signed(CONNECTOR_NAMESPACE << 48 | connector_id)


def name_key(name: str) -> int:
    """The key of the lock of anything that has a name, such as a DuckDB file's path."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


class Locks:
    """The locks that one run holds: all on one connection, all gone when it closes. The first one is the run's turn."""

    def __init__(self, address: str, redact: Callable[[str], str]) -> None:
        self._address = address
        self._redact = redact
        self._keys: list[int] = []
        self._proof: tuple[str, Mapping[str, Any]] | None = None
        self._connection = _connect(address)
        if is_pooled(self._connection, address):
            self._connection.close()
            raise UnexpectedError(POOLED)

    @classmethod
    @contextlib.contextmanager
    def open(cls, database_url: str, redact: Callable[[str], str] = str) -> Iterator[Self]:
        """Connect to the platform's database; every lock is freed at the end.

        Args:
            database_url: the platform's database.
            redact: removes secrets from what later errors say.

        Raises:
            psycopg2.OperationalError: when the database can't be reached.
            UnexpectedError: when its address leads through a pool that would lose the locks.
        """
        locks = cls(dsn(database_url), redact)
        try:
            yield locks
        finally:
            locks._connection.close()

    def query(self, statement: str, values: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The first row that the platform's database answers with, or None. A lost connection is opened anew.

        Raises:
            LockLostError: it was lost, and another run may have had the locks meanwhile.
            RowHeldError: somebody else's open transaction holds a row that the statement needs.
            RunError: the database can't be reached, or refuses; the sentence blames it and no source or destination.
        """
        with as_fault(self._redact, Step.PREPARE):
            try:
                return _first(self._connection, statement, values)
            except psycopg2.Error:
                if not self._connection.closed:
                    raise
            self._connection = self._restored()
            return _first(self._connection, statement, values)

    def take(self, key: int) -> bool:
        """Take the lock if it is free, and say whether it is ours now. Raises what `query` does."""
        taken = self.query(TRY_LOCK, {"key": key}) == TAKEN
        if taken:
            self._keys.append(key)
        return taken

    def wait(self, key: int, on_wait: Callable[[], None]) -> None:
        """Take the lock, waiting for as long as another holds it; `on_wait` is called once, when it must wait."""
        if self.take(key):
            return
        on_wait()
        # A blocking pg_advisory_lock would keep the process from answering SIGTERM.
        while not self.take(key):
            time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def hold(self, key: int, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the lock for a while."""
        self.wait(key, on_wait)
        try:
            yield
        finally:
            self._free(key)

    @contextlib.contextmanager
    def trying(self, key: int) -> Iterator[bool]:
        """Hold the lock for a while, if it is free: whether it was."""
        taken = self.take(key)
        try:
            yield taken
        finally:
            if taken:
                self._free(key)

    def _free(self, key: int) -> None:
        self._keys.remove(key)
        # When the connection is gone the lock is too, and the error that brought us here matters more.
        with contextlib.suppress(psycopg2.Error):
            _first(self._connection, "SELECT pg_advisory_unlock(%(key)s)", {"key": key})

    def prove_by(self, statement: str, values: Mapping[str, Any]) -> None:
        """Name what proves, if the connection is lost, that no other run had the turn meanwhile.

        Args:
            statement: answers with a row for as long as that is so.
            values: of its placeholders.
        """
        self._proof = statement, values

    def check(self) -> None:
        """Make sure that the locks hold, before something is written that they protect. Raises what `query` does."""
        self.query("SELECT 1")

    def _restored(self) -> psycopg2.extensions.connection:
        """A new connection that holds what the lost one held. If the process dies here, that falls like any other."""
        logger.warning("The connection to the platform's database was lost: connecting again.")
        connection = _connect(self._address)
        try:
            if self._keys:
                self._take_again(connection, *self._keys)
        except BaseException:
            connection.close()
            raise
        return connection

    def _take_again(self, connection: psycopg2.extensions.connection, turn: int, *others: int) -> None:
        deadline = time.monotonic() + RELEASE_SECONDS
        while _first(connection, TRY_LOCK, {"key": turn}) != TAKEN:
            # Another run has it, and says so at once; or the server has not yet noticed that we lost our connection.
            if not self._proven(connection) or time.monotonic() > deadline:
                raise LockLostError
            time.sleep(POLL_SECONDS)
        if not self._proven(connection):
            raise LockLostError
        for key in others:  # those that anybody may have for a while, such as a file's
            while _first(connection, TRY_LOCK, {"key": key}) != TAKEN:
                time.sleep(POLL_SECONDS)

    def _proven(self, connection: psycopg2.extensions.connection) -> bool:
        return self._proof is not None and _first(connection, *self._proof) is not None


TRY_LOCK = "SELECT pg_try_advisory_lock(%(key)s) AS taken"
TAKEN = {"taken": True}


def _first(
    connection: psycopg2.extensions.connection, statement: str, values: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """The first row of the answer, by column; None when there is none."""
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        try:
            cursor.execute(statement, values)
        except psycopg2.errors.LockNotAvailable:
            raise RowHeldError from None
        row = cursor.fetchone() if cursor.description else None
    return None if row is None else dict(row)


def _connect(address: str) -> psycopg2.extensions.connection:
    """Connect, with some patience: a database that restarts must fail no run that starts or goes on meanwhile."""
    for wait in CONNECT_WAITS_SECONDS:
        try:
            return _session(address)
        except psycopg2.OperationalError:
            time.sleep(wait)
    return _session(address)


def _session(address: str) -> psycopg2.extensions.connection:
    connection = psycopg2.connect(
        address,
        connect_timeout=10,
        application_name="clinical-ai-prefect run",
        # A load may take hours in which nothing passes here: firewalls drop silent connections.
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=6,
    )
    connection.autocommit = True
    _first(connection, f"{SESSION}; SET lock_timeout = {ROW_WAIT_MILLISECONDS}")
    return connection
