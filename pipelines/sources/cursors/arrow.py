"""Cursors in columns of Arrow: the newest value, and the rows that are wanted, without a look at each value."""

import contextlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.cursors.values import moment_of
from pipelines.sources.cursors.windows import Bounds, first_of_day, next_day


def newest_of(column: pa.ChunkedArray) -> Any:
    """The greatest value of a column; None where Arrow has no order that is the values' own, or there is no value."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit != "ns":
        return pc.max(column).as_py()
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_date32(kind):
        return pc.max(column).as_py()
    return None


def not_before(column: pa.ChunkedArray, start: Any) -> pa.ChunkedArray | pa.BooleanArray | None:
    """The rows at or after a value, and those without any. None where Arrow can't tell."""
    if start is None:
        return pa.repeat(pa.scalar(True), len(column))
    scalar = None
    with contextlib.suppress(ValueError, TypeError, ArithmeticError, pa.ArrowException):
        scalar = _scalar(start, column.type)
    return None if scalar is None else pc.fill_null(pc.greater_equal(column, scalar), True)


def not_after(column: pa.ChunkedArray, last: Any) -> pa.ChunkedArray | None:
    """The rows at or before a value, and those without any. None where Arrow can't tell."""
    if newest_of(column) is None:
        return None
    with contextlib.suppress(ValueError, TypeError, ArithmeticError, pa.ArrowException):
        return pc.fill_null(pc.less_equal(column, _scalar(last, column.type)), True)
    return None


def within(column: pa.ChunkedArray, bounds: Bounds) -> pa.ChunkedArray | None:
    """The rows within the time of a backfill, and those without any value. None for columns of other kinds."""
    start, end = bounds.start, bounds.end
    if pa.types.is_date(column.type):
        start, end = first_of_day(start), next_day(end)
    elif not pa.types.is_timestamp(column.type):
        return None
    first, last = _scalar(start, column.type), _scalar(end, column.type)
    return pc.fill_null(pc.and_(pc.greater_equal(column, first), pc.less(column, last)), True)


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    """A value of a cursor as one of a column's type. Raises where it is none."""
    if pa.types.is_timestamp(kind):
        moment = moment_of(value)
        return pa.scalar(moment if kind.tz else moment.replace(tzinfo=None), kind)
    if pa.types.is_date(kind):
        day = value if isinstance(value, date) and not isinstance(value, datetime) else moment_of(value).astimezone(UTC)
        return pa.scalar(day.date() if isinstance(day, datetime) else day, kind)
    number = Decimal(str(value))
    if pa.types.is_integer(kind):
        # A number between two whole ones lies after the lower one.
        return pa.scalar(int(number) + (int(number) < number), kind)
    return pa.scalar(number, kind)
