"""Ending a load: from the request to no process, no lock and no session at the source, on a warm worker."""

import asyncio
import json
import statistics
import time
from uuid import UUID

import asyncpg
import httpx
from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks.rig.figures import Figure, shown
from benchmarks.rig.stage import START_SECONDS, Stage
from benchmarks.small_run import DESTINATION, Side, more_deployments, side
from prefect_api.run_queries import open_runs

CANCELLED = 20
BAR_SECONDS = 10.0
KIND = "clinical-ai-warm"
IDLE = 2
"""Processes of a warm worker without a run: itself and its fork server."""

SLOW = "CREATE VIEW slow AS SELECT n AS id, n || coalesce(nullif(pg_sleep(0.2)::text, ''), '') AS word "
"""A table that is never read to its end."""


def cancelling(stage: Stage) -> list[Figure]:
    """Loads that are certainly in their midst are ended, one after the other."""
    with stage.server() as server, side(stage, server, KIND) as warm:
        # Each a deployment of its own: the slot of one is free only a while after its run has gone.
        count = max(3, stage.size(CANCELLED))
        deployments = asyncio.run(more_deployments(server, KIND, warm.databases[0], count))
        asyncio.run(_make_slow(warm))
        seconds = [asyncio.run(_cancelled(warm, deployment)) for deployment in deployments]
    tail = statistics.quantiles(seconds, n=20)[-1]
    name = "a load ended by hand: to no process, no lock and no session"
    return [
        Figure(f"{name}, median", shown(seconds), "", None, "", True),
        Figure(f"{name}, p95", f"{tail:.1f} s", "", None, "at most 10 s", tail <= BAR_SECONDS),
    ]


async def _make_slow(warm: Side) -> None:
    source = await asyncpg.connect(warm.databases[1])
    await source.execute(f"{SLOW} FROM generate_series(1, 100000) n")
    await source.close()
    said = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_SOURCE"}, "tables": [{"name": "slow"}]}
    platform = await asyncpg.connect(warm.databases[0])
    await platform.execute(
        "UPDATE cai_connectors SET source = $1, destination = $2", json.dumps(said), json.dumps(DESTINATION)
    )
    await platform.close()


async def _cancelled(warm: Side, deployment: str) -> float:
    """Seconds from the request to the end of all that belongs to one run."""
    platform = await asyncpg.connect(warm.databases[0])
    try:
        async with httpx.AsyncClient(base_url=warm.server.api, timeout=30) as client:
            made = await client.post(f"/deployments/{deployment}/create_flow_run", json={})
            run = UUID(made.raise_for_status().json()["id"])
        await _until(platform, warm, midst=True)
        with temporary_settings({PREFECT_API_URL: warm.server.api}):
            async with open_runs() as runs:
                began = time.perf_counter()
                await runs.cancel(run)
                await _until(platform, warm, midst=False)
                return time.perf_counter() - began
    finally:
        await platform.close()


async def _until(platform: asyncpg.Connection, warm: Side, *, midst: bool) -> None:
    """Wait until the run reads its source under its lock, or until there is nothing of it."""
    deadline = time.monotonic() + START_SECONDS
    source = warm.databases[1].rsplit("/", 1)[1].partition("?")[0]
    while time.monotonic() < deadline:
        locks = await platform.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        reading = await platform.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%slow%' AND state <> 'idle'",
            source,
        )
        more = len(warm.processes()) > IDLE
        if (locks and reading and more) if midst else not (locks or reading or more):
            return
        await asyncio.sleep(0.05)
    raise RuntimeError("The run did not begin to read." if midst else "Something of the run is left.")
