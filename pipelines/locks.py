"""One run of a connector at a time, and one writer of a DuckDB file: advisory locks of PostgreSQL.

They live in the platform's own database, on a connection that does nothing else, so they hold across workers and
machines and fall by themselves when the process that holds them dies. Prefect's concurrency slot keeps runs from
piling up; these locks are what keeps the data safe when a slot is lost.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import psycopg2  # type: ignore[import-untyped]
import psycopg2.extensions  # type: ignore[import-untyped]

from connectors.store import dsn
from pipelines.errors import TransientError

CONNECTOR_NAMESPACE = 0x0CA1
"""The upper 16 bits of the key of a connector's lock; its id is the rest."""

POLL_SECONDS = 0.5

CONNECT_WAITS_SECONDS = (1, 2, 4, 8)
"""Waits between tries to reach the platform's database."""


class LockLostError(TransientError):
    """The connection that held the locks is gone, and with it the locks: another run may have started."""


def connector_key(connector_id: int) -> int:
    """The key of the lock that every run of this connector takes."""
    return _signed(CONNECTOR_NAMESPACE << 48 | connector_id)


def name_key(name: str) -> int:
    """The key of the lock of anything that has a name, such as a DuckDB file's path."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _connect(address: str, **settings: Any) -> psycopg2.extensions.connection:
    """Connect, with some patience: a database that restarts must not fail each run that starts meanwhile."""
    for wait in CONNECT_WAITS_SECONDS:
        try:
            return psycopg2.connect(address, **settings)
        except psycopg2.OperationalError:
            time.sleep(wait)
    return psycopg2.connect(address, **settings)


class Locks:
    """The locks that one run holds: all on one connection, all gone when it closes."""

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.contextmanager
    def open(cls, database_url: str) -> Iterator[Self]:
        """Connect to the platform's database; every lock is freed at the end.

        Raises:
            psycopg2.OperationalError: when the database can't be reached.
        """
        connection = _connect(
            dsn(database_url),
            connect_timeout=10,
            application_name="clinical-ai-prefect run",
            # A load may take hours in which nothing passes here: firewalls drop silent connections.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=6,
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET idle_session_timeout = 0")
            yield cls(connection)
        finally:
            connection.close()

    def take(self, key: int) -> bool:
        """Take the lock if it is free, and say whether it is ours now. Taking it again is fine."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (key,))
            row = cursor.fetchone()
        return bool(row and row[0])

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
            # When the connection is gone the lock is too, and the error that brought us here matters more.
            with contextlib.suppress(psycopg2.Error), self._connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", (key,))

    def check(self) -> None:
        """Make sure that the locks still hold, before something is written that they protect.

        Raises:
            LockLostError: when they don't.
        """
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error:
            raise LockLostError(
                "The connection to the platform's database was lost, and with it the lock of this connector."
            ) from None

    @property
    def connection(self) -> psycopg2.extensions.connection:
        """The connection itself, for the one query that a run asks of the platform's database."""
        return self._connection
