"""Runs that were due while nothing could run them: whether a late one is still wanted, decided as it starts.

Decided by the run itself, so no worker is raced: whoever starts first looks at what else is due. Only runs that
Prefect's scheduler made are judged; one that a person or the controller asked for always runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from connectors.connector import MissedRuns
from connectors.schedules.cron import Schedule
from connectors.schedules.dates import previous_run


@dataclass(frozen=True, slots=True)
class Due:
    """The automatic run that is starting: whose it is, and when it should have started (aware)."""

    run_id: UUID
    deployment_id: UUID
    at: datetime


def reason_to_skip(
    policy: MissedRuns, schedule: Schedule | None, due: Due, now: datetime, newer_exists: Callable[[Due], bool]
) -> str | None:
    """Why this run is not wanted any more; None when it is.

    Args:
        policy: the connector's `run_policy.missed_runs`.
        schedule: the connector's schedule as it stands.
        due: the run.
        now: the time, aware.
        newer_exists: asks whether Prefect holds a newer run of the deployment that is due, runs or has run; asked only
            when that can be.
    """
    if schedule is None or policy is MissedRuns.ALL or previous_run(schedule, now) <= due.at:
        return None
    when = due.at.isoformat(timespec="minutes")
    if policy is MissedRuns.SKIP:
        return f"The run of {when} was missed by more than one interval, and run_policy.missed_runs is 'skip'."
    if newer_exists(due):
        return f"The run of {when} was missed and a newer one is due: run_policy.missed_runs is 'latest'."
    return None
