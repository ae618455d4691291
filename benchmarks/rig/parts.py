"""A controller's parts on a real server, for figures of single cycles; and the same requests made by hand."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks.rig.stage import PLATFORM, Server
from database.connection.engine import open_engine
from database.store import Store
from prefect_api.client import open_client
from prefect_api.deployment_calls import PrefectGateway, open_gateway
from prefect_api.event_feed import Events, sending
from rigs.control_plane import Clock, Rig, rig

CONCURRENCY = 25
"""CAI_APPLY_CONCURRENCY, and so the calls that the other side has in flight."""

CALL_SECONDS = 30.0


class _WallClock(Clock):
    """The rig's clock, going."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


@asynccontextmanager
async def parts(server: Server, database: str) -> AsyncIterator[tuple[Rig, PrefectGateway]]:
    """A leading controller's reconciler, telling its events, and its gateway with the count of its calls."""
    engine = open_engine(database)
    events = Events(PLATFORM.instance)
    try:
        with temporary_settings({PREFECT_API_URL: server.api}):
            async with (
                open_gateway(timeout_seconds=CALL_SECONDS, connections=CONCURRENCY) as gateway,
                open_client(timeout=CALL_SECONDS) as client,
                sending(events, client),
                rig(Store(engine), gateway, platform=PLATFORM, clock=_WallClock(), events=events) as controller,
            ):
                yield controller, gateway
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_hand(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A bare client of the same server, its connections kept."""
    limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
    async with httpx.AsyncClient(base_url=server.api, timeout=CALL_SECONDS, limits=limits) as client:
        yield client


async def send_all(client: httpx.AsyncClient, requests: Sequence[tuple[str, str, Any]]) -> float:
    """Seconds that these (method, path, body) take, `CONCURRENCY` in flight.

    Raises:
        httpx.HTTPStatusError: when one of them fails: nothing is compared then.
    """
    # Encoded beforehand: this side is to have nothing to do but to send.
    encoded = iter([(method, path, orjson.dumps(body)) for method, path, body in requests])

    async def worker() -> None:
        for method, path, body in encoded:
            answer = await client.request(method, path, content=body, headers={"Content-Type": "application/json"})
            answer.raise_for_status()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(worker())
    return time.perf_counter() - began
