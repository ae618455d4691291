"""Warnings about a schedule that is accepted and may surprise all the same: a sentence each. Pure."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

from connectors.schedules.cron import Schedule
from connectors.schedules.dates import clock_changes, due_at, wall_time, wall_times
from connectors.schedules.fields import (
    DAY,
    FIELDS,
    HOUR,
    LONGEST_MONTH,
    MINUTE,
    MONTH,
    SHORTEST_MONTH,
    WEEKDAY,
    is_even,
)


def warnings(schedule: Schedule, after: datetime) -> list[str]:
    """What may surprise about an accepted schedule: a sentence each, changes of clocks in the year from `after` on."""
    return [*_warnings_of_fields(schedule.cron), *_warnings_of_clocks(schedule, after)]


_FIFTH = 5
_CLOSE = 5  # minutes between runs below which a user is asked whether that is meant


def _warnings_of_fields(cron: str) -> Iterator[str]:
    fields = cron.lower().split()
    values, numbered = croniter.expand(cron)
    if values[DAY] != ["*"] and values[WEEKDAY] != ["*"]:
        yield "Day of month and day of week are both given: it runs on each day that fits either of them, not both."
    minutes = list(range(60)) if values[MINUTE] == ["*"] else [int(minute) for minute in values[MINUTE]]
    following = minutes[1:] + ([minutes[0] + 60] if values[HOUR] == ["*"] else [])
    closest = min((later - earlier for earlier, later in zip(minutes, following, strict=False)), default=60)
    if closest < _CLOSE:
        yield f"Runs are due only {closest} minute{'s' * (closest > 1)} apart: a longer load delays the next."
    for each, content in zip(FIELDS, fields, strict=True):
        step = re.fullmatch(r"\*/(\d+)", content)
        if step and not is_even(each, int(step[1])):
            yield f"The steps of {step[1]} in the {each.name} field begin anew at its end: the last gap is another one."
    days = [day for day in values[DAY] if isinstance(day, int)]
    months = range(1, 13) if values[MONTH] == ["*"] else values[MONTH]
    shortest = min(LONGEST_MONTH[int(month)] for month in months)
    if days and "l" not in values[DAY] and days[0] > min(shortest, SHORTEST_MONTH if 2 in months else 31):
        yield f"Where a month has no day {days[0]}, nothing runs by it; L stands for the last day of each month."
    if any(_FIFTH in numbers for numbers in numbered.values()):
        yield "Months without a fifth such weekday have no run; L5, for example, stands for the last Friday."


def _warnings_of_clocks(schedule: Schedule, after: datetime) -> Iterator[str]:
    zone = ZoneInfo(schedule.timezone)
    hourly = croniter.expand(schedule.cron)[0][HOUR] == ["*"]
    for change in clock_changes(zone, after.astimezone(UTC)):
        old = wall_time(change - timedelta(microseconds=1), zone) + timedelta(microseconds=1)
        new = wall_time(change, zone)
        begin, end = min(old, new), max(old, new)
        walls = []
        for wall in wall_times(schedule.cron, begin - timedelta(seconds=1)):
            if wall >= end:
                break
            walls.append(wall)
        if not walls:
            continue
        way = "forward" if new > old else "back"
        head = f"On {old.day} {old:%B %Y} clocks in {schedule.timezone} go {way} from {old:%H:%M} to {new:%H:%M}: "
        if new < old:
            pause = (due_at(wall, zone) - due_at(walls[-1], zone)) // timedelta(minutes=1)
            gap = f", and after {walls[-1]:%H:%M} the next is at {wall:%H:%M}, {pause} minutes later" if hourly else ""
            yield f"{head}what is due {_said(walls)} starts once, the first time{gap}."
            continue
        starts = {wall: wall_time(due_at(wall, zone), zone) for wall in walls}
        named = [wall for wall in walls if croniter.match(schedule.cron, starts[wall])]
        moved = [wall for wall in walls if wall not in named]
        if moved:
            yield f"{head}what is due {_said(moved)} starts {_said(starts[wall] for wall in moved)}."
        if named and not hourly:
            there = _said(starts[wall] for wall in named)
            yield f"{head}what is due {_said(named)} is left out, for it would start {there}, as a run does anyway."


def _said(times: Iterable[datetime]) -> str:
    first, *_, last = [f"{time:%H:%M}" for time in times for _ in range(2)]
    return f"at {first}" if first == last else f"from {first} to {last}"
