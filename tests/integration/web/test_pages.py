"""Pages on a real PostgreSQL, as a browser without scripts sends them: filters, import, what waits, a try-out."""

import html
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from api.answers import ProbeAnswer, ProbedTable, WrittenTo
from connectors.connector import ConnectorRow
from connectors.status import Phase, Status
from database.statuses import StatusRecord
from database.store import Store
from tests.support.api_rig import BODY, CONNECTORS, client
from tests.support.people import OWN, Browser, browsing

IMPORT = "/connectors/import"
CANARY = "3f7a (hashed)"


async def tried(row: ConnectorRow, *, both: bool = False) -> ProbeAnswer:
    """A source with one row, and a destination that takes none."""
    assert both
    assert row.source["tables"] == [{"name": "visit"}]
    tables = [ProbedTable(name="visit", rows=[{"id": 7, "name": CANARY}])]
    refused = WrittenTo(ok=False, message="The login may make no schema.")
    return ProbeAnswer(ok=True, message="The source can be read.", tables=tables, destination=refused)


@pytest.fixture
async def browser(database_url: str) -> AsyncIterator[Browser]:
    """A browser without scripts that follows no redirect."""
    async with client(database_url, tester=tried) as http, browsing(http) as browser:
        yield browser


def names(page: httpx.Response) -> list[str]:
    """The connectors that a list shows."""
    return re.findall(r'<th scope="row"><a href="/connectors/\d+">([^<]+)</a>', page.text)


async def test_the_list_is_filtered_by_team_and_phase(browser: Browser, store: Store) -> None:
    numbers = {}
    for name, team in (("Labs", OWN), ("Wards", OWN), ("Beds", None)):
        made = await browser.post(CONNECTORS, json={**BODY, "name": name, "team": team})
        numbers[name] = int(made.json()["id"])

    async def unfenced(_: Any) -> None:
        return None

    await store.record([StatusRecord(numbers["Wards"], Status(numbers["Wards"], Phase.SYNCED))], unfenced)
    assert names(await browser.get("/", params={"team": OWN})) == ["Labs", "Wards"]
    assert names(await browser.get("/", params={"team": "-"})) == ["Beds"]
    assert names(await browser.get("/", params={"team": OWN, "phase": "synced"})) == ["Wards"]
    page = await browser.get("/", params={"phase": "pending", "q": "e"})
    assert names(page) == ["Beds"]
    assert re.search(r'<option value="pending" selected>', page.text)
    listed = await browser.get(CONNECTORS, params={"team": OWN, "phase": "pending"})
    assert [each["name"] for each in listed.json()["items"]] == ["Labs"]
    everybodys = await browser.get(CONNECTORS, params={"team": ""})
    assert [each["name"] for each in everybodys.json()["items"]] == ["Beds"]


async def test_a_document_is_looked_at_before_it_is_taken_in(browser: Browser) -> None:
    made = (await browser.post(CONNECTORS, json=BODY)).json()
    exported = (await browser.get(f"/api/v1/connectors/{made['id']}/export", params={"format": "json"})).json()
    (changed,) = exported["connectors"]
    document = json.dumps({"connectors": [{**changed, "schedule": "0 5 * * *"}, {**changed, "name": "Another"}]})
    look = await browser.send_form(IMPORT, IMPORT, document=document, go="look")
    assert look.status_code == 200
    assert ("would be changed" in look.text, "would be made" in look.text) == (True, True)
    assert len((await browser.get(CONNECTORS)).json()["items"]) == 1, "nothing was saved yet"
    typed = html.unescape(re.findall(r"<textarea[^>]*>(.*?)</textarea>", look.text, re.DOTALL)[0])
    assert typed == document, "nothing typed is lost"
    done = await browser.send_form(IMPORT, IMPORT, document=typed, go="do")
    assert ("has been changed" in done.text, "has been made" in done.text) == (True, True)
    items = (await browser.get(CONNECTORS)).json()["items"]
    assert [(each["name"], each["schedule"]) for each in items] == [
        (BODY["name"], "0 5 * * *"),
        ("Another", BODY["schedule"]),
    ]
    wrong = json.dumps({"connectors": [{**changed, "schedule": "61 * * * *"}]})
    refused = await browser.send_form(IMPORT, IMPORT, document=wrong, go="do")
    assert refused.status_code == 422
    assert "Connector 1: schedule" in refused.text
    unreadable = await browser.send_form(IMPORT, IMPORT, document="a: [", go="look")
    assert "The document is neither YAML nor JSON" in unreadable.text


async def test_deletes_that_are_withheld_wait_for_somebody(browser: Browser, database_url: str) -> None:
    made = (await browser.post(CONNECTORS, json=BODY)).json()
    assert "Nothing waits for you" in (await browser.get("/for-you")).text
    connection = await asyncpg.connect(database_url)
    try:
        waits = "INSERT INTO cai_withheld_deletes (connector_id, table_name, gone, rows) VALUES ($1, 'visit', 12, 20)"
        await connection.execute(waits, made["id"])
    finally:
        await connection.close()
    page = (await browser.get("/for-you")).text
    assert "12 of 20 rows of table visit are gone at the source" in page
    form = page.partition(f'action="/connectors/{made["id"]}/run"')[2].partition("</form>")[0]
    assert re.findall(r'name="(\S+)" value="(\S+)"', form)[-2:] == [("table.0", "visit"), ("allow_mass_delete", "on")]


async def test_the_wizard_offers_the_profiles_of_what_may_land_and_carries_the_chosen_one(browser: Browser) -> None:
    body = {"rules": {"rules": [{"names": ["note"], "method": "drop"}]}}
    assert (await browser.put("/api/v1/protections/research", json=body)).status_code in {200, 201}
    source = {"type": "files", "url": "labs", "table": "labs", "protect": {"profile": "research"}}
    draft = json.dumps({"source": source, "destination": None, "rest": {}})
    form = {"step": "destination", "draft": draft, "go": "back"}
    page = (await browser.send_form("/connectors/new", "/connectors/new", **form)).text
    assert re.findall(r'<option value="(\w+)"( selected)?>', page.partition("source.protect.profile")[2])[:4] == [
        ("limited_data_set", ""),
        ("research", " selected"),
        ("safe_harbor", ""),
    ]
    (kept,) = re.findall(r'name="draft" value="([^"]*)"', page)
    form = {"step": "tables", "draft": html.unescape(kept), "source.protect.profile": "safe_harbor"}
    page = (await browser.send_form("/connectors/new", "/connectors/new", **form)).text
    (kept,) = re.findall(r'name="draft" value="([^"]*)"', page)
    assert json.loads(html.unescape(kept))["source"]["protect"] == {"profile": "safe_harbor"}
    bare = json.dumps({"source": {"type": "files", "url": "labs"}, "destination": None, "rest": {}})
    form = {"step": "destination", "draft": bare, "go": "back"}
    shown = await browser.send_form("/connectors/new", "/connectors/new", **form)
    assert (shown.status_code, "What of a person may land" in shown.text) == (200, True), "none is named yet"


async def test_the_wizard_shows_first_rows_and_whether_they_can_land(browser: Browser) -> None:
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [{"name": "visit"}]}
    draft = json.dumps({"source": source, "destination": None, "rest": {}})
    form = {"step": "destination", "draft": draft, "destination": "", "go": "try"}
    page = await browser.send_form("/connectors/new", "/connectors/new", **form)
    assert page.status_code == 200
    for text in ("The source can be read.", "The login may make no schema.", CANARY, "as they would land"):
        assert text in page.text
    (kept,) = re.findall(r'name="draft" value="([^"]*)"', page.text)
    assert json.loads(html.unescape(kept))["source"] == source
    assert (await browser.get(CONNECTORS)).json()["items"] == [], "nothing is saved"
