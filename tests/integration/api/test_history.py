"""The history over HTTP: who changed what, when and why; a connector as it was; and the proof of it all."""

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.history import Action
from tests.support.api_rig import BODY, CONNECTORS, TOKEN, assert_problem, client, create
from tests.support.audit import connected, insert, silently
from tests.support.people import KeptValues, browsing

AUDIT = "/api/v1/audit"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of CAI_API_TOKEN."""
    async with client(database_url, tokens=(TOKEN,)) as http:
        yield http


async def history(api: httpx.AsyncClient, connector_id: int, **query: Any) -> list[dict[str, Any]]:
    """The entries of a connector."""
    answer = await api.get(f"{CONNECTORS}/{connector_id}/history", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_the_history_tells_who_changed_what_and_why_the_newest_first(api: httpx.AsyncClient) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    headers: dict[bytes, bytes] = {b"X-Reason": "the clinic moved - Zürich".encode(), b"X-Request-Id": b"r-7"}
    source = {**BODY["source"], "tables": [{**BODY["source"]["tables"][0], "name": "stay"}]}
    await api.patch(where, json={"schedule": "0 5 * * *", "source": source, "isActive": False}, headers=headers)
    await api.patch(where, json={"schedule": "0 5 * * *"})  # changes nothing
    await api.post(f"{where}/retry")
    retried, changed, created = await history(api, made["id"])
    assert [each["action"] for each in (retried, changed, created)] == ["retry", "update", "create"]
    assert {each["actor"] for each in (retried, changed, created)} == {"environment"}
    assert {each["via"] for each in (retried, changed, created)} == {"rest"}
    assert (changed["reason"], changed["requestId"]) == ("the clinic moved - Zürich", "r-7")
    assert sorted(changed["changes"], key=lambda each: each["path"]) == [
        {"path": "/isActive", "from": True, "to": False},
        {"path": "/schedule", "from": "0 */4 * * *", "to": "0 5 * * *"},
        {"path": "/source/tables/0/name", "from": "visit", "to": "stay"},
    ]
    assert (changed["generation"], created["generation"]) == (2, 1)
    assert {"path": "/name", "from": None, "to": "Customer Data Pipeline"} in created["changes"]


async def test_the_history_is_read_a_page_at_a_time(api: httpx.AsyncClient) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    for number in range(5):
        await api.patch(where, json={"description": str(number)})
    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await api.get(f"{where}/history", params=query)).json()
        seen += [entry["generation"] for entry in page["items"]]
        if (cursor := page["nextCursor"]) is None:
            break
    assert seen == [6, 5, 4, 3, 2, 1]


async def test_a_deleted_connector_comes_back_under_its_number_with_all_it_had(api: httpx.AsyncClient) -> None:
    made = await create(api, datasetName="labs", description="before", runPolicy={"retries": 7}, team="oncology")
    where = f"{CONNECTORS}/{made['id']}"
    await api.patch(where, json={"description": "after"})
    await api.delete(where, headers={"X-Reason": "no longer needed"})
    assert_problem(await api.get(where), 404)
    assert [entry["action"] for entry in await history(api, made["id"])] == ["delete", "update", "create"]
    answer = await api.post(f"{where}/restore", json={"generation": 1})
    assert answer.status_code == 200, answer.text
    back = answer.json()
    same = (
        "id",
        "name",
        "schedule",
        "timezone",
        "source",
        "datasetName",
        "runPolicy",
        "description",
        "isActive",
        "team",
    )
    assert {name: back[name] for name in same} == {name: made[name] for name in same}
    assert back["generation"] == 3
    assert answer.headers["ETag"] == '"3"'
    restored, created, *_ = await history(api, made["id"])
    assert (restored["action"], created["action"], created["generation"]) == ("restore", "create", 3)


async def test_a_generation_that_stands_is_restored_like_any_save(api: httpx.AsyncClient) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    await api.patch(where, json={"name": "renamed", "schedule": None})
    other = await create(api)
    assert_problem(await api.post(f"{where}/restore", json={"generation": 1}), 409)  # its name is taken by now
    await api.delete(f"{CONNECTORS}/{other['id']}")
    back = (await api.post(f"{where}/restore", json={"generation": 1})).json()
    assert (back["name"], back["schedule"], back["generation"]) == (made["name"], made["schedule"], 3)
    assert_problem(await api.post(f"{where}/restore", json={"generation": 9}), 404)
    assert_problem(await api.post(f"{CONNECTORS}/999/restore", json={"generation": 1}), 404)
    assert_problem(await api.get(f"{CONNECTORS}/999/history"), 404)


async def test_what_held_a_secret_or_is_not_valid_is_not_restored(api: httpx.AsyncClient, database_url: str) -> None:
    async with connected(database_url) as connection:
        secret = json.dumps({"type": "fhir", "base_url": "https://fhir.example.org", "auth": {"token": "LITERAL"}})
        number = await insert(connection, source=secret)
        await connection.execute('UPDATE cai_connectors SET source = \'{"type": "nothing"}\'')
        await connection.execute("DELETE FROM cai_connectors")
    where = f"{CONNECTORS}/{number}"
    refused = assert_problem(await api.post(f"{where}/restore", json={"generation": 1}), 409)
    assert "secret" in refused["detail"]
    assert_problem(await api.post(f"{where}/restore", json={"generation": 2}), 422, "/source/type")
    text = json.dumps(await history(api, number))
    assert "LITERAL" not in text
    assert "redacted" in text


async def test_a_change_without_a_reason_is_refused_where_one_is_required(database_url: str) -> None:
    async with client(database_url, reason_required=True) as api:
        refused = assert_problem(await api.post(CONNECTORS, json=BODY), 422, None)  # type: ignore[arg-type]
        assert refused["errors"][0]["parameter"] == "X-Reason"
        assert "X-Reason" in refused["detail"]
        headers = {"X-Reason": "a new study"}
        made = (await api.post(CONNECTORS, json=BODY, headers=headers)).json()
        where = f"{CONNECTORS}/{made['id']}"
        for method, path, body in (
            ("PUT", where, BODY), ("PATCH", where, {"schedule": None}), ("DELETE", where, None),
            ("POST", f"{where}/activate", None), ("POST", f"{where}/deactivate", None),
            ("POST", f"{where}/restore", {"generation": 1}),
        ):  # fmt: skip
            assert (await api.request(method, path, json=body)).status_code == 422, (method, path)
            assert (await api.request(method, path, json=body, headers={"X-Reason": "  "})).status_code == 422
        assert len(await history(api, made["id"])) == 1
        assert (await api.post(f"{where}/retry")).status_code == 202
        assert (await api.delete(where, headers=headers)).status_code == 204


async def test_tokens_credentials_and_profiles_need_a_reason_where_one_is_required(database_url: str) -> None:
    async with client(database_url, reason_required=True) as api:
        app: Any = api._transport.app  # type: ignore[attr-defined]
        app.state.blocks = kept = KeptValues()
        told = {"X-Reason": "the night load"}
        changes: tuple[tuple[str, str, dict[str, Any] | None, int], ...] = (
            ("POST", "/api/v1/tokens", {"name": "nightly", "role": "runner"}, 201),
            ("DELETE", "/api/v1/tokens/1", None, 204),
            ("POST", "/api/v1/credentials", {"name": "emr", "kind": "secret", "value": "canary"}, 201),
            ("POST", "/api/v1/credentials", {"name": "old", "kind": "secret", "reference": "emr-token"}, 201),
            ("DELETE", "/api/v1/credentials/emr", None, 204),
            ("PUT", "/api/v1/protections/of-us", {"rules": {"rules": [{"path": "name", "method": "drop"}]}}, 200),
            ("DELETE", "/api/v1/protections/of-us", None, 204),
        )
        for method, path, body, done in changes:
            values = dict(kept.values)
            assert_problem_of_reason(await api.request(method, path, json=body))
            assert kept.values == values, path
            answer = await api.request(method, path, json=body, headers=told)
            assert answer.status_code == done, answer.text
        entries = (await api.get(AUDIT)).json()["items"]
        assert [entry["reason"] for entry in entries] == ["the night load"] * len(changes)


def assert_problem_of_reason(answer: httpx.Response) -> None:
    """The answer asks for the header X-Reason."""
    assert answer.status_code == 422, answer.text
    assert [error["parameter"] for error in answer.json()["errors"]] == ["X-Reason"]


async def test_the_audit_is_filtered_paged_and_exported(api: httpx.AsyncClient, database_url: str) -> None:
    for number in range(4):
        await create(api, name=f"=c{number}")
    async with connected(database_url) as connection:
        await connection.execute("SET cai.actor = 'ann'")
        await connection.execute("UPDATE cai_connectors SET description = 'by ann'")
    everything = (await api.get(AUDIT)).json()["items"]
    assert len(everything) == 8
    assert [entry["id"] for entry in everything] == sorted((entry["id"] for entry in everything), reverse=True)
    anns = (await api.get(AUDIT, params={"actor": "ann", "action": "update"})).json()["items"]
    assert [entry["changes"] for entry in anns] == [[{"path": "/description", "from": None, "to": "by ann"}]] * 4
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert (await api.get(AUDIT, params={"from": soon})).json()["items"] == []
    assert len((await api.get(AUDIT, params={"to": soon, "limit": 3})).json()["items"]) == 3
    page = (await api.get(AUDIT, params={"limit": 5})).json()
    rest = (await api.get(AUDIT, params={"limit": 5, "cursor": page["nextCursor"]})).json()
    assert [entry["id"] for entry in page["items"] + rest["items"]] == [entry["id"] for entry in everything]

    exported = await api.get(AUDIT, params={"format": "csv"})
    assert exported.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert [int(row["id"]) for row in rows] == [entry["id"] for entry in everything]
    assert {row["connectorName"][0] for row in rows} == {"'"}, "a spreadsheet would take it for a formula"
    assert json.loads(rows[0]["after"]) == everything[0]["after"]
    lines = await api.get(AUDIT, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in lines.text.splitlines()] == everything
    for query in ({"action": "nothing"}, {"from": "yesterday"}, {"from": "2026-01-01T00:00:00"}, {"since": soon}):
        assert (await api.get(AUDIT, params=query)).status_code == 422, query


async def test_the_proof_names_what_was_tampered_with(api: httpx.AsyncClient, database_url: str) -> None:
    made = await create(api)
    await api.patch(f"{CONNECTORS}/{made['id']}", json={"schedule": None})
    assert (await api.get(f"{AUDIT}/verify")).json() == {"ok": True, "entries": 2, "seals": 0, "first": None}
    newest = (await history(api, made["id"]))[0]["id"]
    async with connected(database_url) as connection:
        await silently(connection, f"UPDATE cai_audit SET actor = 'nobody' WHERE id = {newest}")
    answer = (await api.get(f"{AUDIT}/verify")).json()
    assert not answer["ok"]
    assert (answer["first"]["id"], answer["first"]["fault"]) == (newest, "changed")
    assert answer["first"]["connectorId"] == made["id"]


async def test_a_run_and_a_test_are_entries_of_who_asked_for_them(api: httpx.AsyncClient) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    await api.post(f"{where}/test", headers={"X-Reason": "does it answer?"})
    tested, _ = await history(api, made["id"])
    assert (tested["action"], tested["reason"], tested["changes"]) == (Action.TEST, "does it answer?", [])


async def test_a_look_at_a_source_that_is_not_saved_is_an_entry_through_each_door(
    api: httpx.AsyncClient, database_url: str
) -> None:
    source: dict[str, Any] = {"type": "fhir", "base_url": "https://fhir.example.org/r4"}
    source["auth"] = {"type": "bearer", "token": {"secret": "emr-token"}}
    body = {"source": {**source, "resource_types": ["Patient"]}, "team": "oncology"}
    assert (await api.post("/api/v1/sources/discover", json=body)).status_code == 502
    reason = {"X-Reason": "a new study"}
    assert (await api.post("/api/v1/sources/test", json=body, headers=reason)).json()["ok"]
    refused = {"source": {"type": "fax"}}
    assert (await api.post("/api/v1/sources/discover", json=refused)).status_code == 422
    async with browsing(api, TOKEN) as browser:
        draft = json.dumps({"source": source, "destination": None, "rest": {}})
        form = {"step": "login", "draft": draft, "source.base_url": source["base_url"], "source.auth": "bearer"}
        page = await browser.send_form(
            "/connectors/new", "/connectors/new", **form, **{"source.auth.bearer.token": "emr-token"}
        )
        assert "The source cannot be reached." in page.text
    async with connected(database_url) as connection:
        query = "SELECT action, via, reason, after FROM cai_audit WHERE action IN ('discover', 'test') ORDER BY id"
        entries = [tuple(row) for row in await connection.fetch(query)]
    asked = {"type": "fhir", "host": "fhir.example.org"}
    assert [(*said, json.loads(after)["source"]) for *said, after in entries] == [
        ("discover", "rest", None, {**asked, "team": "oncology"}),
        ("test", "rest", "a new study", {**asked, "team": "oncology"}),
        ("discover", "page", None, {**asked, "team": None}),
    ]


async def test_tokens_and_credentials_are_entries_with_their_reasons(api: httpx.AsyncClient, database_url: str) -> None:
    because: Any = {"X-Reason": "the night shift, für Köln".encode()}
    app: Any = api._transport.app  # type: ignore[attr-defined]
    app.state.blocks = KeptValues()
    token = await api.post("/api/v1/tokens", json={"name": "nightly", "role": "runner"}, headers=because)
    await api.post("/api/v1/credentials", json={"name": "emr", "value": "canary-1"}, headers=because)
    await api.delete("/api/v1/credentials/emr", headers=because)
    await api.delete(f"/api/v1/tokens/{token.json()['id']}", headers=because)
    async with connected(database_url) as connection:
        entries = await connection.fetch("SELECT action, actor, reason, before, after FROM cai_audit ORDER BY id")
    assert [(entry["action"], entry["actor"], entry["reason"]) for entry in entries] == [
        (action, "environment", "the night shift, für Köln")
        for action in ("token_created", "credential_created", "credential_deleted", "token_revoked")
    ]
    assert "canary-1" not in str(entries)
    assert token.json()["token"] not in str(entries)
