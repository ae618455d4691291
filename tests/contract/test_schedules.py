"""Schedules: what the installed Prefect runs is what is announced here, for whatever is taken."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from croniter import croniter
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from connectors.schedules.cron import Schedule, ScheduleError, parse
from connectors.schedules.dates import next_runs, previous_run
from connectors.schedules.warnings import warnings
from connectors.schedules.wording import words

NEW_YORK = "America/New_York"
NOVEMBER = datetime(2026, 11, 24, 12, tzinfo=UTC)
# Around these instants clocks change: by an hour, half an hour, two hours and a day; at midnight; with negative DST.
CHANGES = [
    (NEW_YORK, datetime(2027, 3, 14, 7, tzinfo=UTC)),
    (NEW_YORK, datetime(2027, 11, 7, 6, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2027, 3, 28, 1, tzinfo=UTC)),
    ("Europe/Dublin", datetime(2027, 10, 31, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 4, 3, 15, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2027, 3, 28, 1, tzinfo=UTC)),
    ("America/Havana", datetime(2027, 3, 14, 5, tzinfo=UTC)),
    ("America/Havana", datetime(2027, 11, 7, 5, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2027, 2, 7, 2, tzinfo=UTC)),
    ("Pacific/Chatham", datetime(2027, 4, 3, 14, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2027, 6, 1, tzinfo=UTC)),
    ("UTC", datetime(2027, 12, 31, 23, 59, tzinfo=UTC)),
]

Dates = Callable[[Schedule, datetime, int], list[datetime]]


@pytest.fixture(scope="module")
def prefect_dates(tmp_path_factory: pytest.TempPathFactory) -> Dates:
    """The dates of the installed Prefect's own CronSchedule, which is what its scheduler runs."""
    with pytest.MonkeyPatch.context() as env:
        env.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        from prefect.server.schemas.schedules import CronSchedule

    def dates(schedule: Schedule, after: datetime, count: int) -> list[datetime]:
        found = CronSchedule(cron=schedule.cron, timezone=schedule.timezone).get_dates(n=count, start=after)
        return list(asyncio.run(found))

    return dates


def instants(dates: Dates, schedule: Schedule, after: datetime, count: int) -> list[datetime]:
    """Prefect's dates from `after` on as instants.

    Asked from earlier: what falls into a gap starts behind it, and is not told to who asks from in between. And Prefect
    of 3.8 counts in wall time, so near a change of clocks it begins with dates that are over.
    """
    found: set[datetime] = set()
    start = after - timedelta(hours=26 if schedule.timezone == "Pacific/Apia" else 3)
    page = count + 4
    while len(found) < count + 2:
        asked = [datetime.fromtimestamp(date.timestamp(), UTC) for date in dates(schedule, start, page)]
        found |= {date for date in asked if date >= after}
        # From before the end of this page: what a gap has moved stands before earlier dates, and those were cut off.
        start = max(start + timedelta(seconds=1), max(asked) - timedelta(hours=2))
        page = min(2 * page, 900)
    return sorted(found)[:count]


@pytest.mark.parametrize("days", ["*/5", "*/10", "*/15", "*/3", "1,30", "1,2,31", "15,30,L", "31,L"])
def test_days_of_which_prefect_leaves_some_out_are_refused(days: str, prefect_dates: Dates) -> None:
    with pytest.raises(ScheduleError, match=r"leave (some )?out"):
        parse(f"0 0 {days} * *", "UTC", 1)
    # The reason: were it gone from Prefect, these need not be refused any longer.
    by_prefect, by_croniter = set(), set()
    for year in (2027, 2028):
        for start in (datetime(year, 2, 16, 12, tzinfo=UTC), datetime(year, 2, 28, 12, tzinfo=UTC)):
            by_prefect |= set(prefect_dates(Schedule(f"0 0 {days} * *", "UTC"), start, 1))
            by_croniter |= {croniter(f"0 0 {days} * *", start).get_next(datetime)}
    assert by_prefect != by_croniter


def field(low: int, high: int, names: str = "", *, more: Iterable[str] = ()) -> st.SearchStrategy[str]:
    value = st.integers(low, high).map(str) | st.sampled_from(names.split() or [str(low)])
    spread = [st.builds("{}/{}".format, star, st.integers(1, high)) for star in (st.just("*"), value, st.just("H"))]
    range_ = st.tuples(value, value).map("-".join)
    item = st.one_of(value, range_, st.builds("{}/{}".format, range_, st.integers(1, 9)), *spread)
    listed = st.lists(item, min_size=1, max_size=4).map(",".join)
    return st.one_of(st.just("*"), st.just("H"), value, item, listed, st.sampled_from(["*", *more]))


MONTHS = field(1, 12, "JAN Feb mar DEC")


WEEKDAYS = field(0, 7, "SUN Mon fri SAT", more=["?", "5#3", "MON#1,MON#5", "L5", "l0,L7", "7#2"])


CRONS = st.tuples(
    st.sampled_from(["0", "30", "*/15", "H", "0,45"]) | field(0, 59),
    st.sampled_from(["*", "0", "1", "2", "3", "1-3", "*/2"]) | field(0, 23),
    st.just("*") | field(1, 31, more=["?", "L", "1,L", "15,30", "29-31", "28,31", "*/7"]),
    st.just("*") | MONTHS,
    st.just("*") | WEEKDAYS,
).map(" ".join)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(CRONS, st.sampled_from(CHANGES), st.integers(-3 * 86_400, 3 * 86_400), st.sampled_from([0, 0, 1, 999_999]))
@example("30 2 * * *", CHANGES[0], 600, 0)
@example("30 1 * * *", CHANGES[1], 600, 0)
@example("0 3 * * *", CHANGES[0], 0, 0)
@example("50,15 * * * *", CHANGES[4], -3_600, 1)
def test_prefect_accepts_what_we_accept_and_runs_at_the_same_times(
    prefect_dates: Dates, cron: str, change: tuple[str, datetime], seconds: int, microseconds: int
) -> None:
    try:
        schedule = parse(cron, change[0], 1)
    except ScheduleError:
        assume(False)
    after = change[1] + timedelta(seconds=seconds, microseconds=microseconds)
    assert next_runs(schedule, after, 20) == instants(prefect_dates, schedule, after, 20)


@settings(max_examples=200, deadline=None)
@given(
    st.sets(st.integers(1, 31), min_size=1, max_size=5),
    st.sampled_from(["*", "2,3", "1-6"]),
    st.sampled_from(["*", "3"]),
    st.integers(0, 800),
)
def test_prefect_leaves_out_no_day_of_a_list_that_we_accept(
    prefect_dates: Dates, days: set[int], months: str, weekdays: str, later: int
) -> None:
    try:
        schedule = parse(f"0 2 {','.join(map(str, days))} {months} {weekdays}", "UTC", 1)
    except ScheduleError:
        assume(False)
    after = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(days=later)
    assert next_runs(schedule, after, 20) == instants(prefect_dates, schedule, after, 20)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text("0123456789*,-/hHlLrRwW#?()@adefimnostuy", min_size=1, max_size=7), min_size=5, max_size=5))
def test_any_text_is_refused_in_a_sentence_or_runs_in_prefect(prefect_dates: Dates, fields: list[str]) -> None:
    try:
        schedule = parse(" ".join(fields), "Europe/Berlin", 1)
    except ScheduleError:
        return
    assert next_runs(schedule, NOVEMBER, 2) == instants(prefect_dates, schedule, NOVEMBER, 2)
    assert words(schedule).endswith(" (Europe/Berlin)")


def test_every_time_zone_that_we_accept_runs_in_prefect(prefect_dates: Dates) -> None:
    for zone in sorted(available_timezones() - {"Factory", "localtime"}):
        schedule = parse("30 2 * * *", zone, 1)
        assert next_runs(schedule, NOVEMBER, 2) == instants(prefect_dates, schedule, NOVEMBER, 2), zone


def test_a_run_in_the_hour_that_clocks_skip_is_announced_with_the_time_at_which_it_starts(prefect_dates: Dates) -> None:
    schedule = parse("30 2 * * *", NEW_YORK, 1)
    (warning,) = warnings(schedule, NOVEMBER)
    assert warning.startswith("On 14 March 2027 clocks in America/New_York go forward from 02:00 to 03:00: ")
    (run,) = prefect_dates(schedule, datetime(2027, 3, 14, 5, tzinfo=UTC), 1)
    assert warning.endswith(f"what is due at 02:30 starts at {run:%H:%M}.")


# Around these instants clocks change: by an hour, half an hour, two hours and a day; at midnight; with negative DST.


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["*/20", "0", "30", "15,30", "50,15"]),
    st.sampled_from(["*", "2", "1-3", "0,12", "*/4"]),
    st.sampled_from([change for change in CHANGES if change[0] != "Pacific/Apia"]),
    st.integers(-300, 300),
)
def test_the_run_before_a_time_is_the_latest_of_all(
    minute: str, hour: str, change: tuple[str, datetime], later: int
) -> None:
    schedule = parse(f"{minute} {hour} * * *", change[0], 1)
    at = change[1] + timedelta(minutes=later)
    every: set[datetime] = set()
    # From many starts, since Prefect's answer near a change of clocks depends on where it starts.
    for start in (at - timedelta(days=3), at - timedelta(days=1, hours=12), at - timedelta(hours=4)):
        every |= set(next_runs(schedule, start, 400))
    assert previous_run(schedule, at) == max(run for run in every if run <= at)
    assert previous_run(schedule, at).tzinfo is UTC
