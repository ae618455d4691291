"""Stale runs and stuck slots, which Prefect forgets to take back.

Prefect's scheduler generates runs for a page of deployments and inserts them without looking again: a patch, a pause
or a delete in between leaves runs of the old schedule, on a paused deployment, or of none, for good. And a concurrency
slot whose lease was lost with the server's memory stays taken. Both are found without listing every run: by the
deployments that were changed lately, by those that are paused, and by two counts that must agree.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

from connectors.schedules.cron import Schedule
from connectors.schedules.dates import may_be_due
from connectors.status import Status
from deployments.reconciling.gateway import Gateway
from prefect_api.deployment import Observed
from prefect_api.run_calls import PendingRun, ScheduledRun

logger = logging.getLogger(__name__)

SETTLED_AFTER = timedelta(seconds=30)
"""A pass of the scheduler takes no longer than this; what it inserts late is there by then."""

RECENT = timedelta(hours=1)
"""After a takeover, deployments that were changed within this time are looked at as if we had changed them."""


PENDING_WITHOUT_WORKER = timedelta(minutes=15)
"""A claimed run whose worker is gone begins within this time (its pod may still be starting), or never."""

PENDING_AT_MOST = timedelta(hours=1)
"""A claimed run begins within this time, whoever claimed it, or never."""


ABANDONED = (
    "A worker claimed this run and it never began: the worker or its server went away meanwhile. "
    "The next run goes on as usual."
)


def is_abandoned(run: PendingRun, workers_since: Iterable[datetime], now: datetime) -> bool:
    """Whether no process can begin a pending run any more. `workers_since`: when each worker alive became known."""
    waited = now - run.since
    claimer_may_live = any(since <= run.since for since in workers_since)
    return waited > (PENDING_AT_MOST if claimer_may_live else PENDING_WITHOUT_WORKER)


def is_stale(run: ScheduledRun, held: Observed | None) -> bool:
    """Whether an automatic run that has not started contradicts its deployment as it stands; None: there is none."""
    if held is None or held.fields.paused:
        return True
    for schedule in held.fields.schedules:
        cron = schedule.rule.get("cron")
        if cron is None:
            return False  # somebody's own kind of schedule, until the next audit repairs it
        if schedule.active:
            own = Schedule(cron, schedule.rule.get("timezone") or "UTC")
            if may_be_due(own, run.expected_start_time):
                return False
    return True


class Sweeper:
    """Finds and removes stale runs and stuck slots of one instance's deployments."""

    def __init__(self, gateway: Gateway, tag: str, clock: Callable[[], datetime]) -> None:
        """`tag` marks our deployments and their runs; nothing without it is touched."""
        self._gateway = gateway
        self._tag = tag
        self._clock = clock
        self._touched: dict[UUID, datetime] = {}
        self._suspected_slots: set[UUID] = set()

    def start(self, known: Iterable[Status]) -> None:
        """Take over from a controller that may have died between a change and its sweep."""
        now = self._clock()
        self._touched = {
            status.deployment_id: status.last_synced_at
            for status in known
            if status.deployment_id is not None
            and status.last_synced_at is not None
            and now - status.last_synced_at < RECENT
        }

    def touch(self, deployment_id: UUID) -> None:
        """This deployment was changed, paused or deleted just now."""
        self._touched[deployment_id] = self._clock()

    def seconds_until_due(self) -> float | None:
        """Seconds until a changed deployment can be looked at; None when there is none."""
        if not self._touched:
            return None
        return max(0.0, (min(self._touched.values()) + SETTLED_AFTER - self._clock()).total_seconds())

    async def sweep_touched(self) -> int:
        """Remove stale runs of deployments that were changed a while ago; how many.

        Raises:
            TransientError, RefusedError: nothing is forgotten then, and the next call tries again.
        """
        now = self._clock()
        due = {i: at for i, at in self._touched.items() if now - at >= SETTLED_AFTER}
        if not due:
            return 0
        removed = await self._remove_stale(await self._gateway.scheduled_runs(deployment_ids=sorted(due)))
        self._touched = {i: at for i, at in self._touched.items() if due.get(i) != at}
        return removed

    async def sweep_all(self, with_slots: Iterable[Observed]) -> int:
        """Remove every stale run that counts and pauses give away, and free stuck slots; how many runs.

        Args:
            with_slots: the deployments whose slots were taken, as an audit has just seen them.
        """
        suspects = await self._gateway.scheduled_runs(paused=True)
        everything, with_deployment = await self._gateway.count_scheduled_runs()
        if everything != with_deployment:
            suspects += await self._gateway.scheduled_runs()
        removed = await self._remove_stale(suspects)
        await self._free_slots([held for held in with_slots if self._tag in held.fields.tags])
        return removed

    async def _remove_stale(self, suspects: list[ScheduledRun]) -> int:
        """Remove those of the suspects that are stale by what Prefect holds *now*."""
        ours = [run for run in suspects if self._tag in run.tags and run.deployment_id is not None]
        if not ours:
            return 0
        ids = sorted({run.deployment_id for run in ours if run.deployment_id is not None})
        held = {deployment.id: deployment for deployment in await self._gateway.read_deployments_by_id(ids)}
        stale = [run.id for run in ours if run.deployment_id is not None and is_stale(run, held.get(run.deployment_id))]
        if stale:
            await self._gateway.delete_runs(stale)
            logger.info("Removed %s scheduled runs that their deployments no longer ask for.", len(stale))
        return len(stale)

    async def _free_slots(self, holding: list[Observed]) -> None:
        """Free slots that no pending or running run holds, seen so in two audits in a row.

        Twice, because a run takes its slot just before it becomes pending.
        """
        if not holding:
            self._suspected_slots = set()
            return
        await self._crash_abandoned([held.id for held in holding])
        busy = await self._gateway.busy_deployments([held.id for held in holding])
        stuck = {held.id: held for held in holding if held.id not in busy}
        for deployment_id in stuck.keys() & self._suspected_slots:
            limit = stuck[deployment_id].limit_id
            if limit is not None:
                await self._gateway.free_slots(limit)
                logger.warning("Freed the concurrency slot of %s, which no run held.", stuck[deployment_id].name)
        self._suspected_slots = stuck.keys() - self._suspected_slots

    async def _crash_abandoned(self, holding: list[UUID]) -> None:
        """End pending runs that nothing will begin: each would hold its deployment's slot for good.

        Nothing else marks them: they send no heartbeat yet. Should a process begin after all, Prefect refuses it the
        state Running. If this process dies here, the next audit does it.
        """
        now = self._clock()
        pending = [run for run in await self._gateway.pending_runs(holding) if now - run.since > PENDING_WITHOUT_WORKER]
        workers: dict[str | None, list[datetime]] = {None: []}
        for pool in {run.work_pool for run in pending} - {None}:
            workers[pool] = await self._gateway.workers_since(pool or "")
        for run in pending:
            if is_abandoned(run, workers[run.work_pool], now):
                await self._gateway.crash_run(run.id, ABANDONED)
                logger.warning("Run %s was claimed by a worker and never began: it is marked Crashed.", run.name)
