"""Decisions on what waits for a person: by the REST API and by the page, each with its entry in the history."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.runs import Held, Pool
from database.tables import audit, connectors, held_loads, schema_changes
from tests.support.api_rig import BODY, CONNECTORS, assert_problem, client, create
from tests.support.known_runs import DEPLOYMENT, RUN, KnownRuns

SENTENCE = "table 'visit': 1 row without 'mrn' (not_null)"


@pytest.fixture
def prefect() -> KnownRuns:
    return KnownRuns(holds=Held(False, Pool("default", "default")))


@pytest.fixture
async def api(database_url: str, prefect: KnownRuns) -> AsyncIterator[httpx.AsyncClient]:
    """The API, and the page beside it."""

    @asynccontextmanager
    async def runs() -> AsyncIterator[Any]:
        yield prefect

    async with client(database_url, open_runs=runs) as http:
        yield http


@pytest.fixture
async def made(api: httpx.AsyncClient, engine: AsyncEngine) -> int:
    """A connector whose load waits for a person."""
    number = int((await create(api))["id"])
    async with engine.begin() as connection:
        await connection.execute(sa.update(connectors).values(prefect_deployment_id=DEPLOYMENT))
        held = {"connector_id": number, "table_name": "visit", "marks": "not_null(mrn)", "sentence": SENTENCE}
        await connection.execute(sa.insert(held_loads).values(**held))
    return number


async def decisions(engine: AsyncEngine) -> list[tuple[str, Any]]:
    """What the history tells of them."""
    wanted = sa.select(audit.c.action, audit.c.after).where(audit.c.action.in_(["approve", "refuse"]))
    async with engine.connect() as connection:
        return [(row.action, row.after) for row in await connection.execute(wanted.order_by(audit.c.id))]


async def test_a_held_load_is_let_through_once_and_by_name(
    api: httpx.AsyncClient, made: int, prefect: KnownRuns, engine: AsyncEngine
) -> None:
    (held,) = (await api.get(f"{CONNECTORS}/{made}/held-loads")).json()["items"]
    assert (held["table"], held["sentence"], held["state"], held["decidedBy"]) == ("visit", SENTENCE, "waiting", None)
    refused = (await api.post(f"{CONNECTORS}/{made}/held-loads/{held['id']}/refuse")).json()
    assert (refused["state"], prefect.started) == ("refused", [])
    approved = (await api.post(f"{CONNECTORS}/{made}/held-loads/{held['id']}/approve")).json()
    assert (approved["state"], approved["started"]) == ("approved", str(RUN.id))
    assert approved["decidedBy"] == "this machine"
    assert len(prefect.started) == 1
    about = {"held_load": held["id"], "table": "visit", "checks": SENTENCE}
    assert await decisions(engine) == [("refuse", about), ("approve", about)]
    problem = assert_problem(await api.post(f"{CONNECTORS}/{made}/held-loads/{held['id'] + 1}/approve"), 404)
    assert problem["type"].endswith(":no-such-held-load")


async def test_a_decision_stands_though_prefect_is_down(api: httpx.AsyncClient, made: int, prefect: KnownRuns) -> None:
    prefect.down = True
    (held,) = (await api.get(f"{CONNECTORS}/{made}/held-loads")).json()["items"]
    approved = (await api.post(f"{CONNECTORS}/{made}/held-loads/{held['id']}/approve")).json()
    assert (approved["state"], approved["started"]) == ("approved", None)


async def test_the_page_shows_what_waits_and_decides_it(api: httpx.AsyncClient, made: int, prefect: KnownRuns) -> None:
    for address in ("/for-you", f"/connectors/{made}"):
        page = (await api.get(address)).text
        assert "1 row without" in page
        assert "Let it through" in page
        assert "Refuse it" in page
    hidden = dict(re.findall(r'name="(csrf|held)" value="([^"]*)"', page))
    answer = await api.post(f"/connectors/{made}/approve", data=hidden)
    assert answer.status_code == 303
    assert len(prefect.started) == 1
    assert "Nothing waits for you" in (await api.get("/for-you")).text
    assert "has let it through" in (await api.get(f"/connectors/{made}")).text
    gone = await api.post(f"/connectors/{made}/refuse", data={**hidden, "held": "999"})
    assert gone.status_code == 409
    assert "No load of this connector waits" in gone.text


async def test_a_change_at_the_source_is_approved_or_refused(
    api: httpx.AsyncClient, made: int, engine: AsyncEngine
) -> None:
    change = {"connector_id": made, "table_name": "visit", "column_name": "extra", "kind": "new", "type_after": "text"}
    async with engine.begin() as connection:
        await connection.execute(sa.insert(schema_changes).values(**change, state="waiting"))
        await connection.execute(
            sa.insert(schema_changes).values(**{**change, "column_name": "other"}, state="applied")
        )
    applied, waiting = (await api.get(f"{CONNECTORS}/{made}/schema-changes")).json()["items"]
    assert (waiting["table"], waiting["column"], waiting["kind"], waiting["state"]) == (
        "visit",
        "extra",
        "new",
        "waiting",
    )
    for address in ("/for-you", f"/connectors/{made}"):
        page = (await api.get(address)).text
        assert "the column extra (text) is new at the source" in page
        assert "Approve it" in page
    csrf = dict(re.findall(r'name="(csrf)" value="([^"]*)"', page))
    refused = await api.post(f"/connectors/{made}/refuse", data={**csrf, "change": str(waiting["id"])})
    assert refused.status_code == 303
    approved = (await api.post(f"{CONNECTORS}/{made}/schema-changes/{waiting['id']}/approve")).json()
    assert (approved["state"], approved["decidedBy"]) == ("approved", "this machine")
    about = {"schema_change": waiting["id"], "table": "visit", "column": "extra", "change": "new"}
    assert await decisions(engine) == [("refuse", about), ("approve", about)]
    gone = {"connector_id": made, "table_name": "visit", "kind": "gone", "state": "waiting", "run_id": uuid4()}
    async with engine.begin() as connection:  # two columns that one run found to be gone are one thing to decide
        for name in ("first", "second"):
            await connection.execute(sa.insert(schema_changes).values(**gone, column_name=name))
    page = (await api.get("/for-you")).text
    assert "the columns first, second are gone at the source" in page
    (ids,) = set(re.findall(r'name="change" value="([^"]*)"', page))
    await api.post(f"/connectors/{made}/approve", data={**csrf, "change": ids})
    assert "the columns first, second are gone" not in (await api.get("/for-you")).text
    assert [action for action, _ in (await decisions(engine))[2:]] == ["approve", "approve"]
    problem = assert_problem(await api.post(f"{CONNECTORS}/{made}/schema-changes/{applied['id']}/approve"), 404)
    assert problem["type"].endswith(":no-such-change")


async def test_a_decision_needs_a_reason_where_one_is_required(
    database_url: str, prefect: KnownRuns, engine: AsyncEngine
) -> None:
    @asynccontextmanager
    async def runs() -> AsyncIterator[Any]:
        yield prefect

    why = {"X-Reason": "a new study"}
    async with client(database_url, open_runs=runs, reason_required=True) as http:
        number = (await http.post(CONNECTORS, json=BODY, headers=why)).json()["id"]
        async with engine.begin() as connection:
            held = {"connector_id": number, "table_name": "visit", "marks": "not_null(mrn)", "sentence": SENTENCE}
            change = {"connector_id": number, "table_name": "visit", "column_name": "extra", "kind": "new"}
            await connection.execute(sa.insert(held_loads).values(**held))
            await connection.execute(sa.insert(schema_changes).values(**change, type_after="text", state="waiting"))
        for listed in ("held-loads", "schema-changes"):
            (waiting,) = (await http.get(f"{CONNECTORS}/{number}/{listed}")).json()["items"]
            where = f"{CONNECTORS}/{number}/{listed}/{waiting['id']}"
            for act in ("approve", "refuse"):
                refused = await http.post(f"{where}/{act}")
                assert (refused.status_code, "needs a reason" in refused.text) == (422, True)
                assert (await http.post(f"{where}/{act}", headers=why)).status_code == 200
        async with engine.begin() as connection:
            await connection.execute(sa.update(held_loads).values(state="waiting"))
            await connection.execute(sa.update(schema_changes).values(state="waiting"))
        for address in ("/for-you", f"/connectors/{number}"):
            page = (await http.get(address)).text
            forms = re.findall(r"<form[^>]*/(?:approve|refuse)\".*?</form>", page, re.DOTALL)
            assert len(forms) == 4
            assert all('name="reason"' in form for form in forms)
        hidden = dict(re.findall(r'name="(csrf|held)" value="([^"]*)"', page))
        refused = await http.post(f"/connectors/{number}/refuse", data=hidden)
        assert "needs a reason" in refused.text
        done = await http.post(f"/connectors/{number}/refuse", data={**hidden, "reason": "half of it is missing"})
        assert done.status_code == 303
    async with engine.connect() as connection:
        said = await connection.execute(sa.select(audit.c.reason).order_by(audit.c.id.desc()).limit(1))
        assert said.scalar_one() == "half of it is missing"
