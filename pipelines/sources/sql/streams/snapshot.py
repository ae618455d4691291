"""Snapshots: one moment of a source's database, at which a run counts rows and then copies them.

What is counted and what is copied must be the same rows, though minutes lie between, so both are read in one
transaction that sees what was committed when it began (REPEATABLE READ, read only). When its session ends before its
time there is another moment; a stream then counts again, and copies only if all is as it was told before.

If the process dies, the server ends the transaction. Nothing was written to the source.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import IO, Any

import psycopg2  # type: ignore[import-untyped]
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ  # type: ignore[import-untyped]

from pipelines.access.postgres_cancelling import cancel

BLOCK_BYTES = 256 * 1024
"""How much of a stream passes at a time."""

CANCEL_SECONDS = 10
"""How long a COPY that was cancelled is waited for."""


class Snapshot:
    """One moment of a database. Used by one thread at a time, within `held`."""

    def __init__(self, shared: str = "") -> None:
        """`shared`: the name of another session's moment, which this one sees; it has its own otherwise."""
        self._shared = shared
        self.address = ""
        """As libpq takes it, with texts in UTF-8. Nothing is connected to before it is used."""
        self._connection: Any = None
        self._lock = threading.RLock()
        self.number = 0
        """Of the moments so far; another one sees other rows."""

    @contextlib.contextmanager
    def held(self) -> Iterator["Snapshot"]:
        """For one thread alone, in a transaction. An error ends it."""
        with self._lock:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = psycopg2.connect(self.address)
                    self._connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
                    self.number += 1
                    if self._shared:
                        with self._connection.cursor() as cursor:
                            cursor.execute("SET TRANSACTION SNAPSHOT %s", (self._shared,))
                yield self
            except BaseException:
                self.close()
                raise

    @property
    def version(self) -> int:
        """The server's, as libpq numbers it."""
        return int(self._connection.server_version)

    @property
    def encoding(self) -> str:
        """How the database stores texts."""
        return str(self._connection.get_parameter_status("server_encoding"))

    def row(self, statement: str) -> tuple[Any, ...]:
        """The one row of an answer."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            found: tuple[Any, ...] = cursor.fetchone()
            return found

    def at_most(self, statement: str, oid: int) -> float:
        """How many rows a query of a table may have, without running it.

        The planner expects none behind the greatest value that it knew when it last looked, so what has changed since
        is added.
        """
        (plan,) = self.row(f"EXPLAIN (FORMAT JSON) {statement}")
        since = "SELECT coalesce(sum(n_mod_since_analyze), 0) FROM pg_stat_all_tables WHERE relid ="
        (changed,) = self.row(f"{since} {oid:d}")
        return float(plan[0]["Plan"]["Plan Rows"]) + float(changed)

    def shared(self) -> str:
        """A name by which another session sees the same moment, as long as this one lasts."""
        return str(self.row("SELECT pg_export_snapshot()")[0])

    def rows(self, statement: str, into: IO[bytes]) -> int:
        """Copy the rows of a query, in PostgreSQL's binary form; how many the server says that they were."""
        with self._connection.cursor() as cursor:
            cursor.copy_expert(f"COPY ({statement}) TO STDOUT (FORMAT binary)", into, BLOCK_BYTES)
            return int(cursor.rowcount)

    def cancel(self) -> None:
        """End what another thread has it do."""
        if self._connection is not None:
            cancel(self._connection, self.address)

    def close(self) -> None:
        """Let the moment go, and end what another thread has it do."""
        if not self._lock.acquire(blocking=False):
            self.cancel()
            if not self._lock.acquire(timeout=CANCEL_SECONDS):
                return  # it waits for the destination, and goes with the process
        try:
            connection, self._connection = self._connection, None
            if connection is not None:
                with contextlib.suppress(Exception):  # it may be broken: that is why it goes
                    connection.close()
        finally:
            self._lock.release()
