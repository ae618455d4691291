"""Profiles of what may land: kept, shown and deleted by the API, named by connectors, in force at their next run."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from connectors.people import Role
from pipelines.discovery import discover_for
from pipelines.errors import ConfigurationError
from pipelines.protection.masking import masking_key
from pipelines.protection.methods.hashing import hashed
from pipelines.source_test import probe_connector
from tests.support.api_rig import BODY, CONNECTORS, TOKEN, client
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR
from tests.support.people import OTHER, OWN, holding, made_token
from use_cases.sources import askable

PROTECTIONS = "/api/v1/protections"
DROPS = {"rules": [{"names": ["ssn"], "method": "drop"}], "keep": ["id", "ssn", "code"]}
Sql = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of CAI_API_TOKEN."""
    async with client(database_url, tokens=(TOKEN,)) as http:
        yield http


async def test_a_profile_is_kept_shown_changed_and_deleted_with_a_history(admin: httpx.AsyncClient) -> None:
    made = await admin.put(f"{PROTECTIONS}/study", json={"rules": DROPS})
    assert made.status_code == 200, made.text
    assert made.json()["rules"] == {**DROPS, "keep": {"*": ["id", "ssn", "code"]}}
    other = {"rules": [{"path": "a.b", "method": "round", "to": 5}]}
    assert (await admin.put(f"{PROTECTIONS}/study", json={"rules": other})).json()["rules"] == other
    assert (await admin.get(f"{PROTECTIONS}/study")).json()["rules"] == other
    names = [each["name"] for each in (await admin.get(PROTECTIONS)).json()["items"]]
    assert names == ["limited_data_set", "safe_harbor", "study"]
    assert (await admin.delete(f"{PROTECTIONS}/study")).status_code == 204
    assert (await admin.get(f"{PROTECTIONS}/study")).status_code == 404
    entries = (await admin.get("/api/v1/audit")).json()["items"]
    assert [each["action"] for each in entries if "protection" in each["action"]] == [
        "protection_deleted", "protection_kept", "protection_kept",
    ]  # fmt: skip


async def test_wrong_rules_are_refused_by_their_place_and_shipped_profiles_stay(admin: httpx.AsyncClient) -> None:
    wrong = {"rules": [{"path": "a[0]", "method": "drop"}]}
    refused = await admin.put(f"{PROTECTIONS}/study", json={"rules": wrong})
    assert refused.status_code == 422
    error = refused.json()["errors"][0]
    assert error["pointer"] == "/rules/rules/0/path"
    assert "names an item of a list by its number" in error["detail"]
    for unstorable in (rb"half of a pair \ud800", rb"\u0000"):
        body = b'{"rules": {"keep": ["id", "' + unstorable + b'"]}}'
        headers = {"Content-Type": "application/json"}
        refused = await admin.put(f"{PROTECTIONS}/study", content=body, headers=headers)
        assert refused.status_code == 422, refused.text
        assert refused.json()["errors"][0]["pointer"].startswith("/rules")
    assert (await admin.put(f"{PROTECTIONS}/safe_harbor", json={"rules": DROPS})).status_code == 409
    assert (await admin.delete(f"{PROTECTIONS}/safe_harbor")).status_code == 403
    assert (await admin.get(f"{PROTECTIONS}/safe_harbor")).json()["rules"]["fhir"]["keep"]["Patient"]


async def test_a_connector_names_a_profile_of_its_team_or_everybodys(admin: httpx.AsyncClient) -> None:
    for name, team in (("own", OWN), ("other", OTHER), ("shared", None)):
        assert (await admin.put(f"{PROTECTIONS}/{name}", json={"rules": DROPS, "team": team})).status_code == 200
    editor = await made_token(admin, Role.EDITOR, OWN)
    async with holding(admin, editor["token"]) as person:
        assert (await person.get(f"{PROTECTIONS}/other")).status_code == 404
        assert (await person.put(f"{PROTECTIONS}/other", json={"rules": DROPS, "team": OWN})).status_code == 409
        answers = []
        for name in ("own", "other", "shared", "safe_harbor", "nobodys"):
            source = {**BODY["source"], "protect": {"profile": name}}
            answers.append(await person.post(CONNECTORS, json={**BODY, "name": name, "source": source}))
    assert [each.status_code for each in answers] == [201, 422, 201, 201, 422]
    assert answers[1].json()["errors"][0]["pointer"] == "/source/protect/profile"
    assert "no profile that this connector's team has" in answers[1].json()["detail"]


def keep(platform: Platform, name: str, rules: dict[str, Any], team: str | None = None) -> None:
    """A profile in the table, as anybody may have written it."""
    with platform.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO cai_protections (name, rules, team, changed_by) VALUES (%s, %s, %s, 'x') "
            "ON CONFLICT (name) DO UPDATE SET rules = excluded.rules",
            (name, json.dumps(rules), team),
        )


def test_a_run_a_test_and_a_discovery_go_by_what_the_profile_says_now(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int primary key, ssn text, code text, seen date)")
    emr("INSERT INTO visit VALUES (1, '123', 'I10', '2024-01-31')")
    keep(platform, "study", {"rules": [{"names": ["ssn"], "method": "hash"}, {"values": "dates", "method": "year"}]})
    table = {"name": "visit", "primary_key": "id"}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table], "protect": {"profile": "study"}}
    connector = platform.add(source)
    platform.run(connector)
    key = masking_key(platform.settings.data_dir)
    assert platform.duck(f"SELECT id, ssn, code, seen FROM connector_{connector}.visit") == [
        (1, hashed("123", key), "I10", "2024")
    ]
    row = askable(source)
    (item,) = [each for each in discover_for(row, platform.settings).items if each.name == "visit"]
    assert {each.name: each.protection for each in item.columns} == {
        "id": None, "ssn": "hash", "code": None, "seen": "year",
    }  # fmt: skip
    tested = probe_connector(row, platform.settings)
    assert tested.ok, tested.message
    assert tested.samples[0].rows == ({"id": 1, "ssn": hashed("123", key), "code": "I10", "seen": "2024"},)
    keep(platform, "study", {"rules": [{"names": ["ssn"], "method": "drop"}]})
    assert "How visit is protected is not what it was" in platform.run(connector).sentence
    platform.run(connector, full_refresh=True)
    assert "ssn" not in str(platform.duck(f"DESCRIBE connector_{connector}.visit"))


@pytest.mark.parametrize(
    ("rules", "team", "words"),
    [
        (
            {"rules": [{"path": "a[0]", "method": "drop"}]},
            None,
            "The profile 'study' is not as it must be",
        ),
        (DROPS, "another team", "there is no such profile for this connector's team"),
    ],
)
def test_a_profile_that_a_run_can_not_take_loads_nothing(
    platform: Platform, emr: Sql, rules: dict[str, Any], team: str | None, words: str
) -> None:
    emr("CREATE TABLE visit (id int primary key, ssn text)")
    keep(platform, "study", rules, team)
    source = {
        "type": "sql_database",
        "credentials": EMR,
        "tables": [{"name": "visit"}],
        "protect": {"profile": "study"},
    }
    with pytest.raises(ConfigurationError, match=words):
        platform.run(platform.add(source))
    found = probe_connector(askable(source), platform.settings)
    assert not found.ok
    assert words in found.message
