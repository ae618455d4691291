"""One cycle: load, probe, observe, plan, apply, record, report.

The order matters. What needs no Prefect (an invalid row) is recorded first and never waits for it. What is recorded
follows what was carried out, never the other way round: if the process dies in between, Prefect is ahead of the tables,
and the next cycle sees that nothing differs and records it.
"""

import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from connectors.status import Phase, Status
from connectors.store import Fence, Record, Store
from deployments import setbacks
from deployments.alerts import Alerts
from deployments.apply import Outcome, apply
from deployments.errors import (
    ConnectionLostError,
    OverloadedError,
    RefusedError,
    ServerUnavailableError,
    TransientError,
)
from deployments.events import Events, carried_out, fallen
from deployments.gateway import Gateway
from deployments.limiter import AdaptiveLimiter
from deployments.metrics import Cycle, Metrics
from deployments.missed import catch_up
from deployments.plan import Create, Decision, Delete, Desired, Invalid, Observation, Plan, Policy, desire, plan
from deployments.queue import RetryQueue, backoff_seconds
from deployments.report import describe
from deployments.server import ServerWatch
from deployments.spec import Observed, Platform, connector_id_of, deployment_name
from deployments.sweep import Sweeper

logger = logging.getLogger(__name__)

ALERT_AFTER_TRIES = 5
"""A connector that failed this often in a row is operations' business."""

RECORD_BATCH = 50
"""Outcomes written in one transaction."""

ROLL_OUT_BURST = 50
"""Most patches of a roll-out in one cycle."""

BUSY_ROUNDS = 6
"""Rounds in which an overloaded server carried out nothing at all, before it counts as down."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a reconciler behaves; from the settings."""

    max_prune_fraction: float
    retry_base_seconds: float
    retry_max_seconds: float
    roll_out_per_second: float = 5.0
    """Patches a second for a new release alone: a quarter of what a server takes (measured: 20 to 23)."""


@dataclass
class Report:
    """What one cycle did."""

    lines: list[str] = field(default_factory=list)
    """One line an action, for people."""
    failed: dict[int, str] = field(default_factory=dict)
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
        server: ServerWatch,
        limiter: AdaptiveLimiter,
        clock: Callable[[], datetime],
        rng: random.Random,
        claim: Callable[[], Awaitable[None]],
        progress: Callable[[], None] = lambda: None,
        events: Events | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`claim` makes sure, before the first write to Prefect, that its deployments belong to this database.

        `events` takes what has really changed; left out, nobody is told. `progress` is called as a long cycle moves on.
        """
        self._events = events if events is not None else Events(platform.instance)
        self._metrics = metrics if metrics is not None else Metrics(self._events)
        self._names: dict[int, str] = {}
        self._store = store
        self._claim = claim
        self._progress = progress
        self._claimed = False
        self._gateway = gateway
        self._platform = platform
        self._options = options
        self._fence = fence
        self._alerts = alerts
        self._server = server
        self._limiter = limiter
        self._clock = clock
        self._rng = rng
        self._generations: dict[int, int] = {}
        self._known: dict[int, Status] = {}
        self._queue = RetryQueue()
        self._sweeper = Sweeper(gateway, platform.tag, clock)
        self._may_have_missed = True
        self._deferred: set[int] = set()
        self._last_roll_out = float("-inf")

    @property
    def known(self) -> dict[int, Status]:
        """The statuses as they were last read or written, by connector id."""
        return self._known

    async def start(self) -> None:
        """Take over where the last controller stopped: its statuses, and with them its backoff."""
        self._known = await self._store.statuses()
        self._queue.load(self._known.values())
        # What was settled for a row's generation needs nothing again; the first audit judges all of it anyway.
        self._generations = {
            i: status.observed_generation
            for i, status in self._known.items()
            if status.observed_generation is not None and status.phase is not Phase.DELETING
        }
        self._deferred = set()
        self._sweeper.start(self._known.values())
        self._may_have_missed = True

    @property
    def back_from_outage(self) -> bool:
        """True from a recovery, or the start, until a full cycle has looked at what was missed meanwhile."""
        return self._may_have_missed

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
        times = (self._queue.seconds_until_next(self._clock()), self._sweeper.seconds_until_due())
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
            self._queue.hurry(now)
            self._may_have_missed = True
        return True

    async def cycle(
        self, *, audit: bool = False, hints: Collection[int] = (), allow_mass_prune: bool = False
    ) -> Report:
        """Reconcile what changed, what is due and what the hints name; with `audit`, everything.

        Raises:
            TerminalError: when this controller may not write any more.
            SQLAlchemyError, OSError: when the database does not answer. Nothing is lost: the next cycle sees the same.
        """
        before = self._generations
        began = time.perf_counter()
        try:
            report = await self._cycle(audit, hints, allow_mass_prune)
        except Exception:
            self._generations = before  # what this cycle took for read may not have been dealt with
            self._measure(Cycle.FAILED, began)
            raise
        self._measure(_result(report), began)
        self._metrics.runs(swept=report.swept, caught_up=report.caught_up)
        return report

    def _measure(self, result: Cycle, began: float) -> None:
        waiting = len(self._queue) + len(self._deferred)
        self._metrics.cycle(result, time.perf_counter() - began, waiting=waiting)

    async def _cycle(self, audit: bool, hints: Collection[int], allow_mass_prune: bool) -> Report:
        report = Report()
        generations = await self._store.generations()
        changed = set(hints)
        if generations != self._generations:  # compared as a whole first: a quiet cycle is all but its one query
            changed |= {i for i, generation in generations.items() if self._generations.get(i) != generation}
            changed |= self._generations.keys() - generations.keys()
        waiting = changed | self._deferred | self._queue.due(self._clock())
        if not waiting and not audit and self._sweeper.seconds_until_due() != 0:
            return report

        now = self._clock()
        desired = await self._desired(None if audit else waiting)
        # From here on a change of these rows is a change against what was just read.
        self._generations = {
            i: desired[i].generation if i in desired else generation
            for i, generation in generations.items()
            if i in desired or i not in waiting
        }
        needs_prefect = {i for i in waiting if not _only_invalid(desired.get(i))}
        await self._settle_invalid(desired, waiting - needs_prefect)
        if not needs_prefect and not audit and self._sweeper.seconds_until_due() != 0:
            return report
        if not self._server.may_try(now) or not await self.probe():
            report.server_down = "Prefect is unavailable."
            await self._wait_for_server(desired, needs_prefect)
            return report
        if audit:
            scope = set(desired) | set(self._known)
        else:
            scope = needs_prefect | (self._queue.due(self._clock()) & (desired.keys() | self._known.keys()))
            missing_rows = scope - waiting
            if missing_rows:  # the good probe made more work due
                desired |= await self._desired(missing_rows)
        try:
            await self._reconcile(desired, scope, report, audit=audit, allow_mass_prune=allow_mass_prune)
            report.swept += await self._sweeper.sweep_touched()
            if report.audited and self._may_have_missed:
                report.caught_up = await catch_up(desired.values(), self._known, self._gateway, self._clock())
                self._may_have_missed = False
        except (TransientError, RefusedError) as error:
            # Raised by no single connector's call, so it speaks of the server.
            self._server.failed(self._clock(), str(error))
            report.server_down = str(error)
            await self._wait_for_server(desired, needs_prefect - report.settled)
        return report

    async def _desired(self, ids: Collection[int] | None) -> dict[int, Desired]:
        """What the rows of these connectors (of all for None) ask for, by connector id."""
        rows, loads = await self._store.rows(ids), await self._store.loads(ids)
        self._names |= {row.id: row.name for row in rows}
        return {row.id: desire(row, self._platform, loads.get(row.id)) for row in rows}

    async def preview(self) -> list[str]:
        """The plan of a full cycle as lines of text, with nothing written anywhere."""
        await self.start()
        desired = await self._desired(None)
        await self._gateway.probe()
        observation = await self._observe(desired, set(desired) | set(self._known), audit=True)
        planned = self._plan(desired, observation, set(desired) | set(self._known) | set(observation.deployments))
        return [line for decision in planned.decisions for line in describe(decision, self._known)] + [
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
            report.withheld += planned.withheld
            if audit or planned.withheld:
                self._alert_withheld(planned.withheld)
            if audit:
                self._deferred = set()
            self._deferred = (self._deferred - scope) | set(planned.deferred)
            report.deferred = tuple(sorted(self._deferred))
            settled = len(report.settled)
            await self._record_idle(planned, desired)
            report.settled |= {d.connector_id for d in planned.decisions if d.action is None}
            busy = await self._apply(planned, report)
            if audit and observation.complete:
                report.swept += await self._sweeper.sweep_all(observation.deployments.values())
                report.audited = True
            idle_rounds = 0 if len(report.settled) > settled else idle_rounds + 1
            if busy and idle_rounds >= BUSY_ROUNDS:
                if not report.applied and len(busy) > 1:
                    raise ServerUnavailableError("Prefect is too busy to carry out anything, or its connections break.")
                # Others went through, so it is these that Prefect chokes on.
                await self._record([self._outcome_record(outcome, report) for outcome in busy.values()])
                busy = {}
            scope, audit = set(busy), False

    async def _apply(self, planned: Plan, report: Report) -> dict[int, Outcome]:
        """Carry out a plan and record what became of it; returns what got no answer from a busy Prefect, by connector.

        Whether that was carried out is unknown, so it is observed again before it is tried again.
        """
        busy: dict[int, Outcome] = {}
        gone: ServerUnavailableError | None = None
        batch: list[Record] = []
        async with aclosing(apply(planned, self._gateway, self._limiter)) as outcomes:
            async for outcome in outcomes:
                self._metrics.acted(outcome.decision.action, outcome.error)
                if isinstance(outcome.error, ServerUnavailableError):
                    gone = outcome.error  # what is under way may still succeed, and is recorded then
                elif isinstance(outcome.error, OverloadedError | ConnectionLostError):
                    busy[outcome.decision.connector_id] = outcome
                else:
                    batch.append(self._outcome_record(outcome, report))
                if len(batch) >= RECORD_BATCH:
                    await self._record(batch)
                    self._progress()
                    batch = []
        await self._record(batch)
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
        ours = {i for i, status in self._known.items() if status.deployment_id is not None}
        ours |= {i for i, held in observation.deployments.items() if policy.tag in held.fields.tags}
        return plan(desired, self._known, observation, policy, scope=scope, fleet_size=len(ours), now=self._clock())

    def _alert_withheld(self, withheld: tuple[int, ...]) -> None:
        self._metrics.withheld(len(withheld))
        if withheld:
            sentence = (
                f"{len(withheld)} deletes were withheld because they are too many at once. If they are meant, run the "
                "controller with allow_mass_prune."
            )
            self._alerts.begin("prune", sentence)
        else:
            self._alerts.end("prune", "No deletes are withheld any more.")

    async def _record_idle(self, planned: Plan, desired: dict[int, Desired]) -> None:
        """Record the decisions that need no call, where they differ from what is known."""
        records = []
        for decision in planned.decisions:
            if decision.action is not None:
                continue
            wanted = desired.get(decision.connector_id)
            stored = wanted.recorded_id if wanted is not None else None
            known = self._known.get(decision.connector_id)
            status = decision.status
            self._alert_conflict(decision.connector_id, status)
            self._alerts.end(f"failing:{decision.connector_id}", f"Connector {decision.connector_id} fails no more.")
            if status is None:
                if known is not None:
                    records.append(Record(decision.connector_id, None))
                continue
            if _same(status, known) and (wanted is None or stored == status.deployment_id):
                continue
            records.append(Record(decision.connector_id, self._stamped(status)))
        await self._record(records)

    def _outcome_record(self, outcome: Outcome, report: Report) -> Record:
        decision = outcome.decision
        report.settled.add(decision.connector_id)
        if outcome.error is not None:
            status = self._failure(decision, outcome.error)
            report.failed[decision.connector_id] = status.message or ""
            return Record(decision.connector_id, status)
        report.applied += 1
        self._alert_conflict(decision.connector_id, decision.status)
        lines = describe(decision, self._known)
        for line in lines:
            logger.info(line, extra={"connector_id": decision.connector_id})
        report.lines += lines
        if (event := carried_out(decision, self._known.get(decision.connector_id))) is not None:
            self._tell(
                event,
                decision.connector_id,
                setbacks.deployment_of(decision, None) or outcome.deployment_id,
                "; ".join(lines),
            )
        if not isinstance(decision.action, Create | None):
            self._sweeper.touch(decision.action.held.id)
        self._alerts.end(f"failing:{decision.connector_id}", f"Connector {decision.connector_id} fails no more.")
        if isinstance(decision.action, Delete) or decision.status is None:
            return Record(decision.connector_id, None)
        return Record(
            decision.connector_id, self._stamped(replace(decision.status, deployment_id=outcome.deployment_id))
        )

    def _stamped(self, status: Status) -> Status:
        """`status` with the time at which Prefect was seen to match, if it does."""
        if status.phase in {Phase.SYNCED, Phase.PAUSED}:
            return replace(status, last_synced_at=self._clock())
        known = self._known.get(status.connector_id)
        return replace(status, last_synced_at=known.last_synced_at if known is not None else None)

    def _failure(self, decision: Decision, error: Exception) -> Status:
        """The status of a connector whose action failed, told to the log and, when it goes on, to operations."""
        known = self._known.get(decision.connector_id)
        attempts = setbacks.attempts_after(decision, known)
        wait = backoff_seconds(attempts, self._options.retry_base_seconds, self._options.retry_max_seconds, self._rng)
        status = setbacks.failed(decision, error, known, attempts=attempts, wait_seconds=wait, now=self._clock())
        line = f"connector {decision.connector_id}: {status.message} Next try in {wait:.0f} s."
        logger.warning(line, extra={"connector_id": decision.connector_id})
        if attempts >= ALERT_AFTER_TRIES:
            key = f"failing:{decision.connector_id}"
            self._alerts.begin(key, f"Connector {decision.connector_id} fails: {status.message}")
        return status

    def _roll_out_allowance(self) -> int:
        """How many patches of a roll-out may go out now: `roll_out_per_second` since the last ones, in small bursts."""
        now = self._clock().timestamp()
        allowance = int(min(ROLL_OUT_BURST, (now - self._last_roll_out) * self._options.roll_out_per_second))
        if allowance > 0:
            self._last_roll_out = now
        return allowance

    async def _settle_invalid(self, desired: dict[int, Desired], ids: set[int]) -> None:
        """Record what is invalid and asks for nothing in Prefect: it does not wait for a server."""
        if ids:
            await self._record_idle(self._plan(desired, Observation({}), ids), desired)

    async def _wait_for_server(self, desired: dict[int, Desired], ids: Iterable[int]) -> None:
        """Say of the waiting work that it waits for Prefect, and until when."""
        records = []
        for i in sorted(ids):
            status = setbacks.waiting(i, desired.get(i), self._known.get(i), self._server.next_probe_at)
            if status is not None and status != self._known.get(i):
                records.append(Record(i, status))
        await self._record(records)

    def _tell(self, event: str, connector_id: int, deployment_id: UUID | None, message: str) -> None:
        title, payload = self._names.get(connector_id), {"message": message}
        self._events.of_connector(event, connector_id, title=title, deployment_id=deployment_id, payload=payload)

    async def _record(self, records: list[Record]) -> None:
        await self._store.record(records, self._fence)
        for record in records:
            self._queue.follow(record.connector_id, record.status)
            if record.status is None:
                self._known.pop(record.connector_id, None)
                self._names.pop(record.connector_id, None)
            else:
                before, after = self._known.get(record.connector_id), record.status
                if (event := fallen(before, after)) is not None:
                    self._tell(event, record.connector_id, after.deployment_id, after.message or "")
                self._known[record.connector_id] = record.status

    def _alert_conflict(self, connector_id: int, status: Status | None) -> None:
        key = f"conflict:{connector_id}"
        if status is not None and status.phase is Phase.CONFLICT:
            self._alerts.begin(key, f"Connector {connector_id}: {status.message}")
        else:
            self._alerts.end(key, f"Connector {connector_id} is in conflict no more.")


def _result(report: Report) -> Cycle:
    if report.server_down is not None:
        return Cycle.SERVER_DOWN
    if report.audited:
        return Cycle.AUDIT
    return Cycle.CHANGES if report.settled or report.swept else Cycle.QUIET


def _only_invalid(wanted: Desired | None) -> bool:
    """An active row that is invalid asks nothing of Prefect: its last good deployment stays as it is."""
    return wanted is not None and isinstance(wanted.wants, Invalid) and wanted.is_active


def _same(status: Status, known: Status | None) -> bool:
    return known is not None and status == replace(known, last_synced_at=status.last_synced_at)


def _by_connector(held: Iterable[Observed]) -> dict[int, Observed]:
    return {i: deployment for deployment in held if (i := connector_id_of(deployment.name)) is not None}
