"""Runs asked of a real Prefect server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED, temporary_settings

from connectors.errors import PrefectUnavailableError
from connectors.runs import Options
from prefect_api.names import FLOW_NAME, STARTED_BY
from prefect_api.run_queries import TIMEOUT_SECONDS, NoPrefect, PrefectClientRuns, open_runs
from tests.support.servers.prefect_server import PrefectServer, free_port


@pytest.fixture
async def prefect(prefect_server: PrefectServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the Prefect server's own API."""
    async with httpx.AsyncClient(base_url=prefect_server.url, timeout=30) as client:
        yield client


@pytest.fixture
async def runs(prefect: httpx.AsyncClient) -> AsyncIterator[PrefectClientRuns]:
    """What is tested."""
    async with open_runs() as opened:
        assert isinstance(opened, PrefectClientRuns)
        yield opened


async def deploy(prefect: httpx.AsyncClient, **fields: Any) -> UUID:
    """Make a deployment of the connectors' flow; its id."""
    flow = (await prefect.post("/flows/", json={"name": FLOW_NAME})).json()["id"]
    body = {
        "name": "connector-7-pipeline",
        "flow_id": flow,
        "work_pool_name": "default",
        "work_queue_name": "default",
        "enforce_parameter_schema": False,
        **fields,
    }
    answer = await prefect.post("/deployments/", json=body)
    answer.raise_for_status()
    return UUID(answer.json()["id"])


async def end(prefect: httpx.AsyncClient, run: UUID, kind: str, message: str) -> None:
    """Give a run a state as its engine does."""
    body = {"state": {"type": kind, "message": message}, "force": True}
    (await prefect.post(f"/flow_runs/{run}/set_state", json=body)).raise_for_status()


async def test_a_run_is_started_and_told(prefect: httpx.AsyncClient, runs: PrefectClientRuns) -> None:
    deployment = await deploy(prefect)
    started = await runs.start(deployment)
    assert started is not None
    assert started.state_type == "SCHEDULED"
    assert started.url is not None
    assert started.url.endswith(f"/runs/flow-run/{started.id}")
    await end(prefect, started.id, "RUNNING", "")
    await end(prefect, started.id, "COMPLETED", "Loaded 1,234 rows into duckdb dataset connector_7: visits 1,234.")
    (last,) = await runs.last(deployment, 10)
    assert (last.id, last.state) == (started.id, "Completed")
    assert last.rows_loaded is None, "that is the load history's, and nobody reads it out of a sentence"
    assert last.started_at is not None
    assert last.ended_at is not None


async def test_one_key_starts_one_run_of_a_deployment(prefect: httpx.AsyncClient, runs: PrefectClientRuns) -> None:
    deployment, other = await deploy(prefect), await deploy(prefect, name="connector-8-pipeline")
    first = await runs.start(deployment, "monday")
    assert first is not None
    await end(prefect, first.id, "FAILED", "The source is away.")
    again = await runs.start(deployment, "monday")
    assert again is not None
    assert (again.id, again.state_type) == (first.id, "FAILED"), "the first run, as it is by now"
    others = [await runs.start(*asked) for asked in ((deployment, "tuesday"), (deployment,), (other, "monday"))]
    assert len({first.id, *(run.id for run in others if run is not None)}) == 4


async def test_whoever_starts_a_run_is_on_it_for_the_load_history(
    prefect: httpx.AsyncClient, runs: PrefectClientRuns
) -> None:
    started = await runs.start(await deploy(prefect), actor="alice")
    assert started is not None
    found = (await prefect.get(f"/flow_runs/{started.id}")).raise_for_status().json()
    assert found["labels"][STARTED_BY] == "alice"


async def test_a_run_is_asked_for_a_part(prefect: httpx.AsyncClient, runs: PrefectClientRuns) -> None:
    deployment = await deploy(prefect, parameters={"connector_id": 7})
    asked = Options(tables=("visit",), row_limit=10, backfill_from=datetime(2026, 1, 2, tzinfo=UTC))
    started = await runs.start(deployment, options=asked)
    assert started is not None
    found = (await prefect.get(f"/flow_runs/{started.id}")).raise_for_status().json()
    assert found["parameters"] == {
        "connector_id": 7,
        "tables": ["visit"],
        "row_limit": 10,
        "backfill_from": "2026-01-02T00:00:00+00:00",
    }


async def test_a_run_that_has_not_begun_is_cancelled_at_once(
    prefect: httpx.AsyncClient, runs: PrefectClientRuns
) -> None:
    deployment, other = await deploy(prefect), await deploy(prefect, name="connector-8-pipeline")
    started = await runs.start(deployment)
    assert started is not None
    assert await runs.of_deployment(other, started.id) is None, "it is another connector's"
    assert await runs.of_deployment(deployment, uuid4()) is None
    found = await runs.of_deployment(deployment, started.id)
    assert found is not None
    assert not found.has_ended
    cancelled = await runs.cancel(started.id)
    assert cancelled is not None
    assert cancelled.state_type == "CANCELLED"
    assert cancelled.has_ended
    assert await runs.cancel(uuid4()) is None


async def test_a_run_with_a_process_is_told_to_end(prefect: httpx.AsyncClient, runs: PrefectClientRuns) -> None:
    deployment = await deploy(prefect)
    started = await runs.start(deployment)
    assert started is not None
    await end(prefect, started.id, "RUNNING", "")
    claimed = {"infrastructure_pid": "machine:42"}
    (await prefect.patch(f"/flow_runs/{started.id}", json=claimed)).raise_for_status()
    cancelled = await runs.cancel(started.id)
    assert cancelled is not None
    assert cancelled.state_type == "CANCELLING", "until its worker has ended the process"


async def test_what_stands_between_a_deployment_and_its_run(
    prefect: httpx.AsyncClient, runs: PrefectClientRuns
) -> None:
    deployment = await deploy(prefect, paused=True)
    waiting = await runs.start(deployment)
    ended = await runs.start(deployment)
    assert waiting is not None
    assert ended is not None
    await end(prefect, ended.id, "FAILED", "The source is away.")
    held = await runs.held(deployment)
    assert held is not None
    assert held.paused
    assert [run.id for run in held.open_runs] == [waiting.id]
    assert [run.id for run in held.ended_runs] == [ended.id]
    assert (held.pool.exists, held.pool.polled, held.pool.paused) == (True, False, False), "nobody has polled it"

    polled = {"work_queue_names": ["default"]}
    (await prefect.post("/work_pools/default/get_scheduled_flow_runs", json=polled)).raise_for_status()
    # Prefect notes the poll in the background.
    while (polled_now := await runs.held(deployment)) is not None and not polled_now.pool.polled:
        await asyncio.sleep(0.05)


async def test_what_prefect_does_not_hold_is_none(runs: PrefectClientRuns) -> None:
    assert await runs.start(uuid4()) is None
    assert await runs.held(uuid4()) is None
    assert await runs.last(uuid4(), 5) == []


async def test_a_dead_server_is_told_at_once() -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        async with open_runs() as runs:
            for ask in (runs.start(uuid4()), runs.held(uuid4()), runs.last(uuid4(), 1)):
                began = time.monotonic()
                with pytest.raises(PrefectUnavailableError, match=r"Prefect is unavailable: .*\. .*\.$"):
                    await ask
                assert time.monotonic() - began < TIMEOUT_SECONDS, "measured: 1.5 s, for httpx connects three times"


class Busy:
    """A server that answers 503 a number of times, and then that it does not know the deployment."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.keys: set[str] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.keys.add(json.loads(await reader.readexactly(length))["idempotency_key"])
            self.times -= 1
            status = b"503 Busy" if self.times >= 0 else b"404 Not Found"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize(("times", "answered"), [(2, True), (1000, False)])
async def test_a_busy_server_is_asked_again_for_the_same_run_until_the_caller_has_waited_long_enough(
    times: int, answered: bool
) -> None:
    busy = Busy(times)
    server = await asyncio.start_server(busy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with temporary_settings(
        {PREFECT_API_URL: f"http://127.0.0.1:{port}/api", PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}
    ):
        async with open_runs() as runs:
            if answered:
                assert await runs.start(uuid4()) is None
            else:
                with pytest.raises(
                    PrefectUnavailableError, match=r"in time\. The run may have been started all the same"
                ):
                    await runs.start(uuid4())
    server.close()
    assert len(busy.keys) == 1
    assert busy.times < times - 1


async def test_without_an_address_no_server_is_started_on_the_side() -> None:
    with temporary_settings({PREFECT_API_URL: None}):
        async with open_runs() as runs:
            assert isinstance(runs, NoPrefect)
            with pytest.raises(PrefectUnavailableError, match="PREFECT_API_URL"):
                await runs.held(uuid4())
