"""Arrow columns as sources give them, in the dozen types that are dealt with further on: only the form changes.

Dictionaries, views and large types become plain ones, structs and lists JSON, durations text in ISO 8601. A column of
JSON text says so by Arrow's own type for it (`arrow.json`), which `json_column` makes.
"""

import base64
import math
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.rows.types.columns import MOST_DIGITS

JSON_TEXT = pa.json_(pa.string())
"""Arrow's own type of JSON texts."""


def json_column(texts: pa.Array) -> pa.Array:
    """A column of JSON texts, marked as such."""
    return pa.ExtensionArray.from_storage(JSON_TEXT, texts.cast(pa.string()))


def plain(values: pa.ChunkedArray) -> tuple[pa.ChunkedArray, bool]:  # noqa: PLR0911  # a table of types
    """The values in a plain type, and whether they are JSON."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        storage = pa.chunked_array([chunk.storage for chunk in values.chunks], kind.storage_type)
        if kind.extension_name == "arrow.uuid":
            return _texts(storage, lambda raw: str(uuid.UUID(bytes=raw))), False
        found, is_json = plain(storage)
        return found, is_json or kind.extension_name == "arrow.json"
    if pa.types.is_dictionary(kind):
        return plain(values.cast(kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return plain(pa.chunked_array([pc.run_end_decode(chunk) for chunk in values.chunks], kind.value_type))
    if pa.types.is_nested(kind):
        return _nested(values), True
    if pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return _texts(values, _span) if pa.types.is_interval(kind) else _durations(values), False
    found = next((form for is_one, form in _FORMS if is_one(kind)), None)
    if found is not None:
        return values.cast(found), False
    if pa.types.is_date64(kind):
        return _days(values), False
    if pa.types.is_decimal(kind):
        return _decimals(values), False
    if pa.types.is_timestamp(kind) and kind.tz not in {None, "UTC"}:
        # The same instants; written as text, an offset would lose the seconds that old ones have.
        return values.cast(pa.timestamp(kind.unit, "UTC")), False
    return values, False


_FORMS: tuple[tuple[Callable[[Any], bool], Any], ...] = (
    (lambda kind: pa.types.is_large_string(kind) or pa.types.is_string_view(kind), pa.string()),
    (
        lambda kind: (
            pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind)
        ),
        pa.binary(),
    ),
    (lambda kind: pa.types.is_float16(kind) or pa.types.is_float32(kind), pa.float64()),
)


def _texts(values: pa.ChunkedArray, one: Any) -> pa.ChunkedArray:
    said = [None if value is None else one(value) for value in values.to_pylist()]
    return pa.chunked_array([pa.array(said, pa.string())])


def _days(values: pa.ChunkedArray) -> pa.ChunkedArray:
    moments = values.cast(pa.timestamp("ms"))
    days = values.cast(pa.date32())
    same = pc.all(pc.equal(days.cast(pa.timestamp("ms")), moments), min_count=0).as_py()
    return days if same else moments


def _decimals(values: pa.ChunkedArray) -> pa.ChunkedArray:
    precision, scale = values.type.precision, values.type.scale
    if scale < 0:
        precision, scale = precision - scale, 0
    wanted = pa.decimal128(precision, scale) if precision <= MOST_DIGITS else pa.decimal256(min(precision, 76), scale)
    return values if values.type == wanted else values.cast(wanted)


_SECONDS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def _durations(values: pa.ChunkedArray) -> pa.ChunkedArray:
    digits = _SECONDS[values.type.unit]
    return _texts(values.cast(pa.int64()), lambda count: _iso_seconds(Decimal(count).scaleb(-digits)))


def _iso_seconds(seconds: Decimal) -> str:
    said = format(seconds, "f")
    return f"PT{said.rstrip('0').rstrip('.') if '.' in said else said}S"


def _span(span: Any) -> str:
    """An interval of months, days and nanoseconds in ISO 8601."""
    return f"P{span.months}M{span.days}D{_iso_seconds(Decimal(span.nanoseconds).scaleb(-9))[1:]}"


def _nested(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([_json(value) for value in values], pa.string())])


def _json(scalar: Any) -> str | None:
    if not scalar.is_valid:
        return None
    try:
        value = scalar.as_py()
        if not _has_odd(value):
            return orjson.dumps(value, default=_item).decode()
    except (ValueError, TypeError):
        pass  # nanoseconds, which Python has no type for, or keys that are no text
    return orjson.dumps(_value(scalar), default=_item).decode()


def _has_odd(value: Any) -> bool:
    """Whether JSON would drop a number that is none, or tell pairs of a map as lists."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_odd, value.values()))
    return isinstance(value, tuple) or (isinstance(value, list) and any(map(_has_odd, value)))


def _value(scalar: Any) -> Any:  # noqa: PLR0911  # a table of types
    """An Arrow value of any kind as JSON has it."""
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if pa.types.is_map(kind):
        pairs = [(_value(pair[0]), _value(pair[1])) for pair in _pairs(scalar)]
        if all(isinstance(key, str) for key, _ in pairs) and len(dict(pairs)) == len(pairs):
            return dict(pairs)
        return [list(pair) for pair in pairs]
    if pa.types.is_struct(kind):
        return {kind.field(index).name: _value(scalar[index]) for index in range(kind.num_fields)}
    if pa.types.is_nested(kind) and hasattr(scalar, "values"):
        return [_value(item) for item in scalar.values]
    if pa.types.is_floating(kind):
        number = scalar.as_py()
        return number if math.isfinite(number) else str(number)
    if pa.types.is_temporal(kind):
        found, _ = plain(pa.chunked_array([pa.array([scalar], kind)]))
        return found.cast(pa.string())[0].as_py()
    return scalar.as_py()


def _pairs(scalar: Any) -> list[tuple[Any, Any]]:
    entries = scalar.values
    return [(entries.field(0)[index], entries.field(1)[index]) for index in range(len(entries))]


def _item(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, timedelta):
        return _iso_seconds(Decimal(value // timedelta(microseconds=1)).scaleb(-6))
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return str(value)
