"""Credentials: of another team, for another host, the platform's own: refused at save and at run, and not resolved."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from prefect.blocks.system import Secret

from connectors.credentials import CredentialKind, CredentialRules, Registered, uses_of
from connectors.people import Role
from pipelines.errors import ConfigurationError
from rigs.migrated import migrate
from tests.support.api_rig import BODY, CONNECTORS, TOKEN, client
from tests.support.data_plane.platform import Platform
from tests.support.people import NOBODYS, OTHER, OWN, holding, made_token
from tests.support.servers.http_server import WebServer
from tests.support.servers.prefect_server import PrefectServer

CREDENTIALS = "/api/v1/credentials"
MASK_KEY = {"env": "CAI_SECRET_MASK_KEY"}


def reading(reference: dict[str, str], base_url: str = "https://emr.example.org") -> dict[str, Any]:
    """A source that sends this credential to that address."""
    resources = [{"name": "visits", "path": "v"}]
    login = {"type": "bearer", "token": reference}
    return {"type": "rest_api", "base_url": base_url, "auth": login, "resources": resources}


@pytest.fixture
async def admin(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of CAI_API_TOKEN, where connectors name registered credentials alone."""
    monkeypatch.setenv("CAI_CREDENTIALS", "registered")
    async with client(database_url, tokens=(TOKEN,)) as http:
        yield http


async def registered(admin: httpx.AsyncClient, name: str, team: str | None, **more: Any) -> dict[str, str]:
    """A variable of the worker as a credential; the reference that names it."""
    variable = f"CAI_SECRET_{name.upper()}"
    body = {"name": name, "kind": "env", "reference": variable, "team": team, **more}
    answer = await admin.post(CREDENTIALS, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["reference"])


# --- saved -----------------------------------------------------------------------------------------------------------


async def test_a_connector_names_what_is_its_teams_or_everybodys(admin: httpx.AsyncClient) -> None:
    own, other = await registered(admin, "own", OWN), await registered(admin, "other", OTHER)
    everybodys = await registered(admin, "shared", NOBODYS)
    editor = await made_token(admin, Role.EDITOR, OWN)
    async with holding(admin, editor["token"]) as person:
        saved = {}
        for name, reference in {"own": own, "other": other, "all": everybodys, "key": MASK_KEY}.items():
            saved[name] = await person.post(CONNECTORS, json={**BODY, "name": name, "source": reading(reference)})
        unknown = await person.post(CONNECTORS, json={**BODY, "source": reading({"secret": "of-nobody"})})
        assert [answer.status_code for answer in saved.values()] == [201, 422, 201, 422]
        for answer, words in ((saved["other"], "no credential of this connector's team"), (unknown, "or make one")):
            error = answer.json()["errors"][0]
            assert error["pointer"] == "/source/auth/token"
            assert words in error["detail"]
        assert "the platform's own" in saved["key"].json()["detail"]
        # Given away, it would keep what is the team's.
        given = await person.patch(saved["own"].headers["Location"], json={"team": None})
        assert given.status_code == 422
        stopped = await person.post(saved["own"].headers["Location"] + "/deactivate")
        assert stopped.status_code == 200
    # Nobody may have the masking key: the admin of all neither.
    refused = await admin.post(CONNECTORS, json={**BODY, "name": "admin's", "source": reading(MASK_KEY)})
    assert refused.status_code == 422
    key = {"name": "key", "kind": "env", "reference": "CAI_SECRET_MASK_KEY"}
    assert (await admin.post(CREDENTIALS, json=key)).status_code == 403


async def test_a_credential_goes_to_its_hosts_alone(admin: httpx.AsyncClient) -> None:
    held = await registered(admin, "held", NOBODYS, hosts=["EMR.example.org"])
    right = await admin.post(CONNECTORS, json={**BODY, "source": reading(held)})
    assert right.status_code == 201
    for address in ("https://evil.example/emr.example.org", "https://emr.example.org.evil.example"):
        wrong = await admin.post(CONNECTORS, json={**BODY, "name": "w", "source": reading(held, address)})
        assert wrong.status_code == 422
        assert "may be sent to emr.example.org alone" in wrong.json()["detail"]


async def test_an_admin_for_all_registers_what_he_names_and_an_editor_does_not(admin: httpx.AsyncClient) -> None:
    editor = await made_token(admin, Role.ADMIN, OWN)
    async with holding(admin, editor["token"]) as person:
        body = {**BODY, "source": reading({"secret": "emr"}), "team": OWN}
        assert (await person.post(CONNECTORS, json=body)).status_code == 422
        assert (await admin.post(CONNECTORS, json=body)).status_code == 201
        assert (await person.post(CONNECTORS, json={**body, "name": "another"})).status_code == 201
        mine = {"name": "mine", "kind": "block", "reference": "sqlalchemy-connector/emr"}
        assert (await person.post(CREDENTIALS, json=mine)).status_code == 403
        listed = (await person.get(CREDENTIALS)).json()["items"]
    assert [(each["name"], each["team"], each["createdBy"]) for each in listed] == [("secret:emr", OWN, "environment")]


# --- values ----------------------------------------------------------------------------------------------------------


async def test_a_value_is_stored_in_a_block_and_never_shown(
    admin: httpx.AsyncClient, prefect_server: PrefectServer, caplog: pytest.LogCaptureFixture
) -> None:
    canary = "canary-5e1f"
    made = await admin.post(CREDENTIALS, json={"name": "emr", "kind": "secret", "value": canary, "team": OWN})
    assert made.status_code == 201, made.text
    name = made.json()["reference"]["secret"]
    block: Any = await Secret.aload(name)
    assert block.get() == canary
    listed = await admin.get(CREDENTIALS)
    history = await _history(admin)
    assert canary not in made.text + listed.text + history + caplog.text
    assert (await admin.post(CREDENTIALS, json={"name": "emr", "value": "again"})).status_code == 409
    assert (await admin.delete(f"{CREDENTIALS}/emr")).status_code == 204
    with pytest.raises(ValueError, match="Unable to find block document"):
        await Secret.aload(name)
    assert [word in await _history(admin) for word in ("credential_created", "credential_deleted")] == [True, True]


async def _history(admin: httpx.AsyncClient) -> str:
    app: Any = admin._transport.app  # type: ignore[attr-defined]
    async with app.state.engine.connect() as connection:
        return str((await connection.exec_driver_sql("SELECT action, actor, before, after FROM cai_audit")).all())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"value": "x", "reference": "y"},
        {"value": "x", "kind": "env"},
        {"reference": "PATH", "kind": "env"},
        {"reference": "no block", "kind": "secret"},
        {"value": "x", "hosts": ["https://emr.example.org"]},
        {"value": "x", "name": "a/b"},
        {"value": "x\0"},
    ],
)
async def test_what_is_no_credential_is_refused_without_its_value(
    admin: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    answer = await admin.post(CREDENTIALS, json={"name": "emr", **body})
    assert answer.status_code == 422, answer.text
    assert "JSON object" not in answer.json()["detail"]  # it is one: what is wrong with it is said


async def test_a_name_that_nothing_can_have_names_no_credential(admin: httpx.AsyncClient) -> None:
    assert (await admin.delete(f"{CREDENTIALS}/a%00b")).status_code == 404


# --- run -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "hosts", "words"),
    [
        ("CAI_SECRET_OTHER", [], "no credential of this connector's team"),
        ("CAI_SECRET_UNKNOWN", [], "no credential of this connector's team"),
        ("CAI_SECRET_HELD", ["emr.example.org"], "may be sent to emr.example.org alone"),
        ("CAI_SECRET_MASK_KEY", [], "the platform's own"),
    ],
)
def test_a_run_sends_nothing_that_the_connector_may_not_name(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, reference: str, hosts: list[str], words: str
) -> None:
    # None of the variables is set: were one resolved, the run would say so.
    monkeypatch.delenv(reference, raising=False)
    settings = platform.settings.model_copy(update={"credentials": "registered"})
    monkeypatch.setattr(platform, "settings", settings)
    with platform.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO cai_credentials (name, team, kind, reference, hosts, created_by) VALUES "
            "('other', 'cardiology', 'env', 'CAI_SECRET_OTHER', '{}', 'test'), "
            "('held', NULL, 'env', 'CAI_SECRET_HELD', %s, 'test')",
            (hosts,),
        )
    with WebServer(lambda asked: [{"id": 1}]) as web:
        connector = platform.add(reading({"env": reference}, web.url), team=OWN)
        with pytest.raises(ConfigurationError, match=words):
            platform.run(connector)
        assert web.asked == []


def test_a_run_sends_what_its_team_may_name(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_OWN", "a-token")
    settings = platform.settings.model_copy(update={"credentials": "registered"})
    monkeypatch.setattr(platform, "settings", settings)
    with platform.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO cai_credentials (name, team, kind, reference, hosts, created_by) VALUES "
            "('own', 'oncology', 'env', 'CAI_SECRET_OWN', '{127.0.0.1}', 'test')"
        )
    with WebServer(lambda asked: [{"id": 1}]) as web:
        connector = platform.add(reading({"env": "CAI_SECRET_OWN"}, web.url), team=OWN)
        assert platform.run(connector).total_rows == 1
        assert {name.lower(): value for name, value in web.asked[0].headers.items()}[
            "authorization"
        ] == "Bearer a-token"


def test_an_address_in_a_secret_is_held_to_the_credentials_hosts() -> None:
    rules = CredentialRules((Registered("emr", None, CredentialKind.BLOCK, "a/b", ("db.example.org",)),), None, False)
    assert rules.may_go_to(CredentialKind.BLOCK, "a/b", "DB.example.org") is None
    assert "may be sent to db.example.org alone" in str(rules.may_go_to(CredentialKind.BLOCK, "a/b", "evil.example"))
    assert "may be sent to" in str(rules.may_go_to(CredentialKind.BLOCK, "a/b", None))


def test_where_a_token_is_asked_for_the_secret_goes_there() -> None:
    auth = {"type": "oauth2", "access_token_url": "https://login.example/t", "client_secret": {"secret": "x"}}
    source = {"base_url": "https://emr.example", "auth": auth, "headers": {"X-Key": {"env": "CAI_SECRET_K"}}}
    assert [(use.reference, use.host) for use in uses_of(source, None)] == [
        ("x", "login.example"),
        ("CAI_SECRET_K", "emr.example"),
    ]


# --- adopted ---------------------------------------------------------------------------------------------------------


async def test_the_references_in_use_are_registered_by_the_migration(database_url: str) -> None:
    migrate(database_url, "downgrade", "0008")
    connection = await asyncpg.connect(database_url)
    try:
        insert = "INSERT INTO cai_connectors (name, source, destination) VALUES ($1, $2, $3)"
        await connection.execute(insert, "a", '{"credentials": {"block": "sqlalchemy-connector/emr"}}', None)
        await connection.execute(insert, "b", '{"auth": {"token": {"env": "CAI_SECRET_MASK_KEY"}}}', None)
        await connection.execute(insert, "c", '{"x": [{"secret": "s"}]}', '{"credentials": {"env": "CAI_SECRET_W"}}')
        migrate(database_url)
        found = await connection.fetch("SELECT kind, reference, team FROM cai_credentials ORDER BY kind")
        assert [tuple(each) for each in found] == [
            ("block", "sqlalchemy-connector/emr", None),
            ("env", "CAI_SECRET_W", None),
            ("secret", "s", None),
        ]
    finally:
        await connection.close()
