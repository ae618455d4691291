"""Values of PostgreSQL that Arrow's types don't hold: what lands in the column, and what lands beside it as text.

PostgreSQL's dates reach from 4713 BC to the year 5874897 and to infinity, its numerics to 131,072 digits and to NaN.
They arrive by ADBC as Arrow's numbers of days and microseconds, those beyond Arrow's range with the highest bits cut
off, and as text of all digits. From both the server's own words can be had again here, so the server is asked for
nothing more than the column, and a column without such values costs one look at its least and its greatest.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_EPOCH_DAYS = 10_957
"""From 1970-01-01, where Arrow counts from, to 2000-01-01, where PostgreSQL does."""

_DAY = 86_400_000_000
"""Microseconds of a day."""

_FIRST_DAY = date.min.toordinal() - date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal() - date(1970, 1, 1).toordinal()

NOT_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""What ADBC calls them, and what PostgreSQL does."""

Split = tuple[pa.Array, pa.Array | None]
"""The values that a type holds, and the others as text, if there are any."""


def dates(values: pa.Array) -> Split:
    """Days of the years 1 to 9999, which every destination and Python hold."""
    return _within(values, pa.int32(), _FIRST_DAY, _LAST_DAY, date_text)


def moments(values: pa.Array) -> Split:
    """Moments of the years 1 to 9999, with a zone or without."""
    zoned = values.type.tz is not None
    return _within(
        values, pa.int64(), _FIRST_DAY * _DAY, (_LAST_DAY + 1) * _DAY - 1, lambda count: moment_text(count, zoned=zoned)
    )


def times(values: pa.Array) -> Split:
    """Times before 24:00, which is one to PostgreSQL alone."""
    return _within(values, pa.int64(), 0, _DAY - 1, lambda _: "24:00:00")


def _within(values: pa.Array, counted_in: pa.DataType, least: int, greatest: int, text: Callable[[int], str]) -> Split:
    counts = values.view(counted_in)
    met = pc.min_max(counts)
    if met["min"].as_py() is None or (met["min"].as_py() >= least and met["max"].as_py() <= greatest):
        return values, None
    fits = pc.and_(pc.greater_equal(counts, least), pc.less_equal(counts, greatest))
    return _split(values, fits, text, counts)


def decimals(values: pa.Array, precision: int, scale: int) -> Split:
    """Numbers that a decimal holds to the last digit. `values`: texts as ADBC has them, or doubles of few digits."""
    landed = pa.decimal128(precision, scale)
    try:
        return values.cast(landed), None
    except pa.ArrowInvalid:
        texts = values.cast(pa.string())
    if pa.types.is_floating(values.type):
        # All digits fit: what doesn't is no number at all.
        kept, beside = _split(values, pc.is_finite(values), _plain, texts)
        return kept.cast(landed), beside
    # PostgreSQL writes neither exponents nor leading zeros. Zeros at the end would be digits too many for Arrow.
    digits = pc.replace_substring_regex(texts, r"(\.[0-9]*[1-9])0+$", r"\1")
    digits = pc.replace_substring_regex(digits, r"\.0*$", "")
    whole = f"[0-9]{{1,{precision - scale}}}" if precision > scale else "0"
    fits = pc.match_substring_regex(digits, rf"^-?{whole}(\.[0-9]{{0,{scale}}})?$")
    kept, beside = _split(digits, fits, _plain, texts)
    return kept.cast(landed), beside


def _plain(number: str) -> str:
    return NOT_NUMBERS.get(number, number)


def _split(values: pa.Array, fits: pa.Array, text: Callable[[Any], str], raw: pa.Array) -> Split:
    kept = pc.if_else(fits, values, pa.scalar(None, values.type))
    odd = pc.if_else(fits, pa.scalar(None, raw.type), raw).to_pylist()
    return kept, pa.array([None if value is None else text(value) for value in odd], pa.string())


def date_text(days: int) -> str:
    """A day as PostgreSQL writes it. `days`: as they arrive, since 1970 and with 32 bits."""
    own = _wrapped(days - _EPOCH_DAYS, 32)
    if own in {-(2**31), 2**31 - 1}:
        return "infinity" if own > 0 else "-infinity"
    year, month, day = _calendar(own + _EPOCH_DAYS)
    return _of_era(year, f"{month:02}-{day:02}")


def moment_text(microseconds: int, *, zoned: bool) -> str:
    """A moment as PostgreSQL writes it in UTC. `microseconds`: as they arrive, since 1970 and with 64 bits."""
    own = _wrapped(microseconds - _EPOCH_DAYS * _DAY, 64)
    if own in {-(2**63), 2**63 - 1}:
        return "infinity" if own > 0 else "-infinity"
    days, rest = divmod(own, _DAY)
    year, month, day = _calendar(days + _EPOCH_DAYS)
    seconds, fraction = divmod(rest, 1_000_000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    clock += f".{fraction:06}".rstrip("0") if fraction else ""
    return _of_era(year, f"{month:02}-{day:02} {clock}{'+00' if zoned else ''}")


def _wrapped(value: int, bits: int) -> int:
    half: int = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


def _of_era(year: int, rest: str) -> str:
    return f"{year:04}-{rest}" if year > 0 else f"{1 - year:04}-{rest} BC"


_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097
"""After which the calendar repeats itself."""


def _calendar(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970, of any year: Python's own calendar has those to 9999."""
    cycles, rest = divmod(days + date(1970, 1, 1).toordinal() - 1, _CYCLE_DAYS)
    day = date.fromordinal(rest + 1)
    return day.year + cycles * _CYCLE_YEARS, day.month, day.day
