"""Pages of JSON rows as Arrow tables: some ten times cheaper to land than rows one by one.

The result is what dlt makes of rows: types inferred from values, moments recognised, nested values as JSON, and a value
that does not fit its column lands beside it in `column__v_type`. Only the way is different: a page is turned column by
column, by Arrow, and just the values that don't fit are looked at one by one. Numbers that neither 64 bits nor a double
hold are text, with all their digits.
"""

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from connectors.sources.write_rules import BESIDE
from pipelines.rows.json_values import WrittenDecimal, WrittenDouble, dump
from pipelines.rows.table import Table
from pipelines.rows.types.declared_types import ARROW, MOMENT, Part, as_declared, as_text

_KINDS = {ARROW[kind]: kind for kind in ("text", "bigint", "double", "bool")}
"""The types that JSON values have, by Arrow's."""

_NATIVE: tuple[tuple[Any, str], ...] = (
    (pa.types.is_timestamp, "timestamp"),
    (pa.types.is_date, "date"),
    (pa.types.is_time, "time"),
    (pa.types.is_binary, "binary"),
    (pa.types.is_decimal, "decimal"),
)
"""Types that no JSON has, from a reader of one's own."""

_LOOKED_AT = 20
"""Values at which a new column of text is judged to hold moments; one further down that is none lands beside."""


_TURNED_AT_ONCE = 200
"""Rows whose values are put into columns together: with a page of 50,000, each value would be fetched from memory."""


def json_columns(rows: list[Any], table: Table, *, keeps_digits: bool = False) -> list[Part]:
    """The rows of one page as columns. With `keeps_digits` 1.50 stands as text beside its column, where it is 1.5."""
    rows = [row if isinstance(row, dict) else {"value": row} for row in rows]
    keys = tuple(rows[0]) if rows else ()
    columns: Iterable[list[Any]]
    if all(tuple(row) == keys for row in rows):
        # Nearly every API: the same keys in the same order in each row, so columns are there without a look-up.
        columns = _turned(rows, len(keys))
    else:
        keys = tuple(dict.fromkeys(key for row in rows for key in row))
        columns = ([row.get(key) for row in rows] for key in keys)
    found: list[Part] = []
    for name, landed, values in zip(keys, table.columns(list(map(str, keys))), columns, strict=True):
        if declared := table.declared(str(name), landed):
            found += as_declared(landed, values, declared)
        else:
            found += _column(landed, values, table.known.get(landed), is_key=landed in table.keys)
        if keeps_digits and (digits := _digits(values)) is not None:
            found = _beside(found, f"{landed}{BESIDE}text", digits)
    table.known.update({name: kind for name, _, kind in found})
    return found


def _turned(rows: list[dict[Any, Any]], width: int) -> list[list[Any]]:
    """The columns of rows with the same keys."""
    columns: list[list[Any]] = [[] for _ in range(width)]
    for start in range(0, len(rows), _TURNED_AT_ONCE):
        some = map(dict.values, rows[start : start + _TURNED_AT_ONCE])
        for column, values in zip(columns, zip(*some, strict=True), strict=True):
            column.extend(values)
    return columns


def _digits(values: list[Any]) -> pa.Array | None:
    """The numbers of a column that a double writes otherwise, as they were written."""
    if not any(type(value) is WrittenDouble for value in values):
        return None
    return pa.array([value.text if type(value) is WrittenDouble else None for value in values], pa.string())


def _beside(parts: list[Part], name: str, texts: pa.Array) -> list[Part]:
    """The columns with one more, or with more in it."""
    others = [part for part in parts if part[0] != name]
    already = next((array for found, array, _ in parts if found == name), None)
    return [*others, (name, texts if already is None else pc.coalesce(already, texts), "text")]


def _column(name: str, values: list[Any], known: str | None, *, is_key: bool) -> list[Part]:
    if (part := _whole(name, values, known)) is not None:
        return [part]
    return list(_split(name, values, known or _base(values, is_key=is_key)))


def _whole(name: str, values: list[Any], known: str | None) -> Part | None:  # noqa: PLR0911  # a table of types
    """The column when all its values are of one type; None when they aren't, or there is no value at all."""
    if known == "json" or (known is None and _nested(values)):
        return name, _as_json(values), "json"
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None
    found = _KINDS.get(array.type)
    if found == "text" and known in {None, "timestamp"} and (moments := _as_moments(array)) is not None:
        return name, moments, "timestamp"
    if (found, known) == ("bigint", "double"):
        try:
            return name, array.cast(pa.float64()), "double"
        except pa.ArrowInvalid:  # more digits than a double holds
            return None
    if found is None:
        return _native(name, array, values)
    return (name, array, found) if known in {None, found} else None


def _native(name: str, array: pa.Array, values: list[Any]) -> Part | None:
    """Values of Python's own types, which a later step fits to the column that is there."""
    kind = next((kind for is_one, kind in _NATIVE if is_one(array.type)), None)
    # Arrow takes a number among days for one of them.
    alike = len({type(value) for value in values if value is not None}) == 1
    of_json = any(isinstance(value, WrittenDecimal) for value in values)
    return (name, array, kind) if kind is not None and alike and not of_json else None


def _base(values: list[Any], *, is_key: bool) -> str | None:
    """The type of a new column whose values are of several."""
    there = [value for value in values if value is not None]
    kinds = [_kind(value) for value in there]
    numbers = all(isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in there)
    # Numbers of which one has more digits than a type of numbers: together, and as they are. So are keys.
    if ("text" in kinds and numbers) or (is_key and not set(kinds) <= {"bigint", "double"}):
        return "text" if set(kinds) - {"json"} else "json"
    return next(iter(kinds), None)


def _split(name: str, values: list[Any], base: str | None) -> Iterator[Part]:
    """The column with the values that fit, and one beside it for each other type. None for no value at all."""
    parts: dict[str, list[Any]] = {}
    for index, value in enumerate(values):
        if value is not None and base is not None:
            kind, fitted = _fit(value, base)
            parts.setdefault(kind, [None] * len(values))[index] = fitted
    for kind, part in parts.items():
        yield (name if kind == base else f"{name}{BESIDE}{kind}"), _array(part, kind), kind


def _array(values: list[Any], kind: str) -> pa.Array:
    if kind in {"time", "binary", "decimal"}:
        return pa.array(values)
    return pa.array(values, ARROW.get(kind, pa.string()))


def _fit(value: Any, base: str) -> tuple[str, Any]:  # noqa: PLR0911  # a table of types
    """The type of the column that a value goes to, and the value as it lands there."""
    kind = _kind(value)
    if base == "json" or kind == "json":
        return ("json", dump(value).decode())
    if base == "text":
        return "text", as_text(value)
    if {kind, base} == {"double", "bigint"} and math.isfinite(value):
        number = float(value) if base == "double" else int(value)
        # Only what is the same number there: neither 2.5 nor 1e19 is one of the whole numbers of a column. From 2^53 on
        # a double's digits and the whole number that it is differ.
        if number == value and abs(number) <= 2**53:
            return base, number
    if (kind, base) == ("text", "timestamp") and isinstance(value, str) and MOMENT.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return kind, value
        return base, moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if kind == "timestamp":
        return kind, value if value.tzinfo else value.replace(tzinfo=UTC)
    return kind, as_text(value) if kind == "text" else value


def _kind(value: Any) -> str:  # noqa: PLR0911  # a table of types
    match value:
        case bool():
            return "bool"
        case int():
            return "bigint" if -(2**63) <= value < 2**63 else "text"
        case float():
            return "double"
        case dict() | list():
            return "json"
        case datetime():
            return "timestamp"
        case date():
            return "date"
        case time():
            return "time"
        case bytes():
            return "binary"
    return "text"


def _nested(values: list[Any]) -> bool:
    """Whether every value is an object or a list."""
    kinds = {type(value) for value in values} - {type(None)}
    return bool(kinds) and kinds <= {dict, list}


def _as_json(values: list[Any]) -> pa.Array:
    return pa.array([None if value is None else dump(value).decode() for value in values], pa.string())


def _as_moments(array: pa.Array) -> pa.Array | None:
    """A column of text as moments, or None when not all of it are."""
    first = array.drop_null().slice(0, _LOOKED_AT).to_pylist()
    if not all(MOMENT.fullmatch(value) for value in first):
        return None
    for kind in (pa.timestamp("us", "UTC"), pa.timestamp("us")):
        try:
            # Without a zone it is UTC, as dlt reads it.
            return pc.cast(array, kind).cast(pa.timestamp("us", "UTC"))
        except pa.ArrowInvalid:
            continue
    return None
