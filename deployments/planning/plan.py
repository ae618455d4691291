"""Plan: desired against observed, and which action each connector needs. The heart of the controller, and pure.

`plan` takes frozen data and the time, and returns frozen data; it reads no clock and talks to nobody. The table it
implements is `CELLS` of tests/unit/deployments/planning/test_plan.py, one `_decide_*` function for each kind of row. It
is level-triggered: nothing here knows what happened, only what is and what must be, so a lost message, a crash and a
hand edit all heal the same way.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from connectors.connector import ConnectorRow, InvalidConnectorError, MissedRuns, validate
from connectors.limits.ids import is_id, refusal
from connectors.loads import Load, auto_pause
from connectors.schedules.cron import Schedule
from connectors.schedules.dates import next_runs
from connectors.status import REASONS, Phase, Reason, Status
from deployments.planning.ownership import Ownership, conflict, ownership
from deployments.planning.spec import Platform, desired_spec
from prefect_api.deployment import ActionKind, Observed, Patch, Spec, drift, obsolete_schedules

ROLL_OUT_MARGIN = timedelta(seconds=15)
"""Prefect's scheduler refills a patched deployment within 5 s (measured); three times that is safe."""

MIN_WITHHELD_PRUNES = 6
"""Fewer deletes than this go through, whatever part of the deployments they are."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """Why a row asks for nothing that can be had: the user must act."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Desired:
    """What one row asks for: a spec, or the reason why it cannot be had."""

    connector_id: int
    generation: int
    is_active: bool
    recorded_id: UUID | None
    """The id in the row itself, which a back end may have written."""
    wants: Spec | Invalid
    runs_by: Schedule | None = None
    """The schedule that starts it by itself; None when nothing does."""
    catch_up: Schedule | None = None
    """The schedule of an active connector that wants every missed run."""
    auto_paused: str | None = None
    """Why an active connector is paused by itself; None when it is not."""
    content: str | None = None
    """A hash of the row, by which a change that moved no generation is found."""

    @property
    def runs(self) -> bool:
        """Whether its deployment is to run as scheduled."""
        return self.is_active and self.auto_paused is None


@dataclass(frozen=True, slots=True)
class Observation:
    """What Prefect holds for the connectors in question, by connector id."""

    deployments: Mapping[int, Observed]
    complete: bool = True
    """False when a page may be missing: absence then means nothing."""
    ours: Mapping[int, UUID] = field(default_factory=dict)
    """Deployments of which nothing was read but that they stand and carry our tag."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits within which a plan may act."""

    tag: str
    max_prune_fraction: float = 0.25
    allow_mass_prune: bool = False
    max_roll_out: int | None = None
    """Most deployments patched in one cycle for a new release alone; None for no limit."""

    def __post_init__(self) -> None:
        if self.max_roll_out is not None and self.max_roll_out < 0:
            raise ValueError("max_roll_out must be at least 0: a negative number would let all but so many through.")


@dataclass(frozen=True, slots=True)
class Create:
    """Make the deployment; nothing of its name exists."""

    kind: ClassVar = ActionKind.CREATE
    spec: Spec


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause, and change nothing else: the row is not valid."""

    kind: ClassVar = ActionKind.PAUSE
    held: Observed


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the deployment and its future runs."""

    kind: ClassVar = ActionKind.DELETE
    deployment_id: UUID


Action = Create | Patch | Pause | Delete


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one connector: an action or none, and the status that stands once it is done."""

    connector_id: int
    action: Action | None
    status: Status | None
    """None: nothing is left to remember."""
    roll_out: bool = False
    """The row did not change; the release did."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions of one cycle, in the order in which they are carried out."""

    decisions: tuple[Decision, ...]
    withheld: tuple[int, ...] = ()
    """Connectors whose deployment a guard keeps from being deleted."""
    deferred: tuple[int, ...] = ()
    """Connectors whose patch waits for a later cycle of the roll-out."""


def desire(row: ConnectorRow, platform: Platform, load: Load | None = None) -> Desired:
    """What a row asks for: its spec, or the refusal that makes it invalid. `load` is how its loads go."""
    if not is_id(row.id):
        return _invalid(row, Reason.INVALID_ID, refusal(row.id))
    try:
        connector = validate(row)
    except InvalidConnectorError as error:
        return _invalid(row, REASONS[error.refusals[0].pointer.split("/")[1]], str(error))
    auto_paused = auto_pause(load, row.generation, connector.run_policy.auto_pause_after) if row.is_active else None
    runs = connector.is_active and auto_paused is None
    runs_by = connector.schedule if runs else None
    spec = desired_spec(connector, platform, paused=not runs)
    catch_up = runs_by if connector.run_policy.missed_runs is MissedRuns.ALL else None
    return Desired(
        row.id, row.generation, row.is_active, row.prefect_deployment_id,
        spec, runs_by, catch_up, auto_paused, row.content,
    )  # fmt: skip


def _invalid(row: ConnectorRow, reason: Reason, message: str) -> Desired:
    return Desired(
        row.id, row.generation, row.is_active, row.prefect_deployment_id, Invalid(reason, message), content=row.content
    )


def plan(
    desired: Mapping[int, Desired],
    known: Mapping[int, Status],
    observation: Observation,
    policy: Policy,
    *,
    scope: Iterable[int],
    fleet_size: int,
    now: datetime,
) -> Plan:
    """The decisions for the connectors in `scope`.

    Args:
        desired: what the rows of the scope ask for; a connector of the scope that is not in it has no row.
        known: the status rows, of at least the scope.
        observation: what Prefect holds of the scope.
        policy: the limits.
        scope: the connectors in question.
        fleet_size: how many deployments are ours altogether: what the share of deletes is measured by.
        now: the time, aware.
    """
    decisions = []
    for connector_id in sorted(scope):
        wanted = desired.get(connector_id)
        held = observation.deployments.get(connector_id)
        status = known.get(connector_id)
        if wanted is None:
            decisions.append(_decide_gone(connector_id, held, status, observation, policy.tag))
        elif isinstance(wanted.wants, Invalid):
            decisions.append(_decide_invalid(wanted, wanted.wants, held, status, policy.tag))
        else:
            decisions.append(_decide_valid(wanted, wanted.wants, held, status, policy.tag))
    guarded, withheld = _guard_prunes(decisions, policy, fleet_size)
    kept, deferred = _limit_roll_out(guarded, desired, policy, now)
    return Plan(tuple(kept), withheld, deferred)


def _decide_valid(wanted: Desired, spec: Spec, held: Observed | None, known: Status | None, tag: str) -> Decision:
    status = _settled(wanted, spec, None if held is None else held.id)
    if held is None:
        return Decision(wanted.connector_id, Create(spec) if wanted.runs else None, status)
    whose = ownership(held, wanted.connector_id, _recorded(wanted, known), tag)
    if whose in {Ownership.FOREIGN, Ownership.UNKNOWN}:
        return Decision(wanted.connector_id, None, conflict(wanted.connector_id, wanted.generation, held, whose, tag))
    changes = drift(spec, held)
    if not changes:
        return Decision(wanted.connector_id, None, status)
    remove = obsolete_schedules(spec, held) if any(change.field == "schedules" for change in changes) else ()
    roll_out = (
        known is not None
        and known.phase in {Phase.SYNCED, Phase.PAUSED}
        and known.observed_generation == wanted.generation
        and known.spec_version == held.fields.version != spec.fields.version
    )
    return Decision(wanted.connector_id, Patch(held, spec, changes, remove), status, roll_out)


def _decide_invalid(wanted: Desired, why: Invalid, held: Observed | None, known: Status | None, tag: str) -> Decision:
    whose = None if held is None else ownership(held, wanted.connector_id, _recorded(wanted, known), tag)
    ours = held if whose in {Ownership.OURS, Ownership.ADOPTABLE} else None
    kept_id = known.deployment_id if known is not None else wanted.recorded_id
    invalid = Status(
        wanted.connector_id,
        Phase.INVALID,
        why.reason,
        why.message,
        deployment_id=ours.id if ours is not None else kept_id,
        spec_version=known.spec_version if known is not None else None,
        observed_generation=wanted.generation,
        last_synced_at=known.last_synced_at if known is not None else None,
    )
    if why.reason is Reason.INVALID_ID:
        # No run of it could be told from another's, so there is no last good deployment.
        delete = None if ours is None else Delete(ours.id)
        return Decision(wanted.connector_id, delete, replace(invalid, deployment_id=None))
    if wanted.is_active:
        # The last good deployment stays as it is: a typing error must not stop a pipeline that works.
        return Decision(wanted.connector_id, None, invalid)
    if ours is None:
        text = f"Deactivated. Before it can run again: {why.message}"
        paused = Status(wanted.connector_id, Phase.PAUSED, Reason.INACTIVE, text, observed_generation=wanted.generation)
        return Decision(wanted.connector_id, None, paused)
    return Decision(wanted.connector_id, None if ours.fields.paused else Pause(ours), invalid)


def _decide_gone(
    connector_id: int, held: Observed | None, known: Status | None, observation: Observation, tag: str
) -> Decision:
    recorded = known.deployment_id if known is not None else None
    complete, ours = observation.complete, observation.ours.get(connector_id)
    # One that is only adoptable may be somebody's: it carries no tag of ours, and nothing recorded its id.
    if held is not None and ownership(held, connector_id, (recorded,), tag) is Ownership.OURS:
        ours = held.id
    if ours is not None:
        status = Status(
            connector_id,
            Phase.DELETING,
            Reason.ROW_GONE,
            "The connector was deleted; its deployment is being removed.",
            deployment_id=ours,
            attempts=known.attempts if known is not None and known.phase is Phase.DELETING else 0,
        )
        return Decision(connector_id, Delete(ours) if complete else None, status)
    if held is None and not complete and known is not None:
        return Decision(connector_id, None, replace(known, phase=Phase.DELETING, reason=Reason.ROW_GONE))
    return Decision(connector_id, None, None)


def _recorded(wanted: Desired, known: Status | None) -> tuple[UUID | None, ...]:
    return (wanted.recorded_id, known.deployment_id if known is not None else None)


def _settled(wanted: Desired, spec: Spec, deployment_id: UUID | None) -> Status:
    """The status that stands once Prefect equals the row."""
    if not wanted.is_active:
        phase, reason, message = Phase.PAUSED, Reason.INACTIVE, "Deactivated: nothing is scheduled."
    elif wanted.auto_paused is not None:
        phase, reason, message = Phase.PAUSED, Reason.AUTO_PAUSED, wanted.auto_paused
    else:
        phase, reason, message = Phase.SYNCED, Reason.IN_SYNC, f"Runs {spec.when}."
    return Status(
        wanted.connector_id,
        phase,
        reason,
        message,
        deployment_id=deployment_id,
        spec_version=spec.fields.version if deployment_id is not None or wanted.runs else None,
        observed_generation=wanted.generation,
    )


def is_in_line(wanted: Desired | None, known: Status | None, deployments: Set[UUID]) -> bool:
    """Whether a connector asks for nothing as long as its deployment stands as its status says. `deployments`: all."""
    if wanted is None or known is None or isinstance(wanted.wants, Invalid):
        return False
    held = known.deployment_id
    if wanted.recorded_id != held or (wanted.runs if held is None else held not in deployments):
        return False
    return _settled(wanted, wanted.wants, held) == replace(known, last_synced_at=None)


def _guard_prunes(decisions: list[Decision], policy: Policy, fleet_size: int) -> tuple[list[Decision], tuple[int, ...]]:
    """Withhold the deletes of a cycle that would delete too much at once; all else goes on."""
    prunes = [decision.connector_id for decision in decisions if isinstance(decision.action, Delete)]
    too_many = len(prunes) >= MIN_WITHHELD_PRUNES and len(prunes) > policy.max_prune_fraction * fleet_size
    if policy.allow_mass_prune or not too_many:
        return decisions, ()
    withheld = set(prunes)
    message = (
        f"Deleting {len(prunes)} of {fleet_size} deployments at once was withheld. If that is meant, run the "
        "controller with allow_mass_prune; if not, restore the rows."
    )
    return [
        replace(decision, action=None, status=replace(decision.status, reason=Reason.PRUNE_WITHHELD, message=message))
        if decision.connector_id in withheld and decision.status is not None
        else decision
        for decision in decisions
    ], tuple(prunes)


def _limit_roll_out(
    decisions: list[Decision], desired: Mapping[int, Desired], policy: Policy, now: datetime
) -> tuple[list[Decision], tuple[int, ...]]:
    """Hold back patches that only a new release asks for: each removes and refills its deployment's future runs.

    The next run that comes first is served first, and manual ones come last; but a run that is due within
    `ROLL_OUT_MARGIN` is let go first: patched now, it might not be refilled in time.
    """
    if policy.max_roll_out is None:
        return decisions, ()

    waiting = [decision for decision in decisions if decision.roll_out]
    # Only here: a date costs as much as all the rest that is made of a row, and an audit makes something of each.
    # What was due a moment ago may not have been taken by a worker yet, so it counts as due.
    since = now - ROLL_OUT_MARGIN
    due = {d.connector_id: _next_run(desired[d.connector_id].runs_by, since) for d in waiting}

    def urgency(decision: Decision) -> tuple[float, int]:
        at = due[decision.connector_id]
        return (float("inf") if at is None else at.timestamp(), decision.connector_id)

    ready = [d for d in waiting if (at := due[d.connector_id]) is None or at - now > ROLL_OUT_MARGIN]
    chosen = {decision.connector_id for decision in sorted(ready, key=urgency)[: policy.max_roll_out]}
    deferred = {decision.connector_id for decision in waiting} - chosen
    return [d for d in decisions if d.connector_id not in deferred], tuple(sorted(deferred))


def _next_run(schedule: Schedule | None, since: datetime) -> datetime | None:
    return None if schedule is None else next_runs(schedule, since, 1)[0]
