"""Values of JSON and CSV as the type that the connector declares for their column.

The types that are inferred look at the first rows. `types` says what a column is from the first row on: text for keys
that are 1 today and "a-3" tomorrow, for codes such as 1.10 and 1E5; a number for texts that hold one. A value that is
none of the type lands beside the column, as text; an empty text, which is how forms write no value, lands as none.
"""

import math
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
import pyarrow as pa

from connectors.sources.write_rules import BESIDE
from pipelines.rows.json_values import WrittenDecimal, WrittenDouble, WrittenInteger, dump

ARROW: dict[str, pa.DataType] = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "decimal": pa.decimal128(38, 9),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "json": pa.string(),
}
"""The Arrow type of each of dlt's types that a connector can declare."""

MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d{1,4})?", re.ASCII)
_WHOLE_DIGITS = 38 - 9
_SCALE = 9
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}

Part = tuple[str, pa.Array, str]
"""A column's name, its values, and dlt's type for it."""


def as_declared(name: str, values: list[Any], kind: str) -> list[Part]:
    """The column of a declared type, and the one beside it when some values are none of that type."""
    if kind != "text":
        values = [None if isinstance(value, str) and not value else value for value in values]
    fitted = [None if value is None else converted(value, kind) for value in values]
    parts = [(name, pa.array(fitted, ARROW[kind]), kind)]
    beside = [
        as_text(value) if fit is None and value is not None else None for value, fit in zip(values, fitted, strict=True)
    ]
    if any(text is not None for text in beside):
        parts.append((f"{name}{BESIDE}text", pa.array(beside, pa.string()), "text"))
    return parts if any(value is not None for value in fitted) else parts[1:]


def as_text(value: Any) -> str:
    """A value as text: numbers with the digits that they had, nested ones as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, WrittenInteger | WrittenDouble | WrittenDecimal):
        return value.text
    if isinstance(value, bool | int | float | dict | list | tuple):
        return dump(value).decode()
    return str(value)


def converted(value: Any, kind: str) -> Any:
    """The value as one of a type, or None when it is none of that type."""
    match kind:
        case "text":
            return as_text(value)
        case "json":
            return _json(value)
        case "bool":
            return value if isinstance(value, bool) else _TRUTHS.get(as_text(value).lower())
        case "date":
            return _day(value)
        case "timestamp":
            return _moment(value)
    return _number(value, kind)


def is_held(number: float, text: str) -> bool:
    """Whether a double is the number that a text says: 0.1 is, and of twenty digits it is not."""
    return math.isfinite(number) and Decimal(repr(number)) == Decimal(text)


def _number(value: Any, kind: str) -> Any:
    if isinstance(value, bool):
        return None
    text = as_text(value)
    if not _NUMBER.fullmatch(text):
        return value if kind == "double" and isinstance(value, float) else None
    try:
        exact = Decimal(text)
        if kind == "bigint":
            whole = int(exact) if abs(exact) < 2**64 else 2**64
            return whole if whole == exact and -(2**63) <= whole < 2**63 else None
        if kind == "double":
            return number if is_held(number := float(text), text) else None
        rounded = exact.quantize(Decimal(1).scaleb(-_SCALE)) if exact.adjusted() < _WHOLE_DIGITS else None
    except InvalidOperation:
        return None
    return exact if rounded == exact else None


def _json(value: Any) -> str | None:
    if not isinstance(value, str):
        return dump(value).decode()
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return value


def _day(value: Any) -> date | None:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not DAY.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _moment(value: Any) -> datetime | None:
    """A moment; without a zone it is UTC, and a day is its midnight."""
    if isinstance(value, str) and (MOMENT.fullmatch(value) or DAY.fullmatch(value)):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
