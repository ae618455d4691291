"""Starts of runs that look at a source for the REST API (`flows.probe`), on the pool where its loads would run."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

from prefect.settings import PREFECT_API_URL

from connectors.errors import PrefectUnavailableError
from prefect_api.calls import CallKind, PrefectCalls
from prefect_api.client import open_client
from prefect_api.errors import ReconcileError
from prefect_api.names import PROBE_FLOW, probe_deployment

TIMEOUT_SECONDS = 5.0

_TAKEN_OVER = ("flow_id", "entrypoint", "path", "parameter_openapi_schema", "enforce_parameter_schema", "job_variables")
"""What a pool's own deployment has from the platform's."""


async def start_probe(number: UUID, *, pool: str | None, queue: str | None) -> None:
    """Start a run that answers this question.

    A pool of its own gets a deployment of its own at its first question. If the process dies before the answer, the run
    may have been started: it finds that nobody waits.

    Args:
        number: of the question, which is all that Prefect is told.
        pool: the work pool; None: the platform's.
        queue: the work queue in it; None: the deployment's.

    Raises:
        PrefectUnavailableError: it was not started, for the reason that the sentence says.
    """
    if not PREFECT_API_URL.value():  # Prefect's client would start a server
        raise PrefectUnavailableError("PREFECT_API_URL is not set here.")
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), open_client(timeout=TIMEOUT_SECONDS) as client:
            prefect = PrefectCalls(client, TIMEOUT_SECONDS)
            deployment = await _deployment(prefect, pool)
            body: dict[str, Any] = {
                "parameters": {"probe_id": str(number)},
                "idempotency_key": str(number),
                "work_queue_name": queue,
            }
            path = f"/deployments/{deployment}/create_flow_run"
            await prefect.request(CallKind.RUN, "POST", path, body)
    except (ReconcileError, TimeoutError) as error:
        raise PrefectUnavailableError(f"no run could be started there to look at the source ({error}).") from None


async def _deployment(prefect: PrefectCalls, pool: str | None) -> str:
    """The deployment of the pool, made if it is not there. Raises `PrefectUnavailableError`."""
    if pool is not None and (held := await _held(prefect, probe_deployment(pool))) is not None:
        return str(held["id"])
    ours = await _held(prefect, probe_deployment(None))
    if ours is None:
        raise PrefectUnavailableError(
            f"it has no deployment {PROBE_FLOW}/{probe_deployment(None)}, by which sources are looked at: run "
            "python -m deployments.bootstrap (helm upgrade does)."
        )
    if pool is None:
        return str(ours["id"])
    body = {**{name: ours[name] for name in _TAKEN_OVER}, "name": probe_deployment(pool), "work_pool_name": pool}
    made = await prefect.request(CallKind.CREATE, "POST", "/deployments/", body)
    return str(made["id"])


async def _held(prefect: PrefectCalls, name: str) -> Mapping[str, Any] | None:
    path = f"/deployments/name/{quote(PROBE_FLOW, safe='')}/{quote(name, safe='')}"
    found: Mapping[str, Any] | None = await prefect.request(CallKind.READ, "GET", path, gone_is_fine=True)
    return found
