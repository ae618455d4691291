"""Loads by the REST API: listed a page at a time, shown table by table, and the rows of Prefect's runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.runs import Held, Pool
from database.tables import connectors, load_runs, load_tables
from tests.support.api_rig import CONNECTORS, assert_problem, client, create
from tests.support.known_runs import DEPLOYMENT, RUN, KnownRuns

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API, with one run in Prefect."""

    @asynccontextmanager
    async def runs() -> AsyncIterator[KnownRuns]:
        yield KnownRuns(holds=Held(False, Pool("default", "default"), ended_runs=(RUN,)))

    async with client(database_url, open_runs=runs) as http:
        yield http


async def leave(engine: AsyncEngine, connector_id: int, number: int, **columns: Any) -> None:
    """A load as a run leaves it."""
    values = {"generation": 1, "started_at": AT + timedelta(hours=number), "outcome": "completed", **columns}
    async with engine.begin() as connection:
        await connection.execute(sa.insert(load_runs).values(id=number, connector_id=connector_id, **values))


async def test_loads_are_listed_a_page_at_a_time_the_newest_first(api: httpx.AsyncClient, engine: AsyncEngine) -> None:
    made, other = (await create(api))["id"], (await create(api, name="Another"))["id"]
    for number in (1, 2, 3):
        await leave(engine, made, number, rows=number, seconds={"load": 1.5}, options={"row_limit": 5})
    await leave(engine, other, 4, outcome="failed", kind="configuration", message="No.")
    first = (await api.get(f"{CONNECTORS}/{made}/loads", params={"limit": 2})).json()
    assert [each["rows"] for each in first["items"]] == [3, 2]
    assert first["items"][0]["seconds"] == {"load": 1.5}
    assert first["items"][0]["options"] == {"row_limit": 5}
    rest = await api.get(f"{CONNECTORS}/{made}/loads", params={"limit": 2, "cursor": first["nextCursor"]})
    assert [each["rows"] for each in rest.json()["items"]] == [1]
    assert rest.json()["nextCursor"] is None
    (failed,) = (await api.get(f"{CONNECTORS}/{other}/loads")).json()["items"]
    assert (failed["outcome"], failed["kind"], failed["message"]) == ("failed", "configuration", "No.")
    assert_problem(await api.get(f"{CONNECTORS}/999/loads"), 404)
    assert (await api.get(f"{CONNECTORS}/{made}/loads", params={"cursor": "x"})).status_code == 422


async def test_one_load_is_shown_with_its_tables(api: httpx.AsyncClient, engine: AsyncEngine) -> None:
    made, other = (await create(api))["id"], (await create(api, name="Another"))["id"]
    run = UUID(int=8)
    await leave(engine, made, 1, run_id=run, outcome="failed", kind="died")
    await leave(engine, made, 2, run_id=run, rows=2)
    counts = {"read": 3, "written": 2, "rejected": 1, "repeated": 0, "bytes": 9, "seconds": {}, "rows_after": 12}
    async with engine.begin() as connection:
        await connection.execute(sa.insert(load_tables).values(load_id=2, table_name="visit", **counts))
    shown = (await api.get(f"{CONNECTORS}/{made}/loads/{run}")).json()
    assert (shown["runId"], shown["outcome"], shown["rows"]) == (str(run), "completed", 2), "the last one of the run"
    (table,) = shown["tables"]
    assert (table["table"], table["read"], table["written"], table["rejected"]) == ("visit", 3, 2, 1)
    assert (table["rowsAfter"], table["new"]) == (12, None)
    problem = assert_problem(await api.get(f"{CONNECTORS}/{other}/loads/{run}"), 404)
    assert problem["type"].endswith(":no-such-load")
    assert (await api.get(f"{CONNECTORS}/{made}/loads/no-uuid")).status_code == 422


async def test_the_rows_of_a_run_are_those_of_the_load_history(api: httpx.AsyncClient, engine: AsyncEngine) -> None:
    made = (await create(api))["id"]
    async with engine.begin() as connection:
        await connection.execute(sa.update(connectors).values(prefect_deployment_id=DEPLOYMENT))
    (run,) = (await api.get(f"{CONNECTORS}/{made}/runs")).json()["items"]
    assert run["rowsLoaded"] is None
    await leave(engine, made, 1, run_id=RUN.id, rows=1234)
    (run,) = (await api.get(f"{CONNECTORS}/{made}/runs")).json()["items"]
    assert run["rowsLoaded"] == 1234
    status = (await api.get(f"{CONNECTORS}/{made}")).json()["status"]
    assert status["lastRun"]["rowsLoaded"] == 1234
