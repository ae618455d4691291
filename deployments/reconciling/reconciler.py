"""One cycle: load, probe, observe, plan, apply, record, report.

The order matters. What needs no Prefect (an invalid row) is recorded first and never waits for it. What is recorded
follows what was carried out (`deployments.reconciling.status_recorder`), never the other way round.
"""

import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from connectors.connector import ConnectorRow
from connectors.loads import Load
from connectors.status import Reason, Status
from database.connection.engine import Fence
from database.store import Store
from deployments.monitoring.alerts import Alerts
from deployments.monitoring.metrics import Cycle, Metrics
from deployments.planning.plan import Create, Desired, Invalid, Observation, Plan, Policy, desire, plan
from deployments.planning.spec import Observed, Platform, connector_id_of, deployment_name
from deployments.planning.wording import describe
from deployments.reconciling.apply import ActionOutcome, apply
from deployments.reconciling.changes import Changes
from deployments.reconciling.concurrency_limit import AdaptiveLimiter
from deployments.reconciling.gateway import Gateway
from deployments.reconciling.missed_runs import catch_up
from deployments.reconciling.pool_check import PoolCheck
from deployments.reconciling.retry_queue import backoff_seconds
from deployments.reconciling.server_health import ServerHealth
from deployments.reconciling.stale_runs import Sweeper
from deployments.reconciling.status_recorder import Ledger
from prefect_api.errors import (
    ConnectionLostError,
    OverloadedError,
    RefusedError,
    ServerUnavailableError,
    TransientError,
)
from prefect_api.event_feed import Events

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
class Options:
    """How a reconciler behaves; from the settings."""

    max_prune_fraction: float
    retry_base_seconds: float
    retry_max_seconds: float


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


class Reconciler:
    """Brings Prefect to match the table, one cycle at a time. Holds what the last cycles learnt."""

    def __init__(
        self,
        *,
        store: Store,
        gateway: Gateway,
        platform: Platform,
        options: Options,
        fence: Fence,
        alerts: Alerts,
        server: ServerHealth,
        limiter: AdaptiveLimiter,
        clock: Callable[[], datetime],
        rng: random.Random,
        claim: Callable[[], Awaitable[None]],
        progress: Callable[[], None] = lambda: None,
        events: Events | None = None,
        metrics: Metrics | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`claim` makes sure, before the first write to Prefect, that its deployments belong to this database.

        `events` takes what has really changed; left out, nobody is told. `progress` is called as a long cycle moves on.
        """
        events = events if events is not None else Events(platform.instance)
        self._metrics = metrics if metrics is not None else Metrics(events)
        self._store = store
        self._claim = claim
        self._progress = progress
        self._claimed = False
        self._gateway = gateway
        self._platform = platform
        self._options = options
        self.alerts = alerts
        self._server = server
        self._limiter = limiter
        self._clock = clock
        self._monotonic = monotonic
        self._ledger = Ledger(
            store=store,
            fence=fence,
            events=events,
            alerts=alerts,
            clock=clock,
            backoff=lambda tries: backoff_seconds(tries, options.retry_base_seconds, options.retry_max_seconds, rng),
        )
        self._changes = Changes(store)
        self._pools = PoolCheck(gateway)
        self._sweeper = Sweeper(gateway, platform.tag, clock)
        self._deferred: set[int] = set()
        self._last_roll_out = float("-inf")

    @property
    def known(self) -> dict[int, Status]:
        """The statuses as they were last read or written, by connector id."""
        return self._ledger.known

    async def start(self) -> None:
        """Take over where the last controller stopped: its open alerts, its statuses, and with them its backoff."""
        await self.alerts.load()
        await self._ledger.start()
        self._changes.start(self.known.values())
        self._deferred = set()
        self._sweeper.start(self.known.values())

    @property
    def back_from_outage(self) -> bool:
        """True from a recovery, or the start, until a full cycle has looked at what was missed meanwhile."""
        return self._ledger.past_is_open

    @property
    def server_answers(self) -> bool:
        """False while Prefect is down and not yet due for the next probe."""
        return self._server.may_try(self._clock())

    @property
    def in_touch(self) -> bool:
        """Whether Prefect answered when last asked, and is known to be this database's."""
        return self._claimed and self._server.down_since is None

    def seconds_until_due(self) -> float | None:
        """Seconds until waiting work is due; None when nothing waits."""
        times = (self._ledger.queue.seconds_until_next(self._clock()), self._sweeper.seconds_until_due())
        soonest = min((seconds for seconds in times if seconds is not None), default=None)
        return None if soonest is None else max(soonest, self.seconds_until_try())

    def seconds_until_try(self) -> float:
        """Seconds until Prefect is worth a call: 0 unless it is down."""
        return self._server.seconds_until_try(self._clock())

    async def probe(self) -> bool:
        """Ask whether Prefect is there; True when it is. The first good answer makes all waiting work due."""
        now = self._clock()
        try:
            await self._gateway.probe()
        except ServerUnavailableError as error:
            self._server.failed(now, str(error))
            return False
        if self._server.answered(now):
            self._ledger.queue.hurry(now)
            self._ledger.past_is_open = True
        return True

    async def cycle(
        self, *, audit: bool = False, hints: Collection[int] = (), allow_mass_prune: bool = False
    ) -> Report:
        """Reconcile what changed, what is due and what the hints name; with `audit`, everything.

        Raises:
            TerminalError: when this controller may not write any more.
            SQLAlchemyError, OSError: when the database does not answer. Nothing is lost: the next cycle sees the same.
        """
        before = self._changes.known
        began = time.perf_counter()
        try:
            report = await self._cycle(audit, hints, allow_mass_prune)
        except Exception:
            self._changes.known = before  # what this cycle took for read may not have been dealt with
            self._measure(Cycle.FAILED, began)
            raise
        if self._server.down_since is None:  # while Prefect is away, nobody knows what fails besides
            self._ledger.alert()
        self._measure(_result(report), began)
        self._metrics.runs(swept=report.swept, caught_up=report.caught_up)
        return report

    def _measure(self, result: Cycle, began: float) -> None:
        waiting = len(self._ledger.queue) + len(self._deferred)
        self._metrics.cycle(result, time.perf_counter() - began, waiting=waiting)

    async def _cycle(self, audit: bool, hints: Collection[int], allow_mass_prune: bool) -> Report:
        report = Report()
        changed = set(hints) | await self._changes.look()
        pressing = changed | self._ledger.queue.due(self._clock())
        # What waits for its turn in a roll-out is in line with its row: it is never said to be anything else.
        in_turn = self._deferred - pressing
        waiting = pressing | in_turn
        if not waiting and not audit and self._sweeper.seconds_until_due() != 0:
            return report

        now = self._clock()
        desired = await self._desired(None if audit else waiting)
        self._changes.read(desired, waiting)
        needs_prefect = {i for i in waiting if not _only_invalid(desired.get(i))}
        await self._settle_invalid(desired, waiting - needs_prefect)
        if not needs_prefect and not audit and self._sweeper.seconds_until_due() != 0:
            return report
        if not self._server.may_try(now) or not await self.probe():
            report.server_down = "Prefect is unavailable."
            await self._ledger.wait(needs_prefect - in_turn, desired, self._server.next_probe_at)
            return report
        if audit:
            scope = set(desired) | set(self.known)
        else:
            scope = needs_prefect | (self._ledger.queue.due(self._clock()) & (desired.keys() | self.known.keys()))
            missing_rows = scope - waiting
            if missing_rows:  # the good probe made more work due
                desired |= await self._desired(missing_rows)
        try:
            await self._reconcile(desired, scope, report, audit=audit, allow_mass_prune=allow_mass_prune)
            report.swept += await self._sweeper.sweep_touched()
            if report.audited and self._ledger.past_is_open:
                report.caught_up = await catch_up(
                    desired.values(), self.known, self._gateway, self._clock(), self._progress
                )
                await self._ledger.close_past()
        except (TransientError, RefusedError) as error:
            # Raised by no single connector's call, so it speaks of the server.
            self._server.failed(self._clock(), str(error))
            report.server_down = str(error)
            self._deferred |= in_turn - report.settled
            waits = needs_prefect - in_turn - report.settled
            await self._ledger.wait(waits, desired, self._server.next_probe_at)
        return report

    async def _desired(self, ids: Collection[int] | None) -> dict[int, Desired]:
        """What the rows of these connectors (of all for None) ask for, by connector id."""
        rows, loads = await self._store.rows(ids), await self._store.loads(ids)
        self._ledger.names |= {row.id: row.name for row in rows}
        return {row.id: self._judged(row, loads.get(row.id)) for row in rows}

    def _judged(self, row: ConnectorRow, load: Load | None) -> Desired:
        """What a row asks for. One that our own code stumbles over is invalid, and the others go on."""
        try:
            return desire(row, self._platform, load)
        except Exception:
            logger.exception("connector %s could not be judged", row.id, extra={"connector_id": row.id})
            fault = Invalid(
                Reason.INTERNAL_ERROR,
                "This connector cannot be judged, by a fault of ours. Operations find it in the controller's log.",
            )
            return Desired(row.id, row.generation, row.is_active, row.prefect_deployment_id, fault)

    async def preview(self) -> list[str]:
        """The plan of a full cycle as lines of text, with nothing written anywhere."""
        await self.start()
        desired = await self._desired(None)
        await self._gateway.probe()
        observation = await self._observe(desired, set(desired) | set(self.known), audit=True)
        planned = self._plan(desired, observation, set(desired) | set(self.known) | set(observation.deployments))
        return [line for decision in planned.decisions for line in describe(decision, self.known)] + [
            f"connector {i}: delete withheld" for i in planned.withheld
        ]

    async def _reconcile(
        self, desired: dict[int, Desired], scope: set[int], report: Report, *, audit: bool, allow_mass_prune: bool
    ) -> None:
        """Observe, plan and apply until nothing is left that Prefect was merely too busy for, or cut off from."""
        if not self._claimed:
            await self._claim()
            self._claimed = True
        idle_rounds = 0
        while scope or audit:
            observation = await self._observe(desired, scope, audit=audit)
            planned = self._plan(
                desired,
                observation,
                scope | set(observation.deployments),
                allow_mass_prune=allow_mass_prune,
                max_roll_out=self._roll_out_allowance(),
            )
            planned, unfit = await self._pools.refuse(planned, desired, fresh=audit)
            await self._conclude(unfit, desired, report)
            report.withheld += planned.withheld
            if audit or planned.withheld:
                self._alert_withheld(planned.withheld)
            if audit:
                self._deferred = set()
            self._deferred = (self._deferred - scope) | set(planned.deferred)
            report.deferred = tuple(sorted(self._deferred))
            settled = len(report.settled)
            await self._ledger.settle(planned.decisions, desired)
            report.settled |= {d.connector_id for d in planned.decisions if d.action is None}
            busy = await self._apply(planned, desired, report)
            if audit and observation.complete:
                report.swept += await self._sweeper.sweep_all(observation.deployments.values())
                report.audited = True
            idle_rounds = 0 if len(report.settled) > settled else idle_rounds + 1
            if busy and idle_rounds >= BUSY_ROUNDS:
                if not report.applied and len(busy) > 1:
                    raise ServerUnavailableError("Prefect is too busy to carry out anything, or its connections break.")
                # Others went through, so it is these that Prefect chokes on.
                await self._conclude(list(busy.values()), desired, report)
                busy = {}
            scope, audit = set(busy), False

    async def _apply(self, planned: Plan, desired: dict[int, Desired], report: Report) -> dict[int, ActionOutcome]:
        """Carry out a plan and record what became of it; returns what got no answer from a busy Prefect, by connector.

        Whether that was carried out is unknown, so it is observed again before it is tried again.
        """
        busy: dict[int, ActionOutcome] = {}
        gone: ServerUnavailableError | None = None
        batch: list[ActionOutcome] = []
        async with aclosing(apply(planned, self._gateway, self._limiter)) as outcomes:
            async for outcome in outcomes:
                self._metrics.acted(outcome.decision.action, outcome.error)
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

    async def _observe(self, desired: dict[int, Desired], scope: set[int], *, audit: bool) -> Observation:
        """What Prefect holds of the scope; in an audit, of everything.

        A name that a listing lacks may have shifted between its pages, and Prefect's create overwrites: such a name is
        read by itself before it counts as free.
        """
        if not audit:
            held = await self._gateway.read_deployments([deployment_name(i) for i in sorted(scope)])
            return Observation(_by_connector(held))
        listing = await self._gateway.list_deployments()
        found = _by_connector(listing.deployments)
        missing = [deployment_name(i) for i in sorted((scope | desired.keys()) - found.keys())]
        if missing:
            found |= _by_connector(await self._gateway.read_deployments(missing))
        return Observation(found, listing.complete)

    def _plan(
        self,
        desired: dict[int, Desired],
        observation: Observation,
        scope: set[int],
        *,
        allow_mass_prune: bool = False,
        max_roll_out: int | None = None,
    ) -> Plan:
        policy = Policy(
            tag=self._platform.tag,
            max_prune_fraction=self._options.max_prune_fraction,
            allow_mass_prune=allow_mass_prune,
            max_roll_out=max_roll_out,
        )
        ours = {i for i, status in self.known.items() if status.deployment_id is not None}
        ours |= {i for i, held in observation.deployments.items() if policy.tag in held.fields.tags}
        return plan(desired, self.known, observation, policy, scope=scope, fleet_size=len(ours), now=self._clock())

    def _alert_withheld(self, withheld: tuple[int, ...]) -> None:
        self._metrics.withheld(len(withheld))
        if withheld:
            sentence = (
                f"{len(withheld)} deletes were withheld because they are too many at once. If they are meant, run the "
                "controller with allow_mass_prune."
            )
            self.alerts.begin("prune", sentence)
        else:
            self.alerts.end("prune", "No deletes are withheld any more.")

    async def _conclude(self, outcomes: list[ActionOutcome], desired: dict[int, Desired], report: Report) -> None:
        """Record what became of actions."""
        for outcome in outcomes:
            # First, and whether or not it can be recorded: Prefect has been changed.
            if outcome.error is None and not isinstance(outcome.decision.action, Create | None):
                self._sweeper.touch(outcome.decision.action.held.id)
        report.lines += await self._ledger.conclude(outcomes, desired)
        report.settled |= {outcome.decision.connector_id for outcome in outcomes}
        report.applied += sum(outcome.error is None for outcome in outcomes)

    def _roll_out_allowance(self) -> int:
        """How many patches of a roll-out may go out now: so many a second since the last ones, in small bursts."""
        now = self._monotonic()
        allowance = int(min(ROLL_OUT_BURST, (now - self._last_roll_out) * ROLL_OUT_PER_SECOND))
        if allowance > 0:
            self._last_roll_out = now
        return allowance

    async def _settle_invalid(self, desired: dict[int, Desired], ids: set[int]) -> None:
        """Record what is invalid and asks for nothing in Prefect: it does not wait for a server."""
        if ids:
            await self._ledger.settle(self._plan(desired, Observation({}), ids).decisions, desired)


def _result(report: Report) -> Cycle:
    if report.server_down is not None:
        return Cycle.SERVER_DOWN
    if report.audited:
        return Cycle.AUDIT
    return Cycle.CHANGES if report.settled or report.swept else Cycle.QUIET


def _only_invalid(wanted: Desired | None) -> bool:
    """An active row that is invalid asks nothing of Prefect: its last good deployment stays as it is."""
    return wanted is not None and isinstance(wanted.wants, Invalid) and wanted.is_active


def _by_connector(held: Iterable[Observed]) -> dict[int, Observed]:
    return {i: deployment for deployment in held if (i := connector_id_of(deployment.name)) is not None}
