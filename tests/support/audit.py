"""The history in tests: a connection, changes with triggers off, and a chain of many entries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from database.connection.address import dsn

SOURCE = '{"type": "files", "url": "/data", "format": "csv", "table": "labs"}'

CONNECTORS = 20


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of its own to the database."""
    connection = await asyncpg.connect(dsn(database_url))
    try:
        yield connection
    finally:
        await connection.close()


async def insert(connection: asyncpg.Connection, name: str = "labs", **values: Any) -> int:
    """A connector written by SQL; its id."""
    columns = {"name": name, "source": SOURCE, **values}
    marks = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    statement = f"INSERT INTO cai_connectors ({', '.join(columns)}) VALUES ({marks}) RETURNING id"
    return int(await connection.fetchval(statement, *columns.values()))


async def silently(connection: asyncpg.Connection, *statements: str) -> None:
    """Run statements with all triggers off."""
    await connection.execute("SET session_replication_role = replica")
    for statement in statements:
        await connection.execute(statement)
    await connection.execute("SET session_replication_role = origin")


async def entries(connection: asyncpg.Connection) -> list[dict[str, Any]]:
    """All entries, the oldest first."""
    return [dict(row) for row in await connection.fetch("SELECT * FROM cai_audit ORDER BY id")]


async def many_entries(connection: asyncpg.Connection, count: int) -> None:
    """So many entries of twenty connectors, made by the triggers."""
    for number in range(CONNECTORS):
        await insert(connection, f"c{number}")
    for turn in range((count - CONNECTORS) // CONNECTORS):
        await connection.execute("UPDATE cai_connectors SET description = $1", str(turn))


async def yesterday(connection: asyncpg.Connection) -> None:
    """Make what is written so far a day older, with digests that fit."""
    await silently(
        connection,
        "UPDATE cai_audit SET at = at - interval '1 day'",
        "DO $$ DECLARE e cai_audit; BEGIN FOR e IN SELECT * FROM cai_audit ORDER BY id LOOP "
        "e.previous := (SELECT digest FROM cai_audit WHERE id = e.previous_id); "
        "UPDATE cai_audit SET previous = e.previous, digest = cai_audit_digest(e) WHERE id = e.id; END LOOP; END $$",
        "UPDATE cai_audit_heads h SET digest = a.digest, at = a.at FROM cai_audit a WHERE a.id = h.id",
    )
