"""Tables of a relational database, through dlt's `sql_database` with the fastest reader that is right for the dialect.

PostgreSQL is read by ADBC: its binary COPY arrives as Arrow batches, several times faster than rows through Python.
Types that Arrow doesn't carry the way dlt lands them (uuid, arrays, ranges...) are turned into text by the server.
Every other dialect is read through SQLAlchemy into Arrow (`sql_dialects`).
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from dlt.extract import DltResource, Incremental
from dlt.sources.sql_database import BaseTableLoader, sql_table
from sqlalchemy.dialects import postgresql

from connectors.kinds import SqlDatabaseSource, SqlTable
from pipelines.destinations import database_url
from pipelines.errors import ConfigurationError, quoted
from pipelines.prefetch import ahead
from pipelines.sources import Context
from pipelines.sources.sql_dialects import DECIMAL, RowsLoader, adapt, open_engine

CHUNK_ROWS = 50_000
BATCH_BYTES = 16 * 1024 * 1024

_EXACT_IN_DOUBLE = 15
"""Decimal digits that a double holds exactly (DBL_DIG): such a number becomes the same decimal again."""

_NATIVE = (
    sa.Integer,
    sa.Float,
    sa.Boolean,
    sa.Date,
    sa.DateTime,
    sa.Time,
    sa.LargeBinary,
    sa.String,
)


def resources(source: SqlDatabaseSource, context: Context) -> list[DltResource]:
    """One resource a table, reflected now, so that a table or column that isn't there ends the run before it reads."""
    engine = open_engine(database_url(context.secrets.resolve(source.credentials), "source.credentials"))
    metadata = sa.MetaData(schema=source.schema_name)
    found = [_reflected(engine, metadata, table) for table in source.tables]
    # All columns, also those that no table is asked for: masking what isn't read harms nobody.
    context.mask.declare((column.name for reflected in found for column in reflected.columns), complete=True)
    return [_resource(engine, reflected, table, context) for reflected, table in zip(found, source.tables, strict=True)]


def _reflected(engine: sa.Engine, metadata: sa.MetaData, table: SqlTable) -> sa.Table:
    reflected = sa.Table(table.name, metadata, autoload_with=engine, resolve_fks=False)
    if engine.dialect.name != "postgresql":
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
        table_loader_class=PostgresLoader if engine.dialect.name == "postgresql" else RowsLoader,
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


class PostgresLoader(BaseTableLoader):
    """Reads a table of PostgreSQL by ADBC."""

    def load_rows(self, backend_kwargs: dict[str, Any] | None = None) -> Iterator[pa.Table]:
        """Arrow tables of some megabytes each, with the types that dlt's hints promise."""
        from adbc_driver_postgresql import dbapi  # noqa: PLC0415  # only where the source is PostgreSQL

        query: Any = self.make_query()
        columns = [self._selected(column) for column in query.selected_columns]
        statement = str(
            query.with_only_columns(*columns).compile(self.engine, compile_kwargs={"literal_binds": True})
        ).replace("%%", "%")  # psycopg2's dialect doubles it for a driver that isn't used here
        with dbapi.connect(self.get_connection_url()) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})

            def read() -> Iterator[pa.Table]:
                cursor.execute(statement)
                for batch in cursor.fetch_record_batch():
                    yield self._landed(batch)

            yield from ahead(read, cursor.adbc_cancel)

    def _selected(self, column: Any) -> Any:
        kind = column.type
        if isinstance(kind, postgresql.ARRAY):
            return sa.cast(sa.func.to_jsonb(column), sa.Text).label(column.name)
        if _is_decimal(kind):
            precision, scale = _digits(kind)
            if precision <= _EXACT_IN_DOUBLE:
                # Arrives in binary, where numeric would come as text that is written there and parsed here.
                return sa.cast(column, sa.Double).label(column.name)
            return sa.cast(column, sa.Numeric(precision, scale)).label(column.name)
        if isinstance(kind, _NATIVE) and not (isinstance(kind, sa.Time) and kind.timezone):
            return column
        return sa.cast(column, sa.Text).label(column.name)

    def _landed(self, batch: pa.RecordBatch) -> pa.Table:
        arrays, fields = [], []
        for field, array in zip(batch.schema, batch.columns, strict=True):
            landed = array.storage if isinstance(field.type, pa.BaseExtensionType) else array
            # By the type and not by dlt's hint, which calls a masked column text: its hash is that of the number.
            if _is_decimal(kind := self.table.c[field.name].type):
                landed = _decimal(kind, landed)
            arrays.append(landed)
            # Without the driver's metadata, which would differ from the next driver's.
            fields.append(pa.field(field.name, landed.type))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _is_decimal(kind: Any) -> bool:
    return isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float)


def _digits(kind: Any) -> tuple[int, int]:
    """Precision and scale with which a decimal lands."""
    precision, scale = (kind.precision, kind.scale or 0) if kind.precision else DECIMAL
    return min(precision, 38), min(scale, 38)


def _decimal(kind: Any, values: pa.Array) -> pa.Array:
    landed = pa.decimal128(*_digits(kind))
    try:
        return values.cast(landed)
    except pa.ArrowInvalid:
        # NaN and infinity have no decimal: they land empty.
        finite = pc.match_substring_regex(values.cast(pa.string()), r"^-?[0-9.]+(e[-+]?[0-9]+)?$")
        return pc.if_else(finite, values, pa.scalar(None, values.type)).cast(landed)
