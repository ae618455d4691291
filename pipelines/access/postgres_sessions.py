"""Sessions at PostgreSQL that a run uses again: of a small load, half of the processor's time is opening them.

dlt opens one for each thing that it does, some thirty a run, and ADBC two for each table, with a reading of pg_type.
Inside `kept` a session that was closed in order is laid aside instead, and the next that is asked for with the same
address is that one. One that failed, or is in a transaction, is really closed; so is one that was idle for long, which
a firewall may have dropped without a word. Outside of `kept` everything is as dlt has it.
"""

import contextlib
import select
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import psycopg2  # type: ignore[import-untyped]
from dlt.destinations.impl.postgres.postgres import PostgresParquetCopyJob
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
from psycopg2.extensions import TRANSACTION_STATUS_IDLE  # type: ignore[import-untyped]

from pipelines.access.database_urls import checked

IDLE_SECONDS = 30.0
"""Longer than any step between two uses in a small load, shorter than any firewall's patience."""


class Shelf:
    """Sessions that nobody uses just now, by their address. Taken by several threads."""

    def __init__(self, usable: Callable[[Any], bool]) -> None:
        """`usable` says whether a session is as good as new, without asking its server."""
        self._usable = usable
        self._free: dict[Hashable, list[tuple[float, Any]]] = {}
        self._lock = threading.Lock()
        self._users = 0

    def open(self) -> None:
        """From now on, keep what is given."""
        with self._lock:
            self._users += 1

    def close(self) -> None:
        """Keep nothing any more, once as many have said so as have opened it."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self.clear()

    def take(self, address: Hashable) -> Any:
        """A session that was kept, or None."""
        while True:
            with self._lock:
                found = self._free.get(address)
                if not found:
                    return None
                since, session = found.pop()
            if time.monotonic() - since < IDLE_SECONDS and self._usable(session):
                return session
            _close(session)

    def give(self, address: Hashable, session: Any) -> None:
        """Keep a session, or close it."""
        if self._usable(session):
            with self._lock:
                if self._users:
                    self._free.setdefault(address, []).append((time.monotonic(), session))
                    return
        _close(session)

    def clear(self) -> None:
        """Close what is kept."""
        with self._lock:
            free, self._free = self._free, {}
        for sessions in free.values():
            for _, session in sessions:
                _close(session)


def _close(session: Any) -> None:
    with contextlib.suppress(Exception):  # it may be broken: that is why it goes
        session.close()


def _idle(connection: Any) -> bool:
    """Whether a psycopg2 connection is in no transaction, and its server has not hung up."""
    if connection.closed or connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        return False
    # Nothing was asked: what there is to read is the server's farewell.
    return not select.select([connection], [], [], 0)[0]


_STATEMENTS = Shelf(_idle)
_TABLES = Shelf(lambda connection: not connection._closed)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, sessions are used again; at the end the last are closed."""
    _install()
    for shelf in (_STATEMENTS, _TABLES):
        shelf.open()
    try:
        yield
    finally:
        for shelf in (_STATEMENTS, _TABLES):
            shelf.close()


def close_readers() -> None:
    """Close what reads tables: a source needs none while its rows are written elsewhere."""
    _TABLES.clear()


@contextlib.contextmanager
def adbc(address: str) -> Iterator[Any]:
    """An ADBC connection in no transaction. Left by an error, or before its rows are through, it is closed."""
    connection = _TABLES.take(address)
    if connection is None:
        from adbc_driver_postgresql import dbapi  # noqa: PLC0415  # only for PostgreSQL

        connection = dbapi.connect(address)
    try:
        yield connection
        connection.rollback()  # what was read is; the next to use it must see what is there then
    except BaseException:
        _close(connection)
        raise
    _TABLES.give(address, connection)


def _install() -> None:
    """Replace how dlt opens and closes sessions at PostgreSQL. Done twice it changes nothing."""
    Psycopg2SqlClient.open_connection = _open_connection  # type: ignore[method-assign]
    Psycopg2SqlClient.close_connection = _close_connection  # type: ignore[method-assign]


_original_open = Psycopg2SqlClient.open_connection


def _address(client: Psycopg2SqlClient) -> tuple[str, str]:
    # The dataset is the session's search path.
    return client.credentials.to_native_representation(), client.fully_qualified_dataset_name()


def _open_connection(self: Psycopg2SqlClient) -> "psycopg2.extensions.connection":
    self._conn = _STATEMENTS.take(_address(self))
    return self._conn if self._conn is not None else _original_open(self)


def _close_connection(self: Psycopg2SqlClient) -> None:
    connection, self._conn = self._conn, None
    if connection:
        _STATEMENTS.give(_address(self), connection)


def connect_for_copy(self: PostgresParquetCopyJob) -> Any:
    """For a job that writes a file and commits: what it leaves uncommitted, `adbc` rolls back or closes.

    dlt's own address leaves a space in a password as it is.
    """
    self._config = self._job_client.config
    credentials: Any = self._config.credentials
    return adbc(checked(credentials.to_native_representation(), "destination.credentials"))
