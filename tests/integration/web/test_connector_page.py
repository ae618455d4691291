"""A connector's page on a real PostgreSQL: what can be done there, as a browser without scripts sends it."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest

from connectors.runs import Held, Options, Pool
from connectors.sources.write_rules import Comparison
from connectors.status import Phase, Status
from database.statuses import StatusRecord
from database.store import Store
from tests.support.api_rig import BODY, CONNECTORS, client
from tests.support.known_runs import DEPLOYMENT, RUN, KnownRuns
from tests.support.people import KeptValues


@pytest.fixture
def prefect() -> KnownRuns:
    return KnownRuns(Held(paused=False, pool=Pool("default", "default")))


@pytest.fixture
async def browser(database_url: str, prefect: KnownRuns) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the page that follows no redirect."""

    @asynccontextmanager
    async def runs() -> AsyncIterator[Any]:
        yield prefect

    async with client(database_url, open_runs=runs) as http:
        yield http


@pytest.fixture
async def number(browser: httpx.AsyncClient, store: Store) -> int:
    """A connector that Prefect holds."""
    made = int((await browser.post(CONNECTORS, json=BODY)).json()["id"])
    status = Status(made, Phase.SYNCED, deployment_id=DEPLOYMENT)

    async def unfenced(_: Any) -> None:
        return None

    await store.record([StatusRecord(made, status)], unfenced)
    return made


async def send(browser: httpx.AsyncClient, address: str, **form: str) -> httpx.Response:
    """What a browser sends, with the hidden fields of the page that it comes from."""
    page = await browser.get(address.rpartition("/")[0])
    hidden = dict(re.findall(r'name="(csrf)" value="([^"]*)"', page.text))
    return await browser.post(address, data={**hidden, **form})


async def test_a_load_of_a_part_is_asked_for(browser: httpx.AsyncClient, number: int, prefect: KnownRuns) -> None:
    answer = await send(browser, f"/connectors/{number}/run", **{"table.0": "visit", "row_limit": "10"})
    assert answer.status_code == 303
    assert prefect.asked == [Options(tables=("visit",), row_limit=10)]


async def test_it_is_compared_with_its_source_and_rows_that_are_gone_are_let_go(
    browser: httpx.AsyncClient, number: int, prefect: KnownRuns
) -> None:
    assert "Compare with the source</button>" in (await browser.get(f"/connectors/{number}")).text
    answer = await send(browser, f"/connectors/{number}/compare")
    assert answer.status_code == 303
    await send(browser, f"/connectors/{number}/run", allow_mass_delete="on")
    assert prefect.asked == [Options(reconcile=Comparison.SUMS), Options(allow_mass_delete=True)]
    over_http = await browser.post(f"{CONNECTORS}/{number}/reconcile", json={"by": "counts", "tables": ["visit"]})
    assert over_http.status_code == 202
    await browser.post(f"{CONNECTORS}/{number}/reconcile")
    await browser.post(f"{CONNECTORS}/{number}/run", json={"allowMassDelete": True})
    compared = [Options(tables=("visit",), reconcile=Comparison.COUNTS), Options(reconcile=Comparison.SUMS)]
    assert prefect.asked[2:] == [*compared, Options(allow_mass_delete=True)]


async def test_a_refusal_stands_at_its_field_and_nothing_typed_is_lost(
    browser: httpx.AsyncClient, number: int, prefect: KnownRuns
) -> None:
    typed = {"table.0": "visit", "row_limit": "ten", "backfill_to": "2026-01-02T03:04"}
    answer = await send(browser, f"/connectors/{number}/run", **typed)
    assert answer.status_code == 422
    assert 'id="row_limit.refused">This must be a whole number' in answer.text
    assert 'name="row_limit" inputmode="numeric" value="ten"' in answer.text
    assert 'value="2026-01-02T03:04"' in answer.text
    assert re.search(r'name="table.0" value="visit" checked', answer.text)
    later = await send(browser, f"/connectors/{number}/run", backfill_to="2026-01-02T03:04")
    assert 'id="backfill_from.refused">backfill_from is missing' in later.text
    assert prefect.started == []


async def test_a_load_that_goes_on_can_be_ended(browser: httpx.AsyncClient, number: int, prefect: KnownRuns) -> None:
    assert "End it" not in (await browser.get(f"/connectors/{number}")).text, "what waits has not begun"
    prefect.run = replace(RUN, state_type="RUNNING", state="Running")
    shown = (await browser.get(f"/connectors/{number}")).text
    assert "A load goes on" in shown
    assert f'name="run" value="{RUN.id}"' in shown
    answer = await send(browser, f"/connectors/{number}/cancel", run=str(RUN.id))
    assert answer.status_code == 303
    assert prefect.cancelled == [RUN.id]
    assert (await send(browser, f"/connectors/{number}/cancel", run="no run")).status_code == 409


async def test_a_copy_has_all_but_the_name(browser: httpx.AsyncClient, number: int) -> None:
    await browser.patch(f"{CONNECTORS}/{number}", json={"runPolicy": {"retries": 5}, "tags": ["labs"]})
    page = await browser.get(f"/connectors/{number}/duplicate")
    assert page.status_code == 200
    (draft,) = re.findall(r'name="draft" value="([^"]*)"', page.text)
    hidden = dict(re.findall(r'name="(csrf)" value="([^"]*)"', page.text))
    form = {**hidden, "draft": draft.replace("&#34;", '"').replace("&#39;", "'"), "step": "when", "go": "next"}
    sent = {**form, "when.how": "hours", "when.hours": "4", "name": f"Copy of {BODY['name']}", "timezone": "UTC"}
    answer = await browser.post("/connectors/new", data=sent)
    assert answer.status_code == 303, answer.text
    copy = (await browser.get(answer.headers["Location"].partition("?")[0].replace("/connectors", CONNECTORS))).json()
    assert (copy["source"], copy["runPolicy"], copy["tags"]) == (BODY["source"], {"retries": 5}, ["labs"])
    assert copy["id"] != number


async def test_the_page_tells_what_became_of_it_and_what_the_last_load_did(
    browser: httpx.AsyncClient, number: int, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        load = await connection.fetchval(
            "INSERT INTO cai_loads (connector_id, generation, actor, started_at, ended_at, outcome, rows) "
            "VALUES ($1, 1, 'ann', now(), now(), 'completed', 1234) RETURNING id",
            number,
        )
        await connection.execute(
            "INSERT INTO cai_load_tables (load_id, table_name, read, written, rejected, repeated, bytes, seconds, "
            "rows_after) VALUES ($1, 'visit', 1240, 1234, 6, 0, 1, '{}', 98765)",
            load,
        )
    finally:
        await connection.close()
    await browser.patch(f"{CONNECTORS}/{number}", json={"description": "changed"})
    text = (await browser.get(f"/connectors/{number}")).text
    told = text.partition('id="timeline"')[2]
    for words in ("changed it", "Loaded 1,234 rows", "started by ann", "It is planned in Prefect", "made it"):
        assert words in told, words
    tables = text.partition("The last one, by table")[2].partition("</table>")[0]
    assert [each in tables for each in ("visit", "1,240", "1,234", ">6<", "98,765")] == [True] * 5
    older = re.search(r"\?before=([0-9-]+)#timeline", text)
    assert older is None, "all of it is on one page"


async def test_where_a_reason_is_required_each_form_that_changes_asks_for_it_and_passes_it_on(
    database_url: str,
) -> None:
    async with client(database_url, reason_required=True) as browser:
        made = await browser.post(CONNECTORS, json=BODY, headers={"X-Reason": "at first"})
        where = f"/connectors/{made.json()['id']}"
        page = (await browser.get(where)).text
        assert page.count('name="reason"') == page.count('/pause"') + page.count('/restore"') + page.count('/delete"')
        source = {"source.credentials": "sqlalchemy-connector/emr", "source.tables.0.name": "visit"}
        forms: list[tuple[str, dict[str, str]]] = [
            (f"{where}/pause", {}),
            (f"{where}/edit", {"name": "Another", "timezone": "UTC", **source}),
            (f"{where}/restore", {"generation": "1"}),
            (f"{where}/delete", {"name": BODY["name"]}),
            (f"{where}/restore", {"generation": "1"}),
        ]
        csrf = re.findall(r'name="csrf" value="([^"]*)"', page)[0]
        for address, form in forms:
            refused = await browser.post(address, data={"csrf": csrf, **form})
            assert refused.status_code in {409, 422}, address
            done = await browser.post(address, data={"csrf": csrf, "reason": f"because of {address}", **form})
            assert done.status_code == 303, (address, done.text)
        draft = json.dumps({"source": BODY["source"], "destination": None, "rest": {}})
        new = {"csrf": csrf, "step": "when", "draft": draft, "name": "New", "when.how": "never"}
        refused = await browser.post("/connectors/new", data=new)
        assert refused.status_code == 409
        assert "Every change needs a reason here" in refused.text
        assert 'name="reason"' in refused.text
        assert (await browser.post("/connectors/new", data={**new, "reason": "a new study"})).status_code == 303
        assert 'name="reason"' in (await browser.get("/connectors/import")).text
        app: Any = browser._transport.app  # type: ignore[attr-defined]
        app.state.blocks = KeptValues()
        login = {
            "csrf": csrf,
            "step": "login",
            "draft": json.dumps({"source": {"type": "fhir"}, "destination": None, "rest": {}}),
        }
        secret = {f"source.auth.bearer.token.new.{part}": part for part in ("name", "value")}
        kept: list[tuple[str, dict[str, str], int]] = [
            ("/access/tokens", {"name": "nightly", "role": "runner"}, 200),
            ("/access/tokens/1/revoke", {}, 303),
            ("/credentials", {"name": "emr", "value": "canary"}, 303),
            ("/credentials/emr/delete", {}, 303),
            (
                "/connectors/new",
                {**login, "source.base_url": "https://fhir.example.org", "source.auth": "bearer", **secret},
                200,
            ),
        ]
        for address, form, status in kept:
            refused = await browser.post(address, data={"csrf": csrf, **form})
            assert refused.status_code in {403, 409, 422}, address
            assert "Every change needs a reason here" in refused.text, re.findall("<p class=.*</p>", refused.text)
            assert 'name="reason"' in refused.text
            done = await browser.post(address, data={"csrf": csrf, "reason": f"because of {address}", **form})
            assert done.status_code == status, (address, done.text)
        assert 'name="reason" value="because of /connectors/new"' in done.text, "the next step has it"
    connection = await asyncpg.connect(database_url)
    try:
        reasons = await connection.fetch("SELECT DISTINCT reason FROM cai_audit")
    finally:
        await connection.close()
    assert {row["reason"] for row in reasons} == {
        "at first", "a new study", *(f"because of {address}" for address, *_ in (*forms, *kept)),
    }  # fmt: skip


async def test_a_deleted_connector_is_brought_back_from_the_audit(browser: httpx.AsyncClient, number: int) -> None:
    await browser.delete(f"{CONNECTORS}/{number}")
    page = (await browser.get("/audit")).text
    (generation,) = re.findall(rf'action="/connectors/{number}/restore">.*?name="generation" value="(\d+)"', page)
    csrf = dict(re.findall(r'name="(csrf)" value="([^"]*)"', page))
    back = await browser.post(f"/connectors/{number}/restore", data={**csrf, "generation": generation})
    assert back.status_code == 303
    row = (await browser.get(f"{CONNECTORS}/{number}")).json()
    assert (row["name"], row["schedule"], row["source"]) == (BODY["name"], BODY["schedule"], BODY["source"])
