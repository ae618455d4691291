"""Fitness of tables for streams, and why the others go through files. Pure.

A stream moves bits: what it can't do is look at a value. So it is for tables whose every value lands in its column as
it is, which the types say, and for the rest a question to the server (`odd_values`). All else goes through files.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from connectors.sources.write_rules import BESIDE, SchemaContract, WriteDisposition, letters_and_digits, normalised
from pipelines.rows.types.columns import JSON, MOST_DIGITS, Column, integer_digits, new_column
from pipelines.sources.sql.names import quoted_name
from pipelines.sources.sql.streams.wishes import Wish
from pipelines.wording import quoted

LEAST_BYTES = 1024 * 1024
"""A table of less is as fast through files, and needs no session more."""

LEAST_ROWS = 20_000
"""An increment of fewer is as fast through files, where it is read once; to stream, it is counted first."""

_PLAIN: Mapping[type[Any], pa.DataType] = {
    sa.SMALLINT: pa.int16(),
    sa.INTEGER: pa.int32(),
    sa.BIGINT: pa.int64(),
    sa.REAL: pa.float32(),
    sa.DOUBLE_PRECISION: pa.float64(),
    sa.BOOLEAN: pa.bool_(),
    sa.DATE: pa.date32(),
    sa.TEXT: pa.string(),
    sa.VARCHAR: pa.string(),
    postgresql.ENUM: pa.string(),
    sa.UUID: pa.string(),
    postgresql.JSONB: pa.string(),
    postgresql.BYTEA: pa.binary(),
}
"""What a column of each type is as an Arrow table has it that was read of it. `char(n)` is missing: a cast takes blanks
off its end. So are bare numerics, which may have more digits than any column, and what only its text can land of."""


def arrow_of(stored: Any) -> pa.DataType | None:
    """The type in which values of a column arrive from the reader that looks at each; None where it has to."""
    if isinstance(stored, postgresql.TIMESTAMP):
        return pa.timestamp("us", "UTC" if stored.timezone else None)
    if isinstance(stored, postgresql.TIME):
        return None if stored.timezone else pa.time64("us")
    if type(stored) is sa.NUMERIC:
        precision, scale = stored.precision, stored.scale or 0
        return pa.decimal128(precision, scale) if precision and 0 <= scale <= precision <= MOST_DIGITS else None
    return _PLAIN.get(type(stored))


def odd_values(name: str, stored: Any) -> str:
    """A condition in SQL, over all rows: one of them has a value that stands beside its column. Empty: none can."""
    column = quoted_name(name)
    if isinstance(stored, sa.DATE):
        return f"min({column}) < '0001-01-01' OR max({column}) > '9999-12-31'"
    if isinstance(stored, postgresql.TIMESTAMP):
        zone = "+00" if stored.timezone else ""
        return f"min({column}) < '0001-01-01 00:00:00{zone}' OR max({column}) > '9999-12-31 23:59:59.999999{zone}'"
    if isinstance(stored, postgresql.TIME):
        return f"max({column}) = '24:00'"
    # To PostgreSQL it is the greatest of all numbers. A numeric with a precision is never infinite.
    return f"max({column}) = 'NaN'" if type(stored) is sa.NUMERIC else ""


def holds(column: Column, arriving: pa.DataType, *, is_json: bool = False) -> bool:  # noqa: PLR0911  # a table of types
    """Whether a column of the destination holds every value of a type as it is."""
    kind = column.arrow
    if kind is None:
        return False
    if is_json or column.kind == JSON.kind:
        return is_json and column.kind == JSON.kind
    if pa.types.is_integer(arriving):
        return column.kind == "bigint" and kind.bit_width >= arriving.bit_width
    if pa.types.is_floating(arriving):
        return column.kind == "double" and kind.bit_width >= arriving.bit_width
    if pa.types.is_decimal(arriving):
        enough = pa.types.is_decimal(kind) and kind.scale >= arriving.scale
        return column.kind == "decimal" and enough and integer_digits(kind) >= integer_digits(arriving)
    if pa.types.is_string(arriving):
        return column.kind == "text" and column.limit is None
    return bool(kind == arriving)


@dataclass(frozen=True, slots=True)
class Origin:
    """A table at its source."""

    kind: str
    """As `pg_class.relkind` has it."""
    has_children: bool
    """Others inherit from it, whose rows it shows."""
    size: int
    """Bytes; of a partitioned table nobody knows."""
    primary_key: frozenset[str]
    columns: Mapping[str, Any]
    """The types of the columns that are asked for, as the source stores them."""
    oid: int = 0

    def of(self, names: Collection[str]) -> "Origin":
        """The same with these columns alone."""
        return replace(self, columns={name: kind for name, kind in self.columns.items() if name in names})


def reason_against(origin: Origin, wish: Wish) -> str:
    """Why the rows of a table can't stream, in words that follow `since`; empty when they can."""
    if origin.size < LEAST_BYTES and origin.kind != "p":
        return "it is small"
    return _of_table(origin, wish) or _of_columns(origin, wish)


def _of_table(origin: Origin, wish: Wish) -> str:
    if origin.kind not in {"r", "p", "m"}:
        return "it is no table, and might show other rows when it is read again"
    if wish.contract not in {None, SchemaContract.EVOLVE}:
        return f"schema_contract is {wish.contract.value}"
    if masked := [name for name in origin.columns if letters_and_digits(name) in wish.masks]:
        return f"{quoted(masked)} is masked"
    return _of_key(origin, wish)


def _of_key(origin: Origin, wish: Wish) -> str:
    if wish.disposition == WriteDisposition.MERGE.value and (origin.primary_key != {*wish.key} or origin.has_children):
        return "its primary key at the source is not the one that it is merged by, so a key may come twice"
    if empty := {*wish.key, *wish.required} - origin.primary_key:
        return f"{quoted(sorted(empty))} may be empty at the source and not in the destination"
    if wish.cursor is not None and not _has_order(arrow_of(origin.columns[wish.cursor])):
        return f"the order of its cursor {quoted([wish.cursor])} is found value by value"
    return ""


def _has_order(kind: pa.DataType | None) -> bool:
    """Whether the greatest value of a column is the newest."""
    whole = (pa.types.is_timestamp, pa.types.is_date32, pa.types.is_integer, pa.types.is_decimal)
    return kind is not None and any(is_one(kind) for is_one in whole)


def _of_columns(origin: Origin, wish: Wish) -> str:
    for name, stored in origin.columns.items():
        if normalised(name) != name or BESIDE in name or name.startswith("_dlt"):
            return f"{quoted([name])} lands by another name"
        arriving = arrow_of(stored)
        if arriving is None:
            return f"values of {quoted([name])} ({_shown(stored)}) are looked at"
        is_json = isinstance(stored, postgresql.JSONB)
        if not wish.known:
            column = JSON if is_json else new_column(pa.chunked_array([], arriving))
        elif name not in wish.known:
            return f"{quoted([name])} is new"
        else:
            column = wish.known[name]
        if not holds(column, arriving, is_json=is_json):
            return f"{quoted([name])} has another type in the destination"
    return ""


def _shown(stored: Any) -> str:
    return str(getattr(stored, "__visit_name__", type(stored).__name__)).lower()
