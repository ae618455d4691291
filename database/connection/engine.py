"""The engine: pooled connections to PostgreSQL; no transaction waits for other people's locks for long."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from connectors.limits.jsonb import readable
from database.connection.address import dsn

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 30

LOCK_TIMEOUT_SECONDS = 3
"""How long any statement waits for what another session's transaction holds. Far less than a lease lasts."""

DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What a database that does not answer looks like: a connect fails with the driver's own errors, unwrapped."""

Fence = Callable[[AsyncConnection], Awaitable[None]]
"""Called last in a writing transaction, just before its commit; raises when the writer may no longer write."""


def open_engine(
    url: str,
    *,
    pool_size: int = 5,
    statement_timeout_seconds: float | None = STATEMENT_TIMEOUT_SECONDS,
) -> AsyncEngine:
    """An engine on the PostgreSQL at `url`. Its repr and its errors hold neither password nor parameters.

    JSON that cannot be read is that row's matter and no error of the query, which would fail for all rows alike.

    No statement is kept under a name, though that would save a round trip each. After a back end's ALTER TABLE the
    first use of a kept one fails (0A000, a cached plan must not change its result's type), and its transaction with it;
    one that is parsed in its own transaction has the table's lock from then on, so it cannot. And behind a connection
    pool in transaction mode (PgBouncer) the next transaction may meet another session, which knows no such name.

    Args:
        url: of the database.
        pool_size: connections that are kept.
        statement_timeout_seconds: how long a statement may take; None: as long as it needs.
    """
    address = dsn(url)
    unnamed: dict[str, Any] = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(
            address,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=statement_timeout_seconds,
            statement_cache_size=0,
        )

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        connect_args=unnamed,
        pool_size=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,
        json_deserializer=readable,
    )
    sa.event.listen(engine.sync_engine, "begin", _limit_waiting)
    return engine


def _limit_waiting(connection: sa.Connection) -> None:
    """A transaction waits for nobody's locks for long: theirs may stay open for hours.

    Of the transaction and not of the session, which a pooler between us and the database may hand to somebody else.
    """
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
    finally:
        cursor.close()


def any_of(ids: Collection[int]) -> sa.ColumnElement[int]:
    """`= ANY(array)`: one parameter, however many ids."""
    return sa.func.any(sa.cast(list(ids), sa.ARRAY(sa.BigInteger)))
