"""Secrets at the page: chosen among stored credentials, or typed once, stored, and shown to nobody again."""

import html
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from connectors.people import Role
from tests.support.api_rig import BODY, CONNECTORS, TOKEN, client
from tests.support.audit import connected
from tests.support.people import CREDENTIALS, OTHER, OWN, Browser, KeptValues, browsing, made_connector, made_token

NEW = "/connectors/new"
TYPED = {"new.name", "new.value", "new.hosts", "new.team", "other"}
CANARY = "canary-7f3a"
ADDRESS = "https://fhir.example.org/r4"


@pytest.fixture
async def admin(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of CAI_API_TOKEN, where connectors name registered credentials alone."""
    monkeypatch.setenv("CAI_CREDENTIALS", "registered")
    async with client(database_url, tokens=(TOKEN,)) as http:
        yield http


@pytest.fixture
def kept(admin: httpx.AsyncClient) -> KeptValues:
    """Where the values of credentials are kept."""
    app: Any = admin._transport.app  # type: ignore[attr-defined]
    app.state.blocks = KeptValues()
    return app.state.blocks  # type: ignore[no-any-return]


@pytest.fixture
async def ann(admin: httpx.AsyncClient, kept: KeptValues) -> AsyncIterator[Browser]:
    """The browser of an editor of one team."""
    token = await made_token(admin, Role.EDITOR, OWN, name="ann")
    async with browsing(admin, token["token"]) as browser:
        yield browser


def drafted(page: str) -> dict[str, Any]:
    """The draft that a page of the wizard carries."""
    (draft,) = re.findall(r'name="draft" value="([^"]*)"', page)
    return dict(json.loads(html.unescape(draft)))


def login(**more: str) -> dict[str, str]:
    """The form of the wizard's step that asks for a FHIR server."""
    draft = json.dumps({"source": {"type": "fhir"}, "destination": None, "rest": {}})
    token = "source.auth.bearer.token"
    fields = {name.replace("__", "."): text for name, text in more.items()}
    named = {f"{token}.{name}" if name in TYPED else token: text
             for name, text in fields.items()}  # fmt: skip
    return {"step": "login", "draft": draft, "source.base_url": ADDRESS, "source.auth": "bearer", **named}


async def test_a_private_key_keeps_its_lines(ann: Browser, kept: KeptValues) -> None:
    key = "-----BEGIN\r\n{}\r\n-----END\r\n"
    await ann.send_form(NEW, NEW, **login(new__name="emr", new__value=key.format(1)))
    for name, value in (("lab", key.format(2)), ("token", "of one line \r\n")):
        await ann.send_form("/credentials", "/credentials", name=name, value=value, hosts="emr.example.org")
    assert [*kept.values.values()] == ["-----BEGIN\n1\n-----END", "-----BEGIN\n2\n-----END", "of one line "]
    refused = await ann.send_form(NEW, NEW, **login(new__name="nothing typed"))
    for page in (refused, await ann.get("/credentials")):
        assert re.search(r'<textarea id="[^"]*value"[^>]*class="secret"', page.text)  # one line would join them


async def test_a_secret_is_stored_in_the_wizard_and_the_connector_names_it(
    ann: Browser, admin: httpx.AsyncClient, kept: KeptValues, database_url: str
) -> None:
    page = await ann.send_form(NEW, NEW, **login(new__name="emr", new__value=CANARY))
    assert page.status_code == 200
    assert list(kept.values.values()) == [CANARY]
    (reference,) = kept.values
    assert drafted(page.text)["source"]["auth"] == {"type": "bearer", "token": {"secret": reference}}
    assert CANARY not in page.text
    (stored,) = (await admin.get(CREDENTIALS)).json()["items"]
    assert (stored["name"], stored["team"], stored["hosts"], stored["createdBy"]) == (
        "emr", OWN, ["fhir.example.org"], "ann",
    )  # fmt: skip
    source = {**drafted(page.text)["source"], "resource_types": ["Patient"]}
    last = json.dumps({"source": source, "destination": None, "rest": {}})
    saved = await ann.send_form(NEW, NEW, step="when", draft=last, name="Patients", **{"when.how": "never"})
    assert saved.status_code == 303, saved.text
    (row,) = (await admin.get(CONNECTORS)).json()["items"]
    edit = await ann.get(f"/connectors/{row['id']}/edit")
    assert f'<option value="{reference}" selected>emr ({OWN}, only to fhir.example.org)' in edit.text
    async with connected(database_url) as connection:
        assert CANARY not in str(await connection.fetch("SELECT * FROM cai_audit"))
        entry = await connection.fetchrow("SELECT actor, via FROM cai_audit WHERE action = 'credential_created'")
        assert tuple(entry) == ("ann", "page")


async def test_what_cannot_be_stored_is_said_at_its_field_and_the_secret_is_typed_again(
    ann: Browser, kept: KeptValues
) -> None:
    await ann.send_form(NEW, NEW, **login(new__name="emr", new__value="first"))
    for typed, sentence in (
        ({"new__name": "emr", "new__value": CANARY}, "has this name"),
        ({"new__name": "", "new__value": CANARY}, "Give the secret a name"),
        ({"new__name": "a/b", "new__value": CANARY}, "must hold no slash"),
        ({"new__name": "second", "new__value": ""}, "The secret itself is missing"),
        ({"new__name": "second", "new__value": CANARY, "new__hosts": "https://emr.example.org"}, "Each host must be"),
    ):
        page = await ann.send_form(NEW, NEW, **login(**typed))
        assert page.status_code == 422, typed
        shown = re.findall(r'id="source.auth.token.refused">([^<]*)<', page.text)
        assert any(sentence in each for each in shown), (typed, shown)
        assert CANARY not in page.text
        assert html.escape(typed["new__name"]) in page.text
    assert list(kept.values.values()) == ["first"]


async def test_hosts_are_those_that_are_typed_or_any(ann: Browser, admin: httpx.AsyncClient) -> None:
    await ann.send_form(
        NEW, NEW, **login(new__name="one", new__value="x", new__hosts="FHIR.example.org, b.example.org")
    )
    await ann.send_form(NEW, NEW, **login(new__name="any", new__value="x", new__hosts="*"))
    hosts = {each["name"]: each["hosts"] for each in (await admin.get(CREDENTIALS)).json()["items"]}
    assert hosts == {"one": ["fhir.example.org", "b.example.org"], "any": []}


async def test_going_back_loses_no_secret_and_one_that_cannot_be_stored_keeps_the_step(
    ann: Browser, kept: KeptValues
) -> None:
    refused = await ann.send_form(NEW, NEW, go="back", **login(new__name="", new__value=CANARY))
    assert (refused.status_code, 'name="step" value="login"' in refused.text) == (422, True)
    back = await ann.send_form(NEW, NEW, go="back", **login(new__name="emr", new__value=CANARY))
    assert (back.status_code, 'name="step" value="kind"' in back.text) == (200, True)
    assert drafted(back.text)["source"]["auth"]["token"] == {"secret": next(iter(kept.values))}


async def test_an_admin_for_all_says_whose_a_new_one_is(
    admin: httpx.AsyncClient, ann: Browser, kept: KeptValues
) -> None:
    assert ".new.team" not in (await ann.get(f"{NEW}?kind=fhir")).text, "it is ann's team's"
    async with browsing(admin, TOKEN) as browser:
        for name, team in (("theirs", OTHER), ("shared", "")):
            page = await browser.send_form(NEW, NEW, **login(new__name=name, new__value="x", new__team=team))
            assert page.status_code == 200
    teams = {each["name"]: each["team"] for each in (await admin.get(CREDENTIALS)).json()["items"]}
    assert teams == {"theirs": OTHER, "shared": None}
    assert len(kept.values) == 2


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("postgresql://reader:canary-7f3a@emr-db.example.org:5432/emr", ["emr-db.example.org"]),
        ("postgresql://reader:canary-7f3a@a.example.org,b.example.org/emr", ["a.example.org", "b.example.org"]),
        ("a token that is no address", []),
    ],
)
async def test_a_databases_address_goes_to_its_own_hosts(
    ann: Browser, admin: httpx.AsyncClient, address: str, hosts: list[str]
) -> None:
    draft = json.dumps({"source": {"type": "sql_database"}, "destination": None, "rest": {}})
    new = {"source.credentials.new.name": "emr", "source.credentials.new.value": address}
    page = await ann.send_form(NEW, NEW, step="login", draft=draft, **new)
    assert page.status_code == 200
    assert CANARY not in page.text
    (stored,) = (await admin.get(CREDENTIALS)).json()["items"]
    assert stored["hosts"] == hosts


async def test_another_teams_credential_is_neither_offered_nor_taken(
    ann: Browser, admin: httpx.AsyncClient, kept: KeptValues
) -> None:
    for name, team in (("theirs", OTHER), ("ours", OWN), ("shared", None)):
        answer = await admin.post(CREDENTIALS, json={"name": name, "value": "x", "team": team})
        assert answer.status_code == 201
    page = await ann.get(f"{NEW}?kind=fhir")
    assert re.findall(r"<option value=\"cai-credential-[^>]*>(\w+) ", page.text)[:2] == ["ours", "shared"]
    assert "theirs" not in page.text
    page = await ann.send_form(NEW, NEW, **login(other=next(iter(kept.values))))
    source = {**drafted(page.text)["source"], "resource_types": ["Patient"]}
    last = json.dumps({"source": source, "destination": None, "rest": {}})
    refused = await ann.send_form(NEW, NEW, step="when", draft=last, name="Patients", **{"when.how": "never"})
    assert refused.status_code == 422
    assert "source.auth.token names the Secret block" in html.unescape(refused.text)


async def test_a_secret_is_stored_in_the_edit_form(ann: Browser, admin: httpx.AsyncClient, kept: KeptValues) -> None:
    source = {"type": "fhir", "base_url": ADDRESS, "resource_types": ["Patient"]}
    made = await made_connector(admin, OWN, source=source)
    where = f"/connectors/{made['id']}/edit"
    form = {"name": "Patients", "source.base_url": ADDRESS, "source.resource_types": "Patient", "source.auth": "bearer"}
    token = "source.auth.bearer.token"
    answer = await ann.send_form(where, where, **form, **{f"{token}.new.name": "emr", f"{token}.new.value": CANARY})
    assert answer.status_code == 303, answer.text
    row = (await admin.get(f"{CONNECTORS}/{made['id']}")).json()
    assert row["source"]["auth"] == {"type": "bearer", "token": {"secret": next(iter(kept.values))}}
    assert BODY["source"] != row["source"]


async def test_a_readers_page_stores_nothing(admin: httpx.AsyncClient, kept: KeptValues) -> None:
    token = await made_token(admin, Role.READER, OWN, name="bob")
    async with browsing(admin, token["token"]) as bob:
        answer = await bob.send_form(NEW, "/", **login(new__name="emr", new__value=CANARY))
        assert answer.status_code in {403, 422}
    assert kept.values == {}


PAGE = "/credentials"


async def test_the_page_of_credentials_tells_whose_they_are_where_they_go_and_what_uses_them(
    ann: Browser, admin: httpx.AsyncClient, kept: KeptValues
) -> None:
    form = {"name": "emr", "value": CANARY, "hosts": "fhir.example.org, EMR.example.org"}
    assert (await ann.send_form(PAGE, PAGE, **form)).status_code == 303
    (reference,) = kept.values
    login = {"type": "bearer", "token": {"secret": reference}}
    source = {"type": "fhir", "base_url": ADDRESS, "resource_types": ["Patient"], "auth": login}
    made = await made_connector(admin, OWN, source=source, name="Patients of ours")
    await admin.post(CREDENTIALS, json={"name": "for all", "kind": "env", "reference": "CAI_SECRET_SHARED"})
    shared = {**source, "auth": {"type": "bearer", "token": {"env": "CAI_SECRET_SHARED"}}}
    for number in range(6):
        await made_connector(admin, OWN, source=shared, name=f"Shared {number}")
    await made_connector(admin, OTHER, source=shared, name="Patients of theirs")
    page = (await ann.get(PAGE)).text
    assert CANARY not in page
    assert "fhir.example.org, emr.example.org" in page
    assert f'<a href="/connectors/{made["id"]}">Patients of ours</a>' in page
    assert re.search(r"Shared 4</a>\s*and 1 more", page)
    assert "Patients of theirs" not in page
    assert "Or a block or variable" not in page
    refused = await ann.send_form(f"{PAGE}/for%20all/delete", PAGE)
    assert refused.status_code == 403
    assert (await ann.send_form(f"{PAGE}/emr/delete", PAGE)).status_code == 303
    assert kept.values == {}
    assert (await ann.send_form(f"{PAGE}/emr/delete", PAGE)).status_code == 404


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"name": "", "value": CANARY}, "Give the secret a name"),
        ({"name": "emr", "value": ""}, "The secret itself is missing"),
        ({"name": "emr", "value": CANARY, "hosts": "http://emr"}, "Each host must be"),
        ({"name": "emr", "value": CANARY, "team": OTHER}, "name a team that you are an editor of"),
        ({"name": "emr", "reference": "emr-token"}, "that takes an admin for all teams"),
    ],
)
async def test_what_is_no_credential_is_refused_on_the_page_without_its_value(
    ann: Browser, kept: KeptValues, form: dict[str, str], sentence: str
) -> None:
    answer = await ann.send_form(PAGE, PAGE, **form)
    assert answer.status_code in {403, 422}
    assert sentence in answer.text
    assert CANARY not in answer.text
    assert kept.values == {}


async def test_an_admin_for_all_registers_what_is_there_already(admin: httpx.AsyncClient) -> None:
    async with browsing(admin, TOKEN) as browser:
        page = await browser.send_form(PAGE, PAGE, name="bad", reference="Not A Block")
        assert (page.status_code, "The reference must be" in page.text) == (422, True)
        for reference, kind in (("emr", "secret"), ("sqlalchemy-connector/emr", "block"), ("CAI_SECRET_EMR", "env")):
            name = f"by {kind}"
            assert (await browser.send_form(PAGE, PAGE, name=name, reference=reference)).status_code == 303
        assert (await browser.send_form(PAGE, PAGE, name="key", reference="CAI_SECRET_MASK_KEY")).status_code == 403
        again = await browser.send_form(PAGE, PAGE, name="by env", reference="CAI_SECRET_EMR")
        assert again.status_code == 409
    listed = (await admin.get(CREDENTIALS)).json()["items"]
    assert [each["reference"] for each in listed] == [
        {"block": "sqlalchemy-connector/emr"}, {"env": "CAI_SECRET_EMR"}, {"secret": "emr"},
    ]  # fmt: skip
