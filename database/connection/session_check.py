"""The check that a database's address leads to a session that stays: to no connection pool in transaction mode.

The controller listens, and runs hold advisory locks: both belong to a session. PgBouncer in transaction mode hands each
transaction to another one, so notifications vanish and locks are held by nobody; it looks fine until rows land twice.
"""

import select
import uuid

import psycopg2  # type: ignore[import-untyped]
import psycopg2.extensions  # type: ignore[import-untyped]

NOTICE_SECONDS = 2.0
"""How long a notification may take. One that comes at all comes within milliseconds."""

POOLED = (
    "CAI_DATABASE_URL leads through a connection pool in transaction mode, which loses locks and notifications: give "
    "the controller and the workers PostgreSQL's own address, or a pool in session mode. Only the API may use it."
)


def is_pooled(connection: "psycopg2.extensions.connection", address: str) -> bool:
    """Whether a connection's session is shared by transactions of others.

    A pool tells its clients process ids of its own, so with PostgreSQL itself this is one query. Behind a pool it is
    tried out: whether a connection that listens hears what another one says.

    Args:
        connection: an open one, in autocommit.
        address: the same database's address, for a second connection.

    Raises:
        psycopg2.Error: when the database does not answer.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        if cursor.fetchone() == (connection.info.backend_pid,):
            return False
        channel = f"cai_probe_{uuid.uuid4().hex}"
        cursor.execute(f"LISTEN {channel}")
    other = psycopg2.connect(address)
    try:
        other.autocommit = True
        with other.cursor() as speaker:
            speaker.execute(f"NOTIFY {channel}")
    finally:
        other.close()
    select.select([connection], [], [], NOTICE_SECONDS)
    connection.poll()
    heard = any(notice.channel == channel for notice in connection.notifies)
    connection.notifies.clear()
    if heard:
        with connection.cursor() as cursor:
            cursor.execute(f"UNLISTEN {channel}")
    return not heard
