"""Every page x role x team: what each answers, and that another team's name is in no byte of any of them.

A page that is added fails `test_every_page_is_in_the_matrix` until it says here who may use it.
"""

import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import httpx
import pytest

from connectors.people import Role
from tests.support.api_rig import TOKEN, client
from tests.support.people import (
    CREDENTIALS,
    NOBODYS,
    OTHER,
    OWN,
    Browser,
    KeptValues,
    browsing,
    made_connector,
    made_token,
    routes_of,
)
from web.pages import ROUTERS

CONNECTOR = "/connectors/{number}"
DROPS = '{"rules": [{"names": ["ssn"], "method": "drop"}]}'
READER, RUNNER, EDITOR, ADMIN = Role

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Expected:
    """What a page answers to somebody with roles in OWN alone."""

    least: Role
    answer: int
    """With this role or more, for the own team and for what is everybody's."""
    refused: int = 403
    of_other: int | None = 404
    """With any role, for what is another team's; None: the page is about no team's."""
    for_all: int | None = None
    """For what is everybody's, where that is another answer than for the own team's."""
    form: dict[str, str] = field(default_factory=dict)

    def of(self, role: Role, team: str | None) -> int:
        """The answer to a person of this role in OWN."""
        if team == OTHER and self.of_other is not None:
            return self.of_other
        if not role.includes(self.least):
            return self.refused
        return self.answer if team is not None or self.for_all is None else self.for_all


def acts(act: str) -> str:
    """The address of one of a connector's buttons."""
    return f"{CONNECTOR}/{act}"


MATRIX = {
    ("GET", "/"): Expected(READER, 200, of_other=None),
    ("GET", "/week"): Expected(READER, 200, of_other=None),
    ("GET", "/for-you"): Expected(READER, 200, of_other=None),
    ("GET", "/connectors/new"): Expected(READER, 200, of_other=None),
    ("POST", "/connectors/new"): Expected(READER, 422, of_other=None, form={"step": "when"}),
    ("GET", "/connectors/import"): Expected(EDITOR, 200, of_other=None),
    ("POST", "/connectors/import"): Expected(EDITOR, 422, of_other=None, form={"document": "connectors: []"}),
    ("GET", CONNECTOR): Expected(READER, 200),
    ("POST", acts("run")): Expected(RUNNER, 409),  # it is paused, and Prefect holds no deployment
    ("POST", acts("retry")): Expected(RUNNER, 303),
    ("POST", acts("pause")): Expected(EDITOR, 303),
    ("POST", acts("resume")): Expected(EDITOR, 303),
    ("POST", acts("restore")): Expected(EDITOR, 303, form={"generation": "1"}),
    ("POST", acts("delete")): Expected(EDITOR, 422, form={"name": "another"}),
    ("POST", acts("nonsense")): Expected(READER, 404),
    ("GET", f"{CONNECTOR}/edit"): Expected(EDITOR, 200),
    ("GET", f"{CONNECTOR}/duplicate"): Expected(EDITOR, 200),
    ("POST", f"{CONNECTOR}/edit"): Expected(EDITOR, 422, form={"name": ""}),
    ("GET", "/audit"): Expected(ADMIN, 200, of_other=None),
    ("POST", "/audit/verify"): Expected(ADMIN, 403, of_other=None),
    ("GET", "/credentials"): Expected(EDITOR, 200, of_other=None),
    ("POST", "/credentials"): Expected(EDITOR, 303, of_other=None, form={"value": "v", "team": OWN}),
    ("POST", "/credentials/{name}/delete"): Expected(EDITOR, 303),
    ("GET", "/limits"): Expected(READER, 200, of_other=None),
    ("POST", "/limits"): Expected(ADMIN, 303, of_other=None, form={"name": "emr", "hosts": "emr", "loads": "1"}),
    ("POST", "/limits/{name}/delete"): Expected(ADMIN, 303, of_other=None),
    ("GET", "/protections"): Expected(READER, 200, of_other=None),
    ("POST", "/protections"): Expected(EDITOR, 303, of_other=None, form={"name": "study", "rules": DROPS, "team": OWN}),
    ("POST", "/protections/{name}/delete"): Expected(EDITOR, 303),
    ("GET", "/access"): Expected(READER, 200, of_other=None),
    ("POST", "/access/tokens"): Expected(ADMIN, 200, refused=409, of_other=None, form={"role": "reader", "team": OWN}),
    ("POST", "/access/tokens/{number}/revoke"): Expected(ADMIN, 303, refused=404, for_all=404),
}

NAMED = ("/access/tokens", "/credentials")
"""Forms that ask for a name that nobody else has."""


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of CAI_API_TOKEN."""
    async with client(database_url, tokens=(TOKEN,)) as http:
        http._transport.app.state.blocks = KeptValues()  # type: ignore[attr-defined]
        yield http


def test_every_page_is_in_the_matrix() -> None:
    pages = {(method, path) for router in ROUTERS for method, path in routes_of(router.routes)}
    asked = {
        (
            method,
            f"{CONNECTOR}/{{act}}" if path.startswith(CONNECTOR) and method == "POST" and "edit" not in path else path,
        )
        for method, path in MATRIX
    }
    assert asked == pages


@pytest.mark.parametrize("role", list(Role))
async def test_every_page_answers_each_role_and_names_no_other_team(admin: httpx.AsyncClient, role: Role) -> None:
    person = await made_token(admin, role, OWN, name="ann")
    await made_token(admin, role, OTHER, name=f"a token of {OTHER}")
    login = {"name": f"a login of {OTHER}", "value": "v", "team": OTHER}
    assert (await admin.post(CREDENTIALS, json=login)).status_code == 201
    wrong = []
    async with browsing(admin, person["token"]) as browser:
        text = await browser.form_text()
        for (method, path), expected in MATRIX.items():
            for team in (OWN, OTHER, NOBODYS):
                form = {**expected.form, **({"name": f"made {next(_numbers)}"} if path in NAMED else {})}
                address = await address_of(admin, path, team)
                answer = await asked(browser, method, address, {"csrf": text, **form})
                if answer.status_code != expected.of(role, team):
                    wrong.append((method, path, team, answer.status_code, expected.of(role, team)))
                assert OTHER.encode() not in answer.content, (method, path, "names another team")
                assert OTHER not in str(answer.headers), (method, path, "names another team")
    assert wrong == []


async def test_every_form_without_its_pages_text_is_refused_and_changes_nothing(
    admin: httpx.AsyncClient, database_url: str
) -> None:
    async with browsing(admin, TOKEN) as browser:
        for (method, path), expected in MATRIX.items():
            if method != "POST":
                continue
            address = await address_of(admin, path, OWN)
            before = await entries(database_url)
            for text in ({}, {"csrf": "another"}):
                answer = await browser.post(address, data={**text, **expected.form, "name": "of a stranger"})
                assert answer.status_code == 403, path
                assert "Nothing was changed" in answer.text, path
            assert await entries(database_url) == before, path


async def entries(database_url: str) -> int:
    """How much the history tells."""
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM cai_audit"))
    finally:
        await connection.close()


async def asked(browser: Browser, method: str, address: str, form: dict[str, str]) -> httpx.Response:
    """The answer of a page, or to its form."""
    return await (browser.get(address) if method == "GET" else browser.post(address, data=form))


async def address_of(admin: httpx.AsyncClient, path: str, team: str | None) -> str:
    """The address with a new connector or token of that team."""
    if path.startswith("/credentials/"):
        name = f"Login {next(_numbers)} of {team}"
        assert (await admin.post(CREDENTIALS, json={"name": name, "value": "v", "team": team})).status_code == 201
        return path.replace("{name}", name)
    if path.startswith("/limits/"):
        name = f"limit-{next(_numbers)}"
        assert (await admin.put(f"/api/v1/source-limits/{name}", json={"hosts": ["emr"], "loads": 1})).is_success
        return path.replace("{name}", name)
    if path.startswith("/protections/"):
        name, rules = f"profile-{next(_numbers)}", json.loads(DROPS)
        assert (await admin.put(f"/api/v1/protections/{name}", json={"rules": rules, "team": team})).is_success
        return path.replace("{name}", name)
    if path.startswith("/access/tokens/"):
        token = await made_token(admin, Role.READER, team, name=f"Token {next(_numbers)} of {team}")
        return path.replace("{number}", str(token["id"]))
    if "{number}" in path:
        made = await made_connector(admin, team, name=f"Study {next(_numbers)} of {team}", owner=f"{team} office")
        return path.replace("{number}", str(made["id"]))
    return path
