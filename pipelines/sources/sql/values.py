"""Values that a driver hands out as Arrow columns: each exactly, or as text beside its column.

SQLite lets any value into any column, and MySQL some: a moment as a number of seconds, 12.345 into a decimal of two
digits. Arrow would take the first for microseconds, and Python's own parsers forgive much: `1_000`, seven digits of a
second's fraction. So Arrow takes a column at once only where all values are of the classes that its type is made of,
and else each value is looked at.
"""

import contextlib
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
_TOO_FINE = re.compile(r"\.\d{6}\d*[1-9]")
"""Fractions of a second that microseconds don't hold."""


def fitted(kind: pa.DataType, values: tuple[Any, ...]) -> tuple[pa.Array, pa.Array | None]:
    """A column, and beside it what did not fit, if anything."""
    if set(map(type, values)) - {type(None)} <= _classes(kind):
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
            return pa.array(values, kind), None
    kept: list[Any] = [None] * len(values)
    beside: list[Any] = [None] * len(values)
    fit = _fitter(kind)
    for index, value in enumerate(values):
        if value is not None:
            try:
                kept[index] = pa.scalar(fit(value), kind).as_py()
            except (ValueError, TypeError, OverflowError, InvalidOperation, pa.ArrowException):
                beside[index] = as_text(value)
    others = pa.array(beside, pa.string()) if any(value is not None for value in beside) else None
    return pa.array(kept, kind), others


def without_broken_json(texts: pa.Array, others: pa.Array | None) -> tuple[pa.Array, pa.Array | None]:
    """The same column and what stands beside it, where a text that is no JSON stands too: SQLite asks nobody."""
    kept, beside = texts.to_pylist(), [None] * len(texts) if others is None else others.to_pylist()
    for index, text in enumerate(kept):
        if text is not None:
            try:
                json.loads(text, parse_constant=_no_json)
            except ValueError:
                kept[index], beside[index] = None, text
    if all(text is None for text in beside):
        return texts, None
    return pa.array(kept, pa.string()), pa.array(beside, pa.string())


def _no_json(constant: str) -> None:
    raise ValueError(constant)


def _classes(kind: pa.DataType) -> set[type]:
    """The classes of the values of which Arrow makes a column of a type, to the last digit."""
    if pa.types.is_decimal(kind):
        return {Decimal, int}
    if pa.types.is_timestamp(kind):
        return {datetime}
    known: dict[pa.DataType, set[type]] = {
        pa.int64(): {int},
        pa.float64(): {float, int},
        pa.bool_(): {bool},
        pa.date32(): {date},
        pa.time64("us"): {time},
        pa.binary(): {bytes},
        pa.string(): {str},
    }
    return known.get(kind, set())


def _fitter(kind: pa.DataType) -> Callable[[Any], Any]:
    """What turns one value into what Arrow takes for a type; raises for one that has no such value."""
    if pa.types.is_decimal(kind):
        return lambda value: _rescaled(_number(value), kind.scale)
    if pa.types.is_integer(kind):
        return _integer
    if pa.types.is_timestamp(kind):
        return _moment
    fitters: dict[pa.DataType, Callable[[Any], Any]] = {
        pa.float64(): _double,
        pa.bool_(): _truth,
        pa.date32(): _day,
        pa.time64("us"): _clock,
        pa.binary(): lambda value: value.encode() if isinstance(value, str) else bytes(memoryview(value)),
    }
    return fitters.get(kind, as_text)


def _number(value: Any) -> Decimal:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError
    return Decimal(str(value))


def _rescaled(number: Decimal, scale: int) -> Decimal:
    """The same number with so many digits after the point, none of which is rounded."""
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise TypeError
    more = exponent + scale
    # Not by `normalize`, which rounds to 28 digits.
    if more < 0 and any(digits[more:]):
        raise ValueError
    kept = digits[:more] if more < 0 else digits + (0,) * more
    return Decimal((sign, kept or (0,), -scale))


def _integer(value: Any) -> int:
    number = _number(value)
    whole = int(number)
    if whole != number:
        raise ValueError
    return whole


def _double(value: Any) -> float:
    number = _number(value)
    double = float(number)
    # A text of digits is what its double is written as, or it has more of them than that holds.
    if math.isfinite(double) and Decimal(repr(double)) != number:
        raise ValueError
    return double


def _truth(value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _day(value: Any) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, datetime):
        if value.time() != time():
            raise ValueError
        return value.date()
    if not isinstance(value, date):
        raise TypeError
    return value


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        if _TOO_FINE.search(value):
            raise ValueError
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    return value if isinstance(value, datetime) else datetime.combine(value, time())


def _clock(value: Any) -> time:
    if isinstance(value, str):
        if _TOO_FINE.search(value):
            raise ValueError
        value = time.fromisoformat(value)
    if not isinstance(value, time) or value.tzinfo is not None:
        raise ValueError
    return value


def as_text(value: Any) -> str:
    """A value as text: bytes as the letters that they are, else in hexadecimal digits."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)
