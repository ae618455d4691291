"""Sizes of the destination's tables in rows, as far as they can be counted without slowing the load.

DuckDB knows its counts. PostgreSQL reads the table, so there counting has a budget, a part of the time that the load
has taken so far, and is stopped when that is spent: all tables at once in one half of it, else one after the other.
What was not counted is not known, and is never guessed.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from dlt.destinations.exceptions import DatabaseException, DatabaseUndefinedRelation
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.destinations.impl.postgres.postgres import PostgresClient
from dlt.destinations.job_client_impl import SqlJobClientBase

PART = 0.01
"""Of the load's time so far that one look may take."""

LEAST_SECONDS = 0.02

Look = Callable[[Any], None]
"""Is given an open client of the destination."""


def sizes(client: Any, tables: Collection[str], seconds_so_far: float) -> dict[str, int]:
    """The rows of these tables, of those that could be counted; 0 for one that is not there."""
    limited = isinstance(client, PostgresClient)
    if not limited and not isinstance(client, DuckDbClient):
        return {}  # elsewhere nobody knows what counting costs
    budget = max(LEAST_SECONDS, PART * seconds_so_far)
    deadline = time.monotonic() + budget
    if limited and len(tables) > 1 and (all_of_them := _at_once(client, list(tables), budget / 2)) is not None:
        return all_of_them
    found: dict[str, int] = {}
    for table in tables:
        left = deadline - time.monotonic() if limited else None
        if (left is None or left > 0) and (size := _size(client, table, left)) is not None:
            found[table] = size
    return found


def _at_once(client: SqlJobClientBase, tables: Sequence[str], seconds: float) -> dict[str, int] | None:
    """The rows of all of these by one statement; None where one is not there, or it takes too long."""
    sql = client.sql_client
    names = map(sql.make_qualified_table_name, tables)
    counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in names)  # noqa: S608  # names, escaped
    try:
        with sql.begin_transaction():
            sql.execute_sql(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}")
            rows = sql.execute_sql(f"SELECT {counts}")
    except DatabaseException:
        return None
    return dict(zip(tables, map(int, rows[0]), strict=True)) if rows else None


def _size(client: SqlJobClientBase, table: str, seconds: float | None) -> int | None:
    sql = client.sql_client
    query = f"SELECT count(*) FROM {sql.make_qualified_table_name(table)}"  # noqa: S608  # a name, escaped
    try:
        if seconds is None:
            rows = sql.execute_sql(query)
        else:
            with sql.begin_transaction():
                sql.execute_sql(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}")
                rows = sql.execute_sql(query)
    except DatabaseUndefinedRelation:
        return 0
    except DatabaseException:
        return None
    return int(rows[0][0]) if rows else None
