"""The only module that talks to Prefect's deployment API.

It goes through Prefect's own client (address, authentication, TLS, CSRF and headers are Prefect's business) but reads
the JSON itself: the client's models cost half of a listing's time, and the spec compares only the fields that it owns.
The client's retries are switched off: with them a dead server holds a call for a minute, inside our loop, and the
controller backs off by itself. Every failure leaves as one of `deployments.errors`.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, Protocol, TypeVar
from uuid import UUID

import httpx
import orjson
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from deployments import spec
from deployments.errors import (
    OverloadedError,
    RefusedError,
    ServerError,
    ServerUnavailableError,
    WorkPoolMissingError,
    WrongInstanceError,
)
from deployments.plan import Patch
from deployments.spec import FLOW_NAME, Observed, Spec

T = TypeVar("T")

PAGE_SIZE = 200
"""Prefect's own limit of a page; it refuses more."""

BULK_SIZE = 50
"""Prefect's own limit of one bulk delete."""

OUR_FLOW = {"name": {"any_": [FLOW_NAME]}}
"""The filter for what belongs to our flow."""

WAITING = {"type": {"any_": ["SCHEDULED"]}}
"""The filter for runs that have not started."""

LISTING_TRIES = 3
"""Rows shift between pages when somebody creates or deletes meanwhile; then the listing starts anew."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Every deployment of our flow, and whether the pages add up to the count that Prefect gave."""

    deployments: tuple[Observed, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A run that Prefect's scheduler made and that has not started."""

    id: UUID
    deployment_id: UUID | None
    expected_start_time: datetime
    tags: frozenset[str]


class Gateway(Protocol):
    """What the controller needs of Prefect. `PrefectGateway` is the real one; the contract suite holds both to it."""

    async def probe(self) -> None:
        """Return when Prefect answers and lets us in; raise `ServerUnavailableError` otherwise."""

    async def list_deployments(self) -> Listing:
        """Every deployment of the flow `run_connector_pipeline`."""

    async def read_deployments(self, names: Sequence[str]) -> list[Observed]:
        """Those deployments of these names that exist."""

    async def create(self, wanted: Spec) -> UUID:
        """Make the deployment and return its id. Only for a name that was just seen to be free."""

    async def patch(self, patch: Patch) -> None:
        """Carry out one patch of a plan."""

    async def pause(self, deployment_id: UUID) -> None:
        """Pause; future and late runs go, finished ones stay."""

    async def delete(self, deployment_ids: Sequence[UUID]) -> None:
        """Delete deployments with their scheduled runs; an id that does not exist is no error."""

    async def owner(self, name: str) -> str | None:
        """The value of the Prefect Variable `name`; None when there is none."""

    async def read_deployments_by_id(self, ids: Sequence[UUID]) -> list[Observed]:
        """Those deployments of these ids that exist."""

    async def scheduled_runs(
        self, *, deployment_ids: Sequence[UUID] | None = None, paused: bool = False
    ) -> list[ScheduledRun]:
        """Automatic runs of our flow that have not started: of these deployments, or of paused ones only."""

    async def count_scheduled_runs(self) -> tuple[int, int]:
        """How many runs of our flow wait to start, and how many of these have a deployment."""

    async def delete_runs(self, ids: Sequence[UUID]) -> None:
        """Delete runs; an id that does not exist is no error."""

    async def busy_deployments(self, ids: Sequence[UUID]) -> set[UUID]:
        """Those of these deployments that have a pending or running run."""

    async def free_slots(self, limit_id: UUID) -> None:
        """Set a concurrency limit's taken slots to none."""

    async def run_dates(self, deployment_id: UUID, since: datetime, until: datetime) -> set[datetime]:
        """When the runs of a deployment that exist were due, between two moments."""

    async def create_run(self, deployment_id: UUID, due: datetime, key: str) -> None:
        """Make a run that was due at a moment; one with the same key is made once only."""


class PrefectGateway:
    """`Gateway` over Prefect's REST API. Counts its calls by kind in `calls`."""

    def __init__(
        self, client: PrefectClient, timeout_seconds: float, may_write: Callable[[], None] = lambda: None
    ) -> None:
        """`may_write` is asked before every call that changes something, and raises when we may not."""
        self._client = client
        self._timeout = timeout_seconds
        self._may_write = may_write
        self._flow_id: str | None = None
        self.calls: Counter[str] = Counter()

    @property
    def writes(self) -> int:
        """How many calls that change something were made."""
        return sum(count for kind, count in self.calls.items() if kind not in READS)

    async def probe(self) -> None:
        """Return when Prefect answers and lets us in; raise `ServerUnavailableError` otherwise.

        Reads one flow rather than `/health`, which answers without credentials and while the database is down.
        """
        try:
            await self._call("probe", "POST", "/flows/filter", {"limit": 1, "flows": OUR_FLOW})
        except ServerUnavailableError:
            raise
        except (OverloadedError, ServerError, RefusedError) as error:
            raise ServerUnavailableError(str(error)) from error

    async def list_deployments(self) -> Listing:
        """Every deployment of the flow `run_connector_pipeline`, in pages of 200."""
        found: dict[UUID, Observed] = {}
        for _ in range(LISTING_TRIES):
            pages = [page async for page in self._pages()]
            found = {held.id: held for page in pages for held in page[0]}
            # The same count on every page: one that is deleted meanwhile stands for one that shifted out of sight.
            if {count for _, count in pages} == {len(found)}:
                return Listing(tuple(found.values()), complete=True)
        return Listing(tuple(found.values()), complete=False)

    async def _pages(self) -> AsyncIterator[tuple[list[Observed], int]]:
        """Each page's deployments with the count of all that Prefect gave along with it."""
        number, pages = 1, 1
        while number <= pages:
            body = {"limit": PAGE_SIZE, "page": number, "sort": "NAME_ASC", "flows": OUR_FLOW}
            answer = await self._call("list", "POST", "/deployments/paginate", body)
            with _whole():
                found = [spec.observed(row) for row in answer["results"]]
                count, pages = int(answer["count"]), int(answer["pages"])
            yield found, count
            number += 1

    async def read_deployments(self, names: Sequence[str]) -> list[Observed]:
        """Those deployments of these names, of our flow, that exist; 200 names a call."""
        return await self._read("name", names)

    async def read_deployments_by_id(self, ids: Sequence[UUID]) -> list[Observed]:
        """Those deployments of these ids, of our flow, that exist; 200 ids a call."""
        return await self._read("id", [str(i) for i in ids])

    async def _read(self, by: str, values: Sequence[str]) -> list[Observed]:
        found: list[Observed] = []
        for chunk in chunks(values, PAGE_SIZE):
            body = {"limit": PAGE_SIZE, "flows": OUR_FLOW, "deployments": {by: {"any_": list(chunk)}}}
            answer = await self._call("read", "POST", "/deployments/filter", body)
            with _whole():
                found += [spec.observed(row) for row in answer]
        return found

    async def create(self, wanted: Spec) -> UUID:
        """Make the deployment and return its id.

        `POST /deployments/` is an upsert that replaces all schedules of what it finds, so this is only for a name that
        was just seen to be free. If the process dies before the id is stored, the next cycle finds the deployment by
        its name and tag and stores it.
        """
        try:
            answer = await self._call("create", "POST", "/deployments/", spec.creation(wanted, await self._flow()))
        except (RefusedError, ServerError):
            self._flow_id = None  # somebody may have deleted the flow: ask for it again at the next try
            raise
        with _whole():
            return UUID(answer["id"])

    async def _flow(self) -> str:
        """The id of our flow, made when there is none: `POST /flows/` is get-or-create."""
        if self._flow_id is None:
            answer = await self._call("flow", "POST", "/flows/", {"name": FLOW_NAME})
            with _whole():
                self._flow_id = str(UUID(answer["id"]))
        return self._flow_id

    async def patch(self, patch: Patch) -> None:
        """Carry out one patch of a plan: obsolete schedules go, then one PATCH, then the pause if it is to be paused.

        If the process dies between two of these calls, the deployment is left with fewer schedules or unpaused, never
        with a wrong one; the row is still due, so the next cycle patches what then differs.
        """
        held, wanted = patch.held, patch.spec
        for schedule_id in patch.remove_schedules:
            await self._call("patch", "DELETE", f"/deployments/{held.id}/schedules/{schedule_id}", gone_is_fine=True)
        body = spec.patch(wanted, patch.changes)
        if "work_pool_name" in body:
            await self._check_pool(body["work_pool_name"])
        if body:
            await self._call("patch", "PATCH", f"/deployments/{held.id}", body)
        if any(change.field == "paused" for change in patch.changes) and wanted.fields.paused:
            await self.pause(held.id)

    async def _check_pool(self, name: str) -> None:
        """Refuse a work pool that does not exist; a PATCH that names one answers 500 with no reason (3.8.8)."""
        if not await self._call("read", "POST", "/work_pools/filter", {"work_pools": {"name": {"any_": [name]}}}):
            raise _pool_missing(name)

    async def pause(self, deployment_id: UUID) -> None:
        """Pause by Prefect's own call, which clears late runs as well as future ones; finished ones stay."""
        await self._call("pause", "POST", f"/deployments/{deployment_id}/pause_deployment")

    async def delete(self, deployment_ids: Sequence[UUID]) -> None:
        """Delete deployments with their scheduled runs, 50 a call; an id that does not exist is no error."""
        for chunk in chunks(deployment_ids, BULK_SIZE):
            body = {"deployments": {"id": {"any_": [str(held) for held in chunk]}}, "limit": BULK_SIZE}
            await self._call("delete", "POST", "/deployments/bulk_delete", body)

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
                answer = await self._call(
                    "read", "POST", "/flow_runs/filter", {**body, **deployments, "flow_runs": flow_runs}
                )
                with _whole():
                    found |= {run.id: run for row in answer if (run := _scheduled_run(row)) is not None}
                if len(answer) < PAGE_SIZE:
                    break
                offset += PAGE_SIZE
        return list(found.values())

    async def count_scheduled_runs(self) -> tuple[int, int]:
        """How many runs of our flow wait to start, and how many of these have a deployment."""
        body = {"flows": OUR_FLOW, "flow_runs": {"state": WAITING, "deployment_id": {"is_null_": False}}}
        everything = await self._call("read", "POST", "/flow_runs/count", body)
        joined = {**body, "deployments": {"name": {"like_": "connector-"}}}
        with_deployment = await self._call("read", "POST", "/flow_runs/count", joined)
        with _whole():
            return int(everything), int(with_deployment)

    async def delete_runs(self, ids: Sequence[UUID]) -> None:
        """Delete runs that still wait to start, 50 a call; an id that does not exist is no error."""
        for chunk in chunks(ids, BULK_SIZE):
            body = {"flow_runs": {"id": {"any_": [str(i) for i in chunk]}, "state": WAITING}, "limit": BULK_SIZE}
            await self._call("sweep", "POST", "/flow_runs/bulk_delete", body)

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
            answer = await self._call("read", "POST", "/flow_runs/filter", body)
            with _whole():
                busy |= {UUID(row["deployment_id"]) for row in answer}
            if len(answer) == PAGE_SIZE:
                busy |= set(chunk)  # cut short: take all for busy, and free nothing
        return busy

    async def free_slots(self, limit_id: UUID) -> None:
        """Set a concurrency limit's taken slots to none."""
        await self._call("free", "PATCH", f"/v2/concurrency_limits/{limit_id}", {"active_slots": 0})

    async def run_dates(self, deployment_id: UUID, since: datetime, until: datetime) -> set[datetime]:
        """When the runs of a deployment that exist were due, between two moments."""
        dates: set[datetime] = set()
        between = {"after_": since.isoformat(), "before_": until.isoformat()}
        flow_runs = {"deployment_id": {"any_": [str(deployment_id)]}, "expected_start_time": between}
        offset = 0
        while True:
            body = {"limit": PAGE_SIZE, "offset": offset, "sort": "ID_DESC", "flow_runs": flow_runs}
            answer = await self._call("read", "POST", "/flow_runs/filter", body)
            with _whole():
                dates |= {datetime.fromisoformat(row["expected_start_time"]) for row in answer}
            if len(answer) < PAGE_SIZE:
                return dates
            offset += PAGE_SIZE

    async def create_run(self, deployment_id: UUID, due: datetime, key: str) -> None:
        """Make a run that was due at a moment; one with the same key is made once only."""
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
        body = {"state": state, "idempotency_key": key}
        await self._call("run", "POST", f"/deployments/{deployment_id}/create_flow_run", body)

    async def owner(self, name: str) -> str | None:
        """The value of the Prefect Variable `name`; None when there is none."""
        found = await self._call("read", "POST", "/variables/filter", {"variables": {"name": {"any_": [name]}}})
        with _whole():
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
            await self._call("claim", "POST", "/variables/", {"name": name, "value": owner})
        elif take_over:
            await self._call("claim", "PATCH", f"/variables/name/{name}", {"value": owner})
        else:
            raise WrongInstanceError(
                f"The deployments of this instance in Prefect belong to another database ({holds}; this one is "
                f"{owner}), so nothing is written. Set CAI_INSTANCE to a name of its own, or, if this database is "
                "their rightful home now, start the controller once with --take-over."
            )

    async def _call(
        self, kind: str, method: str, path: str, body: Mapping[str, Any] | None = None, *, gone_is_fine: bool = False
    ) -> Any:
        """One request; its parsed answer. `kind` names it in `calls`."""
        if kind not in READS:
            self._may_write()
        self.calls[kind] += 1
        try:
            # The client types its routes as literals; several that the server has are missing there.
            request: Any = self._client.request
            # The client's own time limit is one of each read; and after a 429 or 503 it sleeps for as long as a proxy's
            # Retry-After says, even when it may not try again.
            async with asyncio.timeout(self._timeout):
                response: httpx.Response = await request(
                    method,
                    path,
                    content=None if body is None else orjson.dumps(body, default=_plain),
                    headers={"Content-Type": "application/json"},
                )
            return orjson.loads(response.content) if response.content else None
        except httpx.HTTPStatusError as error:
            if gone_is_fine and error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            _raise_for(error.response)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise OverloadedError("Prefect did not answer in time.") from error
        except httpx.ConnectError as error:
            raise ServerUnavailableError("Prefect cannot be reached.") from error
        except (httpx.RequestError, ValueError) as error:
            # ValueError: a body that is no JSON, ours or that of the CSRF token that the client asks for by itself.
            raise ServerError("The connection to Prefect broke off.") from error


READS = frozenset({"probe", "list", "read"})
"""The kinds of calls that change nothing."""

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


@contextmanager
def _whole() -> Iterator[None]:
    """Reading an answer: a body that was cut short, or that a proxy wrote, is the server's failure and not ours."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ServerError("Prefect's answer was not whole.") from error


_POOL_MISSING = re.compile(r'Work pool "([^"]*)" not found')


def _pool_missing(name: str) -> WorkPoolMissingError:
    sentence = f"The work pool {name!r} does not exist in Prefect: create it, or name another one."
    return WorkPoolMissingError(sentence, httpx.codes.NOT_FOUND)


def _raise_for(response: httpx.Response) -> NoReturn:
    """Turn an error's status into the exception that says who must act."""
    code = response.status_code
    detail = _detail(response)
    if code in {401, 403}:
        raise ServerUnavailableError(f"Prefect refuses our credentials ({code}): check PREFECT_API_AUTH_STRING.")
    if code in {408, 429, 502, 503, 504}:
        raise OverloadedError(f"Prefect is busy ({code}).")
    if code >= 500:
        raise ServerError(f"Prefect failed ({code}).")
    if (pool := _POOL_MISSING.search(detail)) is not None:
        raise _pool_missing(pool[1])
    raise RefusedError(f"Prefect refused it ({code}): {detail}", code)


def _detail(response: httpx.Response) -> str:
    """What Prefect says of a refusal, without the value it refused."""
    try:
        detail = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return "no reason given"
    if isinstance(detail, dict) and "exception_detail" in detail:
        return "; ".join(f"{'.'.join(map(str, e.get('loc', ())))}: {e.get('msg')}" for e in detail["exception_detail"])
    text = str(detail.get("detail", "no reason given")) if isinstance(detail, dict) else "no reason given"
    return text[:300]


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset | tuple):
        return list(value)
    raise TypeError(type(value).__name__)


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in pieces of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))


@asynccontextmanager
async def open_gateway(
    *,
    timeout_seconds: float,
    connections: int,
    may_write: Callable[[], None] = lambda: None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[PrefectGateway]:
    """A gateway to the server of `PREFECT_API_URL`.

    Args:
        timeout_seconds: how long one call may take: a third of the lease's TTL, so that none outlives the lease.
        connections: how many calls may be in flight.
        may_write: asked before every call that changes something.
        transport: what carries the requests; the tests put their faults here.
    """
    options: dict[str, Any] = {
        "timeout": timeout_seconds,
        "limits": httpx.Limits(max_connections=connections + 2, max_keepalive_connections=connections + 2),
    }
    if transport is not None:
        options["transport"] = transport
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        async with get_client(httpx_settings=options) as client:
            yield PrefectGateway(client, timeout_seconds, may_write)
