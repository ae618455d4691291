"""Looks at sources by a worker: a real run of a real worker answers, and Prefect learns a number and nothing else."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from api.sources.asking import looks_of
from database.connection.engine import open_engine
from database.control import probes
from deployments import bootstrap
from local.processes import Child
from prefect_api.names import PROBE_DEPLOYMENT, PROBE_FLOW
from settings import ROOT, Settings
from tests.support.api_rig import TOKEN, client
from tests.support.servers.prefect_server import PrefectServer

Sql = Callable[[str], list[tuple[Any, ...]]]

CANARY = "Canary Muster 7c1f"
"""A value of a row that Prefect must not have."""

pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture
def settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of an installation whose loads run in a pool of this test's own."""
    told = {"CAI_DATABASE_URL": database_url, "CAI_DATA_DIR": str(tmp_path), "CAI_CREDENTIALS": "open"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return Settings(
        database_url=SecretStr(database_url), probe="worker", work_pool=f"probes-{os.getpid()}", probe_seconds=120
    )


@pytest.fixture
async def prefect(settings: Settings, prefect_server: PrefectServer) -> AsyncIterator[httpx.AsyncClient]:
    """The shared server's API, with what bootstrap makes; that is gone afterwards."""
    await bootstrap.bootstrap(settings, pool_type="process", base_job_template=None)
    async with httpx.AsyncClient(base_url=prefect_server.url, timeout=60) as http:
        yield http
        for row in (await http.post("/deployments/filter", json={})).json():
            if row["work_pool_name"] in {settings.work_pool, "wards-of-probes"}:
                await http.delete(f"/deployments/{row['id']}")
        for row in (await http.post("/automations/filter", json={})).json():
            await http.delete(f"/automations/{row['id']}")


@pytest.fixture
async def worker(settings: Settings, prefect: httpx.AsyncClient, prefect_server: PrefectServer, tmp_path: Path) -> Any:
    """A process worker of the pool."""
    variables = {**os.environ, **prefect_server.environment, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", settings.work_pool, "--type", "process"]
    child = Child("worker", command, variables, ROOT, tmp_path / "worker.log", restarts=False)
    child.start()
    yield child
    child.end(grace_seconds=20)


async def rows_left(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM cai_probes"))
    finally:
        await connection.close()


async def all_that_prefect_knows(prefect: httpx.AsyncClient) -> str:
    """Every run, state, line of a log and artifact, as text."""
    runs = (await prefect.post("/flow_runs/filter", json={"flows": {"name": {"any_": [PROBE_FLOW]}}})).json()
    assert runs, "there were runs"
    texts = [str(runs)]
    for run in runs:
        which = {"flow_run_id": {"any_": [run["id"]]}}
        for path, body in (("logs", {"logs": which}), ("artifacts", {"artifacts": which})):
            texts.append(str((await prefect.post(f"/{path}/filter", json=body)).json()))
        texts.append(str((await prefect.get("/flow_run_states/", params={"flow_run_id": run["id"]})).json()))
    return "\n".join(texts)


@pytest.mark.slow
async def test_a_worker_answers_and_prefect_learns_nothing(
    emr: Sql, settings: Settings, worker: Child, prefect: httpx.AsyncClient, database_url: str
) -> None:
    emr(f"CREATE TABLE patient (id int PRIMARY KEY, name text); INSERT INTO patient VALUES (1, '{CANARY}')")
    looks = looks_of(settings)
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}}
    async with client(database_url, tester=looks.reach, asker=looks.discovered, tokens=(TOKEN,)) as api:
        found = await api.post("/api/v1/sources/discover", json={"source": source}, timeout=200)
        assert found.status_code == 200, found.text
        (item,) = found.json()["items"]
        assert (item["name"], item["primaryKey"]) == ("patient", ["id"])
        tables = [{"name": "patient"}]
        tried = await api.post("/api/v1/sources/test", json={"source": {**source, "tables": tables}}, timeout=200)
        answer = tried.json()
        assert answer["ok"], answer
        assert answer["tables"] == [{"name": "patient", "rows": [{"id": 1, "name": CANARY}]}]
        assert answer["destination"] == {"ok": True, "message": "The destination can be written."}
        masked = {**source, "tables": tables, "mask": ["name"]}
        again = await api.post("/api/v1/sources/test", json={"source": masked}, timeout=200)
        assert CANARY not in again.text, "the rows are as they would land"
        refused = {"type": "fhir", "base_url": "http://127.0.0.1:1/r4"}
        answer = await api.post("/api/v1/sources/discover", json={"source": refused}, timeout=200)
        assert answer.status_code == 502
    assert await rows_left(database_url) == 0
    known = await all_that_prefect_knows(prefect)
    password = urlsplit(os.environ["CAI_SECRET_EMR"]).password or "CAI_SECRET_EMR"
    for text in (CANARY, "patient", "CAI_SECRET_EMR", "127.0.0.1:1/r4", password):
        assert text not in known


async def test_without_a_worker_it_is_said_how_far_it_got_and_nothing_stays(
    settings: Settings, prefect: httpx.AsyncClient, database_url: str
) -> None:
    impatient = settings.model_copy(update={"probe_seconds": 0.6})
    looks = looks_of(impatient)
    async with client(database_url, tester=looks.reach, asker=looks.discovered) as api:
        source = {"type": "fhir", "base_url": "http://127.0.0.1:1/r4"}
        answer = await api.post("/api/v1/sources/discover", json={"source": source})
        assert answer.status_code == 502
        assert answer.json()["detail"].startswith(f"No worker of the pool {settings.work_pool} had time for this")
    assert await rows_left(database_url) == 0
    runs = (await prefect.post("/flow_runs/filter", json={"flows": {"name": {"any_": [PROBE_FLOW]}}})).json()
    assert {tuple(run["parameters"]) for run in runs} == {("probe_id",)}


async def test_a_pool_of_its_own_gets_a_deployment_of_its_own(
    settings: Settings, prefect: httpx.AsyncClient, database_url: str
) -> None:
    pool = {"name": "wards-of-probes", "type": "process"}
    assert (await prefect.post("/work_pools/", json=pool)).status_code in {201, 409}
    looks = looks_of(settings.model_copy(update={"probe_seconds": 0.3}))
    async with client(database_url, tester=looks.reach) as api:
        body = {"name": "Wards", "source": {"type": "fhir", "base_url": "http://127.0.0.1:1/r4"}}
        made = await api.post("/api/v1/connectors", json={**body, "workPoolName": "wards-of-probes"})
        for _ in range(2):
            answer = (await api.post(f"/api/v1/connectors/{made.json()['id']}/test")).json()
            assert "the pool wards-of-probes had time" in answer["message"]
    name = f"/deployments/name/{PROBE_FLOW}/{PROBE_DEPLOYMENT}-wards-of-probes"
    held = (await prefect.get(name)).json()
    assert (held["work_pool_name"], held["entrypoint"]) == ("wards-of-probes", "flows/probe.py:probe_source")


async def test_a_question_is_answered_once_and_old_ones_are_nobodys(database_url: str) -> None:
    engine = open_engine(database_url, pool_size=1)
    connection = await asyncpg.connect(database_url)
    try:
        old, new = await probes.ask(engine, "old"), await probes.ask(engine, "new")
        await connection.execute("UPDATE cai_probes SET asked_at = now() - interval '4 min' WHERE id = $1", old)
        assert [await asyncio.to_thread(taken, database_url, each) for each in (old, new, new)] == [None, "new", None]
        assert await probes.answer_of(engine, new) is None
        await connection.execute("UPDATE cai_probes SET answer = 'yes' WHERE id = $1", new)
        assert await probes.answer_of(engine, new) == "yes"
        await probes.forget(engine)
        assert await rows_left(database_url) == 0
        assert not await probes.withdraw(engine, new)
        persistence = "SELECT relpersistence::text FROM pg_class WHERE relname = 'cai_probes'"
        assert await connection.fetchval(persistence) == "u", "no row of a source in a log or a replica"
    finally:
        await connection.close()
        await engine.dispose()


def taken(url: str, number: UUID) -> str | None:
    from flows.probe import _session  # Prefect is imported by it

    with _session(url) as query:
        return probes.take(query, number)
