"""Diagnosis of what isn't running: every obstacle is named, the first to be removed in front."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from connectors.connector import ConnectorRow
from connectors.freshness import Facts, Freshness
from connectors.judging.diagnosis import Explanation, Obstacle, Unseen, View, explain
from connectors.runs import Held, Pool, Run
from connectors.schedules.cron import parse
from connectors.schedules.wording import words
from connectors.status import Phase, Reason, Status
from tests.support.control_plane.samples import row as sample

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ROW = sample(7, schedule="0 2 * * *", generation=3)
SYNCED = Status(7, Phase.SYNCED, Reason.IN_SYNC, "Runs at 02:00 (UTC).", observed_generation=3)
POOL = Pool("default", "default")
HELD = Held(paused=False, pool=POOL)


def run(state_type: str, state: str | None = None, *, hours_ago: float = 1, message: str | None = None) -> Run:
    """A run that was due, begun and (if its state says so) ended so many hours ago."""
    at = NOW - timedelta(hours=hours_ago)
    waiting = state_type == "SCHEDULED"
    ended = state_type in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    return Run(
        UUID(int=int(hours_ago * 100) % 10_000),
        "run",
        state_type,
        state or state_type.capitalize(),
        message,
        at,
        None if waiting else at,
        at if ended else None,
        None,
        None,
    )


def explained(
    row: ConnectorRow = ROW,
    status: Status | None = SYNCED,
    view: View = HELD,
    *,
    led: bool = True,
    last_words: str | None = None,
    **loads: Any,
) -> Explanation:
    """How a connector stands at noon; `loads` are further facts."""
    facts = Facts(row.id, row.schedule, row.timezone, row.is_active, status.phase if status else None, **loads)
    return explain(row, status, view, facts, led=led, now=NOW, last_words=last_words)


def obstacles(
    row: ConnectorRow = ROW, status: Status | None = SYNCED, view: View = HELD, *, led: bool = True
) -> list[Obstacle]:
    """The obstacles alone."""
    return [why.obstacle for why in explained(row, status, view, led=led).obstacles]


RETRYING = replace(SYNCED, phase=Phase.RETRYING, message="Prefect failed (500).", attempts=2, next_attempt_at=NOW)


@pytest.mark.parametrize(
    ("row", "status", "view", "led", "expected"),
    [
        pytest.param(ROW, SYNCED, HELD, True, [], id="all is well"),
        pytest.param(ROW, SYNCED, HELD, False, [], id="without a controller, what is in sync runs"),
        pytest.param(replace(ROW, is_active=False), SYNCED, HELD, True, ["Inactive"], id="inactive"),
        pytest.param(replace(ROW, schedule="61 * * * *"), SYNCED, HELD, True, ["Invalid"], id="invalid schedule"),
        pytest.param(
            replace(ROW, schedule="", is_active=False), None, Unseen.NOT_ASKED, True, ["Invalid", "Inactive"], id="both"
        ),
        pytest.param(replace(ROW, schedule=None), SYNCED, HELD, True, ["ManualOnly"], id="no schedule"),
        pytest.param(ROW, None, Unseen.NOT_ASKED, True, ["WaitingForController"], id="new"),
        pytest.param(ROW, None, Unseen.NOT_ASKED, False, ["NoController"], id="new, and nobody leads"),
        pytest.param(
            ROW, replace(SYNCED, observed_generation=2), HELD, True, ["WaitingForController"], id="just changed"
        ),
        pytest.param(ROW, RETRYING, Unseen.NOT_ASKED, True, ["SyncFailing"], id="Prefect refuses it"),
        pytest.param(
            ROW,
            replace(RETRYING, reason=Reason.SERVER_UNAVAILABLE),
            Unseen.UNAVAILABLE,
            True,
            ["WaitingForPrefect", "PrefectUnavailable"],
            id="Prefect was down when it was saved",
        ),
        pytest.param(ROW, replace(SYNCED, phase=Phase.CONFLICT), Unseen.NOT_ASKED, True, ["Conflict"], id="not ours"),
        pytest.param(ROW, SYNCED, Unseen.UNAVAILABLE, True, ["PrefectUnavailable"], id="Prefect is down"),
        pytest.param(ROW, SYNCED, Unseen.MISSING, True, ["DeploymentMissing"], id="deleted by hand"),
        pytest.param(ROW, SYNCED, replace(HELD, paused=True), True, ["PausedInPrefect"], id="paused by hand"),
        pytest.param(
            ROW, SYNCED, replace(HELD, pool=replace(POOL, exists=False)), True, ["WorkPoolMissing"], id="no such pool"
        ),
        pytest.param(
            ROW, SYNCED, replace(HELD, pool=replace(POOL, paused=True)), True, ["WorkPoolPaused"], id="pool is paused"
        ),
        pytest.param(
            ROW, SYNCED, replace(HELD, pool=replace(POOL, polled=False)), True, ["NoWorker"], id="nobody works"
        ),
        pytest.param(
            ROW,
            SYNCED,
            replace(HELD, open_runs=(run("SCHEDULED", "Late"),)),
            True,
            ["WaitingForWorker"],
            id="not started",
        ),
        pytest.param(
            ROW,
            SYNCED,
            replace(HELD, open_runs=(run("RUNNING", hours_ago=5), run("SCHEDULED", "AwaitingConcurrencySlot"))),
            True,
            ["SlotHeld"],
            id="slot held",
        ),
        pytest.param(ROW, SYNCED, replace(HELD, ended_runs=(run("FAILED"),)), True, ["Failing"], id="failing"),
        pytest.param(
            ROW, SYNCED, replace(HELD, ended_runs=(run("COMPLETED"), run("FAILED"))), True, [], id="failed before"
        ),
    ],
)
def test_the_obstacles(row: ConnectorRow, status: Status | None, view: View, *, led: bool, expected: list[str]) -> None:
    assert obstacles(row, status, view, led=led) == expected


@pytest.mark.parametrize(
    ("loads", "expected", "freshness"),
    [
        ({"last_success_at": NOW - timedelta(hours=9)}, [], Freshness.ON_TIME),
        ({"last_success_at": NOW - timedelta(hours=40)}, ["Late"], Freshness.LATE),
        ({"promised_at": NOW - timedelta(days=4)}, ["Overdue"], Freshness.OVERDUE),
        ({"last_success_at": NOW - timedelta(hours=9), "failures": 1}, ["Failing"], Freshness.FAILING),
    ],
)
def test_late_overdue_and_failing_are_the_fleets_judgement(
    loads: dict[str, Any], expected: list[str], freshness: Freshness
) -> None:
    shown = explained(view=Unseen.UNAVAILABLE, last_words="The login is wrong.", **loads)
    assert [why.obstacle for why in shown.obstacles] == ["PrefectUnavailable", *expected]
    assert shown.freshness is freshness


def test_the_summary_is_the_first_obstacle_or_how_it_runs() -> None:
    late = replace(HELD, pool=replace(POOL, polled=False), open_runs=(run("SCHEDULED", "Late"),))
    assert explained(view=late).summary.startswith("No worker serves the queue 'default'")
    assert explained().summary == f"Runs {words(parse('0 2 * * *', 'UTC', 7))}."
    going = replace(HELD, open_runs=(run("RUNNING"),))
    assert explained(view=going).summary.startswith("A run is going on since 2026-11-24 11:00")


@pytest.mark.parametrize(
    ("row", "held", "sentence"),
    [
        pytest.param(
            ROW,
            replace(HELD, open_runs=(run("SCHEDULED", "AwaitingConcurrencySlot"),)),
            "A run is held back by an earlier one that ended without a word; this clears by itself at one of the next "
            "checks.",
            id="a slot that nobody holds",
        ),
        pytest.param(
            ROW,
            replace(HELD, pool=replace(POOL, exists=False)),
            "Prefect has no work queue 'default' in a work pool 'default': correct work_pool_name or work_queue_name, "
            "or ask operations to create it.",
            id="no such queue",
        ),
        pytest.param(
            ROW,
            replace(HELD, pool=replace(POOL, paused=True)),
            "The work pool 'default' or its queue 'default' is paused in Prefect: ask operations to resume it.",
            id="paused queue",
        ),
        pytest.param(
            ROW,
            replace(HELD, open_runs=(run("SCHEDULED", "Late"),)),
            "A run that was due at 2026-11-24 11:00 UTC has not started yet: all workers are busy or none is there; if "
            "it lasts, ask operations.",
            id="late",
        ),
        pytest.param(
            replace(ROW, schedule=None),
            HELD,
            "It has no schedule: start it with POST /api/v1/connectors/7/run, or with Run in the Prefect UI.",
            id="manual",
        ),
    ],
)
def test_an_obstacle_says_the_way_out(row: ConnectorRow, held: Held, sentence: str) -> None:
    assert explained(row, view=held).summary == sentence


def test_a_manual_connector_with_a_run_is_told_by_its_run() -> None:
    manual = replace(ROW, schedule=None)
    for held, summary in (
        (run("RUNNING"), "A run is going on since 2026-11-24 11:00 UTC."),
        (run("SCHEDULED", hours_ago=0), "A run is due at 2026-11-24 12:00 UTC."),
    ):
        shown = explained(manual, view=replace(HELD, open_runs=(held,)))
        assert (shown.summary, shown.obstacles) == (summary, ())
    by_hand = replace(HELD, open_runs=(run("SCHEDULED", hours_ago=-2),))
    assert explained(manual, view=by_hand).next_run_at == NOW + timedelta(hours=2), (
        "somebody has scheduled it in Prefect"
    )


def test_failing_since_is_the_first_of_the_newest_failures_and_cancelled_runs_say_nothing() -> None:
    ended = (
        run("FAILED", hours_ago=1, message="The source is away."),
        run("CANCELLED", hours_ago=2),
        run("CRASHED", hours_ago=3),
        run("COMPLETED", hours_ago=4),
        run("FAILED", hours_ago=5),
    )
    shown = explained(view=replace(HELD, ended_runs=ended))
    assert shown.failing_since == NOW - timedelta(hours=3)
    assert shown.summary == "Its runs have failed since 2026-11-24 09:00 UTC. The last one said: The source is away."


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        ("Process exited with status code: 127. Command not found.", "operations must start the worker from"),
        ("Flow run could not start: unhandled errors in a TaskGroup (1 sub-exception)", "CAI_CODE_PATH"),
    ],
)
def test_a_run_that_never_came_to_its_first_line_says_what_the_worker_lacks(said: str, way_out: str) -> None:
    shown = explained(view=replace(HELD, ended_runs=(run("CRASHED", message=said),)))
    assert said in shown.summary
    assert way_out in shown.summary


def test_the_next_run_is_what_prefect_has_scheduled_else_what_the_schedule_says() -> None:
    scheduled = replace(HELD, open_runs=(run("SCHEDULED", "Late"), run("SCHEDULED", hours_ago=-2)))
    assert explained(view=scheduled).next_run_at == NOW + timedelta(hours=2)
    tomorrow = datetime(2026, 11, 25, 2, 0, tzinfo=UTC)
    assert explained(view=Unseen.UNAVAILABLE).next_run_at == tomorrow
    assert explained(replace(ROW, is_active=False)).next_run_at is None


def test_an_auto_paused_connector_says_why_and_not_that_somebody_paused_it() -> None:
    status = Status(7, Phase.PAUSED, Reason.AUTO_PAUSED, "Paused by itself.", observed_generation=3)
    paused = replace(HELD, paused=True)
    assert obstacles(status=status, view=paused) == [Obstacle.AUTO_PAUSED]
    assert Obstacle.AUTO_PAUSED not in obstacles(replace(ROW, generation=4), status=status, view=paused)
