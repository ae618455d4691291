"""Tables of a relational database, through dlt's `sql_database` with the fastest reader that is right for the dialect.

PostgreSQL is read by ADBC (`postgres_reader`), every other dialect through SQLAlchemy into Arrow (`sql_dialects`).
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from dlt.extract import DltResource, Incremental
from dlt.sources.sql_database import sql_table

from connectors.kinds import SqlDatabaseSource, SqlTable
from pipelines.access.database_urls import database_url, hold_sqlite
from pipelines.errors import ConfigurationError, quoted
from pipelines.sources import Context, postgres_reader, sql_dialects
from pipelines.sources.sql_beside import Beside
from pipelines.sources.sql_dialects import open_engine

CHUNK_ROWS = 50_000


def resources(source: SqlDatabaseSource, context: Context) -> list[DltResource]:
    """One resource a table, reflected now, so that a table or column that isn't there ends the run before it reads."""
    url = database_url(context.secrets.resolve(source.credentials), "source.credentials")
    hold_sqlite(url, context.local_file_roots)
    engine = open_engine(url)
    for host in _hosts(engine.url):
        context.denied.check(host, engine.url.port or _PORTS.get(engine.dialect.name), engine.url.database)
    metadata = sa.MetaData(schema=source.schema_name)
    found = [_reflected(engine, metadata, table) for table in source.tables]
    # All columns, also those that no table is asked for: masking what isn't read harms nobody.
    context.mask.declare((column.name for reflected in found for column in reflected.columns), complete=True)
    return [_resource(engine, reflected, table, context) for reflected, table in zip(found, source.tables, strict=True)]


def _hosts(url: sa.URL) -> list[str]:
    """The hosts that an address names: PostgreSQL's may name several, and in the query too."""
    more = url.query.get("host", ())
    named = [url.host or "", *([more] if isinstance(more, str) else more)]
    return [host.rpartition(":")[0] or host for each in named for host in each.split(",") if host]


_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}


def _reflected(engine: sa.Engine, metadata: sa.MetaData, table: SqlTable) -> sa.Table:
    reflected = sa.Table(table.name, metadata, autoload_with=engine, resolve_fks=False)
    adapt = postgres_reader.adapt if engine.dialect.name == "postgresql" else sql_dialects.adapt
    adapt(reflected)
    return reflected


def _resource(engine: sa.Engine, reflected: sa.Table, table: SqlTable, context: Context) -> DltResource:
    names = {column.name for column in reflected.columns}
    wanted = set(table.columns) or names
    needed = {*wanted, *table.primary_key, *([table.cursor_column] if table.cursor_column else [])}
    if unknown := sorted(needed - names):
        raise ConfigurationError(
            f"Table {quoted([table.name])} has no column {quoted(unknown)}: check source.tables; "
            f"it has {quoted(sorted(names))}."
        )
    loader = postgres_reader.PostgresLoader if engine.dialect.name == "postgresql" else sql_dialects.RowsLoader
    return sql_table(
        credentials=engine,
        table=table.name,
        schema=reflected.metadata.schema,
        metadata=reflected.metadata,
        backend="pyarrow",
        chunk_size=CHUNK_ROWS,
        reflection_level="full",
        included_columns=sorted(needed),
        table_adapter_callback=_all_nullable,
        incremental=_incremental(reflected, table, context),
        write_disposition=table.write_disposition,
        primary_key=list(table.primary_key) or None,  # type: ignore[arg-type]
        query_adapter_callback=_limit(context.row_limit),
        table_loader_class=partial(loader, beside=Beside(table.name, context.remarks)),  # type: ignore[arg-type]
    )


def _limit(rows: int | None) -> Callable[[Any, Any], Any] | None:
    return None if rows is None else lambda query, _: query.limit(rows)


def _all_nullable(table: sa.Table) -> None:
    """A column that is never empty today may be so tomorrow: NOT NULL would then end every load."""
    for column in table.columns:
        column.nullable = None


def _incremental(reflected: sa.Table, table: SqlTable, context: Context) -> "Incremental[Any] | None":
    # `replace` means the whole table each time: with a cursor it would leave only the newest rows.
    if table.cursor_column is None or table.write_disposition == "replace":
        return None
    column = reflected.c[table.cursor_column]
    start, end = _as_cursor(table.initial_value, column), None
    if context.window:
        start = _as_cursor(context.window.start, column) or start
        end = _as_cursor(context.window.end or datetime.now(UTC), column)
    return Incremental(
        table.cursor_column,
        initial_value=start,
        end_value=end,
        # Rows without a cursor value are loaded each time: merge keeps them single, append would double them.
        on_cursor_value_missing="include" if table.write_disposition == "merge" else "raise",
        # A limited run must go on where it stopped, so it takes the oldest rows first.
        row_order="asc" if context.row_limit is not None else None,
    )


def _as_cursor(value: Any, column: "sa.Column[Any]") -> Any:
    """A text of the connector's JSON, or a moment, as the type of the column that it is compared with."""
    try:
        if isinstance(column.type, sa.DateTime):
            moment = datetime.fromisoformat(value) if isinstance(value, str) else value
            if isinstance(moment, datetime):
                if column.type.timezone:
                    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        elif isinstance(column.type, sa.Date):
            return date.fromisoformat(value[:10]) if isinstance(value, str) else value.date() if value else None
        elif isinstance(column.type, sa.Integer) and isinstance(value, str | float):
            return int(value)
        elif isinstance(value, datetime):
            raise ConfigurationError(
                f"backfill needs a date as cursor, and {column.name} of {column.table.name} is none."
            )
    except (ValueError, AttributeError):
        raise ConfigurationError(
            f"initial_value of table {column.table.name} does not fit its cursor {column.name}, which is {column.type}."
        ) from None
    return value
