"""Notices of lateness: each begin once, each end once, and none while all are late for one reason."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.freshness import Freshness, Promise
from connectors.judging.standing import Standing
from connectors.loads import Load
from connectors.status import Phase
from deployments.monitoring.lateness import Turn, turn
from prefect_api.names import Alert, FreshnessEvent

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = Standing(7, "Labs", schedule="0 * * * *", is_active=True, phase=Phase.SYNCED)
PROMISED = Promise(7, "0 * * * *", "UTC", NOW - timedelta(days=1))


def loaded(ago: timedelta, **values: Any) -> Standing:
    """An hourly connector that last loaded so long ago."""
    return replace(HOURLY, promise=PROMISED, load=Load(7, last_success_at=NOW - ago, **values))


def look(standing: Standing, now: datetime = NOW, *, hold: bool = False) -> Turn:
    return turn(standing, now, hold=hold, alert_after_failures=3)


def told(turned: Turn) -> list[tuple[str, Alert | None]]:
    return [(each.event, each.alert) for each in turned.news]


def test_a_connector_that_never_loads_is_told_late_once_and_becomes_one_alert_and_one_recovery() -> None:
    standing, events = HOURLY, []
    for minute in range(10 * 60):
        turned = look(standing, NOW + timedelta(minutes=minute))
        standing = turned.standing
        events += [(minute, event, alert) for event, alert in told(turned)]
    assert events == [(90, FreshnessEvent.LATE, None), (150, FreshnessEvent.OVERDUE, Alert.BEGIN)]
    at = NOW + timedelta(minutes=601)
    turned = look(replace(standing, load=Load(7, last_success_at=at)), at)
    assert told(turned) == [(FreshnessEvent.RECOVERED, Alert.END)]
    assert turned.news[0].message == "It loaded at 2026-11-24 22:31 UTC."
    assert turned.standing.promise is not None
    assert (turned.standing.promise.told, turned.standing.promise.alerted) == (None, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_active": False}, "No load is due any more: it is paused."),
        ({"schedule": None}, "No load is due any more: it is manual."),
        ({"name": None, "schedule": None, "is_active": False, "phase": None}, "It was deleted."),
        ({"schedule": "0 5 * * *"}, "It has another schedule; its next load is due at 2026-11-25 05:00 UTC."),
    ],
)
def test_an_alert_ends_too_when_nothing_is_due_any_more(change: dict[str, Any], message: str) -> None:
    began = look(loaded(5 * HOUR))
    assert told(began) == [(FreshnessEvent.LATE, None), (FreshnessEvent.OVERDUE, Alert.BEGIN)]
    ended = look(replace(began.standing, **change))
    assert told(ended) == [(FreshnessEvent.RECOVERED, Alert.END)]
    assert ended.news[0].message == message


def test_nothing_new_is_told_while_prefect_is_away_but_an_end_is() -> None:
    assert told(look(loaded(5 * HOUR), hold=True)) == []
    began = look(loaded(5 * HOUR))
    assert told(look(replace(began.standing, load=loaded(HOUR / 2).load), hold=True)) == [
        (FreshnessEvent.RECOVERED, Alert.END)
    ]


def test_people_who_were_told_that_it_fails_are_not_told_that_it_is_overdue() -> None:
    began = look(loaded(5 * HOUR, failures=3))
    assert told(began) == [(FreshnessEvent.LATE, None), (FreshnessEvent.OVERDUE, None)]
    assert began.judgement.freshness is Freshness.FAILING
    assert told(look(replace(began.standing, load=loaded(HOUR / 2).load))) == [(FreshnessEvent.RECOVERED, None)]


def test_a_first_look_promises_from_now_on_and_an_edit_that_is_no_other_schedule_changes_nothing() -> None:
    new = look(HOURLY).standing
    assert new.promise == Promise(7, "0 * * * *", "UTC", NOW)
    assert look(replace(new, description="mended"), NOW + HOUR).standing.promise == new.promise
    moved = look(replace(new, schedule="5 * * * *"), NOW + HOUR).standing.promise
    assert moved == Promise(7, "5 * * * *", "UTC", NOW + HOUR)


def test_news_that_is_told_twice_has_one_id() -> None:
    first, second = look(loaded(5 * HOUR)), look(loaded(5 * HOUR), NOW + HOUR)
    assert [n.id("a", 7) for n in first.news] == [n.id("a", 7) for n in second.news]
    assert len({each.id("a", 7) for each in (*first.news, *look(loaded(6 * HOUR)).news)}) == 4


STEPS = st.lists(
    st.tuples(
        st.integers(1, 300),
        st.sampled_from(["wait", "wait", "load", "fail", "pause", "activate", "reschedule", "hold"]),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_each_lateness_is_told_once_and_ends_once(steps: list[tuple[int, str]]) -> None:
    standing, now, alerts = HOURLY, NOW, 0
    open_events: list[str] = []
    for minutes, what in steps:
        now += timedelta(minutes=minutes)
        load = standing.load or Load(7)
        if what == "load":
            standing = replace(standing, load=replace(load, last_success_at=now, failures=0))
        elif what == "fail":
            standing = replace(standing, load=replace(load, failures=load.failures + 1))
        elif what in {"pause", "activate"}:
            standing = replace(standing, is_active=what == "activate")
        elif what == "reschedule":
            standing = replace(standing, schedule="*/7 * * * *" if standing.schedule == "0 * * * *" else "0 * * * *")
        turned = look(standing, now, hold=what == "hold")
        standing = turned.standing
        for event, alert in told(turned):
            expected = {FreshnessEvent.LATE: [], FreshnessEvent.OVERDUE: [FreshnessEvent.LATE]}.get(
                FreshnessEvent(event)
            )
            assert open_events == expected if expected is not None else open_events
            open_events = [] if event == FreshnessEvent.RECOVERED else [*open_events, event]
            alerts += {Alert.BEGIN: 1, Alert.END: -1, None: 0}[alert]
            assert alerts in {0, 1}
        if not turned.judgement.late:
            assert not open_events
            assert alerts == 0
        assert look(standing, now, hold=what == "hold").news == ()
