"""Events of a connector's deployment, by what was carried out or by a status that is new. Pure."""

from connectors.status import Phase, Reason, Status
from deployments.planning.plan import Create, Decision, Delete, Pause
from prefect_api.deployment import Patch
from prefect_api.names import DeploymentEvent


def carried_out(decision: Decision, before: Status | None) -> DeploymentEvent | None:
    """The event of a decision that was carried out; None when nothing was done. `before` is the status until then."""
    match decision.action:
        case Create():
            return DeploymentEvent.CREATED
        case Patch() as patch:
            return _patched(patch, before)
        case Pause():
            return DeploymentEvent.PAUSED
        case Delete():
            return DeploymentEvent.DELETED
        case None:
            return None


def _patched(patch: Patch, before: Status | None) -> DeploymentEvent:
    if before is None or before.deployment_id != patch.held.id:
        return DeploymentEvent.ADOPTED
    for change in patch.changes:
        if change.field == "paused":
            return DeploymentEvent.PAUSED if change.new else DeploymentEvent.RESUMED
    return DeploymentEvent.UPDATED


def fallen(before: Status | None, after: Status) -> DeploymentEvent | None:
    """The event of a status that says something went wrong just now: not one that says so still.

    A fault of ours is no user's: nobody is notified of each connector that we stumble over. Nor is it
    an event when the same trouble of the same row is said in other words, as a new release may say it.
    """
    if after.phase is Phase.INVALID:
        if before is not None and _trouble(before) == _trouble(after):
            return None
        return DeploymentEvent.FAILED if after.reason is Reason.INTERNAL_ERROR else DeploymentEvent.REJECTED
    if after.phase is Phase.CONFLICT:
        news = before is None or (before.phase, before.reason) != (after.phase, after.reason)
        return DeploymentEvent.FAILED if news else None
    if after.attempts == 1 and after.reason is not Reason.SERVER_UNAVAILABLE:
        return DeploymentEvent.FAILED
    return None


def _trouble(status: Status) -> tuple[object, ...]:
    return status.phase, status.reason, status.observed_generation
