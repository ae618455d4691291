"""The page in Chromium: a connector of each kind by the wizard, with and without scripts; refusals; accessibility.

Each source is a real server, asked by the real readers; what was saved is then loaded. Needs Chromium on the machine.
`CAI_SCREENSHOTS=docs/images` keeps what is seen as pictures for the documentation.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import psycopg2  # type: ignore[import-untyped]
import pymysql
import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from connectors.people import Role
from connectors.runs import Options
from local.embedded_postgres import EmbeddedPostgres
from pipelines.loading.summary import Summary
from pipelines.run import run_connector
from settings import Settings
from tests.support.api_rig import BODY, TOKEN
from tests.support.chromium import CHROMIUM, QUIET
from tests.support.page_server import serving
from tests.support.people import OTHER, OWN
from tests.support.servers.fhir import FhirServer, patient
from tests.support.servers.http_server import Asked, WebServer
from tests.support.servers.peers import mysql_server
from tests.support.servers.redcap import TOKEN as REDCAP_TOKEN
from tests.support.servers.redcap import Redcap

playwright: Any = pytest.importorskip("playwright.sync_api")
axe: Any = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]

PATIENCE = 60_000
"""Milliseconds that a page may take on a machine that does much else."""


# --- what stands behind it --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Installation:
    """The page's address, and how it was set up."""

    url: str
    settings: Settings
    sources: Path


@pytest.fixture(scope="module")
def installation(
    postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """An installation that asks nobody's name, with an empty table."""
    directory = tmp_path_factory.mktemp("page")
    files = directory / "files"
    files.mkdir()
    told = {
        "CAI_DATABASE_URL": _copied(postgres, template, "page_open"),
        "CAI_DATA_DIR": str(directory / "data"),
        "CAI_LOCAL_FILE_ROOTS": str(files),
        "CAI_CREDENTIALS": "open",
        "CAI_SECRET_EMR": _emr(postgres, "page_emr"),
        "CAI_SECRET_SQLITE": _sqlite(files / "lab.db"),
        "CAI_SECRET_REDCAP": REDCAP_TOKEN,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CAI_DEFAULT_DESTINATION", raising=False)
        for variable, value in told.items():
            patch.setenv(variable, value)
        settings = Settings()
        with serving(settings) as url:
            yield Installation(url, settings, files)


@pytest.fixture(scope="module")
def mysql_emr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A laboratory's MySQL with a key and a cursor; its address is in CAI_SECRET_MYSQL."""
    with mysql_server(tmp_path_factory.mktemp("mysql")) as url, pytest.MonkeyPatch.context() as patch:
        at = make_url(url)
        with (
            pymysql.connect(
                host=at.host, port=at.port or 0, user=at.username, password=at.password or "", database=at.database
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(
                "CREATE TABLE result (id bigint PRIMARY KEY, patient_name text, changed_at datetime(6) NOT NULL, "
                "KEY (changed_at))"
            )
            cursor.execute("INSERT INTO result VALUES (1, 'Muster', now(6)), (2, 'Muster', now(6)), (3, NULL, now(6))")
            connection.commit()
        patch.setenv("CAI_SECRET_MYSQL", url)
        yield url


@pytest.fixture(scope="module")
def guarded(
    postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """One that asks for names."""
    directory = tmp_path_factory.mktemp("guarded")
    settings = Settings(
        database_url=SecretStr(_copied(postgres, template, "page_guarded")),
        data_dir=directory,
        api_token=[SecretStr(TOKEN)],
    )
    with serving(settings) as url:
        yield Installation(url, settings, directory)


def _copied(postgres: EmbeddedPostgres, template: str, name: str) -> str:
    """A migrated database; its address."""
    admin = psycopg2.connect(postgres.url("postgres"))
    admin.autocommit = True
    admin.cursor().execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    admin.close()
    return postgres.url(name)


def _emr(postgres: EmbeddedPostgres, name: str) -> str:
    """A clinic's database with a key, a cursor and a name."""
    url = postgres.create_database(name)
    connection = psycopg2.connect(url)
    connection.autocommit = True
    connection.cursor().execute(
        "CREATE TABLE visit (id bigint PRIMARY KEY, last_name text, updated_at timestamptz NOT NULL);"
        "INSERT INTO visit SELECT n, 'Muster', now() FROM generate_series(1, 12) n"
    )
    connection.close()
    return url


def _sqlite(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sample (number INTEGER PRIMARY KEY, value REAL)")
        connection.executemany("INSERT INTO sample VALUES (?, ?)", [(n, n / 2) for n in range(5)])
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A FHIR server, a REDCap project and an API of JSON, at one address."""
    kinds = [{"type": "Patient", "interaction": [{"code": "search-type"}]}]
    statement = {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": kinds}]}
    fhir, redcap = FhirServer(patient(1, "2024-01-01T00:00:00Z"), patient(2, "2024-01-02T00:00:00Z")), Redcap()

    def answer(asked: Asked) -> Any:
        if asked.path == "/fhir/metadata":
            return statement
        if asked.path.startswith("/fhir"):
            return fhir(asked)
        return redcap(asked) if asked.path == "/redcap/" else [{"id": 1}, {"id": 2}, {"id": 3}]

    with WebServer(answer) as server:
        yield server.url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for all tests of this file."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


def opened(chromium: Any, *, scripts: bool = True, **options: Any) -> Any:
    """A page of its own."""
    context = chromium.new_context(java_script_enabled=scripts, viewport={"width": 1200, "height": 1000}, **options)
    context.set_default_timeout(PATIENCE)
    return context.new_page()


# --- the walk ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """What somebody fills in for a kind of source, by the names of the controls."""

    kind: str
    login: Mapping[str, str]
    ticks: tuple[str, ...] = ()
    """Items to tick; where there are none, `said` names what to load."""
    said: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    """What is saved, with `{web}` and `{files}` for the addresses."""
    rows: int = 0
    required: tuple[str, ...] = ()
    """Fields that the first page can't be without."""
    looks: bool = False
    """It is asked for the columns of what was filled in."""


IDENTIFYING_OF_PATIENTS = (
    "text", "identifier", "name", "telecom", "birthDate", "address", "photo", "deceasedDateTime", "contact",
)  # fmt: skip

WALKS = {
    "postgresql": Walk(
        "sql_database",
        {"source.credentials.other": "CAI_SECRET_EMR"},
        ticks=("visit",),
        source={
            "type": "sql_database",
            "credentials": {"env": "CAI_SECRET_EMR"},
            "tables": [{"name": "visit", "primary_key": ["id"], "cursor_column": "updated_at"}],
            "mask": ["last_name"],
        },
        rows=12,
        required=("source.credentials",),
    ),
    "mysql": Walk(
        "sql_database",
        {"source.credentials.other": "CAI_SECRET_MYSQL"},
        ticks=("result",),
        source={
            "type": "sql_database",
            "credentials": {"env": "CAI_SECRET_MYSQL"},
            "tables": [{"name": "result", "primary_key": ["id"], "cursor_column": "changed_at"}],
            "mask": ["patient_name"],
        },
        rows=3,
        required=("source.credentials",),
    ),
    "sqlite": Walk(
        "sql_database",
        {"source.credentials.other": "CAI_SECRET_SQLITE"},
        ticks=("sample",),
        source={
            "type": "sql_database",
            "credentials": {"env": "CAI_SECRET_SQLITE"},
            "tables": [{"name": "sample", "primary_key": ["number"]}],
        },
        rows=5,
        required=("source.credentials",),
    ),
    "fhir": Walk(
        "fhir",
        {"source.base_url": "{web}/fhir"},
        ticks=("Patient",),
        source={
            "type": "fhir",
            "base_url": "{web}/fhir",
            "resource_types": ["Patient"],
            "mask": [*IDENTIFYING_OF_PATIENTS],
        },
        rows=2,
        required=("source.base_url",),
    ),
    "redcap": Walk(
        "redcap",
        {"source.api_url": "{web}/redcap/", "source.token.other": "CAI_SECRET_REDCAP"},
        ticks=("demographics",),
        source={
            "type": "redcap",
            "api_url": "{web}/redcap/",
            "token": {"env": "CAI_SECRET_REDCAP"},
            "forms": ["demographics"],
        },
        rows=42,  # records, and the dictionary
        required=("source.api_url", "source.token"),
    ),
    "rest_api": Walk(
        "rest_api",
        {"source.base_url": "{web}"},
        said={"source.resources.0.name": "visits", "source.resources.0.path": "visits"},
        looks=True,
        source={
            "type": "rest_api",
            "base_url": "{web}",
            "resources": [{"name": "visits", "path": "visits", "primary_key": ["id"]}],
        },
        rows=3,
        required=("source.base_url",),
    ),
    "files": Walk(
        "files",
        {"source.url": "{files}/labs.csv"},
        source={"type": "files", "url": "{files}/labs.csv"},
        rows=2,
        required=("source.url",),
    ),
    "sheets": Walk(
        "files",
        {"source.url": "{files}/study"},
        ticks=("study.xlsx/Labs", "study.xlsx/Visits"),
        source={
            "type": "files",
            "url": "{files}/study",
            "tables": [
                {"table": "labs", "glob": "study.xlsx", "sheet": "Labs"},
                {"table": "visits", "glob": "study.xlsx", "sheet": "Visits"},
            ],
            "mask": ["email"],
        },
        rows=3,
        required=("source.url",),
    ),
}
"""A walk for each kind of source that there is."""


def _study(directory: Path) -> None:
    """A directory with a workbook of two sheets."""
    directory.mkdir(exist_ok=True)
    book = openpyxl.Workbook()
    for name, rows in (("Labs", [["id", "email"], [1, "a@example.org"], [2, None]]), ("Visits", [["id"], [7]])):
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    del book["Sheet"]
    book.save(directory / "study.xlsx")


class Person:
    """Somebody at the page."""

    def __init__(self, page: Any, installation: Installation, web: str) -> None:
        self.page = page
        self.installation = installation
        self.places = {"{web}": web, "{files}": str(installation.sources)}
        (installation.sources / "labs.csv").write_text("id,value\n1,3.5\n2,4.5\n")
        _study(installation.sources / "study")

    def go(self, path: str) -> None:
        """Open a page."""
        self.page.goto(f"{self.installation.url}{path}")

    def control(self, name: str) -> Any:
        """A control by its name, with all that is folded around it unfolded, as by a mouse."""
        control = self.page.locator(f'[name="{name}"]').first
        while not control.is_visible():
            self.page.locator(f'details:not([open]):has([name="{name}"]) > summary').first.click()
        return control

    def write(self, fields: Mapping[str, str]) -> None:
        """Fill fields in."""
        for name, text in fields.items():
            self.control(name).fill(self.filled(text))

    def filled(self, text: str) -> str:
        """A text with the addresses of this test."""
        for place, address in self.places.items():
            text = text.replace(place, address)
        return text

    def on(self) -> None:
        """Press *Go on*, or *Save* on the last step."""
        self.page.locator("button.main[name=go][value=next]").click()

    def stands_at(self, step: str) -> None:
        """Wait until this step is shown."""
        self.page.locator("[aria-current=step]", has_text=step).wait_for()

    def choose(self, kind: str) -> None:
        """Begin with a kind."""
        self.go("/connectors/new")
        self.page.locator(f'button[name=kind][value="{kind}"]').click()
        self.stands_at("Where it is")

    def walk(self, walk: Walk, name: str) -> int:
        """From the kind to the saved connector; its number."""
        self.choose(walk.kind)
        self.write(walk.login)
        self.on()
        self.stands_at("What to load")
        for item in walk.ticks:
            self.page.locator(f'input[type=checkbox][value="{item}"]').first.check()
        self.write(walk.said)
        if walk.looks:
            self.page.locator("button[name=go][value=look]").click()
            self.page.locator('input[type=hidden][name="item.0"]').wait_for(state="attached")
        self.on()
        self.stands_at("Where it goes")
        self.on()
        self.stands_at("When and under which name")
        self.write({"name": name})
        self.page.locator('input[name="when.how"][value="never"]').check()
        self.on()
        self.page.locator("h1", has_text=name).wait_for()
        return int(self.page.url.partition("?")[0].rpartition("/")[2])


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
@pytest.mark.parametrize("what", list(WALKS))
def test_each_kind_is_made_by_the_wizard_and_loads(
    what: str, scripts: bool, installation: Installation, web: str, chromium: Any, request: pytest.FixtureRequest
) -> None:
    if what == "mysql":
        request.getfixturevalue("mysql_emr")
    walk = WALKS[what]
    person = Person(opened(chromium, scripts=scripts), installation, web)
    number = person.walk(walk, f"{what}, {'with' if scripts else 'without'} scripts")
    saved = httpx.get(f"{installation.url}/api/v1/connectors/{number}").json()
    expected = json.loads(person.filled(json.dumps(walk.source)))
    assert saved["source"] == expected
    assert (saved["schedule"], saved["destination"]) == (None, None)
    outcome = run_connector(number, Options(), installation.settings)
    assert isinstance(outcome, Summary), outcome
    assert outcome.total_rows == walk.rows
    person.page.context.close()


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_every_refusal_stands_at_its_field_and_nothing_typed_is_lost(
    scripts: bool, installation: Installation, web: str, chromium: Any
) -> None:
    person = Person(opened(chromium, scripts=scripts), installation, web)
    page = person.page
    for kind in dict.fromkeys(walk.kind for walk in WALKS.values()):
        required = next(walk.required for walk in WALKS.values() if walk.kind == kind)
        person.choose(kind)
        person.write({"source.mask": "kept"} if page.locator('[name="source.mask"]').count() else {})
        person.on()
        person.stands_at("Where it is")
        for name in required:
            refused = page.locator(f'[id="{name}.refused"]').first
            refused.wait_for()
            assert refused.is_visible(), (kind, name)
            assert " " in refused.inner_text(), "a sentence"
            assert person.control(name).get_attribute("aria-invalid") == "true", (kind, name)
    # An address that can't be: the typed one stays, beside the sentence.
    person.choose("fhir")
    person.write({"source.base_url": "ftp://nowhere", "source.page_size": "many"})
    person.on()
    for name, text in (("source.base_url", "ftp://nowhere"), ("source.page_size", "many")):
        page.locator(f'[id="{name}.refused"]').first.wait_for()
        assert person.control(name).input_value() == text
    # The last step.
    person.choose("files")
    person.write({"source.url": "{files}/labs.csv"})
    for step in ("What to load", "Where it goes", "When and under which name"):
        person.on()
        person.stands_at(step)
    page.locator('input[name="when.how"][value="cron"]').check()
    typed = {"when.cron": "0 5 * * *", "timezone": "Mars/Olympus", "description": "what it is for"}
    for name, wrong in (("timezone", typed), ("schedule", {"when.cron": "61 * * * *", "timezone": "Europe/Berlin"})):
        typed |= wrong
        person.write(wrong)
        person.on()
        page.locator(f'[id="{name}.refused"]').first.wait_for()
        for control, text in typed.items():
            assert person.control(control).input_value() == text
    assert "the minute field takes 0 to 59" in page.locator('[id="schedule.refused"]').inner_text()
    person.write({"when.cron": "0 5 * * *"})
    person.on()
    page.locator('[id="name.refused"]').first.wait_for()
    person.write({"name": "A name that is taken"})
    body = {"name": "A name that is taken", "source": BODY["source"]}
    assert httpx.post(f"{installation.url}/api/v1/connectors", json=body).status_code in {201, 409}
    person.on()
    page.get_by_text("Another connector already has this name").first.wait_for()
    assert person.control("description").input_value() == "what it is for"
    page.context.close()


# --- accessibility, and other teams -----------------------------------------------------------------------------------


def _say(page: Any) -> list[str]:
    """What axe-core finds wrong with a page."""
    looked = axe.Axe().run(page).response
    assert looked["passes"], "it has looked"
    found = looked["violations"]
    return [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"]]


def _look_at_wizard(person: Person, look: Callable[[str], None]) -> None:
    page = person.page
    person.go("/connectors/new")
    look("wizard 1")
    person.choose("sql_database")
    look("wizard 2")
    person.on()
    page.locator('[id="source.credentials.refused"]').first.wait_for()
    look("wizard 2 refused")
    person.write(WALKS["postgresql"].login)
    person.on()
    person.stands_at("What to load")
    page.locator('input[type=checkbox][value="visit"]').first.check()
    look("wizard 3")
    person.on()
    person.stands_at("Where it goes")
    page.locator("button[name=go][value=try]").click()
    page.get_by_text("as they would land").first.wait_for()
    look("wizard 4 tried")
    person.on()
    person.stands_at("When and under which name")
    look("wizard 5")
    person.choose("files")
    person.write({"source.url": "{files}/study"})
    person.on()
    person.stands_at("What to load")
    look("wizard 3 of sheets")
    person.choose("rest_api")
    person.write(WALKS["rest_api"].login)
    person.on()
    person.stands_at("What to load")
    person.write(WALKS["rest_api"].said)
    page.locator("button[name=go][value=look]").click()
    page.locator('input[type=hidden][name="item.0"]').wait_for(state="attached")
    look("wizard 3 of a web API")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(
    scheme: str, installation: Installation, guarded: Installation, web: str, chromium: Any
) -> None:
    page = opened(chromium, color_scheme=scheme)
    person = Person(page, installation, web)
    wrong: dict[str, list[str]] = {}

    def look(name: str) -> None:
        if found := _say(page):
            wrong[name] = found
        if "CAI_SCREENSHOTS" in os.environ:
            kept = Path(os.environ["CAI_SCREENSHOTS"]) / f"page-{name.replace(' ', '-')}-{scheme}.png"
            page.screenshot(path=kept, full_page=True)

    failing = {"name": f"Broken {scheme}", "schedule": "0 5 * * *", "source": BODY["source"]}
    made = httpx.post(f"{installation.url}/api/v1/connectors", json=failing).json()
    where = f"/connectors/{made['id']}"
    httpx.patch(f"{installation.url}/api/v1{where}", json={"description": "changed"})
    credential = {"name": f"EMR {scheme}", "kind": "secret", "reference": f"emr-{scheme}", "hosts": ["emr.example.org"]}
    assert httpx.post(f"{installation.url}/api/v1/credentials", json=credential).status_code == 201
    with psycopg2.connect(installation.settings.resolved_database_url()) as connection, connection.cursor() as cursor:
        _broken(cursor, made["id"])
    for name, path in {
        "list": "/",
        "no list": "/?q=nothing-is-called-so",
        "for you": "/for-you",
        "week": "/week",
        "audit": "/audit",
        "access": "/access",
        "credentials": "/credentials",
        "limits": "/limits",
        "protections": "/protections?change=safe_harbor",
        "import": "/connectors/import",
        "connector": where,
        "edit": f"{where}/edit",
        "duplicate": f"{where}/duplicate",
        "nothing": "/connectors/999999",
    }.items():
        person.go(path)
        look(name)
    _look_at_wizard(person, look)
    page.goto(f"{guarded.url}/login/token")
    look("log in")
    page.goto(guarded.url)
    look("who are you")
    assert wrong == {}
    page.context.close()


def test_no_page_is_wider_than_a_phone(installation: Installation, web: str, chromium: Any) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    context.set_default_timeout(PATIENCE)
    person = Person(context.new_page(), installation, web)
    body = {"name": "A study with a rather long name, of a department with another", "source": BODY["source"]}
    made = httpx.post(f"{installation.url}/api/v1/connectors", json={**body, "schedule": "0 5 * * *"}).json()
    where = f"/connectors/{made['id']}"
    with psycopg2.connect(installation.settings.resolved_database_url()) as connection, connection.cursor() as cursor:
        _broken(cursor, made["id"])
    wide = {}

    def look(name: str) -> None:
        room, needed = person.page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
        if needed > room:
            wide[name] = needed
        if "CAI_SCREENSHOTS" in os.environ:
            kept = Path(os.environ["CAI_SCREENSHOTS"]) / f"page-phone{name.replace('/', '-')}.png"
            person.page.screenshot(path=kept, full_page=True)

    for path in (
        "/",
        "/for-you",
        "/week",
        "/audit",
        "/access",
        "/credentials",
        "/limits?change=any",
        "/protections",
        "/connectors/import",
        where,
        f"{where}/edit",
    ):
        person.go(path)
        look(path)
    person.choose("sql_database")
    look("/login")
    person.write(WALKS["postgresql"].login)
    for step in ("What to load", "Where it goes", "When and under which name"):
        if step == "Where it goes":
            person.page.locator('input[type=checkbox][value="visit"]').first.check()
        person.on()
        person.stands_at(step)
        look(f"/{step}")
    assert wide == {}
    context.close()


def _broken(cursor: Any, number: int) -> None:
    """A connector that failed, and deletes that wait."""
    cursor.execute("UPDATE cai_loads SET is_last = NULL WHERE connector_id = %s", [number])
    cursor.execute(
        "INSERT INTO cai_loads (connector_id, generation, actor, started_at, ended_at, outcome, message, is_last, "
        "failures) VALUES (%s, 1, 'schedule', now(), now(), 'failed', 'The source can''t be reached.', true, 3)",
        [number],
    )
    cursor.execute(
        "INSERT INTO cai_withheld_deletes (connector_id, table_name, gone, rows) VALUES (%s, 'visit', 12, 20)", [number]
    )


def test_a_foreign_teams_name_is_in_no_byte_of_any_page(guarded: Installation, chromium: Any) -> None:
    admin = httpx.Client(base_url=guarded.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    secret = f"Study of {OTHER}"
    body = {"name": secret, "schedule": "0 5 * * *", "source": BODY["source"], "team": OTHER, "owner": f"{OTHER} desk"}
    theirs = admin.post("/api/v1/connectors", json=body).json()
    with psycopg2.connect(guarded.settings.resolved_database_url()) as connection, connection.cursor() as cursor:
        _broken(cursor, theirs["id"])
    ours = admin.post("/api/v1/connectors", json={**body, "name": "Ours", "team": OWN, "owner": None}).json()
    token = admin.post("/api/v1/tokens", json={"name": "ann", "role": Role.ADMIN, "team": OWN}).json()["token"]
    page = opened(chromium)
    page.goto(f"{guarded.url}/login/token")
    page.locator("#token").fill(token)
    page.locator("button.main").click()
    page.get_by_role("link", name="Ours").wait_for()
    number, foreign = ours["id"], theirs["id"]
    paths = (
        "/for-you",
        "/week",
        "/audit",
        "/access",
        "/credentials",
        "/limits",
        "/protections",
        f"/connectors/{number}",
    )
    edits = (f"/connectors/{number}/edit", f"/connectors/{number}/duplicate", f"/connectors/{foreign}", "/?q=Study")
    visited = ("/", *paths, *edits, "/?team=-", f"/connectors/{foreign}/edit", "/connectors/new?kind=fhir")
    for path in visited:
        body = page.goto(f"{guarded.url}{path}").body()
        assert body, path
        assert OTHER.encode() not in body, path
        assert secret.encode() not in body, path
    page.context.close()
    admin.close()
