"""Pages of JSON rows as Arrow tables: some ten times cheaper to land than rows one by one.

The result is what dlt makes of rows: types inferred from values, moments recognised, nested values as JSON, and a value
that does not fit its column lands beside it in `column__v_type`. Only the way is different: a page is turned column by
column, by Arrow, and just the values that don't fit are looked at one by one.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import dlt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from dlt.extract.items_transform import ItemTransform

from connectors.landing import normalised
from pipelines.rows.arrivals import json_column

_KINDS: dict[str, pa.DataType] = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "json": pa.string(),
}
"""The Arrow type of each of dlt's types that JSON values land in."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?")
_LOOKED_AT = 20
"""Values at which a new column of text is judged to hold moments; one further down that is none lands beside."""

Column = tuple[str, pa.Array, str]
"""A column's name, its values, and dlt's type for it."""


class Tabular(ItemTransform[Any, dict[str, Any]]):
    """A step of a resource's pipe: takes its pages, gives Arrow tables whose types stay the same."""

    # After the cursor's step, which compares values as the API wrote them, and after the mask.
    placement_affinity: ClassVar[float] = 2

    def __init__(self, table: str) -> None:
        super().__init__(lambda page: page)
        self._table = table
        self._known: dict[str, str] | None = None

    def __call__(self, item: Any, meta: Any = None) -> Iterator[Any]:
        """The page as one Arrow table; nothing for an empty one."""
        if self._known is None:
            self._known = known_types(self._table)
        rows = item if isinstance(item, list) else [item]
        columns = list(_columns(rows, self._known))
        if not columns:
            return
        self._known.update({name: kind for name, _, kind in columns})
        yield pa.table({name: json_column(array) if kind == "json" else array for name, array, kind in columns})


def known_types(table: str) -> dict[str, str]:
    """The types under which the schema of the run that goes on knows the columns of a table."""
    return column_types(dlt.current.source_schema(), table)


def column_types(schema: dlt.Schema, table: str) -> dict[str, str]:
    """The types of a table's columns, from all loads before; empty for a table that nothing was loaded into."""
    columns = schema.tables.get(normalised(table), {}).get("columns", {})
    return {name: str(column["data_type"]) for name, column in columns.items() if "data_type" in column}


def _columns(rows: list[Any], known: Mapping[str, str]) -> Iterator[Column]:
    rows = [row if isinstance(row, dict) else {"value": row} for row in rows]
    keys = tuple(rows[0]) if rows else ()
    if len(set(map(normalised, keys))) == len(keys) and all(tuple(row) == keys for row in rows):
        # Nearly every API: the same keys in the same order in each row, so columns are there without a look-up.
        for name, column in zip(keys, zip(*(row.values() for row in rows), strict=True), strict=True):
            yield from _column(normalised(name), list(column), known)
        return
    sources: dict[str, list[str]] = {}
    seen: dict[str, None] = {}
    for row in rows:
        if row.keys() - seen.keys():
            seen.update(dict.fromkeys(row))
    for name in seen:
        sources.setdefault(normalised(name), []).append(name)
    for landed, names in sources.items():
        values = [row.get(names[0]) for row in rows]
        for other in names[1:]:  # `userId` and `user_id` are one column for dlt
            values = [row.get(other) if value is None else value for value, row in zip(values, rows, strict=True)]
        yield from _column(landed, values, known)


def _column(name: str, values: list[Any], known: Mapping[str, str]) -> Iterator[Column]:
    if (column := _whole(name, values, known.get(name))) is not None:
        yield column
    else:
        yield from _split(name, values, known.get(name))


def _whole(name: str, values: list[Any], known: str | None) -> Column | None:
    """The column when all its values are of one type; None when they aren't, or there is no value at all."""
    if known == "json" or (known is None and _nested(values)):
        return name, _as_json(values), "json"
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None
    found = next((kind for kind, arrow in _KINDS.items() if array.type == arrow), None)
    if found == "text" and known in {None, "timestamp"} and (moments := _as_moments(array)) is not None:
        return name, moments, "timestamp"
    if (found, known) == ("bigint", "double"):
        try:
            return name, array.cast(pa.float64()), "double"
        except pa.ArrowInvalid:  # more digits than a double holds
            return None
    return (name, array, found) if found is not None and known in {None, found} else None


def _split(name: str, values: list[Any], known: str | None) -> Iterator[Column]:
    """The column with the values that fit, and one beside it for each other type. None for no value at all."""
    base = known or next((_kind(value) for value in values if value is not None), None)
    parts: dict[str, list[Any]] = {}
    for index, value in enumerate(values):
        if value is not None and base is not None:
            kind, fitted = _fit(value, base)
            parts.setdefault(kind, [None] * len(values))[index] = fitted
    for kind, part in parts.items():
        arrow = _KINDS.get(kind, pa.string())
        yield (name if kind == base else f"{name}__v_{kind}"), pa.array(part, arrow), kind


def _fit(value: Any, base: str) -> tuple[str, Any]:
    """The type of the column that a value goes to, and the value as it lands there."""
    kind = _kind(value)
    if base == "json" or kind == "json":
        return ("json", orjson.dumps(value).decode())
    if base == "text" and kind != "text":
        return "text", orjson.dumps(value).decode()
    if {kind, base} == {"double", "bigint"} and math.isfinite(value):
        number = float(value) if base == "double" else int(value)
        # Only what is the same number there: neither 2.5 nor 1e19 is one of the whole numbers of a column.
        if number == value and _kind(number) == base:
            return base, number
    if (kind, base) == ("text", "timestamp") and _MOMENT.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return kind, value
        return base, moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return kind, str(value) if kind == "text" else value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "bigint" if -(2**63) <= value < 2**63 else "text"
    if isinstance(value, float):
        return "double"
    return "json" if isinstance(value, dict | list) else "text"


def _nested(values: list[Any]) -> bool:
    """Whether every value is an object or a list."""
    kinds = {type(value) for value in values} - {type(None)}
    return bool(kinds) and kinds <= {dict, list}


def _as_json(values: list[Any]) -> pa.Array:
    return pa.array([None if value is None else orjson.dumps(value).decode() for value in values], pa.string())


def _as_moments(array: pa.Array) -> pa.Array | None:
    """A column of text as moments, or None when not all of it are."""
    first = array.drop_null().slice(0, _LOOKED_AT).to_pylist()
    if not all(_MOMENT.fullmatch(value) for value in first):
        return None
    for kind in (pa.timestamp("us", "UTC"), pa.timestamp("us")):
        try:
            # Without a zone it is UTC, as dlt reads it.
            return pc.cast(array, kind).cast(pa.timestamp("us", "UTC"))
        except pa.ArrowInvalid:
            continue
    return None
