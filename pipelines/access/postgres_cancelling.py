"""Cancelling of what another thread has PostgreSQL do.

Both drivers' own cancel (libpq's) holds Python's lock until the server has hung up. A tunnel's threads need that lock
to carry the request there, so the process would wait for ever. Behind a tunnel the server is therefore asked by another
session of the same login, which the driver waits for without the lock.
"""

import contextlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psycopg2  # type: ignore[import-untyped]

from pipelines.access.tunnels import LOOPBACK
from pipelines.error_causes.database_errors import TUNNELS

SECONDS = 10
"""How long the other session may take to be opened."""


def cancel(connection: Any, address: str) -> None:
    """End what a connection of psycopg2 to this address does. Nothing is raised: it may be gone, which is wanted."""
    with contextlib.suppress(Exception):
        if is_tunnelled(address):
            _ask(address, connection.info.backend_pid)
        else:
            connection.cancel()


def cancel_of(connection: Any, cursor: Any, address: str) -> Callable[[], None]:
    """What ends what an ADBC cursor will do. To be called in no transaction."""
    if not is_tunnelled(address):
        own: Callable[[], None] = cursor.adbc_cancel
        return own
    with connection.cursor() as asking:
        asking.execute("SELECT pg_backend_pid()")
        (session,) = asking.fetchone()
    connection.rollback()
    return lambda: _ask(address, session)


def is_tunnelled(address: str) -> bool:
    """Whether an address of PostgreSQL leads into a tunnel of this process."""
    parts = urlsplit(address)
    return f"hostaddr={LOOPBACK}" in parts.query and parts.port in TUNNELS


def _ask(address: str, session: int) -> None:
    with contextlib.closing(psycopg2.connect(address, connect_timeout=SECONDS)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_cancel_backend(%s)", (session,))
