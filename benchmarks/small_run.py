"""A small load (five tables, 500 changed rows, PostgreSQL to PostgreSQL): a warm worker beside a process worker.

Both sides are the same code, the same deployment and the same server; what differs is the type of the work pool. Each
has a proxy before the server that counts its requests, and PostgreSQL counts sessions and transactions itself.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks.rig.counting_proxy import CountingProxy
from benchmarks.rig.figures import ROUNDS, Figure, median_ratio, shown, spread
from benchmarks.rig.stage import PLATFORM, START_SECONDS, Server, Stage
from connectors.connector import ConnectorRow
from deployments.planning.plan import desire
from local.processes import Child
from prefect_api.deployment import Spec
from prefect_api.deployment_calls import open_gateway
from settings import ROOT

TABLES = 5
ROWS = 10_000
CHANGED = 100
"""Of each table, before each run."""

AT_ONCE = 20
POLL_SECONDS = 0.5
STATS_SECONDS = 1.5
"""PostgreSQL writes down what a session did up to a second after it ended."""

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took."""

    seconds: float
    first_line: float
    cpu: float
    server_cpu: float
    sessions: int
    transactions: int
    requests: int
    websockets: int


class Side:
    """A work pool of one type, with its worker and the deployment of one connector in it."""

    def __init__(self, kind: str, server: Server, proxy: CountingProxy, worker: Child, databases: list[str]) -> None:
        self.kind = kind
        self.server = server
        self.proxy = proxy
        self.worker = worker
        self.databases = databases
        """The platform's, the source and the warehouse."""
        self.deployment = ""

    def processes(self) -> list[psutil.Process]:
        """The worker and what it has started."""
        assert self.worker.process is not None
        worker = psutil.Process(self.worker.process.pid)
        return [worker, *worker.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """CPU time of the worker, its fork server and every run of theirs that has ended."""
        found = 0.0
        for process in self.processes():
            times = process.cpu_times()
            found += times.user + times.system + times.children_user + times.children_system
        return found

    def counts(self) -> tuple[int, int]:
        """Sessions and transactions so far in all three databases."""
        time.sleep(STATS_SECONDS)
        names = [url.rsplit("/", 1)[1].partition("?")[0] for url in self.databases]
        admin = self.databases[0].replace(f"/{names[0]}", "/postgres")

        async def ask() -> tuple[int, int]:
            connection = await asyncpg.connect(admin)
            row = await connection.fetchrow(
                "SELECT sum(sessions), sum(xact_commit + xact_rollback) FROM pg_stat_database WHERE datname = ANY($1)",
                names,
            )
            await connection.close()
            return int(row[0]), int(row[1])

        return asyncio.run(ask())

    def change(self) -> None:
        """Change rows of each table at the source."""

        async def update() -> None:
            connection = await asyncpg.connect(self.databases[1])
            for number in range(TABLES):
                await connection.execute(
                    f"UPDATE visit_{number} SET value = random(), updated_at = clock_timestamp() WHERE id <= $1",
                    CHANGED,
                )
            await connection.close()

        asyncio.run(update())

    def run(self) -> dict[str, Any]:
        """A run from its creation to its end, as Prefect's API gives it, with the moment of its creation."""
        with httpx.Client(base_url=self.server.api, timeout=30) as client:
            created = datetime.now(UTC)
            made = client.post(f"/deployments/{self.deployment}/create_flow_run", json={}).raise_for_status().json()
            return _ended(client, made["id"]) | {"asked": created}

    def measure(self, idle_cpu: float) -> Cost:
        """One run of changed rows. `idle_cpu` is what the server uses in a second without one."""
        self.change()
        sessions, transactions = self.counts()
        self.proxy.reset()
        cpu, server_cpu, began = self.cpu_seconds(), self.server.cpu_seconds(), time.monotonic()
        run = self.run()
        if run["state_type"] != "COMPLETED":
            raise RuntimeError(f"The run on the {self.kind} pool ended as {run['state']}.")
        self._settle()
        lasted = time.monotonic() - began
        used = self.server.cpu_seconds() - server_cpu - idle_cpu * lasted
        mine = self.cpu_seconds() - cpu
        after = self.counts()
        return Cost(
            seconds=(datetime.fromisoformat(run["end_time"]) - run["asked"]).total_seconds(),
            first_line=(datetime.fromisoformat(run["start_time"]) - run["asked"]).total_seconds(),
            cpu=mine,
            server_cpu=used,
            sessions=after[0] - sessions,
            transactions=after[1] - transactions,
            requests=self.proxy.requests,
            websockets=self.proxy.websockets,
        )

    def megabytes_at_once(self, runs: int) -> float:
        """The most memory (PSS, MiB) of the worker, its fork server and so many first loads at once."""
        more = asyncio.run(more_deployments(self.server, self.kind, self.databases[0], runs))
        most = 0
        with httpx.Client(base_url=self.server.api, timeout=60) as client:
            made = [client.post(f"/deployments/{each}/create_flow_run", json={}).json()["id"] for each in more]
            deadline = time.monotonic() + 2 * START_SECONDS
            left = set(made)
            while left and time.monotonic() < deadline:
                most = max(most, sum(_pss(process) for process in self.processes()))
                body = {"flow_runs": {"id": {"any_": sorted(left)}, "state": {"type": {"any_": sorted(ENDED)}}}}
                ended = client.post("/flow_runs/filter", json=body).raise_for_status().json()
                if failed := [run["state"] for run in ended if run["state_type"] != "COMPLETED"]:
                    raise RuntimeError(f"Runs on the {self.kind} pool failed: {failed[0]}")
                left -= {run["id"] for run in ended}
                time.sleep(0.1)
        if left:
            raise RuntimeError(f"{len(left)} of {runs} runs on the {self.kind} pool have not ended in time.")
        return most / 2**20

    def _settle(self) -> None:
        """Wait until the run's process is gone."""
        deadline = time.monotonic() + START_SECONDS
        expected = 1 if self.kind == "process" else 2
        while len(self.processes()) > expected and time.monotonic() < deadline:
            time.sleep(0.05)


def _ended(client: httpx.Client, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while True:
        run: dict[str, Any] = client.get(f"/flow_runs/{run_id}").raise_for_status().json()
        if run["state_type"] in ENDED:
            return run
        if time.monotonic() > deadline:
            raise RuntimeError(f"The run is still {run['state_name']} after {START_SECONDS:.0f} s.")
        time.sleep(0.2)


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0  # it has ended meanwhile


def small_run(stage: Stage) -> list[Figure]:
    """Both sides in turns."""
    with stage.server() as server, ExitStack() as stack:
        warm, plain = (stack.enter_context(side(stage, server, kind)) for kind in ("clinical-ai-warm", "process"))
        for each in (warm, plain):
            for _ in range(2):  # the first load, and a second one that finds every table there
                each.change()
                if (found := each.run())["state_type"] != "COMPLETED":
                    raise RuntimeError(f"The first run on the {each.kind} pool ended as {found['state']}.")
        idle = _idle(server)
        pairs = [(warm.measure(idle), plain.measure(idle)) for _ in range(stage.size(ROUNDS))]
        figures = _figures([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        at_once = stage.size(AT_ONCE)
        mine, theirs = warm.megabytes_at_once(at_once), plain.megabytes_at_once(at_once)
        return [*figures, _memory(at_once, mine, theirs)]


def _idle(server: Server, seconds: float = 5.0) -> float:
    before = server.cpu_seconds()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / seconds


def _figures(warm: list[Cost], plain: list[Cost]) -> list[Figure]:
    def of(name: str, field: str, most: float | None) -> Figure:
        mine, theirs = ([float(getattr(cost, field)) for cost in side] for side in (warm, plain))
        ratio = median_ratio(mine, theirs)
        bar = "" if most is None else f"at most {most:g}"
        words = f"process pool {shown(theirs)}"
        return Figure(f"small run: {name}", shown(mine), words, ratio, bar, most is None or ratio <= most)

    def count(name: str, field: str, most: int) -> Figure:
        mine, theirs = ([float(getattr(cost, field)) for cost in side] for side in (warm, plain))
        middle = statistics.median(mine)
        words = f"process pool {spread(theirs)[0]} ({spread(theirs)[1]})"
        measured = f"{spread(mine)[0]} ({spread(mine)[1]})"
        return Figure(f"small run: {name}", measured, words, None, f"at most {most}", middle <= most)

    return [
        of("created to completed", "seconds", 0.35),
        of("created to first line of the flow", "first_line", 0.4),
        of("CPU of worker and run", "cpu", 0.25),
        of("CPU of the Prefect server, net of idling", "server_cpu", 0.7),
        count("PostgreSQL sessions", "sessions", 8),
        count("PostgreSQL transactions", "transactions", 50),
        count("requests to Prefect, polls not counted", "requests", 14),
        count("websockets to Prefect", "websockets", 1),
    ]


def _memory(at_once: int, warm: float, plain: float) -> Figure:
    name = f"small run: memory (PSS) of {at_once} first loads at once, one worker"
    ratio = warm / plain
    return Figure(name, f"{warm:.0f} MiB", f"process pool {plain:.0f} MiB", ratio, "at most 0.45", ratio <= 0.45)


@contextmanager
def side(stage: Stage, server: Server, kind: str, **variables: str) -> Iterator[Side]:
    """A pool of that type with a worker, on databases of its own."""
    platform = stage.connectors(0)
    name = kind.replace("-", "_")
    databases = [platform, stage.database(f"source_{name}"), stage.database(f"warehouse_{name}")]
    with CountingProxy(server.api) as proxy:
        environment = stage.environment(
            PREFECT_API_URL=proxy.api,
            PREFECT_HOME=str(stage.directory / f"home_{kind}"),
            CAI_WORK_POOL=f"bench-{kind}",
            CAI_DATABASE_URL=platform,
            CAI_CREDENTIALS="open",
            CAI_SECRET_SOURCE=databases[1],
            CAI_SECRET_WAREHOUSE=databases[2],
            CAI_DATA_DIR=str(stage.directory / f"data_{kind}"),
            **{"PREFECT_WORKER_QUERY_SECONDS": str(POLL_SECONDS), **variables},
        )
        bootstrap = [sys.executable, "-m", "deployments.bootstrap", "--pool-type", kind]
        subprocess.run(bootstrap, cwd=ROOT, env=environment, check=True, capture_output=True)
        start = ["workers"] if kind != "process" else ["prefect", "worker", "start", "--type", "process"]
        worker = Child(
            kind,
            [sys.executable, "-m", *start, "--pool", f"bench-{kind}", "--name", kind],
            environment,
            ROOT,
            Path(stage.directory / f"worker_{kind}.log"),
            restarts=False,
        )
        found = Side(kind, server, proxy, worker, databases)
        asyncio.run(_fill(databases))
        found.deployment = asyncio.run(_deploy(server, kind))
        worker.start()
        try:
            yield found
        finally:
            worker.end(grace_seconds=20)


def source() -> dict[str, Any]:
    """The connector's source."""
    tables = [
        {"name": f"visit_{number}", "primary_key": ["id"], "cursor_column": "updated_at"} for number in range(TABLES)
    ]
    return {"type": "sql_database", "credentials": {"env": "CAI_SECRET_SOURCE"}, "tables": tables}


DESTINATION = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}


async def _fill(databases: list[str]) -> None:
    connection = await asyncpg.connect(databases[1])
    for number in range(TABLES):
        await connection.execute(f"DROP TABLE IF EXISTS visit_{number}")  # another bench of this stage may have made it
        await connection.execute(
            f"CREATE TABLE visit_{number} (id int PRIMARY KEY, person text, value float8, at date, "
            "updated_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        await connection.execute(
            f"INSERT INTO visit_{number} SELECT n, 'person ' || n, n / 7.0, '2020-01-01', "
            f"'2020-01-01'::timestamptz + n * interval '1 second' FROM generate_series(1, {ROWS}) n"
        )
    await connection.execute("ANALYZE")
    await connection.close()
    await _insert(databases[0], 1)


async def _insert(platform: str, count: int) -> list[int]:
    """The ids of new connectors of the source."""
    connection = await asyncpg.connect(platform)
    rows = await connection.fetch(
        "INSERT INTO cai_connectors (name, source, destination) "
        "SELECT 'Small ' || gen_random_uuid(), $1, $2 FROM generate_series(1, $3) RETURNING id",
        json.dumps(source()),
        json.dumps(DESTINATION),
        count,
    )
    await connection.close()
    return [int(row["id"]) for row in rows]


async def more_deployments(server: Server, kind: str, platform: str, count: int) -> list[str]:
    """The deployments of so many connectors more."""
    return [await _deploy(server, kind, number) for number in await _insert(platform, count)]


async def _deploy(server: Server, kind: str, connector_id: int = 1) -> str:
    """The deployment of a connector in the pool. The other side's has another name, and is the same in all else."""
    row = ConnectorRow(
        connector_id, "Small", None, None, "UTC", True, source(), DESTINATION, None, {}, f"bench-{kind}", None, None, 1
    )  # fmt: skip
    spec = desire(row, PLATFORM).wants
    assert isinstance(spec, Spec)
    with temporary_settings({PREFECT_API_URL: server.api}):
        async with open_gateway(timeout_seconds=30, connections=1) as gateway:
            named = connector_id if kind == "process" else connector_id + 1_000_000
            return str(await gateway.create(replace(spec, connector_id=named)))
