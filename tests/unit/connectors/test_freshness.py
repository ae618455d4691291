"""Freshness: counted in the schedule's own dates, whatever its gaps; nobody is late who has promised nothing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.freshness import Facts, Freshness, Judgement, judge, lateness, promised
from connectors.schedules.cron import Schedule
from connectors.status import Phase

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)  # a Tuesday
HOUR = timedelta(hours=1)


def facts(**values: Any) -> Facts:
    """An hourly connector that loaded at 11:05."""
    usual = {"schedule": "0 * * * *", "timezone": "UTC", "is_active": True, "phase": Phase.SYNCED}
    return Facts(7, **{**usual, "last_success_at": NOW - timedelta(minutes=55), **values})


@pytest.mark.parametrize(
    ("values", "at", "expected"),
    [
        pytest.param({}, NOW, Freshness.ON_TIME, id="loaded in this interval"),
        pytest.param({}, NOW + HOUR - timedelta(seconds=1), Freshness.ON_TIME, id="the load has its interval"),
        pytest.param({}, NOW + HOUR, Freshness.LATE, id="late from the next date on"),
        pytest.param({}, NOW + 2 * HOUR, Freshness.OVERDUE, id="overdue from the one after that on"),
        pytest.param({"failures": 1}, NOW, Freshness.FAILING, id="the last load failed"),
        pytest.param({"failures": 1}, NOW + 9 * HOUR, Freshness.FAILING, id="failing and overdue: the cause is said"),
        pytest.param({"is_active": False}, NOW + 9 * HOUR, Freshness.PAUSED, id="deactivated"),
        pytest.param({"phase": Phase.PAUSED}, NOW + 9 * HOUR, Freshness.PAUSED, id="paused by itself"),
        pytest.param({"phase": Phase.INVALID}, NOW + 9 * HOUR, Freshness.INVALID, id="its source is invalid"),
        pytest.param({"schedule": "61 * * * *", "phase": None}, NOW, Freshness.INVALID, id="its schedule, unseen"),
        pytest.param({"schedule": None}, NOW + 9 * HOUR, Freshness.MANUAL, id="no schedule"),
        pytest.param({"schedule": None, "failures": 2}, NOW, Freshness.FAILING, id="started by hand, and failed"),
        pytest.param({"last_success_at": None}, NOW, Freshness.ON_TIME, id="new"),
        pytest.param(
            {"last_success_at": None, "promised_at": NOW - HOUR}, NOW + 2 * HOUR, Freshness.OVERDUE, id="never loaded"
        ),
        pytest.param({"promised_at": NOW + HOUR / 2}, NOW + 2 * HOUR, Freshness.LATE, id="activated long after it ran"),
        # Weekdays at six: from Friday's load on, Monday's is due and has until Tuesday's.
        pytest.param(
            {"schedule": "0 6 * * 1-5", "last_success_at": NOW - timedelta(days=4, hours=5)},
            NOW - timedelta(days=1),
            Freshness.ON_TIME,
            id="no date of an uneven schedule has passed over the weekend",
        ),
        pytest.param(
            {"schedule": "0 6 * * 1-5", "last_success_at": NOW - timedelta(days=4, hours=5)},
            NOW,
            Freshness.LATE,
            id="Monday's load is missing on Tuesday",
        ),
        # 01:30 comes twice in New York that night, and is due once.
        pytest.param(
            {
                "schedule": "30 1 * * *",
                "timezone": "America/New_York",
                "last_success_at": datetime(2026, 11, 1, 5, 31, tzinfo=UTC),
            },
            datetime(2026, 11, 2, 6, 29, tzinfo=UTC),
            Freshness.ON_TIME,
            id="a date that comes twice",
        ),
    ],
)
def test_the_judgement(values: dict[str, Any], at: datetime, expected: Freshness) -> None:
    assert judge(facts(**values), at).freshness is expected


MINUTES = st.integers(0, 3 * 24 * 60)
DUE: dict[str, Callable[[datetime], bool]] = {
    "*/20 * * * *": lambda at: at.minute % 20 == 0,
    "7,8,50 1-5 * * *": lambda at: at.minute in {7, 8, 50} and 1 <= at.hour <= 5,
    "0 6 * * 1-5": lambda at: (at.hour, at.minute) == (6, 0) and at.weekday() < 5,
    "15 */5 * * 3": lambda at: at.minute == 15 and at.hour % 5 == 0 and at.weekday() == 2,
    "* 4 * * *": lambda at: at.hour == 4,
}


@given(st.sampled_from(sorted(DUE)), MINUTES, MINUTES, st.integers(0, 59))
def test_it_is_late_when_two_dates_and_overdue_when_three_have_passed_without_a_load(
    cron: str, loaded: int, later: int, second: int
) -> None:
    since = NOW + timedelta(minutes=loaded, seconds=second)
    now = since + timedelta(minutes=later)
    minutes = (since.replace(second=0) + timedelta(minutes=step) for step in range(later + 1))
    passed = sum(since < minute <= now and DUE[cron](minute) for minute in minutes)
    judged = judge(facts(schedule=cron, last_success_at=since), now)
    words = [Freshness.ON_TIME, Freshness.ON_TIME, Freshness.LATE, Freshness.OVERDUE]
    assert judged.freshness is words[min(passed, 3)]
    assert (judged.late, judged.overdue) == (passed >= 2, passed >= 3)


def times(first: int, last: int) -> st.SearchStrategy[datetime]:
    """Moments between the beginnings of two years."""
    seconds = [int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (first, last)]
    return st.integers(*seconds).map(lambda second: datetime.fromtimestamp(second, UTC))


@given(
    st.builds(
        Facts,
        connector_id=st.integers(1, 9),
        schedule=st.sampled_from([None, "", "H * * * *", "0 0 29 2 *", "30 2 * * *", "0 6 L * *"]),
        timezone=st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe", "Mars"]),
        is_active=st.booleans(),
        phase=st.none() | st.sampled_from(Phase),
        failures=st.integers(0, 2),
        last_success_at=st.none() | times(2025, 2027),
        promised_at=st.none() | times(2025, 2027),
    ),
    times(2026, 2028),
    st.timedeltas(timedelta(0), timedelta(days=400)),
)
def test_time_alone_only_makes_it_worse_and_a_load_makes_it_good(facts: Facts, now: datetime, wait: timedelta) -> None:
    before, after = judge(facts, now), judge(facts, now + wait)
    if facts.last_success_at or facts.promised_at:
        assert (before.late, before.overdue) <= (after.late, after.overdue)
        assert (before.since, before.due_at) == (after.since, after.due_at)
    if promised(facts) is None:
        assert after.freshness in {Freshness.MANUAL, Freshness.PAUSED, Freshness.INVALID, Freshness.FAILING}
        assert not after.late
    else:
        assert before.since is not None
        assert before.due_at is not None
        assert before.late_from is not None
        assert before.overdue_from is not None
        assert before.since < before.due_at < before.late_from < before.overdue_from
        loaded = judge(Facts(7, facts.schedule, facts.timezone, True, last_success_at=now + wait), now + wait)
        assert loaded.freshness is Freshness.ON_TIME


def test_the_sentence_says_since_when_and_what_was_due() -> None:
    known = facts()
    assert lateness(judge(known, NOW + HOUR), known) == (
        "It last loaded at 2026-11-24 11:05 UTC; a load has been due since 2026-11-24 12:00 UTC."
    )
    never = facts(last_success_at=None, promised_at=NOW)
    assert (
        lateness(judge(never, NOW + 3 * HOUR), never)
        == "It has never loaded; its first load was due at 2026-11-24 13:00 UTC."
    )


def test_what_is_promised_is_the_schedule_as_it_runs() -> None:
    assert promised(facts(schedule="@daily")) == Schedule("0 0 * * *", "UTC")
    assert promised(facts(is_active=False)) is None
    assert judge(facts(is_active=False), NOW) == Judgement(Freshness.PAUSED)
