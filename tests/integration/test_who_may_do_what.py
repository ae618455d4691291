"""Every route x role x team: the answers that are expected, made from the app's own routes.

A route that is added to the app fails `test_every_route_is_in_the_matrix` until it says here who may use it.
"""

import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.sign_in import routes as sign_in
from connectors.people import Role
from tests.support.api_rig import BODY, CONNECTORS, TOKEN, client
from tests.support.people import (
    CREDENTIALS,
    NOBODYS,
    OTHER,
    OWN,
    TOKENS,
    KeptValues,
    holding,
    made_connector,
    made_token,
    routes_of,
)
from web.pages import ROUTERS

CONNECTOR = CONNECTORS + "/{connectorId}"
Team = str | None

_numbers = itertools.count(1)


def nothing(team: Team) -> None:
    """No body."""
    del team


def connector(team: Team) -> dict[str, Any]:
    """A connector of that team."""
    return {**BODY, "name": f"Made {next(_numbers)}", "isActive": False, "team": team}


def renamed(team: Team) -> dict[str, Any]:
    """A connector as it is replaced: whose it is is left out."""
    del team
    return {**BODY, "name": f"Replaced {next(_numbers)}", "isActive": False}


@dataclass(frozen=True)
class Expected:
    """What a route answers: by the role, and by the team of what is asked about."""

    least: Role
    answer: int
    """With this role or more, for the person's own team and for what is everybody's."""
    of_other: int | None = 404
    """With any role, for what is another team's; None: what is asked is no team's."""
    for_all: int | None = None
    """For what is everybody's, where that is another answer than for the own team's."""
    with_all: int | None = None
    """With the role for all teams, where that is another answer than with the role for one."""
    refused: int = 403
    body: Callable[[Team], Any] = nothing
    refused_first: bool = False
    """The role is judged before the team."""

    def of(self, role: Role, team: Team) -> int:
        """The answer to a person of this role in OWN."""
        high_enough = role.includes(self.least)
        if team == OTHER and self.of_other is not None and (high_enough or not self.refused_first):
            return self.of_other
        if not high_enough:
            return self.refused
        return self.answer if team is not None or self.for_all is None else self.for_all


UNREACHABLE = {"type": "fhir", "base_url": "http://127.0.0.1:1/r4"}
READER, RUNNER, EDITOR, ADMIN = Role
PROTECTIONS = "/api/v1/protections"
LIMITS = "/api/v1/source-limits"
LIMIT = {"hosts": ["emr.example.org"], "loads": 2}
DROPS = {"rules": [{"names": ["ssn"], "method": "drop"}]}
MATRIX = {
    ("POST", CONNECTORS): Expected(EDITOR, 201, of_other=403, body=connector),
    ("GET", CONNECTORS): Expected(READER, 200, of_other=None),
    ("GET", CONNECTOR): Expected(READER, 200),
    ("PUT", CONNECTOR): Expected(EDITOR, 200, body=renamed),
    ("PATCH", CONNECTOR): Expected(EDITOR, 200, body=lambda _: {"description": "changed"}),
    ("DELETE", CONNECTOR): Expected(EDITOR, 204),
    ("POST", f"{CONNECTOR}/activate"): Expected(EDITOR, 200),
    ("POST", f"{CONNECTOR}/deactivate"): Expected(EDITOR, 200),
    ("POST", f"{CONNECTOR}/retry"): Expected(RUNNER, 202),
    ("POST", f"{CONNECTOR}/run"): Expected(RUNNER, 409),  # it is deactivated, and Prefect holds no deployment
    ("POST", f"{CONNECTOR}/reconcile"): Expected(RUNNER, 409),  # likewise
    ("POST", f"{CONNECTOR}/runs/{{runId}}/cancel"): Expected(RUNNER, 404),  # it has no such run
    ("POST", f"{CONNECTOR}/test"): Expected(RUNNER, 200),
    ("GET", f"{CONNECTOR}/runs"): Expected(READER, 200),
    ("GET", f"{CONNECTOR}/loads"): Expected(READER, 200),
    ("GET", f"{CONNECTOR}/comparisons"): Expected(RUNNER, 200),
    ("GET", f"{CONNECTOR}/loads/{{runId}}"): Expected(READER, 404),  # it has never loaded
    ("GET", f"{CONNECTOR}/schema-changes"): Expected(READER, 200),
    ("POST", f"{CONNECTOR}/schema-changes/{{changeId}}/approve"): Expected(EDITOR, 404),  # nothing waits
    ("POST", f"{CONNECTOR}/schema-changes/{{changeId}}/refuse"): Expected(EDITOR, 404),
    ("GET", f"{CONNECTOR}/held-loads"): Expected(READER, 200),
    ("POST", f"{CONNECTOR}/held-loads/{{heldId}}/approve"): Expected(EDITOR, 404),  # nothing waits
    ("POST", f"{CONNECTOR}/held-loads/{{heldId}}/refuse"): Expected(EDITOR, 404),
    ("GET", f"{CONNECTOR}/history"): Expected(READER, 200),
    ("GET", f"{CONNECTOR}/timeline"): Expected(READER, 200),
    ("POST", f"{CONNECTOR}/restore"): Expected(EDITOR, 200, body=lambda _: {"generation": 1}),
    ("GET", "/api/v1/audit"): Expected(ADMIN, 200, of_other=None),
    ("GET", "/api/v1/audit/verify"): Expected(ADMIN, 403, of_other=None, with_all=200),
    ("POST", "/api/v1/schedules/preview"): Expected(READER, 200, of_other=None, body=lambda _: {"cron": "0 2 * * *"}),
    ("POST", TOKENS): Expected(
        ADMIN,
        201,
        of_other=403,
        for_all=403,
        refused_first=True,
        body=lambda team: {"name": f"Token {next(_numbers)}", "role": "reader", "team": team},
    ),
    ("GET", TOKENS): Expected(ADMIN, 200, of_other=None),
    ("DELETE", TOKENS + "/{tokenId}"): Expected(ADMIN, 204, for_all=404, refused_first=True),
    ("POST", CREDENTIALS): Expected(
        EDITOR,
        201,
        of_other=403,
        refused_first=True,
        body=lambda team: {"name": f"Credential {next(_numbers)}", "value": "v", "team": team},
    ),
    ("GET", CREDENTIALS): Expected(EDITOR, 200, of_other=None),
    ("DELETE", CREDENTIALS + "/{name}"): Expected(EDITOR, 204, refused_first=True),
    ("GET", PROTECTIONS): Expected(READER, 200, of_other=None),
    ("GET", PROTECTIONS + "/{name}"): Expected(READER, 200),
    ("PUT", PROTECTIONS + "/{name}"): Expected(
        EDITOR, 200, of_other=403, refused_first=True, body=lambda team: {"rules": DROPS, "team": team}
    ),
    ("DELETE", PROTECTIONS + "/{name}"): Expected(EDITOR, 204, refused_first=True),
}
MATRIX |= {
    ("GET", LIMITS): Expected(READER, 200, of_other=None),
    ("GET", LIMITS + "/{name}"): Expected(READER, 200, of_other=None),
    ("PUT", LIMITS + "/{name}"): Expected(ADMIN, 200, of_other=None, body=lambda _: LIMIT),
    ("DELETE", LIMITS + "/{name}"): Expected(ADMIN, 204, of_other=None),
}
MATRIX |= {
    ("GET", f"{CONNECTOR}/export"): Expected(READER, 200),
    ("POST", f"{CONNECTORS}/import"): Expected(
        EDITOR, 200, of_other=403, body=lambda team: {"connectors": [connector(team)]}
    ),
    ("POST", "/api/v1/sources/discover"): Expected(
        EDITOR, 502, of_other=403, body=lambda team: {"source": UNREACHABLE, "team": team}
    ),
    ("POST", "/api/v1/sources/test"): Expected(
        EDITOR, 200, of_other=403, body=lambda team: {"source": UNREACHABLE, "team": team}
    ),
}
PAGES = {(method, path) for router in ROUTERS for method, path in routes_of(router.routes)}
"""What a browser asks for: the same use cases behind a door of its own."""
SIGN_IN = routes_of(sign_in.router.routes)
"""What somebody asks for who is to be known: tests/integration/web/test_log_in.py."""
OPEN = {("GET", path) for path in ("/health", "/ready", "/metrics", "/openapi.json", "/.well-known/jwks.json")}
"""What asks for nobody's name."""


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of CAI_API_TOKEN."""
    async with client(database_url, tokens=(TOKEN,)) as http:
        http._transport.app.state.blocks = KeptValues()  # type: ignore[attr-defined]
        yield http


async def test_every_route_is_in_the_matrix(admin: httpx.AsyncClient) -> None:
    app: Any = admin._transport.app  # type: ignore[attr-defined]
    assert routes_of(app.routes) == MATRIX.keys() | OPEN | PAGES | SIGN_IN


async def test_no_page_is_shown_to_a_stranger(database_url: str) -> None:
    async with client(database_url, tokens=(TOKEN,)) as http:
        del http.headers["Authorization"]
        for method, path in sorted(PAGES):
            answer = await http.request(method, path.format(number=1, act="run", name="any"))
            assert answer.status_code == 401, path
            assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize("role", list(Role))
async def test_every_route_answers_each_role_for_each_team(admin: httpx.AsyncClient, role: Role) -> None:
    token = await made_token(admin, role, OWN)
    wrong = []
    async with holding(admin, token["token"]) as person:
        for (method, path), expected in MATRIX.items():
            for team in (OWN, OTHER, NOBODYS):
                address = await _address(admin, path, team)
                answer = await person.request(method, address, json=expected.body(team))
                if answer.status_code != expected.of(role, team):
                    wrong.append((method, path, team, answer.status_code, expected.of(role, team)))
                assert "Secret study of cardiology" not in answer.text, (method, path, "names another team's connector")
    assert wrong == []


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_for_all_teams_reaches_each_of_them(admin: httpx.AsyncClient, role: Role) -> None:
    token = await made_token(admin, role, None)
    wrong = []
    async with holding(admin, token["token"]) as person:
        for (method, path), expected in MATRIX.items():
            for team in (OWN, OTHER, NOBODYS):
                address = await _address(admin, path, team)
                answer = await person.request(method, address, json=expected.body(team))
                allowed = expected.answer if expected.with_all is None else expected.with_all
                right = allowed if role.includes(expected.least) else expected.refused
                if answer.status_code != right:
                    wrong.append((method, path, team, answer.status_code, right))
    assert wrong == []


async def test_nobody_is_let_in_without_a_token(admin: httpx.AsyncClient) -> None:
    del admin.headers["Authorization"]
    for (method, path), expected in MATRIX.items():
        address = (
            path.replace("{connectorId}", "1")
            .replace("{tokenId}", "1")
            .replace("{name}", "x")
            .replace("{runId}", str(UUID(int=1)))
            .replace("{heldId}", "1")
            .replace("{changeId}", "1")
        )
        assert (await admin.request(method, address, json=expected.body(OWN))).status_code == 401, (method, path)
    for method, path in OPEN:
        assert (await admin.request(method, path)).status_code == 200


async def _address(admin: httpx.AsyncClient, path: str, team: Team) -> str:
    """The address of a new connector or token of that team."""
    path = path.replace("{runId}", str(UUID(int=1))).replace("{heldId}", "1").replace("{changeId}", "1")
    if "{connectorId}" in path:
        name = f"Secret study of {team}, {next(_numbers)}"
        return path.replace("{connectorId}", str((await made_connector(admin, team, name=name))["id"]))
    if "{tokenId}" in path:
        token = await made_token(admin, Role.READER, team, name=f"Token {next(_numbers)}")
        return path.replace("{tokenId}", str(token["id"]))
    if path.startswith(PROTECTIONS) and "{name}" in path:
        name = f"study-{next(_numbers)}"
        made = await admin.put(f"{PROTECTIONS}/{name}", json={"rules": DROPS, "team": team})
        assert made.status_code == 200
        return path.replace("{name}", name)
    if path.startswith(LIMITS) and "{name}" in path:
        name = f"emr-{next(_numbers)}"
        assert (await admin.put(f"{LIMITS}/{name}", json=LIMIT)).status_code == 200
        return path.replace("{name}", name)
    if "{name}" in path:
        name = f"Secret study of {team} {next(_numbers)}"
        made = await admin.post(CREDENTIALS, json={"name": name, "value": "v", "team": team})
        assert made.status_code == 201
        return path.replace("{name}", name)
    return path


# --- lists, previews and refusals name nothing of another team's ------------------------------------------------------


async def test_another_teams_connector_is_in_no_list_and_no_warning(admin: httpx.AsyncClient) -> None:
    theirs = [
        await made_connector(
            admin, OTHER, name=f"Secret study of cardiology {number}", isActive=True, schedule="0 2 * * *"
        )
        for number in range(6)
    ]
    mine = await made_connector(admin, OWN)
    everybodys = await made_connector(admin, NOBODYS)
    token = await made_token(admin, Role.EDITOR, OWN)
    async with holding(admin, token["token"]) as person:
        listed = (await person.get(CONNECTORS, params={"q": "Secret"})).json()
        assert [each["id"] for each in listed["items"]] == [mine["id"], everybodys["id"]]
        first = (await person.get(CONNECTORS, params={"limit": 2})).json()
        assert first["nextCursor"] is None
        preview = (await person.post("/api/v1/schedules/preview", json={"cron": "0 2 * * *"})).json()
        assert preview["warnings"] == []
        assert len((await admin.get(CONNECTORS)).json()["items"]) == 8
        crowded = (await admin.post("/api/v1/schedules/preview", json={"cron": "0 2 * * *"})).json()
        assert "6 connectors start at 02:00" in crowded["warnings"][0]
        unknown = await person.get(f"{CONNECTORS}/{theirs[0]['id'] + 1000}")
        hidden = await person.get(f"{CONNECTORS}/{theirs[0]['id']}")
        assert (unknown.status_code, hidden.status_code) == (404, 404)
        assert unknown.json()["detail"].replace(str(theirs[0]["id"] + 1000), "N") == hidden.json()["detail"].replace(
            str(theirs[0]["id"]), "N"
        )


async def test_a_shared_dataset_is_told_without_the_name_of_another_teams_connector(admin: httpx.AsyncClient) -> None:
    await made_connector(admin, OTHER, datasetName="labs")
    answer = await admin.post(CONNECTORS, json={**connector(OWN), "datasetName": "labs"})
    assert answer.status_code == 422
    assert "a connector of another team" in answer.json()["detail"]
    assert "Secret study" not in answer.text
    answer = await admin.post(CONNECTORS, json={**connector(OTHER), "datasetName": "labs"})
    assert "('Secret study of cardiology')" in answer.json()["detail"]


# --- teams -----------------------------------------------------------------------------------------------------------


async def test_what_a_person_of_one_team_makes_is_that_teams(admin: httpx.AsyncClient) -> None:
    token = await made_token(admin, Role.EDITOR, OWN)
    async with holding(admin, token["token"]) as person:
        made = await person.post(CONNECTORS, json={**BODY, "name": "Mine"})
        assert made.json()["team"] == OWN
        replaced = await person.put(made.headers["Location"], json={**BODY, "name": "Still mine"})
        assert (replaced.status_code, replaced.json()["team"]) == (200, OWN)
        moved = await person.patch(made.headers["Location"], json={"team": OTHER})
        assert moved.status_code == 403
        shared = await person.patch(made.headers["Location"], json={"team": None})
        assert (shared.status_code, shared.json()["generation"]) == (200, 3)
        taken = await person.patch(made.headers["Location"], json={"team": OWN})
        assert taken.status_code == 403
        assert "everybody's" in taken.json()["detail"]
    assert (await admin.patch(made.headers["Location"], json={"team": OTHER})).status_code == 200


@pytest.mark.parametrize("changes", [{"team": ""}, {"team": " a"}, {"owner": "x" * 101}, {"tags": ["a\u200b"]}])
async def test_a_team_that_is_no_name_is_refused(admin: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    answer = await admin.post(CONNECTORS, json={**BODY, **changes})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(f"/{next(iter(changes))}")


async def test_owner_and_tags_are_kept_and_count_as_changes(admin: httpx.AsyncClient) -> None:
    made = await made_connector(admin, OWN, owner="ann", tags=["labs", "nightly"])
    assert (made["owner"], made["tags"]) == ("ann", ["labs", "nightly"])
    changed = await admin.patch(f"{CONNECTORS}/{made['id']}", json={"tags": ["labs"]})
    assert (changed.json()["tags"], changed.json()["generation"]) == (["labs"], 2)


# --- tokens ----------------------------------------------------------------------------------------------------------


async def test_a_token_is_shown_once_and_ends_when_it_is_revoked(admin: httpx.AsyncClient) -> None:
    made = await made_token(admin, Role.READER, None)
    async with holding(admin, made["token"]) as person:
        assert (await person.get(CONNECTORS)).status_code == 200
        listed = (await admin.get(TOKENS)).json()["items"]
        assert made["token"] not in str(listed)
        assert listed[0]["lastUsedAt"] is not None
        assert listed[0]["createdBy"] == "environment"
        assert (await admin.delete(f"{TOKENS}/{made['id']}")).status_code == 204
        assert (await person.get(CONNECTORS)).status_code == 401
        assert (await admin.delete(f"{TOKENS}/{made['id']}")).status_code == 404


async def test_an_expired_token_lets_nobody_in(admin: httpx.AsyncClient) -> None:
    made = await made_token(admin, Role.ADMIN, None, expiresAt="2999-01-01T00:00:00Z")
    async with holding(admin, made["token"]) as person:
        assert (await person.get(CONNECTORS)).status_code == 200
        await _expire(admin)
        assert (await person.get(CONNECTORS)).status_code == 401
    past = await admin.post(TOKENS, json={"name": "late", "role": "reader", "expiresAt": "2001-01-01T00:00:00Z"})
    assert past.status_code == 422
    assert "a time to come" in past.json()["detail"]


async def _expire(admin: httpx.AsyncClient) -> None:
    app: Any = admin._transport.app  # type: ignore[attr-defined]
    async with app.state.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE cai_tokens SET expires_at = now()")


async def test_two_tokens_have_two_names(admin: httpx.AsyncClient) -> None:
    await made_token(admin, Role.READER, None, name="nightly")
    answer = await admin.post(TOKENS, json={"name": "nightly", "role": "reader"})
    assert answer.status_code == 409


async def test_where_no_token_is_asked_for_one_that_is_sent_is_judged(database_url: str) -> None:
    async with client(database_url) as anybody:
        made = await made_token(anybody, Role.READER, None)
        async with holding(anybody, made["token"]) as person:
            assert (await person.post(CONNECTORS, json=BODY)).status_code == 403
            await anybody.delete(f"{TOKENS}/{made['id']}")
            assert (await person.get(CONNECTORS)).status_code == 401
