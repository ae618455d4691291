"""Herds: connectors that start in the same minute, and a minute that is free instead.

Most people write `0 2 * * *`. Twenty-seven of them at 02:00 wait for each other's workers while the rest of the hour is
empty, so the preview of a schedule says so. Pure.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from croniter import croniter

from connectors.schedules.cron import Schedule
from connectors.schedules.dates import local, next_runs

HERD = 5
"""Other connectors in the same minute from which on the user is warned."""

_HOUR = 60


def herd_warnings(schedule: Schedule, others: Iterable[Schedule], now: datetime) -> list[str]:
    """The warning about the most crowded of the next five runs of `schedule`, as a list of one; empty without a herd.

    Args:
        schedule: what is asked about.
        others: the schedules of the other active connectors.
        now: the time, aware.
    """
    fleet = Counter(others)
    # The hours in which people read these runs: a zone may be half an hour off.
    minutes = {run: local(run, schedule.timezone).minute for run in next_runs(schedule, now, 5)}
    crowded: tuple[int, datetime, list[int]] | None = None
    for hour in sorted({run - timedelta(minutes=minute) for run, minute in minutes.items()}):
        starts = _starts(fleet, hour)
        for run, minute in minutes.items():
            if run - timedelta(minutes=minute) == hour and starts[minute] > (crowded[0] if crowded else HERD - 1):
                crowded = (starts[minute], run, starts)
    if crowded is None:
        return []
    count, run, starts = crowded
    minute = _quietest(starts)
    least = starts[minute]
    instead = f"minute {minute} is free" if least == 0 else f"minute {minute} has the fewest, {least}"
    return [f"{count} connectors start at {local(run, schedule.timezone):%H:%M}; {instead}."]


def _starts(fleet: Counter[Schedule], hour: datetime) -> list[int]:
    """How many connectors start in each minute of the hour that begins at `hour`."""
    starts = [0] * _HOUR
    walls: dict[str, list[datetime]] = {}
    for schedule, count in fleet.items():
        if schedule.timezone not in walls:
            minutes = (hour + timedelta(minutes=minute) for minute in range(_HOUR))
            walls[schedule.timezone] = [local(minute, schedule.timezone).replace(tzinfo=None) for minute in minutes]
        for minute in _fires(schedule.cron, walls[schedule.timezone]):
            starts[minute] += count
    return starts


def _fires(cron: str, walls: list[datetime]) -> list[int]:
    """The positions in `walls` at which a cron is due. Each day is asked for once: that is the dear part."""
    minutes, hours = croniter.expand(cron)[0][:2]
    every_minute, every_hour = minutes == ["*"], hours == ["*"]
    fires, days = [], {}
    for position, wall in enumerate(walls):
        if not (every_minute or wall.minute in minutes) or not (every_hour or wall.hour in hours):
            continue
        if wall.date() not in days:
            days[wall.date()] = croniter.match(cron, wall)
        if days[wall.date()]:
            fires.append(position)
    return fires


def _quietest(starts: list[int]) -> int:
    """Of the minutes with the fewest starts, the one farthest from any that has more."""
    least = min(starts)
    busy = [minute for minute, count in enumerate(starts) if count > least]
    quiet = (minute for minute, count in enumerate(starts) if count == least)

    def distance(minute: int) -> int:
        return min((min(abs(minute - other), _HOUR - abs(minute - other)) for other in busy), default=0)

    return max(quiet, key=lambda minute: (distance(minute), -minute))
