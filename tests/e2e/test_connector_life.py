"""One connector's life with nothing replaced: SQL, a controller process, the Prefect server, a worker, DuckDB."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import duckdb
import httpx
import orjson
import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from database.store import Store
from deployments.planning.spec import job_variables
from local.processes import Child, tail
from pipelines.connector_lock import connector_key
from prefect_api.deployment_calls import open_gateway
from prefect_api.run_queries import open_runs
from rigs.control_plane import rig
from settings import ROOT
from tests.support.api_rig import client
from tests.support.servers.bulk import BulkServer, resource
from tests.support.servers.http_server import WebServer
from tests.support.servers.prefect_server import PrefectServer
from tests.support.waiting import until

CANCELS = 3
CANCEL_SECONDS = 10
"""From the click until neither the process nor its lock is there."""


async def test_the_locked_set_turns_a_deployment_into_a_scheduled_run(
    store: Store, prefect_server: PrefectServer
) -> None:
    async with open_gateway(timeout_seconds=20, connections=4) as gateway, rig(store, gateway) as controller:
        number = await controller.insert(schedule="0 * * * *")
        await controller.cycle()
        status = await controller.status(number)
        assert status is not None
        assert status.deployment_id is not None
        ids = [status.deployment_id]
        await until("Prefect's scheduler made a run", lambda: gateway.scheduled_runs(deployment_ids=ids), 90)


@dataclass
class Platform:
    """A controller and a worker on a database and a Prefect server of their own."""

    database: asyncpg.Connection
    api: httpx.AsyncClient
    database_url: str
    data_dir: Path
    children: list[Child]

    async def deployment(self, number: int) -> dict[str, Any] | None:
        """The connector's deployment, as Prefect's API gives it."""
        answer = await self.api.get(f"/deployments/name/run_connector_pipeline/connector-{number}-pipeline")
        found: dict[str, Any] | None = answer.json() if answer.is_success else None
        return found


@pytest.fixture
async def platform(database_url: str, own_prefect_server: PrefectServer, tmp_path: Path) -> AsyncIterator[Platform]:
    environment = {
        **own_prefect_server.environment,
        # A worker that is started by its path, as a service is: its environment's python is on no PATH.
        "PATH": "/usr/bin:/bin",
        "CAI_DATABASE_URL": database_url,
        "CAI_DATA_DIR": str(tmp_path / "data"),
        "CAI_LOCAL_FILE_ROOTS": str(tmp_path),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    commands = {
        "bootstrap": ["deployments.bootstrap"],
        "controller": ["flows.controller"],
        "worker": ["prefect", "worker", "start", "--pool", "default", "--type", "process", "--install-policy", "never"],
    }
    children = [
        Child(
            name=name,
            command=[sys.executable, "-m", *command],
            environment=environment,
            directory=ROOT,
            log=tmp_path / f"{name}.log",
            restarts=False,
        )
        for name, command in commands.items()
    ]
    database = await asyncpg.connect(database_url)
    async with httpx.AsyncClient(base_url=own_prefect_server.url, timeout=120) as api:
        try:
            children[0].start()
            assert children[0].process is not None
            assert children[0].process.wait(120) == 0, tail(tmp_path / "bootstrap.log", 30)
            for child in children[1:]:
                child.start()
            yield Platform(database, api, database_url, tmp_path / "data", children)
        finally:
            for child in reversed(children):
                child.end(grace_seconds=15)
            await database.close()


@pytest.mark.alone
async def test_an_inserted_row_is_loaded_on_schedule_and_followed_until_it_is_deleted(
    platform: Platform, tmp_path: Path
) -> None:
    (tmp_path / "labs.csv").write_text("id,code,value\n" + "".join(f"{i},GLU,{i}.5\n" for i in range(1000)))
    source = {"type": "files", "url": str(tmp_path), "glob": "*.csv", "format": "csv", "table": "labs"}
    insert = "INSERT INTO cai_connectors (name, schedule, source) VALUES ('Labs', '* * * * *', $1) RETURNING id"
    number = await platform.database.fetchval(insert, orjson.dumps(source).decode())

    made = await until("the row became a deployment", lambda: platform.deployment(number), 60)
    assert made["job_variables"] == job_variables(str(ROOT))

    async def completed() -> list[dict[str, Any]]:
        body = {
            "deployments": {"id": {"any_": [made["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        }
        answer = await platform.api.post("/flow_runs/filter", json=body)
        runs: list[dict[str, Any]] = answer.json()
        return runs

    runs = await until("a scheduled run completed", completed, 150)
    assert all(run["auto_scheduled"] for run in runs)
    with duckdb.connect(str(platform.data_dir / "warehouse.duckdb"), read_only=True) as warehouse:
        assert warehouse.execute(f"SELECT count(*), sum(value) FROM connector_{number}.labs").fetchone() == (
            1000,
            500_000.0,
        )

    await platform.database.execute("UPDATE cai_connectors SET schedule = '30 4 * * *', timezone = 'Europe/Berlin'")

    async def rescheduled() -> dict[str, Any] | None:
        held = await platform.deployment(number)
        return held if held and held["schedules"][0]["schedule"]["cron"] == "30 4 * * *" else None

    changed = await until("the new schedule is in Prefect", rescheduled, 5)
    assert changed["id"] == made["id"]
    assert changed["schedules"][0]["id"] == made["schedules"][0]["id"]

    await platform.database.execute("UPDATE cai_connectors SET is_active = false")

    async def paused() -> bool:
        held = await platform.deployment(number)
        return held is not None and held["paused"]

    await until("the deployment is paused", paused, 5)

    await platform.database.execute("DELETE FROM cai_connectors")

    async def gone() -> bool:
        left = await platform.database.fetchval("SELECT count(*) FROM cai_connector_status")
        return left == 0 and await platform.deployment(number) is None

    await until("deployment and status are gone", gone, 5)
    controller = next(child for child in platform.children if child.name == "controller")
    assert controller.process is not None
    controller.process.terminate()
    assert controller.process.wait(20) == 0, tail(tmp_path / "controller.log", 30)


@pytest.mark.alone
async def test_a_run_that_is_cancelled_leaves_no_process_and_no_lock(platform: Platform, tmp_path: Path) -> None:
    """By the API, while its source keeps it waiting; the next run has its turn at once."""
    asked = asyncio.Event()

    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()  # until whoever asked has gone
        writer.close()

    server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    source = {"type": "rest_api", "base_url": address, "resources": [{"name": "visit", "path": "visit"}]}
    insert = "INSERT INTO cai_connectors (name, source) VALUES ('Slow', $1) RETURNING id"
    number = await platform.database.fetchval(insert, orjson.dumps(source).decode())
    await until("the row became a deployment", lambda: platform.deployment(number), 60)

    async def recorded() -> bool:
        held = "SELECT prefect_deployment_id IS NOT NULL FROM cai_connectors WHERE id = $1"
        return bool(await platform.database.fetchval(held, number))

    await until("its deployment is recorded", recorded, 30)

    async def locks() -> list[int]:
        held = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND ((classid::bigint << 32) | objid::bigint) = $1"
        return [row["pid"] for row in await platform.database.fetch(held, connector_key(number))]

    async def free() -> bool:
        return not await locks()

    seconds = []
    async with server, asking(platform) as api:
        where = f"/api/v1/connectors/{number}"
        for _ in range(CANCELS):
            asked.clear()
            run = (await api.post(f"{where}/run", json={"rowLimit": 5})).json()["id"]
            await asyncio.wait_for(asked.wait(), 120)
            assert await locks(), "it holds its connector's lock while it reads"
            (process,) = [each for each in psutil.process_iter() if runs_flow(each, run)]
            began = time.monotonic()
            answer = await api.post(f"{where}/runs/{run}/cancel")
            assert (answer.status_code, answer.json()["stateType"]) == (202, "CANCELLING")
            await until("the lock is free", free, 30)
            await asyncio.to_thread(process.wait, 30)
            seconds.append(time.monotonic() - began)

            async def cancelled(run: str = run) -> bool:
                return bool((await platform.api.get(f"/flow_runs/{run}")).json()["state_type"] == "CANCELLED")

            await until("Prefect knows that it was cancelled", cancelled, 30)
        again = await api.post(f"{where}/runs/{run}/cancel")
        assert again.json()["stateType"] == "CANCELLED", "what has ended stays as it is"
        loads = (await api.get(f"{where}/loads")).json()["items"]
        assert [(each["outcome"], each["options"]) for each in loads] == [("cancelled", {"row_limit": 5})] * CANCELS
        history = (await api.get(f"{where}/history")).json()["items"]
        assert [each["action"] for each in history].count("cancel") == CANCELS
    assert max(seconds) <= CANCEL_SECONDS, seconds


@pytest.mark.alone
async def test_an_export_that_takes_long_is_waited_for_by_nobody(platform: Platform) -> None:
    """Between two looks at it there is no process, no slot and no lock; then a run of Prefect's brings its rows."""
    server = BulkServer([resource("Patient", number) for number in range(120)], looks=1, retry_after="32")
    with WebServer(server) as web:
        source = {"type": "fhir", "base_url": f"{web.url}/fhir", "resource_types": ["Patient"], "mode": "bulk"}
        insert = "INSERT INTO cai_connectors (name, source) VALUES ('Export', $1) RETURNING id"
        number = await platform.database.fetchval(insert, orjson.dumps(source).decode())
        made = await until("the row became a deployment", lambda: platform.deployment(number), 60)

        async def begun() -> Any:
            asked = await platform.api.post(f"/deployments/{made['id']}/create_flow_run", json={})
            return asked.json()["id"] if asked.is_success else None  # 503: its SQLite is locked for the moment

        first = await until("Prefect has made a run", begun, 60)

        async def runs(*names: str) -> list[dict[str, Any]]:
            body = {"deployments": {"id": {"any_": [made["id"]]}}, "flow_runs": {"state": {"name": {"any_": names}}}}
            found: list[dict[str, Any]] = (await platform.api.post("/flow_runs/filter", json=body)).json()
            return found

        async def waits() -> bool:
            return [each["id"] for each in await runs("Waiting")] == [first]

        async def is_free() -> bool:
            held = (
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND ((classid::bigint << 32) | objid::bigint) = $1"
            )
            lock = await platform.database.fetch(held, connector_key(number))
            limit = await platform.deployment(number)
            slots = limit["global_concurrency_limit"]["active_slots"] if limit else 1
            return not lock and not slots and not any(runs_flow(each, first) for each in psutil.process_iter())

        await until("the first run waits for the export", waits, 120)
        (again,) = await runs("Scheduled", "Late")
        await until("nothing is held meanwhile", is_free, 25)
        assert not await runs("Running", "Pending")

        async def completed() -> bool:
            return [each["id"] for each in await runs("Completed")] == [again["id"]]

        await until("the run that was started for it has loaded", completed, 150)
    assert (len(server.kick_offs), server.ended, server.faults) == (1, [1], [])
    with duckdb.connect(str(platform.data_dir / "warehouse.duckdb"), read_only=True) as warehouse:
        found = warehouse.execute(f"SELECT count(*), count(DISTINCT id) FROM connector_{number}.patient").fetchone()
    assert found == (120, 120)


@contextlib.asynccontextmanager
async def asking(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the REST API on the platform's database and Prefect."""
    with temporary_settings({PREFECT_API_URL: str(platform.api.base_url).rstrip("/")}):
        async with client(platform.database_url, open_runs=open_runs) as api:
            yield api


def runs_flow(process: psutil.Process, run: str) -> bool:
    """Whether a process is the one of this flow run."""
    with contextlib.suppress(psutil.Error):
        return process.environ().get("PREFECT__FLOW_RUN_ID") == run
    return False
