"""Values of cursors: which of two is the newer one, whatever an API, a database or a file writes them as.

A cursor's values are compared as what they are. Moments are instants, of any zone and precision; days are their first
moment; numbers are numbers, in texts too. Two values of different kinds have an order here, so that rows can always be
sorted, but none that means anything: whoever keeps a cursor refuses them (`comparable`).

Everything here is pure.
"""

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import IntEnum, StrEnum
from numbers import Number
from typing import Any, NamedTuple


class Kind(IntEnum):
    """Kinds of values that have an order among themselves; an IntEnum, for the kinds need one as well."""

    NOTHING = 0
    NUMBER = 1
    MOMENT = 2
    BYTES = 3
    TEXT = 4
    OTHER = 5


class Order(NamedTuple):
    """The place of a value in the order. Tuples, because millions of them are made."""

    kind: Kind
    value: Any = 0
    """A number; the second since 1970 (UTC); or the text itself."""
    leap: int = 0
    """1 within a second 60, which comes after all of second 59."""
    fraction: str = ""
    """Digits of the second's fraction, of any number, without zeros at the end: as text they sort as they should."""


class Unit(StrEnum):
    """Units of a cursor's lag."""

    SECONDS = "seconds"
    DAYS = "days"
    NUMBER = "number"
    NONE = "none"


NOTHING = Order(Kind.NOTHING)

DEFAULT_LAGS = {Unit.SECONDS: 300.0, Unit.DAYS: 1.0, Unit.NUMBER: 1000.0, Unit.NONE: 0.0}
"""How far behind its newest value a cursor reads again when the connector says nothing.

Servers write a row's moment before they commit it: within five minutes nearly every transaction ends. A day is no
smaller than the longest of them. Sequences hand out their numbers before the rows commit, up to a cache of a thousand.
"""

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,4})?", re.ASCII)
_MOMENT = re.compile(
    r"(?P<year>\d{4})(?P<dash>-?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
    r"(?:(?P<between>[Tt ])(?P<hour>\d\d)(?:(?P<colon>:?)(?P<minute>\d\d)(?:(?P=colon)(?P<second>\d\d)"
    r"(?:(?P<point>[.,])(?P<fraction>\d+))?)?)?(?P<space> ?)(?P<zone>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?)?",
    re.ASCII,
)
_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)
_EPOCH = date(1970, 1, 1).toordinal()
_EPOCH_MOMENT = datetime(1970, 1, 1)  # noqa: DTZ001  # compared with moments whose zone is taken off
_DAY_SECONDS = 86_400


def order_of(value: Any, *, text: bool = False) -> Order:
    """What a value is compared by; the greater one is newer. Values of every type have an order. None is the oldest.

    A moment without a zone is UTC. `text`: texts are compared as such, character by character.
    """
    if isinstance(value, str):
        if text:
            return Order(Kind.TEXT, value)
        return _moment_of(value) or _number_of(value) or _month_of(value) or Order(Kind.TEXT, value)
    match value:
        case None:
            order = NOTHING
        case bool():
            order = Order(Kind.OTHER, str(value))
        case int() | float() | Decimal():
            # What is no number has no place among the others.
            order = NOTHING if _no_number(value) else Order(Kind.NUMBER, value)
        case datetime():
            order = _of_datetime(value)
        case date():
            order = Order(Kind.MOMENT, (value.toordinal() - _EPOCH) * _DAY_SECONDS)
        case bytes() | bytearray() | memoryview():
            order = Order(Kind.BYTES, bytes(value))
        case _:
            known = _number_of(str(value)) if isinstance(value, Number) else None
            order = known or Order(Kind.OTHER, str(value))
    return order


def instant_of(value: Any) -> Order:
    """The same for a value that is known to be a moment, of which FHIR writes a year alone as well."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}", value, re.ASCII):
        return _month_of(f"{value}-01") or Order(Kind.TEXT, value)
    return order_of(value)


def comparable(one: Order, other: Order) -> bool:
    """Whether the order of two values means anything."""
    return one.kind is other.kind and one.kind in {Kind.NUMBER, Kind.MOMENT, Kind.BYTES, Kind.TEXT}


def _no_number(value: float | Decimal) -> bool:
    return value.is_nan() if isinstance(value, Decimal) else isinstance(value, float) and math.isnan(value)


def _of_datetime(value: datetime) -> Order:
    since = value.replace(tzinfo=None) - _EPOCH_MOMENT
    if value.tzinfo is not None and (offset := value.utcoffset()):
        since -= offset
    nanoseconds = since.microseconds * 1000 + int(getattr(value, "nanosecond", 0))
    fraction = f"{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    return Order(Kind.MOMENT, since.days * _DAY_SECONDS + since.seconds, 0, fraction)


def _number_of(text: str) -> Order | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Order(Kind.NUMBER, Decimal(text))
    except InvalidOperation:
        return None


def _month_of(text: str) -> Order | None:
    found = _MONTH.fullmatch(text)
    if not found:
        return None
    try:
        return order_of(date(int(found[1]), int(found[2]), 1))
    except ValueError:
        return None


def _moment_of(text: str) -> Order | None:
    if 20 <= len(text) <= 27 and text[-1] == "Z" and text[4] == "-":
        # Nearly every API. Python's own reading is several times faster; what it can't read is looked at below.
        try:
            read = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            since = (read.toordinal() - _EPOCH) * _DAY_SECONDS + read.hour * 3600 + read.minute * 60 + read.second
            return Order(Kind.MOMENT, since, 0, f"{read.microsecond:06}".rstrip("0") if read.microsecond else "")
    found = _MOMENT.fullmatch(text)
    # Eight digits are a number: as days they would have the same order.
    if found is None or not (found["dash"] or found["between"]):
        return None
    _, _, _, _, between, hour, _, minute, second, _, fraction, _, zone = found.groups()
    try:
        days = date(int(found["year"]), int(found["month"]), int(found["day"])).toordinal() - _EPOCH
    except ValueError:
        return None
    if between is None:
        return Order(Kind.MOMENT, days * _DAY_SECONDS)
    hours, minutes, seconds = int(hour), int(minute or 0), int(second or 0)
    leap = seconds == 60
    if hours > 24 or (hours == 24 and (minutes or seconds)) or minutes > 59 or seconds > 60:
        return None
    instant = days * _DAY_SECONDS + hours * 3600 + minutes * 60 + seconds - leap - _offset(zone)
    return Order(Kind.MOMENT, instant, int(leap), (fraction or "").rstrip("0"))


def _offset(zone: str | None) -> int:
    """Seconds by which a zone is ahead of UTC, in which a moment is that has none."""
    if zone is None or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(6, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:])
    return seconds if zone[0] == "+" else -seconds


def shape_of(value: Any) -> str:
    """How a text is written: texts of one shape have the same order as texts that they have as moments or numbers."""
    text = str(value)
    found = _MOMENT.fullmatch(text)
    zone = (found["zone"] or "") if found else ""
    return re.sub(r"\d", "0", text.removesuffix(zone), flags=re.ASCII) + zone


def shown_cursor(value: Any) -> str:
    """A cursor's newest value for people: a day or a moment. Numbers and texts may be a patient's, so not these."""
    match order_of(value).kind:
        case Kind.MOMENT:
            return str(value)
        case Kind.NUMBER:
            return "a number (not shown)"
    return "a value (not shown)"


# --- values at another place of the order -----------------------------------------------------------------------------


def unit_of(value: Any) -> Unit:
    """What a lag behind this value is counted in."""
    order = order_of(value)
    if order.kind is Kind.NUMBER:
        return Unit.NUMBER
    if order.kind is not Kind.MOMENT:
        return Unit.NONE
    if isinstance(value, str):
        found = _MOMENT.fullmatch(value)
        return Unit.SECONDS if found and found["between"] else Unit.DAYS
    return Unit.SECONDS if isinstance(value, datetime) else Unit.DAYS


def earlier(value: Any, lag: float | None) -> Any:
    """The value that lies `lag` before this one, written as this one is. None: the default of its kind."""
    unit = unit_of(value)
    back = DEFAULT_LAGS[unit] if lag is None else lag
    if not back or unit is Unit.NONE:
        return value
    if unit is Unit.NUMBER:
        return _less(value, back)
    step = timedelta(days=back) if unit is Unit.DAYS else timedelta(seconds=back)
    try:
        if isinstance(value, str):
            return written_like(moment_of(value) - step, value)
        if isinstance(value, datetime) and value.tzinfo is not None:
            # By the instant, and not by the clock on the wall, which is put back once a year.
            return (value.astimezone(UTC) - step).astimezone(value.tzinfo)
        return value - step
    except OverflowError:
        return value


def _less(value: Any, back: float) -> Any:
    if isinstance(value, str):
        less = Decimal(value) - Decimal(str(back))
        whole = value.lstrip("+-").isdigit() and less == less.to_integral_value()
        # With leading zeros, the server compares texts of one length.
        return f"{int(less):0{len(value)}}" if whole and less >= 0 else f"{less:f}"
    if isinstance(value, int) and float(back).is_integer():
        return value - int(back)
    return value - (Decimal(str(back)) if isinstance(value, Decimal) else back)


def moment_of(value: Any) -> datetime:
    """The moment that a value names, in UTC, no more exact than Python's own.

    Raises:
        ValueError: when it names none.
    """
    order = instant_of(value)
    if order.kind is not Kind.MOMENT:
        raise ValueError("no moment")
    micros = int(order.fraction[:6].ljust(6, "0")) if order.fraction else 0
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=order.value, microseconds=micros)


def written_like(moment: datetime, sample: str) -> str:
    """A moment (in UTC) as `sample` is written: its separators, its precision, its zone. What is finer is cut off."""
    found = _MOMENT.fullmatch(sample)
    if found is None:
        return moment.strftime("%Y-%m" if _MONTH.fullmatch(sample) else "%Y")
    local = moment + timedelta(seconds=_offset(found["zone"]))
    dash, colon = found["dash"], found["colon"] or ""
    text = f"{local.year:04}{dash}{local.month:02}{dash}{local.day:02}"
    if found["between"]:
        text += f"{found['between']}{local.hour:02}"
        if found["minute"]:
            text += f"{colon}{local.minute:02}"
        if found["second"]:
            text += f"{colon}{local.second:02}"
        if found["fraction"]:
            digits = len(found["fraction"])
            text += found["point"] + f"{local.microsecond:06}"[:digits].ljust(digits, "0")
        text += f"{found['space']}{found['zone'] or ''}"
    return text
