"""Queries of a deployment's runs, and the start and the end of one, for the people who wait for an answer.

Whoever asks waits for the answer, so a call gives up after a few seconds instead of trying again: Prefect's client
would by default try for more than a minute. Only a server that is merely busy is asked again, within those seconds.
No deployment is ever written here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

from prefect.settings import PREFECT_API_URL
from prefect.utilities.urls import url_for

from connectors.errors import PrefectUnavailableError
from connectors.runs import EVERYTHING, Held, Options, Pool, Run
from prefect_api.calls import CallKind, PrefectCalls
from prefect_api.client import open_client
from prefect_api.errors import (
    ConnectionLostError,
    OverloadedError,
    RefusedError,
    ServerUnavailableError,
    TransientError,
)
from prefect_api.names import STARTED_BY

T = TypeVar("T")

TIMEOUT_SECONDS = 3.0
"""How long one answer of ours may wait for Prefect, all its calls together."""

POLLED_WITHIN = timedelta(seconds=60)
"""A worker asks every 10 to 15 s; Prefect's own UI takes a queue that nobody asked for a minute for not ready."""

SHOWN_RUNS = 20

PERHAPS_STARTED = (
    "The run may have been started all the same: look at the connector's runs before you start another. With an "
    "Idempotency-Key, the same request can be sent again and starts no second run."
)
"""What follows when the start of a run was sent and its answer has not come."""

_OPEN = ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]
_ENDED = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]


class PrefectClientRuns:
    """`connectors.runs.PrefectRuns` over the server of `PREFECT_API_URL`."""

    def __init__(self, prefect: PrefectCalls) -> None:
        self._prefect = prefect

    async def start(
        self, deployment_id: UUID, key: str | None = None, actor: str | None = None, options: Options = EVERYTHING
    ) -> Run | None:
        """Start a run of the deployment now; None when Prefect does not hold it any more.

        One `key` starts one run of a deployment, however often it is sent: the run of the first time is answered. If
        the process dies before the answer, the run may have been started: it shows among the runs.
        """
        return await self._begin(deployment_id, key, actor, options.asked)

    async def _begin(
        self, deployment_id: UUID, key: str | None, actor: str | None, parameters: Mapping[str, Any]
    ) -> Run | None:
        # A key even where the caller has none: a busy server that is asked again may have carried it out after all.
        body: dict[str, Any] = {"idempotency_key": f"{deployment_id}:{key or uuid4()}"}
        if actor is not None:
            body["labels"] = {STARTED_BY: actor}
        if parameters:
            body["parameters"] = dict(parameters)  # on top of the deployment's own, which may name a connector
        try:
            answer = await self._within(self._call("POST", f"/deployments/{deployment_id}/create_flow_run", body))
        except PrefectUnavailableError as error:
            raise PrefectUnavailableError(error.why, PERHAPS_STARTED) from None
        return None if answer is None else _run(answer)

    async def start_named(self, deployment: str, parameters: Mapping[str, Any], key: str, actor: str) -> Run | None:
        """Start a run of any deployment, by `flow/deployment`, as `start` does; None when there is none."""
        flow, _, name = deployment.partition("/")
        path = f"/deployments/name/{quote(flow, safe='')}/{quote(name, safe='')}"
        found = await self._within(self._call("GET", path))
        if found is None:
            return None
        return await self._begin(UUID(found["id"]), key, actor, parameters)

    async def last(self, deployment_id: UUID, limit: int) -> list[Run]:
        """The runs that were due until now, the newest first."""
        due = {"expected_start_time": {"before_": datetime.now(UTC).isoformat()}}
        return await self._within(self._runs(deployment_id, due, "EXPECTED_START_TIME_DESC", limit))

    async def of_deployment(self, deployment_id: UUID, run_id: UUID) -> Run | None:
        """A run of this deployment; None when Prefect holds no such run of it."""
        answer = await self._within(self._call("GET", f"/flow_runs/{run_id}"))
        return None if answer is None or answer.get("deployment_id") != str(deployment_id) else _run(answer)

    async def progress(self, run_id: UUID) -> str | None:
        """What a run has told of how far it is, by its progress artifact; None: nothing."""
        which = {"flow_run_id": {"any_": [str(run_id)]}, "type": {"any_": ["progress"]}}
        body = {"artifacts": which, "limit": 1, "sort": "UPDATED_DESC"}
        found = await self._within(self._call("POST", "/artifacts/filter", body))
        return str(found[0]["description"] or "") if found else None

    async def cancel(self, run_id: UUID) -> Run | None:
        """Have a run end; how it stands then. One that has ended stays as it is.

        Prefect makes one that has no process yet Cancelled at once. One that has is Cancelling until whoever runs it
        has ended its process: if we die before the answer, that happens all the same.
        """
        body = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
        await self._within(self._call("POST", f"/flow_runs/{run_id}/set_state", body))
        answer = await self._within(self._call("GET", f"/flow_runs/{run_id}"))
        return None if answer is None else _run(answer)

    async def held(self, deployment_id: UUID) -> Held | None:
        """What Prefect holds; None when it does not hold the deployment."""
        return await self._within(self._held(deployment_id))

    async def _held(self, deployment_id: UUID) -> Held | None:
        deployment, still_open, ended = await asyncio.gather(
            self._call("GET", f"/deployments/{deployment_id}"),
            self._runs(deployment_id, {"state": {"type": {"any_": _OPEN}}}, "EXPECTED_START_TIME_ASC", SHOWN_RUNS),
            self._runs(deployment_id, {"state": {"type": {"any_": _ENDED}}}, "END_TIME_DESC", SHOWN_RUNS),
        )
        if deployment is None:
            return None
        pool = await self._pool(deployment["work_pool_name"] or "", deployment["work_queue_name"] or "")
        return Held(bool(deployment["paused"]), pool, tuple(still_open), tuple(ended))

    async def _pool(self, name: str, queue: str) -> Pool:
        if not name or not queue:
            return Pool(name, queue, exists=False)  # it was deleted: Prefect then forgets it in the deployment too
        path = f"/work_pools/{quote(name, safe='')}"
        pool, found = await asyncio.gather(
            self._call("GET", path), self._call("GET", f"{path}/queues/{quote(queue, safe='')}")
        )
        if pool is None or found is None:
            return Pool(name, queue, exists=False)
        polled = _time(found.get("last_polled"))
        return Pool(
            name,
            queue,
            paused=bool(pool["is_paused"] or found["is_paused"]),
            polled=polled is not None and polled > datetime.now(UTC) - POLLED_WITHIN,
        )

    async def _runs(self, deployment_id: UUID, which: Mapping[str, Any], sort: str, limit: int) -> list[Run]:
        body = {
            "limit": limit,
            "sort": sort,
            "flow_runs": {"deployment_id": {"any_": [str(deployment_id)]}, **which},
        }
        return [_run(answer) for answer in await self._call("POST", "/flow_runs/filter", body) or []]

    @staticmethod
    async def _within(asking: Awaitable[T]) -> T:
        """The result of `asking`, or `PrefectUnavailableError` when it takes too long."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await asking
        except TimeoutError:
            raise PrefectUnavailableError("it did not answer in time.") from None

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        """One request, again while the server is busy; its parsed answer, or None for 404. `_within` ends it."""
        kind = CallKind.READ
        if path.endswith(("/create_flow_run", "/set_state")):
            kind = CallKind.RUN
        try:
            return await self._prefect.request(kind, method, path, body, gone_is_fine=True)
        except (RefusedError, TransientError) as error:
            raise PrefectUnavailableError(_why(error)) from None


def _why(error: RefusedError | TransientError) -> str:
    """Why there is no answer, for whoever asked."""
    if error.status_code is not None:
        return f"it answered {error.status_code}."
    match error:
        case OverloadedError():
            return "it did not answer in time."
        case ConnectionLostError() | ServerUnavailableError():
            return "it cannot be reached."
        case _:
            return "its answer was not understood; check PREFECT_API_URL."


class NoPrefect:
    """`connectors.runs.PrefectRuns` where `PREFECT_API_URL` is not set: Prefect's client would start a server then."""

    async def start(
        self, deployment_id: UUID, key: str | None = None, actor: str | None = None, options: Options = EVERYTHING
    ) -> Run | None:
        """Raises `PrefectUnavailableError`."""
        raise self._error()

    async def of_deployment(self, deployment_id: UUID, run_id: UUID) -> Run | None:
        """Raises `PrefectUnavailableError`."""
        raise self._error()

    async def progress(self, run_id: UUID) -> str | None:
        """Raises `PrefectUnavailableError`."""
        raise self._error()

    async def cancel(self, run_id: UUID) -> Run | None:
        """Raises `PrefectUnavailableError`."""
        raise self._error()

    async def start_named(self, deployment: str, parameters: Mapping[str, Any], key: str, actor: str) -> Run | None:
        """Raises `PrefectUnavailableError`."""
        raise self._error()

    async def last(self, deployment_id: UUID, limit: int) -> list[Run]:
        """Raises `PrefectUnavailableError`."""
        raise self._error()

    async def held(self, deployment_id: UUID) -> Held | None:
        """Raises `PrefectUnavailableError`."""
        raise self._error()

    @staticmethod
    def _error() -> PrefectUnavailableError:
        return PrefectUnavailableError("PREFECT_API_URL is not set here.")


@asynccontextmanager
async def open_runs() -> AsyncIterator[PrefectClientRuns | NoPrefect]:
    """Prefect's runs by the server of `PREFECT_API_URL`. Nothing is asked yet, so this works while it is down."""
    if not PREFECT_API_URL.value():
        yield NoPrefect()
        return
    async with open_client(timeout=TIMEOUT_SECONDS) as client:
        # A reading, or a start with its key: it does not matter whether the first try was carried out.
        yield PrefectClientRuns(PrefectCalls(client, TIMEOUT_SECONDS, repeat_after=OverloadedError))


def _run(answer: Mapping[str, Any]) -> Run:
    state = answer.get("state") or {}
    return Run(
        id=UUID(answer["id"]),
        name=answer["name"],
        state_type=answer["state_type"],
        state=answer["state_name"],
        message=state.get("message"),
        expected_start_at=_time(answer.get("expected_start_time")),
        started_at=_time(answer.get("start_time")),
        ended_at=_time(answer.get("end_time")),
        url=url_for("flow-run", obj_id=answer["id"]),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
