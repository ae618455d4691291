"""The concurrency slot of a deployment is a lease that the running flow renews; losing it would end the run."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from database.store import Store
from deployments.planning.spec import job_variables
from local.processes import Child
from prefect_api.deployment_calls import open_gateway
from rigs.control_plane import PLATFORM, rig
from settings import ROOT
from tests.support.servers.http_server import WebServer
from tests.support.servers.prefect_server import PrefectServer
from tests.support.waiting import until

PAGE_SECONDS = 30
PAGES = 10
RENEWED_AFTER_SECONDS = 225
"""Prefect's engine renews a slot's lease of 300 s after three quarters of it."""


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_restarted_server_hurts_neither_the_running_load_nor_the_next_one(
    store: Store, database_url: str, own_prefect_server: PrefectServer, tmp_path: Path
) -> None:
    slow = True

    def answer(asked: Any) -> list[dict[str, int]]:
        page = int(asked.query.get("page", "0"))
        if slow:
            time.sleep(PAGE_SECONDS)  # what the test needs is a load that lasts, not one that waits for something
        return [{"id": page}] if page < PAGES else []

    environment = {
        **own_prefect_server.environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CAI_DATABASE_URL": database_url,
        "CAI_DATA_DIR": str(tmp_path / "data"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    worker = Child(
        name="worker",
        command=[sys.executable, "-m", "prefect", "worker", "start", "--pool", "default", "--type", "process"],
        environment=environment,
        directory=ROOT,
        log=tmp_path / "worker.log",
        restarts=False,
    )
    with WebServer(answer) as server, temporary_settings({PREFECT_API_URL: own_prefect_server.url}):
        resource = {"name": "visits", "path": "visits", "data_selector": "$"}
        paginator = {"type": "page_number", "page_param": "page"}
        source = {"type": "rest_api", "base_url": server.url, "paginator": paginator, "resources": [resource]}
        own = PLATFORM.__class__(
            **{f: getattr(PLATFORM, f) for f in PLATFORM.__slots__ if f != "job_variables"},
            job_variables=job_variables(str(ROOT)),
        )
        async with (
            httpx.AsyncClient(base_url=own_prefect_server.url, timeout=30) as api,
            open_gateway(timeout_seconds=20, connections=4) as gateway,
            rig(store, gateway, platform=own) as controller,
        ):
            await api.post("/work_pools/", json={"name": "default", "type": "process"})
            number = await controller.insert(schedule=None, source=source)
            await controller.cycle()
            status = await controller.status(number)
            assert status is not None
            worker.start()
            try:

                async def state(run: str) -> str:
                    try:
                        return str((await api.get(f"/flow_runs/{run}")).json()["state"]["name"])
                    except (httpx.HTTPError, KeyError):
                        return "unknown while the server is away"

                async def load(seconds: float, *, restart: bool) -> float:
                    path = f"/deployments/{status.deployment_id}/create_flow_run"
                    run = (await api.post(path, json={})).json()["id"]

                    async def is_in(*names: str) -> bool:
                        return await state(run) in names

                    await until("the load runs", lambda: is_in("Running"), 90)
                    began = time.monotonic()
                    if restart:
                        own_prefect_server.stop()
                        own_prefect_server.start()
                    await until("the load ended", lambda: is_in("Completed", "Failed", "Crashed"), seconds)
                    assert await state(run) == "Completed"
                    return time.monotonic() - began

                assert await load(PAGE_SECONDS * (PAGES + 4), restart=True) > RENEWED_AFTER_SECONDS
                slow = False
                await load(120, restart=False)
                held = (await gateway.list_deployments()).deployments[0]
                assert held.active_slots == 0
            finally:
                worker.end(grace_seconds=15)
