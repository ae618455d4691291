"""Arrow columns in another type, without changing a value: what does not survive is left empty.

Arrow's own safe casts refuse most losses, but for a whole column at once. So a column is first cast as a whole, which
is what nearly every column takes, and looked at value by value only when that fails. Moments to days and doubles to
decimals are losses that Arrow does not see: those are checked here.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.rows.types.columns import Column

_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999, in seconds from 1970: what every destination and reader has."""

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
_BEYOND = (pa.ArrowInvalid, pa.ArrowNotImplementedError)


def converted(  # noqa: PLR0911  # a table of types
    values: pa.ChunkedArray, target: Column, *, is_json: bool = False
) -> pa.ChunkedArray:
    """The values in the type of a column; empty where a value is not the same there.

    Takes the types that `arrivals.plain` gives.
    """
    if target.arrow is None:
        return pa.chunked_array([pa.nulls(len(values), pa.string())])
    if target.kind == "json":
        return values if is_json else _as_json(values)
    if target.kind == "text":
        return _short_enough(as_text(values), target.limit)
    if pa.types.is_temporal(values.type) and target.kind in {"timestamp", "date", "time"}:
        return _temporal(values, target.arrow)
    if _is_number(values.type) and _is_number(target.arrow):
        return _number(values, target.arrow)
    if values.type == target.arrow and not is_json:
        return values
    return _none(values, target.arrow)


def _none(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(len(values), kind)])


def _each(values: pa.ChunkedArray, kind: pa.DataType, one: Callable[[Any], Any]) -> pa.ChunkedArray:
    """Each distinct value by itself; `one` gives None for one that has no place in the type."""
    encoded = pc.dictionary_encode(values.combine_chunks())
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    landed = pa.array([one(value) for value in encoded.dictionary.to_pylist()], kind)
    return pa.chunked_array([landed.take(encoded.indices)])


def _where(fits: Any, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(fits, values, pa.scalar(None, values.type))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _number(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:  # noqa: PLR0911  # a table of types
    if values.type == kind:
        return values
    try:
        return _whole_number(values, kind)
    except _BEYOND:
        pass
    if pa.types.is_integer(kind):
        if pa.types.is_integer(values.type):
            return _in_range(values, kind)
        if pa.types.is_floating(values.type):
            inside = pc.and_(pc.greater_equal(values, -(2.0**63)), pc.less(values, 2.0**63))
            return _in_range(_where(pc.and_(inside, pc.equal(pc.trunc(values), values)), values).cast(pa.int64()), kind)
        return _each(values, kind, lambda value: _as_integer(value, kind))
    if pa.types.is_floating(kind):
        return _each(values, kind, _as_double if kind == pa.float64() else lambda _: None)
    return _each(values, kind, lambda value: _as_decimal(value, kind))


def _whole_number(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The column when all of it fits; raises ArrowInvalid when not."""
    if pa.types.is_decimal(kind) and not pa.types.is_decimal(values.type):
        # By its digits: 0.1 is one tenth, and Arrow's own way from doubles rounds.
        return values.cast(pa.string()).cast(kind)
    if kind == pa.float32() and pa.types.is_floating(values.type):
        narrow = values.cast(kind)
        same = pc.or_(pc.equal(narrow.cast(values.type), values), pc.is_nan(values))
        return _where(same, narrow)
    landed = values.cast(kind)
    if pa.types.is_decimal(values.type) and kind == pa.float32():
        return _none(values, kind)
    if pa.types.is_decimal(values.type) and pa.types.is_floating(kind):
        digits = landed.cast(pa.string()).cast(values.type)
        if not pc.all(pc.equal(digits, values), min_count=0).as_py():
            raise pa.ArrowInvalid
    return landed


def _in_range(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    least, most = -(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1
    if pa.types.is_unsigned_integer(values.type):
        fits = pc.less_equal(values, pa.scalar(min(most, 2**values.type.bit_width - 1), values.type))
    else:
        reach = 2 ** (values.type.bit_width - 1)
        lowest, highest = (pa.scalar(v, values.type) for v in (max(least, -reach), min(most, reach - 1)))
        fits = pc.and_(pc.greater_equal(values, lowest), pc.less_equal(values, highest))
    return _where(fits, values).cast(kind)


def _as_integer(value: Any, kind: pa.DataType) -> int | None:
    whole = int(value)
    return whole if whole == value and -(2 ** (kind.bit_width - 1)) <= whole < 2 ** (kind.bit_width - 1) else None


def _as_double(value: Any) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    if isinstance(value, int):
        return number if number == value else None
    return number if math.isfinite(number) and Decimal(repr(number)) == value else None


def _as_decimal(value: Any, kind: pa.DataType) -> Decimal | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    # A double is written with the fewest digits that make it out, and is that double again.
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    try:
        return Decimal(pa.scalar(number, kind).as_py())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None


def _temporal(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    source = values.type
    if pa.types.is_time(source) or pa.types.is_time(kind):
        both = pa.types.is_time(source) and pa.types.is_time(kind)
        return _in_unit(values, kind) if both else _none(values, kind)
    values = _in_common_years(values)
    if pa.types.is_date(source):
        # The midnight with which a day begins is the same day; in which zone, nobody can say.
        fits = pa.types.is_date(kind) or kind.tz is None
        return values.cast(kind) if fits else _none(values, kind)
    if pa.types.is_date(kind):
        if source.tz is not None:
            return _none(values, kind)
        whole = pc.equal(_remainder(values.cast(pa.int64()), _DAY * _PER_SECOND[source.unit]), 0)
        return _where(whole, values).cast(kind)
    if source.tz is not None and kind.tz is None:
        return _none(values, kind)
    return _in_unit(values, kind)


def _in_common_years(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The days or moments of the years 1 to 9999."""
    if pa.types.is_date(values.type):
        numbers, least, most = values.cast(pa.date32()).cast(pa.int32()), _FIRST_SECOND // _DAY, _LAST_SECOND // _DAY
    else:
        per_second = _PER_SECOND[values.type.unit]
        numbers = values.cast(pa.int64())
        least, most = _FIRST_SECOND * per_second, (_LAST_SECOND + 1) * per_second - 1
        if values.type.unit == "ns":
            return values  # reaches from 1677 to 2262
    ends = pc.min_max(numbers).as_py()
    if ends["min"] is None or (ends["min"] >= least and ends["max"] <= most):
        return values
    inside = pc.and_(pc.greater_equal(numbers, least), pc.less_equal(numbers, most))
    return _where(inside, values)


def _in_unit(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if values.type == kind:
        return values
    try:
        return values.cast(kind)
    except _BEYOND:
        ratio = _PER_SECOND[values.type.unit] // _PER_SECOND[kind.unit]
        numbers = values.cast(pa.int64() if values.type.bit_width == 64 else pa.int32()).cast(pa.int64())
        return _where(pc.equal(_remainder(numbers, ratio), 0), values).cast(kind)


def _remainder(numbers: pa.ChunkedArray, divisor: int) -> Any:
    return pc.subtract(numbers, pc.multiply(pc.divide(numbers, divisor), divisor))


def as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values as text that says them exactly; empty for bytes, which are no text."""
    kind = values.type
    if pa.types.is_binary(kind):
        return _none(values, pa.string())
    if pa.types.is_decimal(kind):
        return _each(values, pa.string(), lambda value: None if value is None else format(value, "f"))
    written = values.cast(pa.string())
    if pa.types.is_temporal(kind):
        far = pc.starts_with(written, "<")
        if pc.any(far, min_count=0).as_py():
            unit = "days" if pa.types.is_date(kind) else kind.unit
            numbers = values.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(pa.string())
            said = pc.binary_join_element_wise(numbers, pa.scalar(f"{unit} from 1970-01-01"), " ")
            written = pc.if_else(far, said, written)
    return written


def _short_enough(texts: pa.ChunkedArray, limit: int | None) -> pa.ChunkedArray:
    if limit is None:
        return texts
    return _where(pc.less_equal(pc.utf8_length(texts), limit), texts)


def _as_json(values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = values.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return as_text(values)
    if pa.types.is_floating(kind):
        return as_text(_where(pc.is_finite(values), values))
    return _each(as_text(values), pa.string(), lambda text: None if text is None else orjson.dumps(text).decode())
