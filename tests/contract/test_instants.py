"""Instants and wall times: what the installed Prefect does with every change of clocks of ten years, in every zone."""

import asyncio
import zoneinfo
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from prefect.server.schemas.schedules import CronSchedule

from connectors.schedules.cron import Schedule, parse
from connectors.schedules.dates import local, may_be_due, next_runs, previous_run
from deployments.reconciling.missed_runs import missed_dates
from deployments.reconciling.stale_runs import is_stale
from prefect_api.deployment import ScheduleFields
from prefect_api.run_calls import ScheduledRun
from tests.support.control_plane.samples import held, spec

FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def changes(name: str) -> list[tuple[datetime, timedelta]]:
    """The instants of ten years at which a zone's clocks change, and by how much."""
    zone, found = ZoneInfo(name), []
    at, before = FIRST, FIRST.astimezone(zone).utcoffset()
    while at < LAST:
        at += timedelta(days=1)
        if (offset := at.astimezone(zone).utcoffset()) == before:
            continue
        low, high = at - timedelta(days=1), at
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) / 2
            low, high = (low, middle) if middle.astimezone(zone).utcoffset() == offset else (middle, high)
        assert offset is not None
        assert before is not None
        found.append((high.replace(microsecond=0), offset - before))
        before = offset
    return found


def every_change() -> dict[tuple[datetime, timedelta, timedelta], str]:
    """One zone for each change of clocks there is, by instant, size, and the offset before: many zones share them."""
    found: dict[tuple[datetime, timedelta, timedelta], str] = {}
    for name in sorted(zoneinfo.available_timezones() - {"Factory", "localtime"}):
        for at, size in changes(name):
            offset = (at - HOUR).astimezone(ZoneInfo(name)).utcoffset() or timedelta(0)
            found.setdefault((at, size, offset), name)
    return found


def prefect_dates(schedule: Schedule, start: datetime, count: int) -> list[datetime]:
    own = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    # Prefect may give instances of a library of its own.
    return [datetime.fromtimestamp(date.timestamp(), UTC) for date in asyncio.run(own.get_dates(n=count, start=start))]


@pytest.mark.slow
def test_the_installed_prefect_and_we_agree_on_every_change_of_clocks_of_ten_years() -> None:
    """On every locked set: neither the version of Python nor that of Prefect says what a gap does."""
    differ = defaultdict(list)
    every = every_change()
    assert len(every) > 300
    for (at, _, _), name in every.items():
        wall = local(at - HOUR, name)
        schedule = Schedule(f"10,40 {wall.hour},{(wall.hour + 1) % 24},{(wall.hour + 2) % 24} * * *", name)
        start = at - timedelta(hours=30)
        theirs, ours = prefect_dates(schedule, start, 16), next_runs(schedule, start, 16)
        if theirs[:-2] != ours[:14]:
            differ[name].append(at)
        assert all(may_be_due(schedule, date) for date in theirs), (name, at)
    assert not differ, (version("prefect"), dict(differ))


AUTUMN = [
    ("30 2 7 2 *", "Africa/Casablanca", datetime(2027, 2, 7, 1, 30, tzinfo=UTC)),
    ("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ("30 1 * * *", "America/New_York", datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),
    ("45 1 * * *", "Australia/Lord_Howe", datetime(2027, 4, 3, 14, 45, tzinfo=UTC)),
]


@pytest.mark.parametrize(("cron", "zone", "due"), AUTUMN)
def test_a_good_run_in_the_hour_that_comes_twice_is_no_stale_and_no_missed_one(
    cron: str, zone: str, due: datetime
) -> None:
    schedule = parse(cron, zone, 1)
    assert due in next_runs(schedule, due - timedelta(days=1), 2)
    assert previous_run(schedule, due) == due
    rule = {"cron": cron, "timezone": zone}
    deployment = held(spec(1), schedules=(ScheduleFields("main", rule),))
    run = ScheduledRun(uuid4(), deployment.id, due, frozenset())
    assert not is_stale(run, deployment)
    other = ScheduledRun(uuid4(), deployment.id, due + timedelta(minutes=7), frozenset())
    assert is_stale(other, deployment)
    since, until = due - HOUR, due + 2 * HOUR
    assert missed_dates(schedule, since, until, set()) == [due]
    assert missed_dates(schedule, since, until, {due}) == []


@pytest.mark.parametrize(("cron", "zone", "due"), AUTUMN)
def test_instants_are_told_in_utc_and_shown_in_the_zone(cron: str, zone: str, due: datetime) -> None:
    schedule = parse(cron, zone, 1)
    assert {run.tzinfo for run in next_runs(schedule, due, 3)} == {UTC}
    assert previous_run(schedule, due).tzinfo is UTC
    minute, hour = (int(field) for field in cron.split()[:2])
    assert (local(due, zone).hour, local(due, zone).minute) == (hour, minute)


def test_whatever_a_server_of_another_version_makes_of_a_gap_is_not_deleted() -> None:
    schedule = parse("30 2 * * *", "Europe/Berlin", 1)
    by_whenever, by_pendulum = datetime(2027, 3, 28, 1, 30, tzinfo=UTC), datetime(2027, 3, 28, 0, 30, tzinfo=UTC)
    assert may_be_due(schedule, by_whenever)
    assert may_be_due(schedule, by_pendulum)
    assert not may_be_due(schedule, datetime(2027, 3, 28, 2, 30, tzinfo=UTC))
    assert not may_be_due(schedule, datetime(2027, 6, 28, 1, 30, tzinfo=UTC))
