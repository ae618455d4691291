"""Deployments in Prefect: read, made, patched, paused and deleted, and the gateway that joins them with their runs.

The only module that writes deployments. How a call is made and what its failure means is `prefect_api.calls`; runs and
slots are `prefect_api.run_calls`. The client's retries are switched off: with them a dead server holds a call for a
minute, inside our loop, and the controller backs off by itself.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.schemas.actions import VariableCreate, VariableUpdate

from prefect_api import deployment
from prefect_api.calls import (
    BULK_SIZE,
    OUR_FLOW,
    PAGE_SIZE,
    CallKind,
    Observe,
    PrefectCalls,
    chunks,
    nobody,
    pool_missing,
    whole,
)
from prefect_api.client import open_client
from prefect_api.deployment import Asked, Changed, Listing, Observed, Patch, Spec, WorkPool
from prefect_api.errors import (
    RefusedError,
    ServerError,
    ServerUnavailableError,
    TransientError,
    WrongInstanceError,
)
from prefect_api.names import FLOW_NAME
from prefect_api.run_calls import RunCalls

LISTING_TRIES = 3
"""Rows shift between pages when somebody creates or deletes meanwhile; then the listing starts anew."""


class DeploymentCalls:
    """The part of the gateway that is about deployments, their work pools, and whose they are."""

    def __init__(self, prefect: PrefectCalls) -> None:
        self._prefect = prefect
        self._flow_id: str | None = None

    async def probe(self) -> None:
        """Return when Prefect answers and lets us in; raise `ServerUnavailableError` otherwise.

        Reads one flow rather than `/health`, which answers without credentials and while the database is down.
        """
        try:
            await self._prefect.request(CallKind.PROBE, "POST", "/flows/filter", {"limit": 1, "flows": OUR_FLOW})
        except ServerUnavailableError:
            raise
        except (TransientError, RefusedError) as error:
            raise ServerUnavailableError(str(error)) from error

    async def list_deployments(self) -> Listing:
        """Every deployment of the flow `run_connector_pipeline`, in pages of 200."""
        found: dict[UUID, Observed] = {}
        for _ in range(LISTING_TRIES):
            pages = [page async for page in self._pages()]
            found = {held.id: held for page in pages for held in page.found}
            # The same count on every page: one that is deleted meanwhile stands for one that shifted out of sight.
            if {page.count for page in pages} == {len(found)}:
                return Listing(tuple(found.values()), complete=True, asked=_asked(pages))
        return Listing(tuple(found.values()), complete=False)

    async def list_changed(self, since: datetime) -> Changed | None:
        """The deployments of our flow that were changed after a moment of the server's clock, newest first.

        What Prefect takes for no change is not among them: schedules that are edited by their own calls, a
        concurrency limit, a work queue's name. None when that cannot be told: the count changed meanwhile, for then a
        row may have shifted out of sight, or the server does not say what time it is.
        """
        found: dict[UUID, Observed] = {}
        pages: list[_Page] = []
        async for page in self._pages("UPDATED_DESC"):
            pages.append(page)
            fresh = [held for held, at in zip(page.found, page.updated, strict=True) if at > since]
            found |= {held.id: held for held in fresh}
            if len(fresh) < len(page.found):
                break
        counts, asked = {page.count for page in pages}, _asked(pages)
        return None if len(counts) != 1 or asked is None else Changed(tuple(found.values()), counts.pop(), asked)

    async def _pages(self, sort: str = "NAME_ASC") -> "AsyncIterator[_Page]":
        """Each page of our flow's deployments, of 200."""
        number, pages = 1, 1
        while number <= pages:
            body = {"limit": PAGE_SIZE, "page": number, "sort": sort, "flows": OUR_FLOW}
            answer, at = await self._prefect.answer(CallKind.LIST, "POST", "/deployments/paginate", body)
            with whole():
                rows = answer["results"]
                page = _Page(
                    [deployment.observed(row) for row in rows],
                    [datetime.fromisoformat(row["updated"]) for row in rows],
                    int(answer["count"]),
                    at,
                )
                pages = int(answer["pages"])
            yield page
            number += 1

    async def read_deployments(self, names: Sequence[str]) -> list[Observed]:
        """Those deployments of these names, of our flow, that exist; 200 names a call."""
        return await self._read("name", names)

    async def read_deployments_by_id(self, ids: Sequence[UUID]) -> list[Observed]:
        """Those deployments of these ids, of our flow, that exist; 200 ids a call."""
        return await self._read("id", [str(i) for i in ids])

    async def all_tagged(self, ids: Sequence[UUID], tag: str) -> bool:
        """Whether each of these deployments, at most 200, stands, is of our flow and carries a tag: one cheap call."""
        which = {"id": {"any_": [str(i) for i in ids]}, "tags": {"all_": [tag]}}
        body = {"flows": OUR_FLOW, "deployments": which}
        count = await self._prefect.request(CallKind.READ, "POST", "/deployments/count", body)
        with whole():
            return int(count) == len(ids)

    async def _read(self, by: str, values: Sequence[str]) -> list[Observed]:
        found: list[Observed] = []
        for chunk in chunks(values, PAGE_SIZE):
            body = {"limit": PAGE_SIZE, "flows": OUR_FLOW, "deployments": {by: {"any_": list(chunk)}}}
            answer = await self._prefect.request(CallKind.READ, "POST", "/deployments/filter", body)
            with whole():
                found += [deployment.observed(row) for row in answer]
        return found

    async def read_pools(self, names: Sequence[str]) -> list[WorkPool]:
        """Those work pools of these names that exist; 200 names a call."""
        found: list[WorkPool] = []
        for chunk in chunks(names, PAGE_SIZE):
            body = {"limit": PAGE_SIZE, "work_pools": {"name": {"any_": list(chunk)}}}
            answer = await self._prefect.request(CallKind.READ, "POST", "/work_pools/filter", body)
            with whole():
                found += [WorkPool(row["name"], row["type"], row.get("base_job_template") or {}) for row in answer]
        return found

    async def create(self, wanted: Spec) -> UUID:
        """Make the deployment and return its id.

        `POST /deployments/` is an upsert that replaces all schedules of what it finds, so this is only for a name that
        was just seen to be free. If the process dies before the id is stored, the next cycle finds the deployment by
        its name and tag and stores it.
        """
        try:
            answer = await self._prefect.request(
                CallKind.CREATE, "POST", "/deployments/", deployment.creation(wanted, await self._flow())
            )
        except (RefusedError, ServerError):
            self._flow_id = None  # somebody may have deleted the flow: ask for it again at the next try
            raise
        with whole():
            return UUID(answer["id"])

    async def _flow(self) -> str:
        """The id of our flow, made when there is none: `POST /flows/` is get-or-create."""
        if self._flow_id is None:
            found = await self._prefect.ask(CallKind.FLOW, lambda client: client.create_flow_from_name(FLOW_NAME))
            self._flow_id = str(found)
        return self._flow_id

    async def patch(self, patch: Patch) -> None:
        """Carry out one patch of a plan: obsolete schedules go, then one PATCH, then the pause if it is to be paused.

        If the process dies between two of these calls, the deployment is left with fewer schedules or unpaused, never
        with a wrong one; the row is still due, so the next cycle patches what then differs.
        """
        held, wanted = patch.held, patch.spec
        for schedule_id in patch.remove_schedules:
            await self._prefect.request(
                CallKind.PATCH, "DELETE", f"/deployments/{held.id}/schedules/{schedule_id}", gone_is_fine=True
            )
        body = deployment.patch(wanted, patch.changes)
        if "work_pool_name" in body:
            await self._check_pool(body["work_pool_name"])
        if body:
            await self._prefect.request(CallKind.PATCH, "PATCH", f"/deployments/{held.id}", body)
        if any(change.field == "paused" for change in patch.changes) and wanted.fields.paused:
            await self.pause(held.id)

    async def _check_pool(self, name: str) -> None:
        """Refuse a work pool that does not exist; a PATCH that names one answers 500 with no reason (3.8.8)."""
        if not await self._prefect.request(
            CallKind.READ, "POST", "/work_pools/filter", {"work_pools": {"name": {"any_": [name]}}}
        ):
            raise pool_missing(name)

    async def pause(self, deployment_id: UUID) -> None:
        """Pause by Prefect's own call, which clears late runs as well as future ones; finished ones stay."""
        await self._prefect.request(CallKind.PAUSE, "POST", f"/deployments/{deployment_id}/pause_deployment")

    async def delete(self, deployment_ids: Sequence[UUID]) -> None:
        """Delete deployments with their scheduled runs, 50 a call; an id that does not exist is no error."""
        for chunk in chunks(deployment_ids, BULK_SIZE):
            body = {"deployments": {"id": {"any_": [str(held) for held in chunk]}}, "limit": BULK_SIZE}
            await self._prefect.request(CallKind.DELETE, "POST", "/deployments/bulk_delete", body)

    async def owner(self, name: str) -> str | None:
        """The value of the Prefect Variable `name`; None when there is none."""
        found = await self._prefect.request(
            CallKind.READ, "POST", "/variables/filter", {"variables": {"name": {"any_": [name]}}}
        )
        with whole():
            return str(found[0]["value"]) if len(found) else None

    async def claim(self, name: str, owner: str, *, take_over: bool = False) -> None:
        """Make sure that the Prefect Variable `name` says `owner`; write it when there is none, or to take over.

        Two controllers on two databases may find none at the same moment: the second one's write is refused by
        Prefect, and its next try reads the first one's.

        Raises:
            WrongInstanceError: when it names another one.
        """
        holds = await self.owner(name)
        if holds == owner:
            return
        if holds is None:
            wanted = VariableCreate(name=name, value=owner)
            await self._prefect.ask(CallKind.CLAIM, lambda client: client.create_variable(wanted))
        elif take_over:
            other = VariableUpdate(name=name, value=owner)
            await self._prefect.ask(CallKind.CLAIM, lambda client: client.update_variable(other))
        else:
            raise WrongInstanceError(
                f"The deployments of this instance in Prefect belong to another database ({holds}; this one is "
                f"{owner}), so nothing is written. Give this database a Prefect server of its own, or, if it is "
                "their rightful home now, start the controller once with --take-over."
            )


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a listing. `updated` is in the order of `found`; `at` is when it was given, by the server's clock."""

    found: list[Observed]
    updated: list[datetime]
    count: int
    at: datetime | None


def _asked(pages: Sequence[_Page]) -> Asked | None:
    """When these pages were asked for: what is changed after the first of them is known to none for certain."""
    changes = [at for page in pages for at in page.updated]
    at = pages[0].at
    return None if at is None or not changes else Asked(at, max(changes))


class PrefectGateway(DeploymentCalls, RunCalls):
    """`Gateway` over Prefect's REST API, on one way to call it."""

    def __init__(self, prefect: PrefectCalls) -> None:
        DeploymentCalls.__init__(self, prefect)
        RunCalls.__init__(self, prefect)

    @property
    def calls(self) -> Counter[str]:
        """How many calls were made, by kind."""
        return self._prefect.calls

    @property
    def writes(self) -> int:
        """How many calls that change something were made."""
        return self._prefect.writes


@asynccontextmanager
async def open_gateway(
    *,
    timeout_seconds: float,
    connections: int,
    may_write: Callable[[], None] = lambda: None,
    observe: Observe = nobody,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[PrefectGateway]:
    """A gateway to the server of `PREFECT_API_URL`.

    Args:
        timeout_seconds: how long one call may take: a third of the lease's TTL, so that none outlives the lease.
        connections: how many calls may be in flight.
        may_write: asked before every call that changes something.
        observe: takes each call and how it ended.
        transport: what carries the requests; the tests put their faults here.
    """
    options: dict[str, Any] = {
        "timeout": timeout_seconds,
        "limits": httpx.Limits(max_connections=connections + 2, max_keepalive_connections=connections + 2),
    }
    if transport is not None:
        options["transport"] = transport
    async with open_client(**options) as client:
        yield PrefectGateway(PrefectCalls(client, timeout_seconds, may_write, observe))
