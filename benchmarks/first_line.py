"""From a run's creation to the first line of the flow, on a process worker: our deployment beside a plain one."""

import asyncio
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime

import httpx
from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks.rig.figures import ROUNDS, Figure, shown
from benchmarks.rig.stage import START_SECONDS, Server, Stage, wanted
from local.processes import Child
from prefect_api.deployment_calls import open_gateway
from settings import ROOT

SIZE = "SELECT pg_database_size(current_database())"
PLAIN = """
import sys
from prefect import flow

flow.from_source(
    source=sys.argv[1], entrypoint="flows/dlt_pipeline_flow.py:run_connector_pipeline"
).deploy(name="plain", work_pool_name="default", parameters={"connector_id": 1}, print_next_steps=False)
"""
"""The same flow, deployed as Prefect's documentation says."""


def first_line(stage: Stage) -> list[Figure]:
    """Runs of both deployments in turns, on one worker.

    The connector they are for is not there, so a run is over as soon as it has begun. Its first line is reached when
    the engine calls the flow, right after the state Running: that state's time is taken.
    """
    database = stage.connectors(0)
    with stage.server() as server, _worker(stage, server, database):
        ours, plain = _deployments(stage, server)
        _run(server, ours)
        _run(server, plain)
        used, before = server.cpu_seconds(), asyncio.run(server.query(SIZE))[0][0]
        pairs = [(_run(server, ours), _run(server, plain)) for _ in range(ROUNDS)]
        seconds = (server.cpu_seconds() - used) / (2 * ROUNDS)
        kilobytes = (asyncio.run(server.query(SIZE))[0][0] - before) / (2 * ROUNDS) / 1024
    mine, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    ratio = statistics.median(mine) / statistics.median(theirs)
    name = "run created to first line of the flow, process worker"
    cost = f"{seconds * 1000:.0f} ms of CPU, {kilobytes:.0f} kB"
    return [
        Figure(name, shown(mine), f"Prefect's defaults {shown(theirs)}", ratio, "at most 0.7", ratio <= 0.7),
        Figure("server: a run from creation to end, events and polls for it included", cost, "", None, "", True),
    ]


def _worker(stage: Stage, server: Server, database: str) -> "_Worker":
    environment = stage.environment(
        PREFECT_API_URL=server.api,
        CAI_DATABASE_URL=database,
        CAI_DATA_DIR=str(stage.directory / "data"),
        PREFECT_WORKER_QUERY_SECONDS="1",
    )
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", "default"]
    log = stage.directory / "worker.log"
    return _Worker(Child("worker", command, environment, stage.directory, log, restarts=False))


class _Worker:
    """A worker that polls each second, for both sides alike: what a run waits for a poll is no deployment's doing."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def __enter__(self) -> None:
        self._child.start()

    def __exit__(self, *_: object) -> None:
        self._child.end(grace_seconds=10)


def _deployments(stage: Stage, server: Server) -> tuple[str, str]:
    """The ids of our deployment and of a plain one."""

    async def ours() -> str:
        with temporary_settings({PREFECT_API_URL: server.api}):
            async with open_gateway(timeout_seconds=30, connections=1) as gateway:
                return str(await gateway.create(wanted(1)))

    environment = stage.environment(PREFECT_API_URL=server.api)
    command = [sys.executable, "-c", PLAIN, str(ROOT)]
    subprocess.run(command, cwd=stage.directory, env=environment, check=True, capture_output=True)
    plain = asyncio.run(server.query("SELECT id FROM deployment WHERE name = 'plain'"))
    return asyncio.run(ours()), str(plain[0]["id"])


def _run(server: Server, deployment: str) -> float:
    """Seconds from the request that makes a run until its flow begins; returns when the run is over."""
    created = datetime.now(UTC)
    with httpx.Client(base_url=server.api, timeout=30) as client:
        made = client.post(f"/deployments/{deployment}/create_flow_run", json={}).raise_for_status().json()
        deadline = time.monotonic() + START_SECONDS
        while True:
            run = client.get(f"/flow_runs/{made['id']}").raise_for_status().json()
            if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} and run["start_time"]:
                return (datetime.fromisoformat(run["start_time"]) - created).total_seconds()
            if time.monotonic() > deadline:
                raise RuntimeError(f"The run is still {run['state_name']} after {START_SECONDS:.0f} s.")
            time.sleep(0.2)
