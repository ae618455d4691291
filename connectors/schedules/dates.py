"""Dates of a schedule: the instants at which Prefect runs it, around changes of clocks too. Pure.

Wall times (naive) never leave this folder: in the hour that comes twice, two of one zone that differ are equal to
Python, and one of a zone and the same instant in UTC are not (PEP 495). What is compared are instants, aware, in UTC.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from croniter import croniter

from connectors.schedules.cron import Schedule


def next_runs(schedule: Schedule, after: datetime, count: int) -> list[datetime]:
    """The `count` runs that Prefect starts at or after an aware time, as instants: aware, in UTC.

    `local` shows an instant to people.
    """
    zone, after = ZoneInfo(schedule.timezone), after.astimezone(UTC)
    runs: set[datetime] = set()
    # What falls into a gap starts behind it, so around a change of clocks earlier wall times may still be due.
    start = wall_time(after, zone).replace(microsecond=0) - _change(after, zone) - timedelta(seconds=1)
    beyond: datetime | None = None
    for wall in wall_times(schedule.cron, start):
        if beyond is not None and wall > beyond:
            break
        if (due := due_at(wall, zone)) >= after:
            runs.add(due)
        if len(runs) == count and beyond is None:
            last = max(runs)
            beyond = wall_time(last, zone) + _change(last, zone)
    return sorted(runs)[:count]


def previous_run(schedule: Schedule, at: datetime) -> datetime:
    """The last instant (aware, in UTC) at or before an aware time at which a run was due."""
    zone, at = ZoneInfo(schedule.timezone), at.astimezone(UTC)
    wall, change = wall_time(at, zone), _change(at, zone)
    # Near a change of clocks the order of wall times isn't that of the runs: what falls into a gap may start behind
    # what comes after it, so look further by as much as clocks change there.
    latest: datetime | None = None
    for earlier in wall_times(schedule.cron, wall + change + timedelta(microseconds=1), back=True):
        due = due_at(earlier, zone)
        if due <= at and (latest is None or due > latest):
            latest = due
        if latest is not None and earlier <= wall_time(latest, zone) - _change(latest, zone):
            return latest
    raise AssertionError("a cron's past has no end")


def may_be_due(schedule: Schedule, instant: datetime) -> bool:
    """Whether a Prefect of any version starts a run at this instant (aware).

    More is taken than `next_runs` names: a server of another version than ours resolves gaps otherwise, and whoever
    deletes what he takes for wrong must be sure.
    """
    zone = ZoneInfo(schedule.timezone)
    wall, change = wall_time(instant.astimezone(UTC), zone), _change(instant.astimezone(UTC), zone)
    left_out = (each for each in (wall - change, wall + change) if change and not _exists(each, zone))
    return any(croniter.match(schedule.cron, each) for each in (wall, *left_out))


def local(instant: datetime, timezone: str) -> datetime:
    """An instant as people in a time zone read it. For showing alone: it is compared with nothing."""
    return instant.astimezone(ZoneInfo(timezone))


def moment_of(typed: datetime, timezone: str) -> datetime:
    """The instant that somebody means by a time on the clock of a zone; one with a zone of its own is that, in UTC."""
    return typed.astimezone(UTC) if typed.tzinfo else due_at(typed, ZoneInfo(timezone))


def wall_times(cron: str, start: datetime, *, back: bool = False) -> Iterator[datetime]:
    """The wall times (naive) that a cron names after `start`, or before it."""
    search = croniter(cron, start)
    while True:
        yield search.get_prev(datetime) if back else search.get_next(datetime)


def wall_time(instant: datetime, zone: ZoneInfo) -> datetime:
    """What clocks of a zone show at an instant, naive."""
    return instant.astimezone(zone).replace(tzinfo=None)


def due_at(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which Prefect starts what is due at a wall time: once, the first time, if it comes twice."""
    due = wall.replace(tzinfo=zone).astimezone(UTC)
    if wall_time(due, zone) == wall:
        return due
    return wall.replace(tzinfo=zone, fold=_gap_fold()).astimezone(UTC)


def _exists(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether clocks show a wall time at all."""
    return wall_time(wall.replace(tzinfo=zone).astimezone(UTC), zone) == wall


def _change(instant: datetime, zone: ZoneInfo) -> timedelta:
    """By how much clocks change within a day of an instant."""
    day = timedelta(days=1)
    return abs(_offset(instant + day, zone) - _offset(instant - day, zone))


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None  # noqa: S101 - an aware time has one
    return offset


def clock_changes(zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The instants in the year from `after` on at which the zone's offset from UTC changes."""
    days = [after + timedelta(days=day) for day in range(367)]
    for morning, evening in pairwise(days):
        low, high, offset = morning, evening, _offset(morning, zone)
        if _offset(high, zone) == offset:
            continue
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) / 2
            low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
        yield high.replace(microsecond=0)


@cache
def _gap_fold() -> Literal[0, 1]:
    """How the installed Prefect resolves a wall time that clocks going forward leave out: `fold` in PEP 495's sense.

    By whenever 02:30 becomes 03:30, by pendulum 01:30. Prefect up to 3.8 brings whenever on Python 3.13 and later, 3.9
    on every Python, so neither the version of Python nor that of Prefect says it: what Prefect requires does.
    """
    try:
        required = requires("prefect") or []
    except PackageNotFoundError:
        return 0
    brought = [each for each in required if each.startswith("whenever")]
    everywhere = any("python_version" not in each for each in brought)
    return 0 if everywhere or (brought and sys.version_info >= (3, 13)) else 1
