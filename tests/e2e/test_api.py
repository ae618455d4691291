"""The REST API in front of a controller process and a Prefect server that is first down and then comes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from local.processes import Child, tail
from prefect_api.names import FLOW_NAME
from prefect_api.run_queries import open_runs
from settings import ROOT
from tests.support.api_rig import BODY, client
from tests.support.servers.prefect_server import PrefectServer
from tests.support.waiting import until

CREATED = 200
SOON_SECONDS = 20
"""Measured on an idle machine: 0.1 to 0.2 s. Here the server has just made 200 deployments."""
CONNECTORS = "/api/v1/connectors"

pytestmark = pytest.mark.alone


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrefectServer]:
    """A Prefect server that nobody has started yet."""
    home = tmp_path / "prefect"
    home.mkdir()
    server = PrefectServer(home)
    yield server
    server.stop()


@pytest.fixture
def controller(database_url: str, server: PrefectServer, tmp_path: Path) -> Iterator[Child]:
    """A controller in the foreground."""
    child = Child(
        name="controller",
        command=[sys.executable, "-m", "flows.controller"],
        environment={**os.environ, **server.environment, "CAI_DATABASE_URL": database_url},
        directory=ROOT,
        log=tmp_path / "controller.log",
        restarts=False,
    )
    child.start()
    yield child
    child.end(grace_seconds=15)


@pytest.fixture
async def api(database_url: str, server: PrefectServer) -> AsyncIterator[httpx.AsyncClient]:
    """The API."""
    with temporary_settings({PREFECT_API_URL: server.url}):
        async with client(database_url, open_runs=open_runs) as http:
            yield http


async def test_what_is_saved_while_prefect_is_down_is_in_prefect_when_it_comes(
    api: httpx.AsyncClient, server: PrefectServer, controller: Child, tmp_path: Path
) -> None:
    creates = (api.post(CONNECTORS, json={**BODY, "name": f"Connector {number}"}) for number in range(CREATED))
    answers = await asyncio.gather(*creates)
    assert [answer.status_code for answer in answers] == [201] * CREATED
    where = answers[0].headers["Location"]

    async def obstacles() -> list[str]:
        status = (await api.get(where)).json()["status"]
        return [each["obstacle"] for each in status["obstacles"]]

    async def waits() -> bool:
        return "WaitingForPrefect" in await obstacles()

    await until("the status says that it waits for Prefect", waits, 60)

    async def all_wait() -> bool:
        page = (await api.get(CONNECTORS, params={"phase": "retrying", "limit": 200})).json()
        return len(page["items"]) == CREATED

    await until("all wait for Prefect", all_wait, 60)
    server.start()
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as prefect:
        (await prefect.post("/work_pools/", json={"name": "default", "type": "process"})).raise_for_status()

        # The API is asked, not Prefect: two hundred creates keep a server on SQLite busy enough.
        async def synced() -> bool:
            page = (await api.get(CONNECTORS, params={"phase": "synced", "limit": 200})).json()
            return len(page["items"]) == CREATED

        try:
            await until("all are in Prefect", synced, 240)
        except BaseException:
            sys.stderr.write(tail(tmp_path / "controller.log", 30))
            raise
        ours = {"flows": {"name": {"any_": [FLOW_NAME]}}}
        assert (await prefect.post("/deployments/count", json=ours)).json() == CREATED

        async def only_a_worker_lacks() -> bool:
            return await obstacles() == ["NoWorker"]

        await until("only a worker lacks", only_a_worker_lacks, 30)
        await _follow(api, prefect, where)


async def _follow(api: httpx.AsyncClient, prefect: httpx.AsyncClient, where: str) -> None:
    """Change a connector by the API, and see Prefect follow soon."""
    deployment = (await api.get(where)).json()["prefectDeploymentId"]

    async def held() -> dict[str, Any]:
        answer = await prefect.get(f"/deployments/{deployment}")
        return dict(answer.json()) if answer.is_success else {}

    async def rescheduled() -> bool:
        return bool((await held())["schedules"][0]["schedule"]["cron"] == "17 3 * * *")

    async def paused() -> bool:
        return bool((await held())["paused"])

    async def resumed() -> bool:
        return not (await held())["paused"]

    async def gone() -> bool:
        return not await held()

    steps: list[tuple[str, Callable[[], Awaitable[httpx.Response]], Callable[[], Awaitable[bool]]]] = [
        ("the schedule", lambda: api.patch(where, json={"schedule": "17 3 * * *"}), rescheduled),
        ("the pause", lambda: api.post(f"{where}/deactivate"), paused),
        ("the resumption", lambda: api.post(f"{where}/activate"), resumed),
        ("the deletion", lambda: api.delete(where), gone),
    ]
    for what, change, follows in steps:
        (await change()).raise_for_status()
        await until(f"{what} is in Prefect", follows, SOON_SECONDS)
