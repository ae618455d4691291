"""Late runs: those that still run, and those that don't."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from connectors.connector import MissedRuns
from connectors.schedules.cron import Schedule
from pipelines.missed_run import Due, reason_to_skip

HOURLY = Schedule("0 * * * *", "UTC")
TEN = Due(UUID(int=1), UUID(int=2), datetime(2026, 3, 1, 10, tzinfo=UTC))


def at(hour: int, minute: int) -> datetime:
    return datetime(2026, 3, 1, hour, minute, tzinfo=UTC)


def never_asked(due: Due) -> bool:
    raise AssertionError(due)


@pytest.mark.parametrize("policy", MissedRuns)
def test_a_run_within_its_interval_runs_without_a_question(policy: MissedRuns) -> None:
    assert reason_to_skip(policy, HOURLY, TEN, at(10, 59), never_asked) is None


def test_skip_ends_what_is_older_than_one_interval() -> None:
    reason = reason_to_skip(MissedRuns.SKIP, HOURLY, TEN, at(11, 0), never_asked)
    assert reason is not None
    assert "'skip'" in reason


@pytest.mark.parametrize(("newer", "runs"), [(True, False), (False, True)])
def test_latest_gives_way_only_to_a_newer_run(newer: bool, runs: bool) -> None:
    reason = reason_to_skip(MissedRuns.LATEST, HOURLY, TEN, at(13, 5), lambda _: newer)
    assert (reason is None) is runs


def test_all_runs_however_late() -> None:
    assert reason_to_skip(MissedRuns.ALL, HOURLY, TEN, at(23, 5), never_asked) is None


def test_a_connector_that_lost_its_schedule_still_runs_what_was_due() -> None:
    assert reason_to_skip(MissedRuns.SKIP, None, TEN, at(23, 5), never_asked) is None
