"""Diagnosis: why isn't it running? One answer from the row, the controller's status row and Prefect.

Pure: everything is read before and passed in. The obstacles are in the order in which they must be removed, so the
first one is what the user hears; Prefect's part is simply absent when Prefect does not answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import takewhile

from connectors.connector import Connector, ConnectorRow, InvalidConnectorError, validate
from connectors.freshness import Facts, Freshness, judge, lateness, said
from connectors.runs import Held, Run
from connectors.schedules.dates import next_runs
from connectors.schedules.wording import words
from connectors.status import Phase, Reason, Status


class Obstacle(StrEnum):
    """The closed set of what keeps a connector from running as its row says."""

    INVALID = "Invalid"
    INACTIVE = "Inactive"
    AUTO_PAUSED = "AutoPaused"
    CONFLICT = "Conflict"
    NO_CONTROLLER = "NoController"
    WAITING_FOR_CONTROLLER = "WaitingForController"
    WAITING_FOR_PREFECT = "WaitingForPrefect"
    SYNC_FAILING = "SyncFailing"
    PREFECT_UNAVAILABLE = "PrefectUnavailable"
    DEPLOYMENT_MISSING = "DeploymentMissing"
    PAUSED_IN_PREFECT = "PausedInPrefect"
    WORK_POOL_MISSING = "WorkPoolMissing"
    WORK_POOL_PAUSED = "WorkPoolPaused"
    NO_WORKER = "NoWorker"
    SLOT_HELD = "SlotHeld"
    WAITING_FOR_WORKER = "WaitingForWorker"
    OVERDUE = "Overdue"
    LATE = "Late"
    FAILING = "Failing"
    MANUAL_ONLY = "ManualOnly"


@dataclass(frozen=True, slots=True)
class Why:
    """One obstacle, and what it means in a sentence."""

    obstacle: Obstacle
    message: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a connector stands. `summary` is one sentence; times are aware."""

    summary: str
    obstacles: tuple[Why, ...]
    next_run_at: datetime | None
    current_run: Run | None
    last_run: Run | None
    failing_since: datetime | None
    freshness: Freshness


class Unseen(StrEnum):
    """Why nothing is known of what Prefect holds for a connector."""

    MISSING = "missing"
    """It holds nothing."""
    UNAVAILABLE = "unavailable"
    """It did not answer."""
    NOT_ASKED = "not asked"


View = Held | Unseen
"""What Prefect holds, or why there is nothing to see."""

_BAD = frozenset({"FAILED", "CRASHED"})
_RUNNING = frozenset({"RUNNING", "PENDING", "CANCELLING"})


def explain(
    row: ConnectorRow,
    status: Status | None,
    view: View,
    facts: Facts,
    *,
    led: bool,
    now: datetime,
    last_words: str | None = None,
) -> Explanation:
    """Say how a connector stands, and all that keeps it from running.

    Args:
        row: the connector.
        status: the controller's row on it, if there is one yet.
        view: what Prefect holds.
        facts: what its freshness is judged by.
        led: whether a controller holds the lease.
        now: the time, aware.
        last_words: the sentence with which its last load ended, if one has.
    """
    judged = judge(facts, now)
    held = view if isinstance(view, Held) else None
    open_runs = held.open_runs if held is not None else ()
    current = next((run for run in open_runs if run.state_type in _RUNNING), None)
    last = held.ended_runs[0] if held is not None and held.ended_runs else None
    failing = _failing_since(held)
    obstacles: list[Why] = []
    fine: list[str] = []
    due = None
    if current is not None:
        fine.append(f"A run is going on{_since(current.started_at)}.")
    elif row.schedule is None and open_runs:
        fine.append(f"A run is due at {said(open_runs[0].expected_start_at)}.")
    try:
        connector = validate(row)
    except InvalidConnectorError as error:
        obstacles.append(Why(Obstacle.INVALID, str(error)))
    else:
        if row.is_active and _auto_paused(row, status):
            obstacles.append(Why(Obstacle.AUTO_PAUSED, (status.message if status else None) or ""))
        elif row.is_active:
            obstacles += [*_of_sync(row, status, led=led), *_of_prefect(view, failing)]
            if failing is None and judged.freshness is Freshness.FAILING:  # which Prefect cannot tell just now
                obstacles.append(Why(Obstacle.FAILING, f"Its last load failed: {last_words or 'it said nothing.'}"))
            if judged.late:
                late = Obstacle.OVERDUE if judged.overdue else Obstacle.LATE
                obstacles.append(Why(late, lateness(judged, facts)))
            due = _next_run(connector, held, now)
        if connector.schedule is not None:
            fine.append(f"Runs {words(connector.schedule)}.")
        elif row.is_active and not open_runs:
            by_hand = f"start it with POST /api/v1/connectors/{row.id}/run, or with Run in the Prefect UI."
            obstacles.append(Why(Obstacle.MANUAL_ONLY, f"It has no schedule: {by_hand}"))
    if not row.is_active:
        inactive = "It is deactivated: activate it, and it runs again as scheduled."
        obstacles.append(Why(Obstacle.INACTIVE, inactive))
    summary = obstacles[0].message if obstacles else " ".join(fine)
    return Explanation(summary, tuple(obstacles), due, current, last, failing, judged.freshness)


def _auto_paused(row: ConnectorRow, status: Status | None) -> bool:
    """Whether the controller has paused it, and the row has not changed since."""
    return status is not None and status.reason is Reason.AUTO_PAUSED and status.observed_generation == row.generation


def _of_sync(row: ConnectorRow, status: Status | None, *, led: bool) -> Iterator[Why]:
    """What keeps the row from reaching Prefect, by what the controller has recorded."""
    if status is not None and status.observed_generation == row.generation:
        message = status.message or ""
        if status.phase is Phase.CONFLICT:
            yield Why(Obstacle.CONFLICT, message)
        if status.phase is not Phase.RETRYING:
            return
        again = f" The next try is at {said(status.next_attempt_at)}." if status.next_attempt_at else ""
        if status.reason is Reason.SERVER_UNAVAILABLE:
            yield Why(Obstacle.WAITING_FOR_PREFECT, message)
        elif status.reason in {Reason.ROW_LOCKED, Reason.DATABASE_REFUSED, Reason.WORK_POOL_UNFIT}:
            yield Why(Obstacle.SYNC_FAILING, f"{message}{again}")
        else:
            yield Why(Obstacle.SYNC_FAILING, f"Prefect could not be brought in line: {message}{again}")
        return
    if led:
        yield Why(Obstacle.WAITING_FOR_CONTROLLER, "The last change is on its way to Prefect.")
    else:
        yield Why(
            Obstacle.NO_CONTROLLER,
            "No controller is running, so the last change does not reach Prefect: operations must start it.",
        )


def _of_prefect(view: View, failing: datetime | None) -> Iterator[Why]:
    """What Prefect itself says."""
    if view is Unseen.UNAVAILABLE:
        yield Why(Obstacle.PREFECT_UNAVAILABLE, "Prefect does not answer: nothing is started until it does.")
    if view is Unseen.MISSING:
        yield Why(
            Obstacle.DEPLOYMENT_MISSING,
            "Prefect no longer holds its deployment. The controller's next audit makes it again; a retry does so now.",
        )
    if not isinstance(view, Held):
        return
    if view.paused:
        yield Why(
            Obstacle.PAUSED_IN_PREFECT,
            "Somebody paused it in Prefect. The controller's next audit resumes it; a retry does so now.",
        )
    yield from _of_pool(view)
    yield from _of_waiting(view)
    if failing is not None:
        newest = view.ended_runs[0]
        why = f" The last one said: {newest.message}" if newest.message else ""
        why += next((f" {meaning}" for words, meaning in _NEVER_STARTED.items() if words in (newest.message or "")), "")
        yield Why(Obstacle.FAILING, f"Its runs have failed since {said(failing)}.{why}")


_NEVER_STARTED = {
    "status code: 127": "The worker found no Python to run it with: operations must start the worker from the "
    "environment that has this program.",
    "Flow run could not start": "The worker could not start a process for it: operations must see that the directory "
    "CAI_CODE_PATH is there on the worker; the worker's own log names what it lacks.",
}
"""What Prefect says of a run that never came to its first line, and what that means."""


def _of_pool(held: Held) -> Iterator[Why]:
    pool = held.pool
    if not pool.name:
        yield Why(
            Obstacle.WORK_POOL_MISSING,
            "The work pool of its deployment, or its queue there, was deleted in Prefect, so no run can start: ask "
            "operations to create it again, or name another one. The controller's next audit, or a retry, then puts "
            "the deployment there.",
        )
    elif not pool.exists:
        yield Why(
            Obstacle.WORK_POOL_MISSING,
            f"Prefect has no work queue '{pool.queue}' in a work pool '{pool.name}': correct work_pool_name or "
            "work_queue_name, or ask operations to create it.",
        )
    elif pool.paused:
        yield Why(
            Obstacle.WORK_POOL_PAUSED,
            f"The work pool '{pool.name}' or its queue '{pool.queue}' is paused in Prefect: "
            "ask operations to resume it.",
        )
    elif not pool.polled:
        yield Why(
            Obstacle.NO_WORKER,
            f"No worker serves the queue '{pool.queue}' in the work pool '{pool.name}': operations must start one.",
        )


def _of_waiting(held: Held) -> Iterator[Why]:
    waiting = next((run for run in held.open_runs if run.state == "AwaitingConcurrencySlot"), None)
    if waiting is not None:
        holder = next((run for run in held.open_runs if run.state_type in _RUNNING), None)
        if holder is not None:
            why = f"A run waits for the one that is going on{_since(holder.started_at)}: only one runs at a time."
        else:
            why = (
                "A run is held back by an earlier one that ended without a word; this clears by itself at one of the "
                "next checks."
            )
        yield Why(Obstacle.SLOT_HELD, why)
    late = next((run for run in held.open_runs if run.state == "Late"), None)
    if late is not None and late.expected_start_at is not None:
        yield Why(
            Obstacle.WAITING_FOR_WORKER,
            f"A run that was due at {said(late.expected_start_at)} has not started yet: all workers are busy or none "
            "is there; if it lasts, ask operations.",
        )


def _failing_since(held: Held | None) -> datetime | None:
    """When the first of the newest unbroken row of failures ended; cancelled runs say nothing."""
    ended = [run for run in held.ended_runs if run.state_type != "CANCELLED"] if held is not None else []
    failures = list(takewhile(lambda run: run.state_type in _BAD, ended))
    return failures[-1].ended_at or failures[-1].started_at if failures else None


def _next_run(connector: Connector, held: Held | None, now: datetime) -> datetime | None:
    """When it runs next: what Prefect has scheduled, else what the schedule says."""
    for run in held.open_runs if held is not None else ():
        if run.state_type == "SCHEDULED" and run.expected_start_at is not None and run.expected_start_at >= now:
            return run.expected_start_at
    return next_runs(connector.schedule, now, 1)[0] if connector.schedule is not None else None


def _since(at: datetime | None) -> str:
    return f" since {said(at)}" if at is not None else ""
