"""Quiet hours: hours of the day in which a source is not asked. Pure.

A window is said on a wall clock, so it moves with summer time; one that ends at or before its start ends on the next
day, and `days` are those on which it begins.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from connectors.limits.closed_sets import ClosedSet
from connectors.schedules.cron import is_timezone
from connectors.schedules.dates import local, moment_of
from connectors.sources.secret_references import Name, Strict, refused

MOST_WINDOWS = 20
_A_WEEK = timedelta(days=7)


class Weekday(ClosedSet):
    """Days of the week."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_ORDER = tuple(Weekday)


def _clock(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise refused("{field} must be a time of day, such as '22:00'.")
    return value


def _timezone(value: str) -> str:
    if not is_timezone(value):
        raise refused("{field} must be the name of a time zone, such as 'Europe/Berlin'.")
    return value


Clock = Annotated[str, AfterValidator(_clock)]


class QuietHours(Strict):
    """One window in which a source is not asked."""

    start: Annotated[Clock, Field(description="When it begins, such as `22:00`.")]
    end: Annotated[Clock, Field(description="When it ends, such as `06:00`: on the next day, where that is earlier.")]
    days: Annotated[
        tuple[Weekday, ...],
        Field(description="The days on which it begins: `mon` to `sun`. Empty: every day.", max_length=len(_ORDER)),
    ] = ()
    timezone: Annotated[
        Annotated[Name, AfterValidator(_timezone)] | None,
        Field(description="Whose clock it is. null: the connector's, or UTC where it is no connector's."),
    ] = None

    @model_validator(mode="after")
    def _is_no_whole_day(self) -> "QuietHours":
        if self.start == self.end:
            raise refused("{field} must differ from start.", "end")
        return self

    def until(self, now: datetime, timezone: str) -> datetime | None:
        """The end of the window that `now` (aware) lies in; None outside of it."""
        zone = self.timezone or timezone
        today = local(now, zone).date()
        for day in (today - timedelta(days=1), today):
            if self.days and _ORDER[day.weekday()] not in self.days:
                continue
            begin = _moment(day, self.start, zone)
            finish = _moment(day if self.end > self.start else day + timedelta(days=1), self.end, zone)
            if begin <= now < finish:
                return finish
        return None


def _moment(day: date, clock: str, zone: str) -> datetime:
    return moment_of(datetime.combine(day, time.fromisoformat(clock)), zone)


def end_of_quiet(windows: Sequence[QuietHours], now: datetime, timezone: str = "UTC") -> datetime | None:
    """When a source may be asked again, in UTC; None: now.

    Args:
        windows: all that are kept of it; one may end within another.
        now: this moment, aware.
        timezone: of those that name none.
    """
    moment = now
    while moment - now <= _A_WEEK:
        ends = [end for window in windows if (end := window.until(moment, timezone)) is not None]
        if not ends:
            return None if moment == now else moment
        moment = max(ends)
    return moment


_ANY_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


def _leave_time(windows: tuple[QuietHours, ...]) -> tuple[QuietHours, ...]:
    end = end_of_quiet(windows, _ANY_MONDAY)
    if end is not None and end - _ANY_MONDAY > _A_WEEK:
        raise refused("{field} must leave an hour in the week in which the source may be asked.")
    return windows


AllQuietHours = Annotated[
    tuple[QuietHours, ...],
    AfterValidator(_leave_time),
    Field(max_length=MOST_WINDOWS),
]
"""All windows that are kept of one source."""
