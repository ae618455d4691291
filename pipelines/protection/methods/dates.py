"""Dates of `protect`: the year or month of one, and dates moved by whole days. Pure.

A date is what has a date's type, or a text such as 2024-01-31, 20240131, 2024-01-31T08:00:00+01:00, 2024-01 and 2024.
What is written otherwise is known as one (`OTHERS`), so that it does not land as it is.
A moment keeps its time of day and its zone as they are written, and moves by whole days: so two dates, or two moments,
of one patient are as far from each other as before, to the microsecond. A month or a year, which has no day, is moved
as if it were its first day, and lands as the month or year in which that then is: how far it is from another date is
not kept.
"""

import functools
import re
from datetime import date, datetime, timedelta
from typing import Any

LONGEST = 80
"""Signs of a text that may be a date: longer ones are looked at no further, nor remembered."""

FIRST, LAST = date.min.toordinal(), date.max.toordinal()

OLDEST_AGE = 89
"""The age from which on nobody's exact one may be told: 45 CFR 164.514(b)(2)(i)(C)."""

_TIME = r"[T ]\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?( ?(Z|[+-]\d\d(:?\d\d)?))?"
DATE = re.compile(rf"(?P<year>\d{{4}})(-(?P<month>\d\d)(-(?P<day>\d\d)(?P<time>{_TIME})?)?)?", re.ASCII)
DAY = rf"^\d{{4}}-\d\d-\d\d({_TIME})?$"
"""The same with a day, as Arrow takes patterns, whose digits are those of ASCII."""

_YEAR = r"(?:1[89]|2[01])\d\d"
_NAMES = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_MONTH = rf"(?:{_NAMES})[a-z]{{0,6}}"
_CLOCK = r"(?:[T ,:]+\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?[ap]\.?m\.?)?(?: ?(?:Z|[+-]\d\d:?\d\d))?)?"
OTHERS = re.compile(
    "|".join(
        (
            rf"({_YEAR})-(?:0[1-9]|1[0-2])",
            rf"({_YEAR})---\d\d|--\d\d(?:-\d\d)?",
            rf"({_YEAR})[./]\d\d?[./]\d\d?{_CLOCK}",
            rf"\d\d?([./-])\d\d?\4({_YEAR}){_CLOCK}|\d\d?/\d\d?/\d\d{_CLOCK}",
            rf"\d\d?[ .-]{{0,2}}{_MONTH}[ .,-]{{0,2}}({_YEAR}|\d\d){_CLOCK}",
            rf"{_MONTH}[ .-]{{0,2}}\d\d?(?:st|nd|rd|th)?[ ,.-]{{1,2}}({_YEAR}){_CLOCK}",
            rf"{_MONTH}[ .,-]{{0,2}}({_YEAR})",
        )
    ),
    re.IGNORECASE | re.ASCII,
)
"""Dates written otherwise, as a whole: parts of one (2024-05, --05-03), 14.03.2019, 03/14/2019, 14-MAR-2019, March 14,
2019. Their year can be told, where it has four digits; no day of theirs is moved, for it may be a month."""

MAY_BE = (
    rf"(?i)^\s*({_YEAR}-[0-9]{{2}}\s*$|{_YEAR}---|--[0-9]{{2}}|[0-9]{{1,4}}[./-][0-9]{{1,2}}[./-][0-9]|"
    rf"([0-9]{{1,2}}[ .-]{{0,2}})?({_NAMES})[a-z]{{0,6}}[ .,-]{{0,2}}[0-9]|"
    r"[0-9]{4}(-[0-9]{2}-[0-9]{2}|[0-9]{4}([0-9]{4,6})?(\.[0-9]+)?([+-][0-9]{4})?\s*$))"
)
"""How a text begins that is a date, as Arrow takes patterns: what it finds may be one, and nothing else is."""

_COMPACT = re.compile(r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<time>\d{4,6}(\.\d+)?([+-]\d{4})?)?", re.ASCII)


def _read(value: Any) -> tuple[int, int | None, int | None] | None:
    """Year, month and day; None for what is no date."""
    if isinstance(value, date):
        return value.year, value.month, value.day
    found = _matched(value)
    if found is None:
        return None
    year, month, day = (None if part is None else int(part) for part in found.group("year", "month", "day"))
    try:
        date(year or 0, month or 1, day or 1)
    except ValueError:
        return None
    return year or 0, month, day


def _matched(value: Any) -> re.Match[str] | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = value.strip() if isinstance(value, str) else str(value)
    return DATE.fullmatch(text) or _COMPACT.fullmatch(text)


def year_of(value: Any) -> str | None:
    """The year as four digits; None for what is no date, or has none of four."""
    found = _read(value)
    return f"{found[0]:04d}" if found is not None else _other_year(value) or None


def _other_year(value: Any) -> str | None:
    """The year of a date that is written otherwise; "" for one whose year nobody can tell, None for what is none."""
    found = OTHERS.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    return next((part for part in found.groups() if part is not None and len(part) == 4), "")


def month_of(value: Any) -> str | None:
    """The month, such as 2024-01; of a year alone the year. None for what is no date."""
    found = _read(value)
    if found is None:
        return None
    return f"{found[0]:04d}" if found[1] is None else f"{found[0]:04d}-{found[1]:02d}"


def is_old(year: str, today: date) -> bool:
    """Whether somebody who was born in a year is, or will be this year, older than 89."""
    return today.year - int(year) > OLDEST_AGE


def shifted(value: Any, days: int) -> Any:
    """A date moved by some days, of the type and written as it was; None for what is no date, or would be none."""
    if isinstance(value, date):
        try:
            return value + timedelta(days=days)
        except OverflowError:
            return None
    read, found = _read(value), _matched(value)
    if read is None or found is None:
        return None
    ordinal = date(read[0], read[1] or 1, read[2] or 1).toordinal() + days
    if not FIRST <= ordinal <= LAST:
        return None
    moved = date.fromordinal(ordinal).isoformat()
    if found.re is _COMPACT:
        moved = moved.replace("-", "")
    elif read[2] is None:
        moved = moved[:4] if read[1] is None else moved[:7]
    # A moment in which a clock is set back or forth is moved by days of 24 hours, as its zone is written beside it.
    text = moved + (found.group("time") or "")
    return int(text) if isinstance(value, int) else text


def is_date(value: Any) -> bool:
    """Whether a value is a date by its type, or a text that says more of one than its year."""
    if isinstance(value, str):
        return len(value) <= LONGEST and _is_written(value)
    return isinstance(value, datetime | date)


@functools.lru_cache(100_000)
def _is_written(text: str) -> bool:
    found = _read(text) if text.strip()[:1].isdigit() else None
    return (found is not None and found[2] is not None) or _other_year(text) is not None
