"""Columns of the destination made wider when a source's have become wider: int, bigint, numeric; date, timestamp; text.

A column's type is changed while the source is read, before the first row of the wider type is written, so that the load
files have the new type from their first row on. Where it can't be changed (a view depends on it, somebody holds the
table, another kind of destination), it stays, and what does not fit lands beside.

If the process dies after a change, the table is as it was but for the wider type, which the next run finds there. The
connector's own staging table is brought to the same types before the load, since rows pass through it as they are.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import dlt
from dlt import Pipeline
from dlt.destinations.exceptions import DatabaseException

from pipelines.loading.destination_kinds import kind_of
from pipelines.rows.types.columns import Column, without_type

logger = logging.getLogger("prefect.pipelines")

LOCK_SECONDS = 10
"""How long a change waits for those who use the table. Then the values land beside."""

_COLUMNS = {
    "postgres": (
        "SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname IN (%s, %s) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
    ),
    "duckdb": (
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema IN (%s, %s) AND table_catalog = current_database()"
    ),
}


class Widening:
    """Changes the types of a connector's columns in DuckDB and PostgreSQL."""

    def __init__(self, pipeline: Pipeline, alone: Callable[[], AbstractContextManager[None]]) -> None:
        """`alone`: holds the destination where it takes one at a time."""
        self._pipeline = pipeline
        self.done = False
        """Whether a column was made wider."""
        self._alone = alone
        destination = pipeline.destination
        self._kind = kind_of(destination)

    def of_table(self, table: str) -> Callable[[str, Column], bool]:
        """What widens a column of a table; false when it stays as it is."""
        return lambda name, column: self._widen(table, name, column)

    def _widen(self, table: str, name: str, column: Column) -> bool:
        if self._kind not in _COLUMNS:
            return False
        try:
            with self._alone(), self._pipeline.sql_client() as client, client.begin_transaction():
                if self._kind == "postgres":
                    client.execute_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                client.execute_sql(
                    f"ALTER TABLE {client.make_qualified_table_name(table)} "
                    f"ALTER COLUMN {client.escape_column_name(name)} TYPE {_type_of(column)}"
                )
        except DatabaseException as error:
            # Its words may hold values of rows.
            logger.info("%s.%s stays as it is: %s.", table, name, type(error).__name__)
            return False
        self.done = True
        columns: Any = dlt.current.source_schema().tables[table]["columns"]
        columns[name] = {**without_type(columns[name]), **column.hint}
        logger.info("Column %s of table %s is %s now, since the source's is.", name, table, _type_of(column))
        return True

    def align_staging(self) -> None:
        """Give the connector's staging tables the types that the tables have.

        Rows of loads before are all that a staging table may hold here: dlt empties it when a load begins.
        """
        if self._kind not in _COLUMNS:
            return
        with self._pipeline.sql_client() as client:
            dataset, staging = client.dataset_name, client.staging_dataset_name
            found: dict[str, dict[tuple[str, str], str]] = {dataset: {}, staging: {}}
            for place, table, column, kind in client.execute_sql(_COLUMNS[self._kind], dataset, staging) or ():
                found[place][table, column] = kind
            for (table, column), kind in found[staging].items():
                wanted = found[dataset].get((table, column), kind)
                if wanted != kind:
                    self._align(client, table, column, wanted)

    def _align(self, client: Any, table: str, column: str, kind: str) -> None:
        with client.with_staging_dataset():
            name = client.make_qualified_table_name(table)
        escaped = client.escape_column_name(column)
        client.execute_sql(f"DELETE FROM {name}")  # noqa: S608  # names of dlt's own tables
        client.execute_sql(f"ALTER TABLE {name} ALTER COLUMN {escaped} TYPE {kind} USING CAST(NULL AS {kind})")


def _type_of(column: Column) -> str:
    """The type in SQL, as DuckDB and PostgreSQL both write it."""
    if column.kind == "decimal" and column.arrow is not None:
        return f"numeric({column.arrow.precision},{column.arrow.scale})"
    return {"bigint": "bigint", "timestamp": "timestamp", "text": "varchar"}[column.kind]
