"""The bench of the control plane: PostgreSQL, and Prefect servers on copies of prepared databases.

Ten thousand deployments take a server twenty minutes to make. So a server makes one, SQL multiplies it, and each
measurement starts on a copy (`CREATE DATABASE ... TEMPLATE`), which takes a second and is the same each time. Nothing
is flushed to disk: the disk is no part of any figure.
"""

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import asyncpg
import httpx
import psutil
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.callables import parameter_schema

from connectors.connector import ConnectorRow
from deployments.planning.plan import desire
from deployments.planning.spec import Platform, job_variables
from flows.dlt_pipeline_flow import run_connector_pipeline
from local.embedded_postgres import EmbeddedPostgres
from local.environment import ZONES
from local.postgres_binaries import WITH_TRIGRAMS
from local.processes import Child, tail
from prefect_api.deployment import Spec
from prefect_api.deployment_calls import open_gateway
from rigs.migrated import migrate
from settings import ROOT

PLATFORM = Platform(
    instance="clinical-ai",
    work_pool="default",
    work_queue="default",
    job_variables=job_variables(str(ROOT)),
    parameter_schema=parameter_schema(run_connector_pipeline).model_dump_for_openapi(),
)
"""What a controller without settings makes of its own: a subprocess finds nothing to repair."""

SOURCE = {"type": "files", "url": "/data", "format": "csv", "table": "labs"}
SCHEDULE = f"H {(datetime.now(UTC) + timedelta(hours=12)).hour} * * *"
"""Daily, half a day away: nothing becomes due while it is measured."""

RUNS_AHEAD = 3
"""How many runs the scheduler keeps ready for a daily schedule: Prefect's default."""

START_SECONDS = 180.0
_SMALL = {"shared_buffers": "256MB"}


class Server:
    """A running Prefect server on a database of its own."""

    def __init__(self, api: str, database: str, child: Child | None = None) -> None:
        """`child` is its process, where that is known."""
        self.api = api
        self.database = database
        self._child = child

    def cpu_seconds(self) -> float:
        """CPU time that the server has used so far, its database left out."""
        assert self._child is not None
        assert self._child.process is not None
        times = psutil.Process(self._child.process.pid).cpu_times()
        return times.user + times.system

    async def query(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Ask the server's database."""
        connection = await asyncpg.connect(self.database)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    def wait(self, statement: str, wanted: object, seconds: float = START_SECONDS) -> None:
        """Wait until a query of one value on the server's database answers `wanted`."""
        deadline = time.monotonic() + seconds
        while (found := asyncio.run(self.query(statement))[0][0]) != wanted:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{statement} answers {found!r} and not {wanted!r} after {seconds:.0f} s.")
            time.sleep(0.2)


class Stage:
    """One PostgreSQL and what is prepared in it; each thing is made when it is first asked for."""

    def __init__(self, scale: float = 1.0) -> None:
        """`scale` makes every fleet smaller, to see that all of it works."""
        self.scale = scale
        self._made: set[str] = set()
        self._stack = ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def size(self, full: int) -> int:
        """A number of connectors, cycles or changes, scaled down."""
        return max(1, round(full * self.scale))

    @cached_property
    def directory(self) -> Path:
        """Where everything is kept until the end."""
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))

    @cached_property
    def _postgres(self) -> EmbeddedPostgres:
        self.directory.chmod(0o755)  # PostgreSQL runs as another user than root
        postgres = EmbeddedPostgres(self.directory / "postgres", throwaway=True, package=WITH_TRIGRAMS, settings=_SMALL)
        return self._stack.enter_context(postgres)

    def environment(self, **variables: str) -> dict[str, str]:
        """What a child is told: this environment without settings of the application or of Prefect, and `variables`."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("CAI_", "PREFECT_"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        quiet = {"DO_NOT_TRACK": "1", "RUNTIME__DLTHUB_TELEMETRY": "false", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        return {**plain, **quiet, "PATH": path, "PREFECT_HOME": str(self.directory / "prefect"), **variables}

    @cached_property
    def _migrated(self) -> str:
        migrate(self._postgres.create_database("platform"))
        return "platform"

    def database(self, name: str) -> str:
        """The URL of a new, empty database."""
        return self._postgres.create_database(name)

    def connectors(self, count: int, schedule: str = SCHEDULE) -> str:
        """The URL of a new database of the application, with connectors 1 to `count`."""
        url = self._copy(self._migrated)

        async def fill() -> None:
            connection = await asyncpg.connect(url)
            await connection.execute(
                "INSERT INTO cai_connectors (name, schedule, source) "
                "SELECT 'Connector ' || n, $1, $2::jsonb FROM generate_series(1, $3::int) n",
                schedule, json.dumps(SOURCE), count,
            )  # fmt: skip
            await connection.execute("ANALYZE")
            await connection.close()

        asyncio.run(fill())
        return url

    @contextmanager
    def server(self, deployments: int = 0, *, services: bool = True, runs: bool = True) -> Iterator[Server]:
        """A new Prefect server that holds the deployments of connectors 1 to `deployments`, each with its next runs.

        Args:
            deployments: how many.
            services: whether its scheduler and its judge of late runs work; without, nothing but calls moves it.
            runs: whether their next runs are there already.
        """
        database = self._copy(self._prepared(deployments))
        if not runs:
            asyncio.run(_without_runs(database))
        with self._serve(database, services=services) as server:
            yield server

    def _prepared(self, deployments: int) -> str:
        """The name of a database of Prefect that holds so many deployments."""
        name = f"prefect_{deployments}"
        if name not in self._made:
            url = self._copy(self._one_deployment, name)
            asyncio.run(_multiply(url, deployments))
            self._made.add(name)
        return name

    @cached_property
    def _one_deployment(self) -> str:
        """What `deployments.bootstrap` makes, and one connector's deployment with the runs of Prefect's scheduler."""
        name = "prefect_one"
        with self._serve(self._postgres.create_database(name), services=True) as server:
            environment = self.environment(PREFECT_API_URL=server.api)
            command = [sys.executable, "-m", "deployments.bootstrap"]
            subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)

            async def make() -> None:
                with temporary_settings({PREFECT_API_URL: server.api}):
                    async with open_gateway(timeout_seconds=30, connections=1) as gateway:
                        await gateway.create(wanted(1))

            asyncio.run(make())
            server.wait("SELECT count(*) FROM flow_run WHERE auto_scheduled", RUNS_AHEAD)
        return name

    def _copy(self, template: str, name: str | None = None) -> str:
        """A new database that is a copy of another one, which nobody may be connected to; its URL."""
        name = name or f"copy_{next(self._numbers)}"

        async def copy() -> None:
            admin = await asyncpg.connect(self._postgres.url("postgres"))
            await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
            await admin.close()

        asyncio.run(copy())
        return self._postgres.url(name)

    @contextmanager
    def _serve(self, database: str, *, services: bool) -> Iterator[Server]:
        port = free_port()
        home = self.directory / f"server_{port}"
        home.mkdir(exist_ok=True)
        switch = "true" if services else "false"
        log = home / "server.log"
        child = Child(
            name="prefect-server",
            command=[sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            environment=self.environment(
                PREFECT_HOME=str(home),
                PREFECT_SERVER_DATABASE_CONNECTION_URL=database.replace("postgresql:", "postgresql+asyncpg:"),
                PREFECT_SERVER_UI_ENABLED="false",
                PREFECT_SERVER_LOGGING_LEVEL="WARNING",
                **ZONES,
                PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED=switch,
                PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED=switch,
            ),
            directory=home,
            log=log,
            restarts=False,
        )
        server = Server(f"http://127.0.0.1:{port}/api", database, child)
        try:
            child.start()
            _wait_until_up(server.api, child, log)
            yield server
        finally:
            child.end(grace_seconds=10)


def wanted(connector_id: int, schedule: str = SCHEDULE) -> Spec:
    """The deployment that a connector of `Stage.connectors` asks for."""
    name = f"Connector {connector_id}"
    row = ConnectorRow(
        connector_id, name, None, schedule, "UTC", True, SOURCE, None, None, {}, None, None, None, 1
    )  # fmt: skip
    spec = desire(row, PLATFORM).wants
    assert isinstance(spec, Spec)
    return spec


def _wait_until_up(api: str, child: Child, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.ended() is None:
        try:
            httpx.get(f"{api}/health", timeout=2).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"The Prefect server did not start:\n{tail(log, 30)}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _without_runs(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM flow_run")
    await connection.execute("VACUUM FULL ANALYZE")
    await connection.close()


async def _multiply(url: str, deployments: int) -> None:
    """Put the deployments of connectors 1 to `deployments` in the place of the one that a server made.

    Every row is a copy of that one's, so whatever this version of Prefect keeps of a deployment is there; replaced is
    what is the connector's own.
    """
    connection = await asyncpg.connect(url)
    read: dict[str, list[dict[str, Any]]] = {}
    name = "connector-1-pipeline"
    for table, condition in {
        "deployment": f"name = '{name}'",
        "deployment_schedule": f"deployment_id = (SELECT id FROM deployment WHERE name = '{name}')",
        "concurrency_limit_v2": f"id = (SELECT concurrency_limit_id FROM deployment WHERE name = '{name}')",
        "flow_run": "auto_scheduled",
        "flow_run_state": "flow_run_id IN (SELECT id FROM flow_run WHERE auto_scheduled)",
    }.items():
        read[table] = [dict(row) for row in await connection.fetch(f"SELECT * FROM {table} WHERE {condition}")]
    states = {state["flow_run_id"]: state for state in read["flow_run_state"]}
    await connection.execute("DELETE FROM flow_run; DELETE FROM deployment_schedule")
    await connection.execute(f"DELETE FROM deployment WHERE name = '{name}'; DELETE FROM concurrency_limit_v2")
    made: dict[str, list[dict[str, Any]]] = {table: [] for table in read}
    for number in range(1, deployments + 1):
        spec = wanted(number)
        ids = {"deployment": uuid4(), "schedule": uuid4(), "limit": uuid4()}
        limit = {"id": ids["limit"], "name": f"deployment:{ids['deployment']}"}
        made["concurrency_limit_v2"].append(read["concurrency_limit_v2"][0] | limit)
        stands = {"updated": read["deployment"][0]["updated"] - timedelta(hours=1)}  # not just now: audits ask for that
        made["deployment"].append(read["deployment"][0] | _deployment(spec, ids) | stands)
        rule = json.loads(read["deployment_schedule"][0]["schedule"]) | spec.fields.schedules[0].rule
        schedule = {"id": ids["schedule"], "deployment_id": ids["deployment"], "schedule": json.dumps(rule)}
        made["deployment_schedule"].append(read["deployment_schedule"][0] | schedule)
        for run in read["flow_run"]:
            copied = run | _run(run, spec, ids)
            state = states[run["id"]]
            made["flow_run"].append(copied)
            made["flow_run_state"].append(state | {"id": copied["state_id"], "flow_run_id": copied["id"]})
    await connection.execute("SET session_replication_role = replica")  # a run and its state refer to each other
    for table, rows in made.items():
        if rows:
            columns = list(rows[0])
            records = [tuple(row[column] for column in columns) for row in rows]
            await connection.copy_records_to_table(table, records=records, columns=columns)
    await connection.execute("ANALYZE")
    await connection.close()


def _deployment(spec: Spec, ids: dict[str, UUID]) -> dict[str, Any]:
    """What is one connector's own in Prefect's row of a deployment."""
    return {
        "id": ids["deployment"],
        "name": spec.name,
        "tags": json.dumps(sorted(spec.fields.tags)),
        "parameters": json.dumps(spec.fields.parameters),
        "description": spec.fields.description,
        "version": spec.fields.version,
        "concurrency_limit_id": ids["limit"],
    }


def _run(run: dict[str, Any], spec: Spec, ids: dict[str, UUID]) -> dict[str, Any]:
    """What is one connector's own in Prefect's row of a scheduled run."""
    minute = int(spec.fields.schedules[0].rule["cron"].split()[0])
    due = run["expected_start_time"].replace(minute=minute)
    return {
        "id": uuid4(),
        "state_id": uuid4(),
        "deployment_id": ids["deployment"],
        "expected_start_time": due,
        "next_scheduled_start_time": due,
        "parameters": json.dumps(spec.fields.parameters),
        "idempotency_key": f"scheduled {ids['deployment']} {ids['schedule']} {due}",
        "tags": json.dumps(["auto-scheduled", *sorted(spec.fields.tags)]),
        "deployment_version": spec.fields.version,
        "labels": json.dumps(json.loads(run["labels"]) | {"prefect.deployment.id": str(ids["deployment"])}),
        "created_by": json.dumps(json.loads(run["created_by"]) | {"id": str(ids["schedule"])}),
    }
