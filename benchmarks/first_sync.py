"""The first sync of a fleet: beside the same requests by hand, and beside what a user would write."""

import asyncio
import json
import statistics
import subprocess
import sys
import time

from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from benchmarks.rig.figures import LONG_ROUNDS, Figure, median_ratio, rate
from benchmarks.rig.parts import CONCURRENCY, by_hand, send_all
from benchmarks.rig.stage import SCHEDULE, Server, Stage, wanted
from deployments.leadership.start_options import StartOptions
from flows.controller import controller_of
from prefect_api.deployment import creation
from prefect_api.names import FLOW_NAME
from settings import ROOT, Settings

FLEET = 1_000
LOOP = 100

AS_A_USER = """
import sys, time
from prefect import flow

source = flow.from_source(source=sys.argv[1], entrypoint="flows/dlt_pipeline_flow.py:run_connector_pipeline")
began = time.perf_counter()
for number in range(int(sys.argv[2])):
    source.deploy(
        name=f"connector-{number}", work_pool_name="default", cron=sys.argv[3],
        parameters={"connector_id": number}, tags=["scheduled"], print_next_steps=False, ignore_warnings=True,
    )
print(time.perf_counter() - began)
"""
"""What stands in a deployment script: one call of `deploy` a connector."""


def first_sync(stage: Stage) -> list[Figure]:
    """`python -m flows.controller --once` on an empty Prefect, the same requests by hand, and a loop of `deploy`."""
    fleet, loop = stage.size(FLEET), stage.size(LOOP)
    ours: list[float] = []
    raw: list[float] = []
    naive: list[float] = []
    cpu: list[float] = []
    for _ in range(LONG_ROUNDS):
        database = stage.connectors(fleet)
        with stage.server(services=False) as server:
            used = server.cpu_seconds()
            ours.append(fleet / _synced(server, database))
            cpu.append((server.cpu_seconds() - used) / fleet)
        with stage.server(services=False) as server:
            raw.append(fleet / asyncio.run(_by_hand(server, fleet)))
        with stage.server(services=False) as server:
            naive.append(loop / _loop(stage, server, loop))
    name = f"first sync of {fleet:,} connectors"
    note = f"{statistics.median(cpu) * 1000:.0f} ms of the server's CPU a connector."
    sides = (
        (f"the same requests by raw httpx, {CONCURRENCY} in flight", raw, 0.9, note),
        (f"a loop of flow.deploy(), {loop} of them", naive, 3.0, ""),
    )
    return [
        Figure(name, rate(ours), f"{by} {rate(theirs)}", ratio, f"at least {bar}", ratio >= bar, note)
        for by, theirs, bar, note in sides
        for ratio in (median_ratio(ours, theirs),)
    ]


def _synced(server: Server, database: str) -> float:
    settings = Settings(database_url=SecretStr(database))
    with temporary_settings({PREFECT_API_URL: server.api}):
        began = time.perf_counter()
        conclusion = asyncio.run(controller_of(settings).run(StartOptions(once=True), asyncio.Event()))
        seconds = time.perf_counter() - began
    assert conclusion.result is not None
    assert conclusion.result.ok, conclusion.result.summary
    return seconds


async def _by_hand(server: Server, fleet: int) -> float:
    async with by_hand(server) as client:
        flow = (await client.post("/flows/", json={"name": FLOW_NAME})).raise_for_status().json()
        specs = [wanted(number) for number in range(1, fleet + 1)]
        return await send_all(client, [("POST", "/deployments/", creation(spec, flow["id"])) for spec in specs])


def _loop(stage: Stage, server: Server, count: int) -> float:
    command = [sys.executable, "-c", AS_A_USER, str(ROOT), str(count), SCHEDULE.replace("H", "0", 1)]
    environment = stage.environment(PREFECT_API_URL=server.api)
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))
