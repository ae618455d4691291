"""Rows of one table that stand in the destination at a cursor's border: read back to be compared with what comes again.

Only what is needed to compare: the rows whose cursor lies at or after a value, in batches, without keeping any.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from dlt import Pipeline

from pipelines.loading.destination_kinds import kind_of
from pipelines.sources.cursors.values import moment_of

BATCH_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows and the names of their columns, as they landed."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Place:
    """The column of a cursor's values in the destination."""

    column: str
    """Their column, as it landed."""
    inner: tuple[str, ...] = ()
    """The path within it, when it holds JSON."""


def standing_rows(pipeline: Pipeline, table: str, cursor: Place, start: Any) -> Iterator[Batch]:
    """The rows of a table at or after a cursor's value; also some before it, where the destination can't tell."""
    schema = pipeline.default_schema
    if table not in schema.tables:
        return
    if schema.tables[table].get("table_format") == "delta":
        yield from _of_lake(pipeline, table)
        return
    with pipeline.sql_client() as client:
        where, values = "", []
        if (condition := _condition(client, schema.tables[table]["columns"], cursor, start)) is not None:
            where, values = f"WHERE {condition[0]}", [condition[1]]
        # The name is dlt's own, escaped; the value is a parameter.
        query = f"SELECT * FROM {client.make_qualified_table_name(table)} {where}"  # noqa: S608
        try:
            yield from _batches(client, query, values)
        except Exception as error:
            if not {"DestinationUndefinedEntity", "UndefinedTable"} & {kind.__name__ for kind in type(error).__mro__}:
                raise
            # Somebody has dropped it: nothing stands there.


def _batches(client: Any, query: str, values: list[Any]) -> Iterator[Batch]:
    if client.capabilities.sqlglot_dialect != "postgres":
        with client.execute_query(query, *values) as found:
            names = tuple(str(column[0]) for column in found.description)
            for rows in found.iter_fetch(BATCH_ROWS):
                yield Batch(names, [tuple(row) for row in rows])
        return
    # Without a name for it on the server, the driver first takes the whole answer into memory.
    with client.begin_transaction(), client.native_connection.cursor(name="border") as found:
        found.execute(query, values or None)
        while rows := found.fetchmany(BATCH_ROWS):
            yield Batch(tuple(str(column[0]) for column in found.description), rows)


def narrowed_by(pipeline: Pipeline, table: str, cursor: Place, start: Any) -> bool:
    """Whether a destination finds the rows at a cursor's border by itself, without handing out all that it has."""
    kind = kind_of(pipeline.destination)
    columns = pipeline.default_schema.tables.get(table, {}).get("columns", {})
    if kind not in _TEXT_IN_JSON or not columns:
        return False
    with pipeline.sql_client() as client:
        return _condition(client, columns, cursor, start) is not None


_TEXT = {"duckdb": "{column}", "postgres": '{column} COLLATE "C"'}
_TEXT_IN_JSON = {
    "duckdb": "json_extract_string({column}, '$.{path}')",
    "postgres": "({column} #>> '{{{commas}}}') COLLATE \"C\"",
}
"""How a destination gets at a text inside of JSON."""


def _condition(client: Any, columns: Any, cursor: Place, start: Any) -> tuple[str, Any] | None:
    """What the rows at the border meet, and its parameter; None where the destination has another order, or none."""
    column = columns.get(cursor.column)
    if column is None:
        return None
    name = client.escape_column_name(cursor.column)
    if not cursor.inner and (bound := _bound(column, start)) is not None:
        return f"({name} >= %s OR {name} IS NULL)", bound
    kind = client.capabilities.sqlglot_dialect
    wanted = "json" if cursor.inner else "text"
    if kind not in _TEXT_IN_JSON or column.get("data_type") != wanted or (day := _day_before(start)) is None:
        return None
    text = _TEXT[kind].format(column=name)
    if cursor.inner:
        text = _TEXT_IN_JSON[kind].format(column=name, path=".".join(cursor.inner), commas=",".join(cursor.inner))
    return f"({text} >= %s OR {text} IS NULL)", day


def _day_before(start: Any) -> str | None:
    """What each text of a moment from this one on comes after, as a text; None where it is no text of a moment.

    Texts of any zone: what is some hours earlier as text may not be earlier in time.
    """
    if not isinstance(start, str) or start[4:5] != "-":
        return None
    try:
        return (moment_of(start) - timedelta(days=1)).strftime("%Y-%m-%d")
    except (ValueError, OverflowError):
        return None


def _bound(column: Any, start: Any) -> Any:
    """The value as a parameter that the column's type is compared with; None for types that sort otherwise."""
    kind = column.get("data_type")
    try:
        match kind:
            case "timestamp":
                moment = moment_of(start)
                return moment.replace(tzinfo=None) if column.get("timezone") is False else moment
            case "date":
                return start if type(start) is date else moment_of(start).astimezone(UTC).date()
            case "bigint" | "double" | "decimal" if not isinstance(start, datetime | date):
                number = Decimal(str(start))
                return int(number) if number == number.to_integral_value() else number
    except (ValueError, ArithmeticError):
        return None
    return None


def _of_lake(pipeline: Pipeline, table: str) -> Iterator[Batch]:
    """The rows of a Delta table, which the destination's own client can't read without a download."""
    from deltalake import DeltaTable, QueryBuilder  # noqa: PLC0415  # an extra
    from dlt.common.libs.deltalake import deltalake_storage_options  # noqa: PLC0415

    client, _ = pipeline._get_destination_clients(pipeline.default_schema)
    with client as files:
        settings: Any = files.config
        options = deltalake_storage_options(settings.credentials, settings.deltalake_storage_options)
        location = files.get_open_table_location("delta", table)  # type: ignore[attr-defined]
    if not DeltaTable.is_deltatable(location, options):
        return
    lake = QueryBuilder().register("standing", DeltaTable(location, storage_options=options))
    for batch in lake.execute("SELECT * FROM standing"):
        columns = {name: batch.column(name) for name in batch.schema.names}
        lists = [_as_arrow(column).to_pylist() for column in columns.values()]
        yield Batch(tuple(columns), list(zip(*lists, strict=True)))


def _as_arrow(column: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415  # only here

    return column if isinstance(column, pa.Array) else pa.array(column)
