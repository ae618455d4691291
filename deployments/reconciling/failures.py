"""Failures of a cycle: the status of each, with why and when it is tried again, and what operations hear. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from connectors.status import Phase, Reason, Status, Unrecorded
from deployments.planning.plan import Decision, Delete, Desired, Pause
from prefect_api.deployment import Patch
from prefect_api.errors import reason_of

ALERT_AFTER_TRIES = 5
"""A connector that failed this often in a row is operations' business."""

STUCK_PHASES = frozenset({Phase.RETRYING, Phase.DELETING, Phase.CONFLICT, Phase.INVALID})
STUCK_REASONS = (
    Reason.WORK_POOL_MISSING,
    Reason.WORK_POOL_UNFIT,
    Reason.REQUEST_REFUSED,
    Reason.SERVER_ERROR,
    Reason.INTERNAL_ERROR,
    Reason.ROW_LOCKED,
    Reason.DATABASE_REFUSED,
    Reason.FOREIGN_DEPLOYMENT,
    Reason.UNKNOWN_DEPLOYMENT,
)
"""Why a connector cannot be synced that its user cannot mend."""

LONGEST_UNRECORDED_SECONDS = 30.0
"""Between two tries to write down what could not be written: it costs Prefect one read."""

MANY = 10
"""From so many connectors on that one reason stops, there is one more alert: it is no single connector's trouble."""

EXAMPLES = 3


def lasts(status: Status) -> bool:
    """Whether operations are to hear of a connector that is stuck: no try has mended it, or can."""
    return status.attempts >= ALERT_AFTER_TRIES or status.phase in {Phase.CONFLICT, Phase.INVALID}


def alert_sentence(reason: Reason, stuck: Sequence[Status]) -> str:
    """What operations hear of the connectors that are stuck for one reason, at least one."""
    worst = max(stuck, key=lambda status: (status.attempts, -status.connector_id))
    if len(stuck) == 1:
        return f"Connector {worst.connector_id} cannot be synced: {worst.message}"
    some = ", ".join(str(i) for i in sorted(status.connector_id for status in stuck)[:EXAMPLES])
    return (
        f"{len(stuck)} connectors cannot be synced: {reason}, for example {some}. "
        f"Connector {worst.connector_id}: {worst.message}"
    )


def attempts_after(decision: Decision, known: Status | None) -> int:
    """How often in a row it has failed, this time included; a changed row starts over."""
    if known is None or decision.status is None:
        return 1
    same_row = known.observed_generation == decision.status.observed_generation
    return known.attempts + 1 if same_row else 1


def failed(
    decision: Decision, error: Exception, known: Status | None, *, attempts: int, wait_seconds: float, now: datetime
) -> Status:
    """The status of a connector whose action failed.

    Args:
        decision: what was to be done.
        error: what prevented it.
        known: the status until now.
        attempts: how often it has failed in a row.
        wait_seconds: until the next try.
        now: the time, aware.
    """
    return Status(
        decision.connector_id,
        Phase.DELETING if isinstance(decision.action, Delete) else Phase.RETRYING,
        reason_of(error),
        f"{error} Tried {attempts} times." if attempts > 1 else str(error),
        deployment_id=deployment_of(decision, known),
        spec_version=known.spec_version if known is not None else None,
        observed_generation=decision.status.observed_generation if decision.status is not None else None,
        attempts=attempts,
        next_attempt_at=now + timedelta(seconds=wait_seconds),
        last_synced_at=known.last_synced_at if known is not None else None,
    )


def waiting(
    connector_id: int, wanted: Desired | None, known: Status | None, next_probe_at: datetime | None
) -> Status | None:
    """The status of work that waits for Prefect; None when there is neither a row nor anything to delete."""
    if wanted is None and known is None:
        return None
    base = known or Status(connector_id, Phase.PENDING)
    return replace(
        base,
        phase=Phase.RETRYING if wanted is not None else Phase.DELETING,
        reason=Reason.SERVER_UNAVAILABLE,
        message="Prefect is unavailable. This waits, and goes on by itself as soon as Prefect answers.",
        deployment_id=base.deployment_id or (wanted.recorded_id if wanted is not None else None),
        observed_generation=wanted.generation if wanted is not None else base.observed_generation,
        next_attempt_at=next_probe_at,
    )


def unrecorded(
    lost: Unrecorded, meant: Status | None, known: Status | None, *, attempts: int, wait_seconds: float, now: datetime
) -> Status:
    """The status of a connector whose own status could not be written down.

    Args:
        lost: what kept it from being written.
        meant: what was to be written; None: that nothing is left to remember.
        known: the status until now.
        attempts: how often in a row it could not be written.
        wait_seconds: until the next try.
        now: the time, aware.
    """
    base = meant or known or Status(lost.connector_id, Phase.DELETING)
    if meant is not None and meant.next_attempt_at is not None:
        return meant  # it failed besides: that is what is to be mended first
    deleting = meant is None or meant.phase is Phase.DELETING
    return replace(
        base,
        phase=Phase.DELETING if deleting else Phase.RETRYING,
        reason=lost.reason,
        message=lost.message,
        attempts=attempts,
        next_attempt_at=now + timedelta(seconds=min(wait_seconds, LONGEST_UNRECORDED_SECONDS)),
    )


def deployment_of(decision: Decision, known: Status | None) -> UUID | None:
    """The deployment that a decision is about, as far as it exists."""
    match decision.action:
        case Patch(held=held) | Pause(held=held):
            return held.id
        case Delete(deployment_id=deployment_id):
            return deployment_id
    return known.deployment_id if known is not None else None
