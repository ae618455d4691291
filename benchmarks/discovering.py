"""Discovery of a database of a thousand tables: how long somebody waits for the list to tick, in how many queries."""

import asyncio
import os
import time

import asyncpg
import sqlalchemy as sa
from pydantic import TypeAdapter

from benchmarks.rig.figures import ROUNDS, Figure, shown
from benchmarks.rig.stage import Stage
from connectors.sources import Source
from pipelines.discovery import discover
from settings import Settings

TABLES = 1_000
COLUMNS = 50
BAR_SECONDS = 5.0
BAR_QUERIES = 5


def discovering(stage: Stage) -> list[Figure]:
    """All pages, on a session of their own each time, with keys compared with the catalogue's."""
    tables = stage.size(TABLES)
    url = stage.database("discovered")
    asyncio.run(_fill(url, tables))
    keys = asyncio.run(_keys(url))
    os.environ["CAI_SECRET_DISCOVERED"] = url
    said = {
        "type": "sql_database",
        "credentials": {"env": "CAI_SECRET_DISCOVERED"},
        "schema": "public",
        "tables": [{"name": "any"}],
    }
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    source, settings = adapter.validate_python(said), Settings(credentials="open")
    queries = 0

    def count(*_: object) -> None:
        nonlocal queries
        queries += 1

    seconds: list[float] = []
    found: dict[str, tuple[tuple[str, ...], int]] = {}
    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        for _ in range(ROUNDS):
            began, cursor, found, queries = time.perf_counter(), None, {}, 0
            while True:
                page = discover(source, settings, cursor)
                found |= {item.name: (item.primary_key, len(item.columns)) for item in page.items}
                if (cursor := page.cursor) is None:
                    break
            seconds.append(time.perf_counter() - began)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)
        del os.environ["CAI_SECRET_DISCOVERED"]
    assert found == {name: (key, COLUMNS) for name, key in keys.items()}, "keys are the catalogue's"
    name = f"discovery of {tables:,} tables of {COLUMNS} columns"
    return [
        Figure(name, shown(seconds), "", None, "at most 5 s", max(seconds) <= BAR_SECONDS),
        Figure(f"{name}: queries", str(queries), "", None, "at most 5", queries <= BAR_QUERIES),
    ]


async def _fill(url: str, tables: int) -> None:
    columns = ", ".join(
        f"c{number} {('text', 'numeric(10, 2)', 'timestamptz')[number % 3]}" for number in range(COLUMNS - 2)
    )
    connection = await asyncpg.connect(url)
    try:
        for number in range(tables):
            key = "PRIMARY KEY (b, a)" if number % 2 else "PRIMARY KEY (a)"
            await connection.execute(f"CREATE TABLE t{number:04} (a int, b int, {columns}, {key})")
    finally:
        await connection.close()


async def _keys(url: str) -> dict[str, tuple[str, ...]]:
    """The keys of all tables, by the catalogue's own view of them."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) AS key "
            "FROM information_schema.key_column_usage WHERE table_schema = 'public' GROUP BY 1"
        )
        return {row["table_name"]: tuple(row["key"]) for row in rows}
    finally:
        await connection.close()
