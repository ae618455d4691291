"""Calls about Prefect's runs, as far as they concern the controller: that wait, that hold a slot, that were missed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from prefect_api.calls import BULK_SIZE, OUR_FLOW, PAGE_SIZE, CallKind, PrefectCalls, chunks, whole
from prefect_api.deployment import Limit
from prefect_api.names import ALL_OF_OURS

WAITING = {"type": {"any_": ["SCHEDULED"]}}
"""The filter for runs that have not started."""


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A run that Prefect's scheduler made and that has not started."""

    id: UUID
    deployment_id: UUID | None
    expected_start_time: datetime
    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class PendingRun:
    """A run that a worker has claimed and that has not begun. `since` is when it was claimed, aware."""

    id: UUID
    name: str
    deployment_id: UUID
    work_pool: str | None
    since: datetime


class RunCalls:
    """The part of the gateway that is about runs and their slots."""

    def __init__(self, prefect: PrefectCalls) -> None:
        self._prefect = prefect

    async def scheduled_runs(
        self, *, deployment_ids: Sequence[UUID] | None = None, paused: bool = False
    ) -> list[ScheduledRun]:
        """Automatic runs of our flow that have not started: of these deployments, or of paused ones only.

        One that waits for a slot or for a retry has started once, so it is not among them.
        """
        deployments = {"deployments": {"paused": {"eq_": True}}} if paused else {}
        wanted: list[dict[str, Any]] = [{"state": WAITING}]
        if deployment_ids is not None:
            wanted = [
                {"state": WAITING, "deployment_id": {"any_": [str(i) for i in chunk]}}
                for chunk in chunks(deployment_ids, PAGE_SIZE)
            ]
        found: dict[UUID, ScheduledRun] = {}
        for flow_runs in wanted:
            offset = 0
            while True:
                body = {"limit": PAGE_SIZE, "offset": offset, "sort": "ID_DESC", "flows": OUR_FLOW}
                answer = await self._prefect.request(
                    CallKind.READ, "POST", "/flow_runs/filter", {**body, **deployments, "flow_runs": flow_runs}
                )
                with whole():
                    found |= {run.id: run for row in answer if (run := _scheduled_run(row)) is not None}
                if len(answer) < PAGE_SIZE:
                    break
                offset += PAGE_SIZE
        return list(found.values())

    async def count_scheduled_runs(self) -> tuple[int, int]:
        """How many runs of our flow wait to start, and how many of these have a deployment."""
        body = {"flows": OUR_FLOW, "flow_runs": {"state": WAITING, "deployment_id": {"is_null_": False}}}
        everything = await self._prefect.request(CallKind.READ, "POST", "/flow_runs/count", body)
        joined = {**body, "deployments": {"name": {"like_": ALL_OF_OURS}}}
        with_deployment = await self._prefect.request(CallKind.READ, "POST", "/flow_runs/count", joined)
        with whole():
            return int(everything), int(with_deployment)

    async def delete_runs(self, ids: Sequence[UUID]) -> None:
        """Delete runs that still wait to start, 50 a call; an id that does not exist is no error."""
        for chunk in chunks(ids, BULK_SIZE):
            body = {"flow_runs": {"id": {"any_": [str(i) for i in chunk]}, "state": WAITING}, "limit": BULK_SIZE}
            await self._prefect.request(CallKind.SWEEP, "POST", "/flow_runs/bulk_delete", body)

    async def busy_deployments(self, ids: Sequence[UUID]) -> set[UUID]:
        """Those of these deployments that have a pending, running or cancelling run."""
        busy: set[UUID] = set()
        states = {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}
        for chunk in chunks(ids, PAGE_SIZE):
            # A deployment has one slot, so it has hardly ever more than one such run: a page holds them all.
            body = {
                "limit": PAGE_SIZE,
                "flows": OUR_FLOW,
                "flow_runs": {"state": states, "deployment_id": {"any_": [str(i) for i in chunk]}},
            }
            answer = await self._prefect.request(CallKind.READ, "POST", "/flow_runs/filter", body)
            with whole():
                busy |= {UUID(row["deployment_id"]) for row in answer}
            if len(answer) == PAGE_SIZE:
                busy |= set(chunk)  # cut short: take all for busy, and free nothing
        return busy

    async def pending_runs(self, ids: Sequence[UUID]) -> list[PendingRun]:
        """The pending runs of these deployments."""
        found: list[PendingRun] = []
        for chunk in chunks(ids, PAGE_SIZE):
            flow_runs = {"state": {"type": {"any_": ["PENDING"]}}, "deployment_id": {"any_": [str(i) for i in chunk]}}
            # A page of them a chunk: what is cut off is seen by the next audit, when these are gone.
            body = {"limit": PAGE_SIZE, "sort": "START_TIME_ASC", "flows": OUR_FLOW, "flow_runs": flow_runs}
            answer = await self._prefect.request(CallKind.READ, "POST", "/flow_runs/filter", body)
            with whole():
                found += [
                    PendingRun(
                        UUID(row["id"]),
                        row["name"],
                        UUID(row["deployment_id"]),
                        row["work_pool_name"],
                        datetime.fromisoformat(row["state"]["timestamp"]),
                    )
                    for row in answer
                ]
        return found

    async def workers_since(self, work_pool: str) -> list[datetime]:
        """Since when each worker of a pool that is alive has been known; none for a pool that is gone."""
        path = f"/work_pools/{quote(work_pool, safe='')}/workers/filter"
        body = {"limit": PAGE_SIZE, "workers": {"status": {"any_": ["ONLINE"]}}}
        answer = await self._prefect.request(CallKind.READ, "POST", path, body, gone_is_fine=True)
        with whole():
            return [datetime.fromisoformat(row["created"]) for row in answer or ()]

    async def crash_run(self, run_id: UUID, message: str) -> None:
        """Mark a run as crashed, with a sentence; one that has ended meanwhile stays as it is."""
        body = {"state": {"type": "CRASHED", "name": "Crashed", "message": message}, "force": False}
        await self._prefect.request(CallKind.CRASH, "POST", f"/flow_runs/{run_id}/set_state", body, gone_is_fine=True)

    async def limits(self) -> list[Limit]:
        """The concurrency limits of all deployments of this server, in pages of 200, whosever they are."""
        found: dict[str, Limit] = {}
        offset = 0
        while True:
            body = {"limit": PAGE_SIZE, "offset": offset}
            answer = await self._prefect.request(CallKind.READ, "POST", "/v2/concurrency_limits/filter", body)
            with whole():
                for row in answer:
                    if (named := _OF_DEPLOYMENT.fullmatch(row["name"])) is not None:
                        found[row["id"]] = Limit(UUID(named[1]), int(row["limit"]), int(row["active_slots"]))
            if len(answer) < PAGE_SIZE:
                return list(found.values())
            offset += PAGE_SIZE

    async def free_slots(self, limit_id: UUID) -> None:
        """Set a concurrency limit's taken slots to none."""
        await self._prefect.request(CallKind.FREE, "PATCH", f"/v2/concurrency_limits/{limit_id}", {"active_slots": 0})

    async def run_dates(self, deployment_id: UUID, since: datetime, until: datetime) -> set[datetime]:
        """When the runs of a deployment that exist were due, between two moments."""
        dates: set[datetime] = set()
        between = {"after_": since.isoformat(), "before_": until.isoformat()}
        flow_runs = {"deployment_id": {"any_": [str(deployment_id)]}, "expected_start_time": between}
        offset = 0
        while True:
            body = {"limit": PAGE_SIZE, "offset": offset, "sort": "ID_DESC", "flow_runs": flow_runs}
            answer = await self._prefect.request(CallKind.READ, "POST", "/flow_runs/filter", body)
            with whole():
                dates |= {datetime.fromisoformat(row["expected_start_time"]) for row in answer}
            if len(answer) < PAGE_SIZE:
                return dates
            offset += PAGE_SIZE

    async def create_run(self, deployment_id: UUID, due: datetime, key: str) -> None:
        """Make a run that was due at a moment; one with the same key is made once only."""
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
        body = {"state": state, "idempotency_key": key}
        await self._prefect.request(CallKind.RUN, "POST", f"/deployments/{deployment_id}/create_flow_run", body)


_OF_DEPLOYMENT = re.compile(r"deployment:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
"""What Prefect calls the limit that it makes for a deployment."""

_NOT_STARTED = frozenset({"Scheduled", "Late"})


def _scheduled_run(answer: Mapping[str, Any]) -> ScheduledRun | None:
    """An automatic run that has never started; None for any other."""
    if not answer["auto_scheduled"] or answer["run_count"] or answer["state_name"] not in _NOT_STARTED:
        return None
    deployment = answer["deployment_id"]
    return ScheduledRun(
        UUID(answer["id"]),
        None if deployment is None else UUID(deployment),
        datetime.fromisoformat(answer["expected_start_time"]),
        frozenset(answer["tags"]),
    )
