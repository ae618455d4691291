"""From a commit to Prefect, with a whole controller in between: how soon a changed row is a changed deployment, and how
soon what follows a load has started."""

import asyncio
import json
import random
import statistics
import subprocess
import sys
import time

import asyncpg
import psutil

from benchmarks.rig.figures import LONG_ROUNDS, Figure, shown
from benchmarks.rig.stage import SCHEDULE, START_SECONDS, Server, Stage, wanted
from benchmarks.small_run import DESTINATION, side, source
from connectors.connector import ConnectorRow
from connectors.loads import Outcome
from database import runs
from pipelines.connector_lock import Locks
from settings import ROOT

FLEET = 1_000
SAMPLES = 60
"""Commits of one round."""

LOOK_SECONDS = 0.002

FOLLOW_UPS = 40
WORKER_LOOKS_SECONDS = 10.0
"""Between two looks of a worker at Prefect: Prefect's own default, which the platform does not wait for."""


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


def _controller(stage: Stage, server: Server, database: str, **variables: str) -> "subprocess.Popen[bytes]":
    data = str(stage.directory / "data")
    environment = stage.environment(
        PREFECT_API_URL=server.api, CAI_DATABASE_URL=database, CAI_DATA_DIR=data, **variables
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


def follow_ups(stage: Stage) -> list[Figure]:
    """Loads of one connector, each followed by another's, one at a time, with a controller and a warm worker.

    From `ended_at` of the one to `started_at` of the other, which its run writes once it has read its connector: by
    then Prefect has made it, a worker has found it, and a process of its own runs.
    """
    kind = "clinical-ai-warm"
    looks = str(WORKER_LOOKS_SECONDS)
    with stage.server() as server, side(stage, server, kind, PREFECT_WORKER_QUERY_SECONDS=looks) as worker:
        controller = _controller(stage, server, worker.databases[0], CAI_WORK_POOL=f"bench-{kind}")
        try:
            found = asyncio.run(_followed(server, worker.databases[0], stage.size(FOLLOW_UPS)))
        finally:
            controller.terminate()
            controller.wait()
    seconds, made = [sum(each) for each in found], [each[0] for each in found]
    p95 = statistics.quantiles(seconds, n=20)[-1]
    name = "end of a load to the start of the run that follows it"
    note = (
        f"{len(seconds)} follow-ups; the worker looks at Prefect every {WORKER_LOOKS_SECONDS:.0f} s by itself. Until "
    )
    note += f"Prefect has made the run it takes {shown(made)} of it."
    return [
        Figure(f"{name}: p50", shown(seconds), "", None, "", holds=True, note=note),
        Figure(f"{name}: p95", shown([p95]), "", None, "at most 2 s", p95 <= 2),
    ]


async def _followed(server: Server, platform: str, samples: int) -> list[tuple[float, float]]:
    """Of each follow-up, seconds until Prefect has made its run, and from then on until it has started."""
    rows, prefect = await asyncpg.connect(platform), await asyncpg.connect(server.database)
    insert = "INSERT INTO cai_connectors (name, source, destination, run_policy) VALUES ($1, $2, $3, $4)"
    for name, policy in (("Leader", {"then": [{"connector": "Follower"}]}), ("Follower", {})):
        await rows.execute(insert, name, json.dumps(source()), json.dumps(DESTINATION), json.dumps(policy))
    synced = "SELECT count(*) >= 2 FROM cai_connector_status s JOIN cai_connectors c ON c.id = s.connector_id "
    await _until(rows, f"{synced} WHERE s.phase = 'synced' AND c.name IN ('Leader', 'Follower')")
    found = await rows.fetchrow("SELECT * FROM cai_connectors WHERE name = 'Leader'")
    assert found is not None
    leader = ConnectorRow(**{name: value for name, value in found.items() if name in ConnectorRow.__slots__})
    ended = "SELECT count(*) >= $1 FROM cai_follow_ups f JOIN cai_loads l ON l.run_id = f.run_id "
    for number in range(1, samples + 2):
        await asyncio.to_thread(_load, platform, leader)
        await _until(rows, f"{ended} WHERE l.outcome = 'completed'", number)
        # Until then it has its deployment's only place, and the next one would wait for that.
        run_id = await rows.fetchval("SELECT run_id FROM cai_follow_ups ORDER BY id DESC LIMIT 1")
        await _until(prefect, f"SELECT state_type::text = 'COMPLETED' FROM flow_run WHERE id = '{run_id}'")
    seconds = "SELECT extract(epoch FROM f.started_at - f.loaded_at)::float8 AS made, "
    seconds += "extract(epoch FROM l.started_at - f.started_at)::float8 AS started FROM cai_follow_ups f "
    measured = await rows.fetch(f"{seconds} JOIN cai_loads l ON l.run_id = f.run_id ORDER BY f.id")
    await rows.close()
    await prefect.close()
    # At the first one, connections and caches are not there yet.
    return [(row["made"], row["started"]) for row in measured][1:]


def _load(platform: str, leader: ConnectorRow) -> None:
    """A load that begins and ends, as a run writes it."""
    about = {"run_id": None, "actor": None, "code_version": None, "options": None}
    unknown = (
        "message",
        "kind",
        "bytes",
        "seconds",
        "destination",
        "dataset_name",
        "tables",
        "sweeps",
        "anew",
        "settled",
    )
    with Locks.open(platform, str) as locks:
        begun = runs.begin_load(locks.query, leader, about, is_whole=True)
        assert begun is not None
        runs.end_load(locks.query, begun, Outcome.COMPLETED, {**dict.fromkeys(unknown), "rows": 0, "rejected": 0})


async def _until(rows: asyncpg.Connection, query: str, *values: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not await rows.fetchval(query, *values):
        if time.monotonic() > deadline:
            raise RuntimeError("What was to follow a load did not.")
        await asyncio.sleep(0.1)
