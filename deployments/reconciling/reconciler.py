"""Reconciler: one cycle after another, each of load, probe, rounds, report.

The order matters. What needs no Prefect (an invalid row) is recorded first and never waits for it. Which connectors are
in a cycle is `work_set`; what is done about them in Prefect is `rounds`.
"""

import random
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from connectors.status import Status
from database.connection.engine import Fence
from database.store import Store
from deployments.monitoring.alerts import Alerts
from deployments.monitoring.history_watch import HistoryWatch
from deployments.monitoring.metrics import Cycle, Metrics
from deployments.planning.plan import Desired, Observation
from deployments.planning.spec import Platform
from deployments.planning.wording import describe
from deployments.reconciling.apply import apply
from deployments.reconciling.changes import Changes, Rows
from deployments.reconciling.gateway import Gateway
from deployments.reconciling.missed_runs import MissedRuns
from deployments.reconciling.observing import SMALL, Observer
from deployments.reconciling.pool_check import PoolCheck
from deployments.reconciling.retry_queue import backoff_seconds
from deployments.reconciling.rounds import Audit, Planner, Report, Rounds
from deployments.reconciling.server_health import Answer, ServerHealth, ServerProbe
from deployments.reconciling.stale_runs import Sweeper
from deployments.reconciling.status_recorder import StatusRecorder
from deployments.reconciling.work_set import WorkSet
from prefect_api.concurrency_limit import AdaptiveLimiter
from prefect_api.errors import RefusedError, TransientError
from prefect_api.event_feed import Events


@dataclass(frozen=True, slots=True)
class Options:
    """How a reconciler behaves; from the settings."""

    max_prune_fraction: float
    retry_base_seconds: float
    retry_max_seconds: float


class Reconciler:
    """Brings Prefect to match the table, one cycle at a time. What the last cycles learnt is in its parts."""

    def __init__(
        self,
        *,
        changes: Changes,
        rows: Rows,
        recorder: StatusRecorder,
        planner: Planner,
        rounds: Rounds,
        prefect: ServerProbe,
        upkeep: "Upkeep",
    ) -> None:
        self._changes = changes
        self._rows = rows
        self._recorder = recorder
        self._planner = planner
        self._rounds = rounds
        self._prefect = prefect
        self._upkeep = upkeep

    @property
    def known(self) -> dict[int, Status]:
        """The statuses as they were last read or written, by connector id."""
        return self._recorder.known

    async def start(self) -> None:
        """Take over where the last controller stopped: its open alerts, its statuses, and with them its backoff."""
        await self._recorder.start()
        self._changes.start(self.known.values())
        self._rounds.start()
        self._upkeep.sweeper.start(self.known.values())

    @property
    def back_from_outage(self) -> bool:
        """True from a recovery, or the start, until a full cycle has looked at what was missed meanwhile."""
        return self._recorder.past_is_open

    @property
    def server_answers(self) -> bool:
        """False while Prefect is down and not yet due for the next probe."""
        return self._prefect.may_try()

    @property
    def in_touch(self) -> bool:
        """Whether Prefect answered when last asked, and is known to be this database's."""
        return self._prefect.in_touch

    def seconds_until_due(self) -> float | None:
        """Seconds until waiting work is due; None when nothing waits."""
        times = (self._recorder.seconds_until_due(), self._upkeep.sweeper.seconds_until_due())
        soonest = min((seconds for seconds in times if seconds is not None), default=None)
        return None if soonest is None else max(soonest, self.seconds_until_try())

    def seconds_until_try(self) -> float:
        """Seconds until Prefect is worth a call: 0 unless it is down."""
        return self._prefect.seconds_until_try()

    async def probe(self) -> bool:
        """Ask whether Prefect is there; True when it is. The first good answer makes all waiting work due."""
        answer = await self._prefect.ask()
        if answer is Answer.AGAIN:
            self._recorder.prefect_is_back()
        return answer is not Answer.NONE

    async def cycle(
        self,
        *,
        audit: bool = False,
        whole: bool = False,
        hints: Collection[int] = (),
        allow_mass_prune: bool = False,
        report: Report | None = None,
    ) -> Report:
        """Reconcile what changed, what is due and what the hints name; with `audit`, everything.

        A `whole` audit lists all that Prefect holds; of a large fleet others ask what has changed there.

        It fills `report` as it goes, for whoever must know of a cycle that is cut off what it has done.

        Raises:
            TerminalError: when this controller may not write any more.
            SQLAlchemyError, OSError: when the database does not answer. Nothing is lost: the next cycle sees the same.
        """
        before = self._changes.known
        began = time.perf_counter()
        report = Report() if report is None else report
        try:
            if audit and allow_mass_prune:
                await self._upkeep.history.allow_mass_prune()
            wanted = Audit(whole or allow_mass_prune or self.back_from_outage) if audit else None
            await self._cycle(report, audit=wanted, hints=hints, allow_mass_prune=allow_mass_prune)
            if audit:
                await self._upkeep.history.look()
        except Exception:
            self._changes.put_back(before)  # what this cycle took for read may not have been dealt with
            self._measure(Cycle.FAILED, began)
            raise
        if not self._prefect.is_down:  # while Prefect is away, nobody knows what fails besides
            self._recorder.alert()
        self._measure(_result(report), began)
        self._upkeep.metrics.runs(swept=report.swept, caught_up=report.caught_up)
        return report

    def _measure(self, result: Cycle, began: float) -> None:
        waiting = self._recorder.waiting_count + len(self._rounds.deferred)
        self._upkeep.metrics.cycle(result, time.perf_counter() - began, waiting=waiting)

    async def _cycle(
        self, report: Report, *, audit: Audit | None, hints: Collection[int], allow_mass_prune: bool
    ) -> None:
        changed = frozenset(hints) | await self._changes.look()
        work = WorkSet(changed, frozenset(self._recorder.due()), self._rounds.deferred)
        if not work.waiting and not audit and not self._upkeep.is_due():
            return
        desired = await self._rows.desired(None if audit else work.waiting)
        self._changes.read(desired, work.waiting)
        await self._record_invalid(desired, work)
        if not work.needs_prefect(desired) and not audit and not self._upkeep.is_due():
            return
        if not self._prefect.may_try() or not await self.probe():
            await self._wait(work, desired, report, "Prefect is unavailable.")
            return
        scope = work.scope(desired, self.known.keys(), self._recorder.due(), audit=audit is not None)
        if not audit and (missing := scope - work.waiting):  # the good probe made more work due
            desired |= await self._rows.desired(missing)
        try:
            await self._prefect.claim()
            if audit:
                audit = replace(audit, pressing=work.waiting)
            await self._rounds.run(desired, scope, report, audit=audit, allow_mass_prune=allow_mass_prune)
            await self._upkeep.after(desired, report)
        except (TransientError, RefusedError) as error:
            # Raised by no single connector's call, so it speaks of the server.
            self._prefect.failed(str(error))
            self._rounds.defer(work.still_in_turn(report.settled))
            await self._wait(work, desired, report, str(error))

    async def _record_invalid(self, desired: dict[int, Desired], work: WorkSet) -> None:
        """Record what is invalid and asks for nothing in Prefect: it does not wait for a server."""
        if ids := work.needs_a_record(desired):
            planned = self._planner.plan(desired, self.known, Observation({}), ids)
            await self._recorder.settle(planned.decisions, desired)

    async def _wait(self, work: WorkSet, desired: dict[int, Desired], report: Report, why: str) -> None:
        """Say of what needs Prefect that it waits: Prefect is away."""
        report.server_down = why
        await self._recorder.wait(work.waits_for_prefect(desired, report.settled), desired, self._prefect.next_at)

    async def preview(self) -> list[str]:
        """The plan of a full cycle as lines of text, with nothing written anywhere.

        Raises:
            ServerUnavailableError: when Prefect does not answer.
        """
        await self.start()
        desired = await self._rows.desired(None)
        scope = desired.keys() | self.known.keys()
        await self._prefect.must_answer()
        sight = await self._rounds.observe(desired, scope, Audit(whole=True))
        planned = self._planner.plan(desired, self.known, sight.observation, sight.scope)
        return [line for decision in planned.decisions for line in describe(decision, self.known)] + [
            f"connector {i}: delete withheld" for i in planned.withheld
        ]


class Upkeep:
    """What a cycle does beside its connectors: sweeps stale runs, makes missed ones, and counts."""

    def __init__(
        self,
        sweeper: Sweeper,
        missed_runs: MissedRuns,
        recorder: StatusRecorder,
        metrics: Metrics,
        history: HistoryWatch,
    ) -> None:
        self.sweeper = sweeper
        self.metrics = metrics
        self.history = history
        self._missed_runs = missed_runs
        self._recorder = recorder

    def is_due(self) -> bool:
        """Whether a deployment that was changed can be looked at for stale runs."""
        return self.sweeper.seconds_until_due() == 0

    async def after(self, desired: dict[int, Desired], report: Report) -> None:
        """What follows the rounds of a cycle: stale runs go, and after an audit the missed ones are made."""
        report.swept += await self.sweeper.sweep_touched()
        if report.audited and self._recorder.past_is_open:
            report.caught_up = await self._missed_runs.make(desired.values(), self._recorder.known)
            await self._recorder.close_past()


def assemble(
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
    elapsed: Callable[[], float] = time.monotonic,
    small: int = SMALL,
) -> Reconciler:
    """A reconciler with all its parts.

    `fence` checks in each transaction that the lease is ours; `claim` makes sure, before the first write to Prefect,
    that its deployments belong to this database; `progress` is called as a long cycle moves on; without `events`,
    nothing is sent. `monotonic` paces roll-outs, and `elapsed` is what Prefect's clock is compared with; of fleets up
    to `small` every audit lists everything.
    """
    events = events if events is not None else Events(platform.instance)
    metrics = metrics if metrics is not None else Metrics(events)
    recorder = StatusRecorder(
        store=store,
        fence=fence,
        events=events,
        alerts=alerts,
        clock=clock,
        backoff=lambda tries: backoff_seconds(tries, options.retry_base_seconds, options.retry_max_seconds, rng),
    )
    planner = Planner(platform.tag, options.max_prune_fraction, clock, monotonic)
    sweeper = Sweeper(gateway, platform.tag, clock)
    rounds = Rounds(
        observer=Observer(gateway, platform.tag, elapsed, small=small),
        pools=PoolCheck(gateway),
        carry_out=partial(apply, gateway=gateway, limiter=limiter),
        planner=planner,
        recorder=recorder,
        sweeper=sweeper,
        metrics=metrics,
        progress=progress,
    )
    return Reconciler(
        changes=Changes(store),
        rows=Rows(store, platform, recorder.learn),
        recorder=recorder,
        planner=planner,
        rounds=rounds,
        prefect=ServerProbe(gateway, server, claim, clock),
        upkeep=Upkeep(
            sweeper, MissedRuns(gateway, clock, progress), recorder, metrics, HistoryWatch(store.engine, fence)
        ),
    )


def _result(report: Report) -> Cycle:
    if report.server_down is not None:
        return Cycle.SERVER_DOWN
    if report.audited:
        return Cycle.AUDIT
    return Cycle.CHANGES if report.settled or report.swept else Cycle.QUIET
