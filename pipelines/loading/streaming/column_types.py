"""The types that PostgreSQL may give a column of a load, in its own words. Pure.

COPY in binary takes bits as they are: an int8 is a timestamp to it. So a stream is written only where each column has
the type that was counted on, and its values are cast to exactly that by the source.
"""

import pyarrow as pa

from pipelines.rows.types.columns import Column, decimal

_BY_BITS = {16: "smallint", 32: "integer", 64: "bigint"}
_BY_KIND = {
    "bool": {"boolean"},
    "date": {"date"},
    "binary": {"bytea"},
    "json": {"json", "jsonb"},
    "text": {"text", "character varying"},
    "time": {"time without time zone", "time(6) without time zone"},
}


def sql_types(column: Column) -> frozenset[str]:
    """What `format_type` may say of a column; nothing where no stream can be written."""
    kind = column.arrow
    if kind is None or column.limit is not None:
        return frozenset()
    if column.kind == "bigint":
        return frozenset({_BY_BITS.get(kind.bit_width, "")})
    if column.kind == "double":
        return frozenset({"real" if pa.types.is_float32(kind) else "double precision"})
    if column.kind == "decimal":
        bare = {"numeric"} if column == decimal(38, 9) else set()
        return frozenset({f"numeric({kind.precision},{kind.scale})", *bare})
    if column.kind == "timestamp":
        zone = "without time zone" if kind.tz is None else "with time zone"
        return frozenset({f"timestamp {zone}", f"timestamp(6) {zone}"} if kind.unit == "us" else ())
    return frozenset(_BY_KIND.get(column.kind, ()))
