"""From a commit to Prefect: how soon a changed row is a changed deployment, with a whole controller in between."""

import asyncio
import random
import statistics
import subprocess
import sys
import time

import asyncpg
import psutil

from benchmarks.rig.figures import LONG_ROUNDS, Figure, shown
from benchmarks.rig.stage import SCHEDULE, START_SECONDS, Server, Stage, wanted
from settings import ROOT

FLEET = 1_000
SAMPLES = 60
"""Commits of one round."""

LOOK_SECONDS = 0.002


def latency(stage: Stage) -> list[Figure]:
    """Commits of changed schedules, one at a time, to a `python -m flows.controller` that leads a thousand."""
    fleet = stage.size(FLEET)
    database = stage.connectors(fleet)
    with stage.server(fleet) as server, _controller(stage, server, database) as controller:
        try:
            rounds = asyncio.run(_rounds(server, database, fleet))
            megabytes = psutil.Process(controller.pid).memory_info().rss / 2**20
        finally:
            controller.terminate()
            controller.wait()
    halves = [statistics.median(seconds) for seconds in rounds]
    tails = [statistics.quantiles(seconds, n=20)[-1] for seconds in rounds]
    name = f"commit of a row to its deployment changed, {fleet:,} connectors"
    note = f"{LONG_ROUNDS} rounds of {SAMPLES} commits; the controller's process has {megabytes:.0f} MB."
    return [
        Figure(f"{name}: p50", shown(halves), "", None, "at most 0.3 s", statistics.median(halves) <= 0.3, note),
        Figure(f"{name}: p95", shown(tails), "", None, "at most 1 s", statistics.median(tails) <= 1),
    ]


def _controller(stage: Stage, server: Server, database: str) -> "subprocess.Popen[bytes]":
    environment = stage.environment(
        PREFECT_API_URL=server.api, CAI_DATABASE_URL=database, CAI_DATA_DIR=str(stage.directory / "data")
    )
    command = [sys.executable, "-m", "flows.controller"]
    log = (stage.directory / "controller.log").open("wb")
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)


async def _rounds(server: Server, database: str, fleet: int) -> list[list[float]]:
    """Seconds of each commit, round by round."""
    rows, prefect = await asyncpg.connect(database), await asyncpg.connect(server.database)
    await _synced(rows, fleet)
    hour, pauses = SCHEDULE.split()[1], random.Random(1)
    rounds: list[list[float]] = []
    for number in range(LONG_ROUNDS):
        seconds = []
        for sample in range(SAMPLES):
            connector = (number * SAMPLES + sample) % fleet + 1
            minute = int(wanted(connector).fields.schedules[0].rule["cron"].split()[0])
            cron = f"{(minute + 1 + number) % 60} {hour} * * *"
            await asyncio.sleep(pauses.uniform(0.2, 0.5))
            await rows.execute("UPDATE cai_connectors SET schedule = $2 WHERE id = $1", connector, cron)
            seconds.append(await _until_changed(prefect, wanted(connector).name, cron))
        rounds.append(seconds)
    await rows.close()
    await prefect.close()
    return rounds


async def _synced(rows: asyncpg.Connection, fleet: int) -> None:
    """Wait until the controller has taken all of them for its own, twice: an audit follows the takeover."""
    deadline = time.monotonic() + START_SECONDS
    while await rows.fetchval("SELECT count(*) FROM cai_connector_status WHERE phase = 'synced'") < fleet:
        if time.monotonic() > deadline:
            raise RuntimeError("The controller did not bring its fleet in line.")
        await asyncio.sleep(0.2)


async def _until_changed(prefect: asyncpg.Connection, name: str, cron: str) -> float:
    """Seconds until Prefect's own database shows the schedule; a look there costs its server nothing."""
    began = time.perf_counter()
    query = "SELECT schedule ->> 'cron' FROM deployment_schedule s JOIN deployment d ON d.id = deployment_id "
    while await prefect.fetchval(f"{query} WHERE d.name = $1", name) != cron:
        if time.perf_counter() - began > START_SECONDS:
            raise RuntimeError(f"{name} was not changed.")
        await asyncio.sleep(LOOK_SECONDS)
    return time.perf_counter() - began
