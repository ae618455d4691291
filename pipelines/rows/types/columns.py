"""Column types as load files have them: one Arrow type for each of dlt's types, and how a new column's is chosen.

A load file must hold exactly the type of the destination's column. PostgreSQL's binary COPY takes the bits as they are,
so another type of the same width lands as another value; DuckDB and Delta cast, and round on the way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

MOST_DIGITS = 38
"""Digits of the largest decimal that every destination has."""

_PRECISION = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_INTEGERS = {8: pa.int8(), 16: pa.int16(), 32: pa.int32()}
_TYPE_HINTS = ("data_type", "precision", "scale", "timezone", "x-nested-type")


@dataclass(frozen=True, slots=True)
class Column:
    """The type of one column: dlt's word for it, and the Arrow type of its values in a load file.

    `arrow` is None for a type of the destination that no load file can hold: a table that somebody else has made or
    altered. `limit` is the number of characters that a text may have there.
    """

    kind: str
    arrow: pa.DataType | None
    limit: int | None = None

    @property
    def hint(self) -> dict[str, Any]:
        """The properties of dlt's schema that say this type."""
        found: dict[str, Any] = {"data_type": self.kind}
        kind = self.arrow
        if self.kind == "bigint" and kind is not None and kind.bit_width < 64:
            found["precision"] = kind.bit_width
        elif self.kind == "decimal" and kind is not None:
            found |= {"precision": kind.precision, "scale": kind.scale}
        elif self.kind in {"timestamp", "time"} and kind is not None:
            if kind.unit != "us":
                found["precision"] = _PRECISION[kind.unit]
            if self.kind == "timestamp" and kind.tz is None:
                found["timezone"] = False
        elif self.kind == "text" and self.limit is not None:
            found["precision"] = self.limit
        return found


TEXT = Column("text", pa.string())
JSON = Column("json", pa.string())
BIGINT = Column("bigint", pa.int64())
DOUBLE = Column("double", pa.float64())
BOOL = Column("bool", pa.bool_())
DATE = Column("date", pa.date32())
BINARY = Column("binary", pa.binary())
MOMENT = Column("timestamp", pa.timestamp("us", "UTC"))
NAIVE = Column("timestamp", pa.timestamp("us"))
CLOCK = Column("time", pa.time64("us"))


def decimal(precision: int, scale: int) -> Column:
    """A column of decimals."""
    return Column("decimal", pa.decimal128(precision, scale))


def integer_digits(kind: pa.DataType) -> int:
    """Digits before the point that values of a type of whole or decimal numbers may have."""
    if pa.types.is_decimal(kind):
        return int(kind.precision - kind.scale)
    return {8: 3, 16: 5, 32: 10}.get(kind.bit_width, 20 if pa.types.is_unsigned_integer(kind) else 19)


def as_signed(kind: pa.DataType) -> pa.DataType:
    """The type of signed numbers that holds those of a type of whole numbers, if there is one."""
    return _INTEGERS.get(kind.bit_width * (2 if pa.types.is_unsigned_integer(kind) else 1), pa.int64())


def of_hint(hint: Mapping[str, Any]) -> Column:  # noqa: PLR0911  # a table of types
    """The type of a column of dlt's schema."""
    precision, scale = hint.get("precision"), hint.get("scale")
    match hint["data_type"]:
        case "bigint":
            fitting = (kind for bits, kind in _INTEGERS.items() if precision is not None and precision <= bits)
            return Column("bigint", next(fitting, pa.int64()))
        case "decimal":
            found = (precision, scale or 0) if precision else (MOST_DIGITS, 9)
            return decimal(min(found[0], MOST_DIGITS), min(found[1], MOST_DIGITS))
        case "wei":
            return Column("wei", pa.decimal128(MOST_DIGITS, 0))
        case "timestamp":
            return Column("timestamp", pa.timestamp(_unit(precision), "UTC" if hint.get("timezone", True) else None))
        case "time":
            unit = _unit(precision)
            return Column("time", pa.time32(unit) if unit in {"s", "ms"} else pa.time64(unit))
        case "text":
            return Column("text", pa.string(), precision)
        case kind:
            return _PLAIN.get(str(kind), TEXT)


_PLAIN = {column.kind: column for column in (JSON, DOUBLE, BOOL, DATE, BINARY)}


def _unit(precision: int | None) -> str:
    precision = 6 if precision is None else precision
    return next((unit for unit, digits in _PRECISION.items() if precision <= digits), "ns")


def without_type(hint: Mapping[str, Any]) -> dict[str, Any]:
    """What a hint says besides the type: keys, the order of rows, what the user wants."""
    return {name: value for name, value in hint.items() if name not in _TYPE_HINTS}


def new_column(values: pa.ChunkedArray) -> Column:
    """The type of a column that the table does not have yet, by the Arrow type of its first values.

    It goes by the type and not by the values, so that the next load finds the same: whole numbers are bigint, since a
    source's `int` becomes a `bigint` one day; a text has no length.
    """
    kind = values.type
    if pa.types.is_uint64(kind):
        return decimal(20, 0)
    if pa.types.is_decimal(kind):
        return _new_decimal(values)
    if pa.types.is_timestamp(kind):
        return MOMENT if kind.tz is not None else NAIVE
    return next((column for is_one, column in _NEW if is_one(kind)), TEXT)


_NEW = (
    (pa.types.is_integer, BIGINT),
    (pa.types.is_floating, DOUBLE),
    (pa.types.is_boolean, BOOL),
    (pa.types.is_date, DATE),
    (pa.types.is_time, CLOCK),
    (pa.types.is_binary, BINARY),
)


def _new_decimal(values: pa.ChunkedArray) -> Column:
    precision, scale = values.type.precision, values.type.scale
    if precision <= MOST_DIGITS:
        return decimal(precision, scale)
    # More digits than any destination has: a number all the same where the first ones fit, and text where they don't.
    try:
        values.cast(pa.decimal128(MOST_DIGITS, min(scale, MOST_DIGITS)))
    except pa.ArrowInvalid:
        return TEXT
    return decimal(MOST_DIGITS, min(scale, MOST_DIGITS))


def wider(known: Column, arriving: Column) -> Column | None:
    """The type that holds all values of a known column and of the one that a source has now, if the known one is
    narrower and the way between them loses nothing: int, bigint, numeric; a larger numeric; date, timestamp; a text
    without a limit."""
    old, new = known.arrow, arriving.arrow
    if old is None or new is None:
        return None
    if (known.kind, arriving.kind) == ("text", "text"):
        return TEXT if known.limit is not None else None
    if (known.kind, arriving.kind) == ("bigint", "bigint"):
        return BIGINT if old.bit_width < new.bit_width else None
    if arriving.kind == "decimal" and known.kind in {"bigint", "decimal"}:
        scale = max(new.scale, old.scale if known.kind == "decimal" else 0)
        digits = max(integer_digits(old), integer_digits(new)) + scale
        grows = known.kind == "bigint" or integer_digits(new) > integer_digits(old) or new.scale > old.scale
        return decimal(digits, scale) if grows and digits <= MOST_DIGITS else None
    if (known.kind, arriving.kind) == ("date", "timestamp"):
        return arriving if new.tz is None else None
    return None
