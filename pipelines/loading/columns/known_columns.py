"""The columns that a connector's tables have in the destination: dlt's schema, corrected by what really stands there.

The schema is a record of what dlt has asked for. Somebody may have altered a table, a run may have died after it made a
column wider, and earlier versions let a source's new type into the record while the column kept its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from dlt import Pipeline, Schema
from dlt.common.normalizers.naming.snake_case import NamingConvention

from pipelines.access.destination_clients import sql_client
from pipelines.loading.destination_kinds import kind_of
from pipelines.rows.types.columns import (
    BIGINT,
    BINARY,
    BOOL,
    CLOCK,
    DATE,
    DOUBLE,
    JSON,
    MOMENT,
    NAIVE,
    TEXT,
    Column,
    decimal,
    new_column,
    of_hint,
    without_type,
)

Tables = dict[str, dict[str, Column]]

_FOREIGN = Column("text", None)
"""A type that no load file can hold: whatever comes stands beside."""

_POSTGRES = """
SELECT c.table_schema, c.table_name, c.column_name, c.udt_name,
       coalesce(c.character_maximum_length, c.numeric_precision), c.numeric_scale, c.datetime_precision
FROM information_schema.columns c WHERE c.table_schema IN (%s, %s)
"""

_DUCKDB = """
SELECT table_schema, table_name, column_name, data_type, numeric_precision, numeric_scale, NULL
FROM information_schema.columns WHERE table_schema IN (%s, %s) AND table_catalog = current_database()
"""


@dataclass(frozen=True, slots=True)
class Known:
    """The columns of a connector's tables, and whether its staging tables have the same types."""

    tables: Tables = field(default_factory=dict)
    uneven: bool = False


def known_columns(pipeline: Pipeline) -> Known:
    """The columns of all tables that a load of this connector may write into. Also corrects the pipeline's schema.

    Needs the destination to itself where that takes one at a time.
    """
    if not pipeline.default_schema_name:
        return Known()
    schema = pipeline.default_schema
    recorded: Tables = {
        name: {column: of_hint(hint) for column, hint in table["columns"].items() if "data_type" in hint}
        for name, table in schema.tables.items()
        if not name.startswith(schema._dlt_tables_prefix)
    }
    lakes = {name for name, table in schema.tables.items() if table.get("table_format") == "delta"} & recorded.keys()
    standing, staging = _standing(pipeline) if recorded else ({}, {})
    standing |= _in_lakes(pipeline, {name: recorded[name] for name in lakes})
    for name, columns in recorded.items():
        for column, kind in standing.get(name, {}).items():
            if column in columns and columns[column] != kind:
                columns[column] = kind
                hint = schema.tables[name]["columns"][column]
                schema.tables[name]["columns"][column] = {**without_type(hint), **kind.hint}
    uneven = any(
        standing.get(name, {}).get(column, kind) != kind
        for name, columns in staging.items()
        for column, kind in columns.items()
    )
    return Known(recorded, uneven)


def _standing(pipeline: Pipeline) -> tuple[Tables, Tables]:
    """The columns of the dataset and of the staging dataset as the destination has them; nothing where it can't say."""
    destination = pipeline.destination
    kind = kind_of(destination)
    reads: dict[str, tuple[str, Any]] = {"duckdb": (_DUCKDB, _of_duckdb), "postgres": (_POSTGRES, _of_postgres)}
    if kind not in reads:
        return {}, {}
    query, of_row = reads[kind]
    with sql_client(pipeline) as client:
        dataset, staging = client.dataset_name, client.staging_dataset_name
        rows = client.execute_sql(query, dataset, staging)
    found: dict[str, Tables] = {dataset: {}, staging: {}}
    for place, table, column, *facts in rows or ():
        found[place].setdefault(table, {})[column] = of_row(*facts)
    return found[dataset], found[staging]


def _in_lakes(pipeline: Pipeline, tables: Tables) -> Tables:
    """The columns of Delta tables."""
    found: Tables = {}
    for name, columns in tables.items():
        if (table := delta_table(pipeline, name)) is not None:
            fields = pa.schema(table.schema().to_arrow())
            found[name] = {field.name: _of_lake(field.type, columns.get(field.name)) for field in fields}
    return found


def delta_table(pipeline: Pipeline, name: str) -> Any:
    """A Delta table of a pipeline's dataset; None where there is none yet."""
    from deltalake import DeltaTable  # noqa: PLC0415  # an extra
    from dlt.common.libs.deltalake import deltalake_storage_options  # noqa: PLC0415

    client, _ = pipeline._get_destination_clients(pipeline.default_schema)
    with client as files:
        settings: Any = files.config
        options = deltalake_storage_options(settings.credentials, settings.deltalake_storage_options)
        location = files.get_open_table_location("delta", name)  # type: ignore[attr-defined]
        return DeltaTable(location, storage_options=options) if DeltaTable.is_deltatable(location, options) else None


def _of_lake(kind: pa.DataType, recorded: Column | None) -> Column:
    """A column of a Delta table, which has no type of its own for JSON and none for times of day."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return JSON if recorded is not None and recorded.kind == "json" else TEXT
    if pa.types.is_integer(kind):
        return Column("bigint", kind)
    if pa.types.is_float32(kind):
        return Column("double", kind)
    if pa.types.is_nested(kind):
        return _FOREIGN
    return new_column(pa.chunked_array([pa.nulls(0, kind)]))


_UNITS = {0: "s", 1: "ms", 2: "ms", 3: "ms"}
_POSTGRES_TYPES: Mapping[str, Column] = {
    "int2": Column("bigint", pa.int16()),
    "int4": Column("bigint", pa.int32()),
    "int8": BIGINT,
    "float4": Column("double", pa.float32()),
    "float8": DOUBLE,
    "bool": BOOL,
    "date": DATE,
    "bytea": BINARY,
    "json": JSON,
}


def _of_postgres(kind: str, size: int | None, scale: int | None, fraction: int | None) -> Column:
    if kind in {"varchar", "text"}:
        return Column("text", pa.string(), size if kind == "varchar" else None)
    if kind == "numeric":
        if size is None:
            return decimal(38, 9)
        return decimal(size, scale or 0) if size <= 38 and 0 <= (scale or 0) <= size else _FOREIGN
    unit = _UNITS.get(6 if fraction is None else fraction, "us")
    if kind in {"timestamp", "timestamptz"}:
        return Column("timestamp", pa.timestamp(unit, "UTC" if kind == "timestamptz" else None))
    if kind == "time":
        return Column("time", pa.time64("us") if unit == "us" else pa.time32(unit))
    return _POSTGRES_TYPES.get(kind, _FOREIGN)


_DUCKDB_TYPES: Mapping[str, Column] = {
    "TINYINT": Column("bigint", pa.int8()),
    "SMALLINT": Column("bigint", pa.int16()),
    "INTEGER": Column("bigint", pa.int32()),
    "BIGINT": BIGINT,
    "HUGEINT": BIGINT,
    "FLOAT": Column("double", pa.float32()),
    "DOUBLE": DOUBLE,
    "BOOLEAN": BOOL,
    "DATE": DATE,
    "TIME": CLOCK,
    "BLOB": BINARY,
    "JSON": JSON,
    "VARCHAR": Column("text", pa.string()),
    "TIMESTAMP WITH TIME ZONE": MOMENT,
    "TIMESTAMP": NAIVE,
    "TIMESTAMP_S": Column("timestamp", pa.timestamp("s")),
    "TIMESTAMP_MS": Column("timestamp", pa.timestamp("ms")),
    "TIMESTAMP_NS": Column("timestamp", pa.timestamp("ns")),
}


def _of_duckdb(kind: str, precision: int | None, scale: int | None, _fraction: None) -> Column:
    if kind.startswith("DECIMAL"):
        return decimal(precision or 18, scale or 0)
    return _DUCKDB_TYPES.get(kind, _FOREIGN)


def landed_name(pipeline: Pipeline) -> Callable[[str], str]:
    """What gives a column that a source declares the name that dlt knows it by."""
    convention = pipeline.default_schema.naming if pipeline.default_schema_name else NamingConvention(0)
    return convention.normalize_path


def required_columns(schema: Schema, table: str) -> tuple[str, ...]:
    """The columns of a table that take no empty value in the destination, dlt's own left out."""
    columns = schema.tables.get(table, {}).get("columns", {})
    return tuple(
        name for name, hint in columns.items() if hint.get("nullable") is False and not name.startswith("_dlt")
    )
