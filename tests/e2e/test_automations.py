"""A controller runs again without a person, whatever ended the last one; the bootstrap makes each thing once."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa
from prefect.settings import PREFECT_API_URL, temporary_settings

from database.store import Store
from database.tables import lease
from deployments.bootstrap import bootstrap
from local.processes import Child, end
from prefect_api.names import CONTROLLER_FLOW
from settings import ROOT, Settings
from tests.support.servers.prefect_server import PrefectServer
from tests.support.waiting import until


@pytest.fixture
def api(own_prefect_server: PrefectServer) -> Iterator[httpx.Client]:
    with (
        temporary_settings({PREFECT_API_URL: own_prefect_server.url}),
        httpx.Client(base_url=own_prefect_server.url, timeout=30) as client,
    ):
        yield client


async def test_the_bootstrap_makes_everything_once(api: httpx.Client) -> None:
    def seen() -> dict[str, Any]:
        return {
            "pools": api.post("/work_pools/filter", json={}).json(),
            "queues": sorted(q["name"] for q in api.post("/work_pools/default/queues/filter", json={}).json()),
            "automations": sorted(
                api.post("/automations/filter", json={}).json(), key=lambda automation: str(automation["name"])
            ),
            "deployment": api.get(f"/deployments/name/{CONTROLLER_FLOW}/controller").json(),
        }

    await bootstrap(Settings(), pool_type="process", base_job_template=None)
    first = seen()
    await bootstrap(Settings(), pool_type="process", base_job_template=None)
    assert seen() == first
    assert {"controller", "default"} <= set(first["queues"])
    assert first["deployment"]["work_queue_name"] == "controller"
    assert first["deployment"]["global_concurrency_limit"] is None
    assert set(first["deployment"]["parameter_openapi_schema"]["properties"]) == {
        "when_led", "once", "dry_run", "allow_mass_prune", "take_over"
    }  # fmt: skip
    names = [automation["name"] for automation in first["automations"]]
    assert {"clinical-ai: controller silent", "clinical-ai: dead run"} <= set(names)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_controller_runs_again_after_never_starting_a_kill_and_a_cancel(
    api: httpx.Client,
    own_prefect_server: PrefectServer,
    store: Store,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CAI_HEARTBEAT_SECONDS", "15")
    await bootstrap(Settings(), pool_type="process", base_job_template=None)
    environment = {
        **own_prefect_server.environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CAI_DATABASE_URL": database_url,
        "CAI_DATA_DIR": str(tmp_path / "data"),
        "CAI_LEASE_TTL_SECONDS": "10",
        "CAI_HEARTBEAT_SECONDS": "15",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    command = ["worker", "start", "--pool", "default", "--work-queue", "controller", "--type", "process"]

    def worker(name: str) -> Child:
        child = Child(
            name=name,
            command=[sys.executable, "-m", "prefect", *command, "--name", name],
            environment=environment,
            directory=ROOT,
            log=tmp_path / f"{name}.log",
            restarts=False,
        )
        child.start()
        return child

    async def token() -> int:
        async with store.engine.connect() as connection:
            live = sa.select(lease.c.token).where(lease.c.expires_at > sa.func.clock_timestamp())
            return int(await connection.scalar(live) or 0)

    def newer_than(seen: int) -> Callable[[], Awaitable[int]]:
        async def found() -> int:
            now = await token()
            return now if now > seen else 0

        return found

    def runs(*states: str) -> list[dict[str, Any]]:
        body = {
            "flows": {"name": {"any_": [CONTROLLER_FLOW]}},
            "flow_runs": {"state": {"type": {"any_": list(states)}}},
        }
        found: list[dict[str, Any]] = api.post("/flow_runs/filter", json=body).json()
        return found

    first = worker("first")
    second: Child | None = None
    try:
        led = await until("a controller that nobody started leads", newer_than(0), 200)
        killed = runs("RUNNING")[0]["id"]

        assert first.process is not None
        tree = psutil.Process(first.process.pid)
        for process in [*tree.children(recursive=True), tree]:
            process.kill()
        second = worker("second")
        led = await until("another leads after the kill", newer_than(led), 300)

        async def crashed() -> bool:
            return bool(api.get(f"/flow_runs/{killed}").json()["state"]["type"] == "CRASHED")

        await until("the dead run is marked Crashed", crashed, 200)

        leading = next(run for run in runs("RUNNING") if run["id"] != killed)
        api.post(f"/flow_runs/{leading['id']}/set_state", json={"state": {"type": "CANCELLING"}}).raise_for_status()
        await until("another leads after the cancel", newer_than(led), 400)
        assert len(runs("RUNNING", "PENDING")) <= 2, "a pile of standbys"
    finally:
        for child in (first, second):
            if child is not None and child.process is not None and child.process.poll() is None:
                process = psutil.Process(child.process.pid)
                end([process, *process.children(recursive=True)], 10)
                child.process.wait()
