"""Rounds of one cycle: observe, plan, apply and record, until nothing is left that Prefect was merely too busy for.

What is recorded follows what was carried out (`deployments.reconciling.status_recorder`), never the other way round.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Set
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from connectors.status import Status
from deployments.monitoring.metrics import Metrics
from deployments.planning.plan import Delete, Desired, Observation, Plan, Policy, plan
from deployments.reconciling.apply import ActionOutcome
from deployments.reconciling.failures import deployment_of
from deployments.reconciling.observing import Observer, Sight
from deployments.reconciling.pool_check import PoolCheck
from deployments.reconciling.stale_runs import Sweeper
from deployments.reconciling.status_recorder import StatusRecorder
from prefect_api.errors import ConnectionLostError, OverloadedError, ServerUnavailableError

logger = logging.getLogger(__name__)

RECORD_BATCH = 50
"""Outcomes written in one transaction."""

ROLL_OUT_BURST = 50
"""Most patches of a roll-out in one cycle."""

ROLL_OUT_PER_SECOND = 5.0
"""Patches a second for a new release alone: a quarter of what a server takes (measured: 20 to 23)."""

BUSY_ROUNDS = 6
"""Rounds in which an overloaded server carried out nothing at all, before it counts as down."""


@dataclass(frozen=True, slots=True)
class Audit:
    """A cycle that judges every connector."""

    whole: bool = False
    """List everything in Prefect, however large the fleet is and however lately that was done."""
    pressing: frozenset[int] = frozenset()
    """The connectors that are looked at in any case."""


@dataclass
class Report:
    """What one cycle did."""

    lines: list[str] = field(default_factory=list)
    """One line an action, for people."""
    settled: set[int] = field(default_factory=set)
    """The connectors that were dealt with, whether it succeeded or failed."""
    applied: int = 0
    """How many actions were carried out."""
    withheld: tuple[int, ...] = ()
    deferred: tuple[int, ...] = ()
    server_down: str | None = None
    audited: bool = False
    caught_up: int = 0
    """Runs that were made because Prefect never scheduled them."""
    swept: int = 0
    """Scheduled runs that were removed because nothing asks for them any more."""


class Planner:
    """Plans within limits, of which the pace of a roll-out is remembered from one cycle to the next."""

    def __init__(
        self, tag: str, max_prune_fraction: float, clock: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        """`tag` says which deployments are ours, `max_prune_fraction` what share of them one cycle may delete."""
        self._tag = tag
        self._max_prune_fraction = max_prune_fraction
        self._clock = clock
        self._monotonic = monotonic
        self._last_roll_out = float("-inf")

    def plan(
        self,
        desired: Mapping[int, Desired],
        known: Mapping[int, Status],
        observation: Observation,
        scope: Set[int],
        *,
        allow_mass_prune: bool = False,
        max_roll_out: int | None = None,
    ) -> Plan:
        """The plan of one round."""
        policy = Policy(self._tag, self._max_prune_fraction, allow_mass_prune, max_roll_out)
        ours = {i for i, status in known.items() if status.deployment_id is not None}
        ours |= {i for i, held in observation.deployments.items() if self._tag in held.fields.tags}
        return plan(desired, known, observation, policy, scope=scope, fleet_size=len(ours), now=self._clock())

    def roll_out_allowance(self) -> int:
        """How many patches of a roll-out may go out now: so many a second since the last ones, in small bursts."""
        now = self._monotonic()
        allowance = int(min(ROLL_OUT_BURST, (now - self._last_roll_out) * ROLL_OUT_PER_SECOND))
        if allowance > 0:
            self._last_roll_out = now
        return allowance


class Rounds:
    """Carries out what a cycle's connectors need of Prefect."""

    def __init__(
        self,
        *,
        observer: Observer,
        pools: PoolCheck,
        carry_out: Callable[[Plan], AsyncGenerator[ActionOutcome, None]],
        planner: Planner,
        recorder: StatusRecorder,
        sweeper: Sweeper,
        metrics: Metrics,
        progress: Callable[[], None],
    ) -> None:
        """`carry_out` makes a plan's calls; `progress` is called as a long cycle moves on."""
        self._observer = observer
        self._pools = pools
        self._carry_out = carry_out
        self._planner = planner
        self._recorder = recorder
        self._sweeper = sweeper
        self._metrics = metrics
        self._progress = progress
        self._deferred: frozenset[int] = frozenset()

    @property
    def deferred(self) -> frozenset[int]:
        """The connectors whose patch waits for a later cycle of a roll-out."""
        return self._deferred

    def start(self) -> None:
        """Defer nothing: a new term's first audit finds what is left of a roll-out."""
        self._observer.start()
        self._deferred = frozenset()

    def defer(self, connector_ids: Set[int]) -> None:
        """These wait still: Prefect went away before their turn came."""
        self._deferred |= connector_ids

    async def run(
        self,
        desired: Mapping[int, Desired],
        scope: Set[int],
        report: Report,
        *,
        audit: Audit | None,
        allow_mass_prune: bool,
    ) -> None:
        """Observe, plan and apply until nothing is left that Prefect was merely too busy for, or cut off from."""
        idle_rounds = 0
        while scope or audit:
            settled = len(report.settled)
            sight = await self.observe(desired, scope, audit)
            busy = await self._round(desired, sight, report, audit=audit is not None, allow_mass_prune=allow_mass_prune)
            idle_rounds = 0 if len(report.settled) > settled else idle_rounds + 1
            if busy and idle_rounds >= BUSY_ROUNDS:
                if not report.applied and len(busy) > 1:
                    raise ServerUnavailableError("Prefect is too busy to carry out anything, or its connections break.")
                # Others went through, so it is these that Prefect chokes on.
                await self._conclude(list(busy.values()), desired, report)
                busy = {}
            scope, audit = set(busy), None

    async def _round(
        self, desired: Mapping[int, Desired], sight: Sight, report: Report, *, audit: bool, allow_mass_prune: bool
    ) -> dict[int, ActionOutcome]:
        """One round; returns what got no answer from a busy Prefect, by connector."""
        planned = self._planner.plan(
            desired,
            self._recorder.known,
            sight.observation,
            sight.scope,
            allow_mass_prune=allow_mass_prune,
            max_roll_out=self._planner.roll_out_allowance(),
        )
        planned, unfit = await self._pools.refuse(planned, desired)
        await self._conclude(unfit, desired, report)
        self._withhold(planned, report, audit=audit)
        self._deferred = (frozenset() if audit else self._deferred - sight.scope) | frozenset(planned.deferred)
        report.deferred = tuple(sorted(self._deferred))
        await self._recorder.settle(planned.decisions, desired)
        report.settled |= {d.connector_id for d in planned.decisions if d.action is None}
        busy = await self._apply(planned, desired, report)
        if audit and sight.observation.complete:
            report.swept += await self._sweeper.sweep_all(sight.with_slots)
            report.audited = True
        return busy

    def _withhold(self, planned: Plan, report: Report, *, audit: bool) -> None:
        report.withheld += planned.withheld
        if audit or planned.withheld:
            self._metrics.withheld(len(planned.withheld))
            self._recorder.alert_withheld(len(planned.withheld))

    async def observe(self, desired: Mapping[int, Desired], scope: Set[int], audit: Audit | None) -> Sight:
        """What Prefect holds of the scope, and in an audit of whatever may not be in line."""
        if audit is None:
            return await self._observer.look(scope, desired, self._recorder.known)
        everything = scope | desired.keys()
        pressing = audit.pressing | await self._pools.unfit(desired)
        return await self._observer.audit(desired, self._recorder.known, everything, pressing, whole=audit.whole)

    async def _apply(self, planned: Plan, desired: Mapping[int, Desired], report: Report) -> dict[int, ActionOutcome]:
        """Carry out a plan and record what became of it; returns what got no answer from a busy Prefect, by connector.

        Whether that was carried out is unknown, so it is observed again before it is tried again.
        """
        busy: dict[int, ActionOutcome] = {}
        gone: ServerUnavailableError | None = None
        batch: list[ActionOutcome] = []
        async with aclosing(self._carry_out(planned)) as outcomes:
            async for outcome in outcomes:
                if outcome.decision.action is not None:
                    self._metrics.acted(outcome.decision.action.kind, outcome.error)
                if isinstance(outcome.error, ServerUnavailableError):
                    gone = outcome.error  # what is under way may still succeed, and is recorded then
                elif isinstance(outcome.error, OverloadedError | ConnectionLostError):
                    busy[outcome.decision.connector_id] = outcome
                else:
                    batch.append(outcome)
                if len(batch) >= RECORD_BATCH:
                    await self._conclude(batch, desired, report)
                    self._progress()
                    batch = []
        await self._conclude(batch, desired, report)
        if gone is not None:
            raise gone
        return busy

    async def _conclude(self, outcomes: list[ActionOutcome], desired: Mapping[int, Desired], report: Report) -> None:
        """Record what became of actions."""
        for outcome in outcomes:
            # First, and whether or not it can be recorded: Prefect has been changed.
            changed = deployment_of(outcome.decision, None)
            if outcome.error is None and changed is not None:
                self._sweeper.touch(changed)
                if isinstance(outcome.decision.action, Delete):
                    self._observer.deleted(changed)
        report.applied += sum(outcome.error is None for outcome in outcomes)
        report.lines += await self._recorder.conclude(outcomes, desired)
        report.settled |= {outcome.decision.connector_id for outcome in outcomes}
