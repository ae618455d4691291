"""Somebody new at the page of an empty installation: from nothing to the landed rows of a PostgreSQL table.

The whole platform as `make run DEMO=0` starts it, and Chromium. Counted is what is typed; the time is told. With
`CAI_SCREENSHOTS=docs/images` it keeps what is seen as pictures for the documentation.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import duckdb
import httpx
import pytest

from local.embedded_postgres import EmbeddedPostgres
from settings import ROOT, read_env_file
from tests.support.chromium import CHROMIUM, QUIET
from tests.support.servers.prefect_server import free_port

playwright: Any = pytest.importorskip("playwright.async_api")

ROWS = 1_234
MOST_FIELDS = 6
MOST_SECONDS = 180
START_SECONDS = 300
PATIENCE = 120_000

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Path]:
    """`make run DEMO=0` on free ports; where its `env` file will be."""
    told = {
        "CAI_DATA_DIR": str(tmp_path),
        "CAI_API_PORT": str(free_port()),
        "PREFECT_SERVER_API_PORT": str(free_port()),
        "DEMO": "0",
    }
    inherited = {key: value for key, value in os.environ.items() if key != "CAI_DATABASE_URL"}
    with subprocess.Popen([sys.executable, "-m", "local.stack"], cwd=ROOT, env=inherited | told) as stack:
        try:
            yield tmp_path
        finally:
            stack.terminate()


@pytest.fixture
async def address(platform: Path) -> str:
    """The page's address, once it answers and Prefect holds the controller's deployment."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        variables = read_env_file(platform / "env") if (platform / "env").exists() else {}
        try:
            async with httpx.AsyncClient() as client:
                (await client.get(f"{variables['CAI_API_URL']}/ready")).raise_for_status()
                flows = {"name": {"any_": ["create-connector"]}}
                url = f"{variables['PREFECT_API_URL']}/deployments/filter"
                if (await client.post(url, json={"flows": flows})).json():
                    return variables["CAI_API_URL"]
        except (httpx.HTTPError, KeyError):
            pass
        await asyncio.sleep(0.3)
    raise RuntimeError("The platform did not start.")


@pytest.fixture
async def clinic(postgres: EmbeddedPostgres) -> str:
    """A clinic's database with a table of visits."""
    url = postgres.create_database("clinic_of_the_page")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "CREATE TABLE visit (id bigint PRIMARY KEY, last_name text, updated_at timestamptz NOT NULL);"
            f"INSERT INTO visit SELECT n, 'Muster', now() FROM generate_series(1, {ROWS}) n"
        )
    finally:
        await connection.close()
    return url


@pytest.fixture
async def page() -> AsyncIterator[Any]:
    """A page of a browser."""
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        opened = await browser.new_page(viewport={"width": 1200, "height": 900})
        opened.set_default_timeout(PATIENCE)
        try:
            yield opened
        finally:
            await browser.close()


async def keep(page: Any, name: str) -> None:
    """A picture of the page for the documentation, if one is wanted."""
    if "CAI_SCREENSHOTS" in os.environ:
        await page.screenshot(path=Path(os.environ["CAI_SCREENSHOTS"]) / f"{name}.png", full_page=True)


async def test_from_nothing_to_landed_rows(
    page: Any, address: str, clinic: str, platform: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed: list[str] = []

    async def write(label: str, text: str) -> None:
        typed.append(label)
        await page.get_by_label(label, exact=True).filter(visible=True).first.fill(text)

    async def go_on(step: str) -> None:
        await page.locator("button.main[name=go][value=next]").click()
        await page.locator("[aria-current=step]", has_text=step).wait_for()

    began = time.monotonic()
    await page.goto(address)
    await page.get_by_role("link", name="Make the first connector").click()
    await page.get_by_role("button", name="Database").click()
    await page.get_by_text("Store a new one here").first.click()
    await write("Its name", "clinic")
    await write("The secret itself", clinic)
    await go_on("What to load")
    await page.get_by_role("checkbox", name="visit", exact=True).check()
    await keep(page, "page-wizard-tables")
    await go_on("Where it goes")
    await go_on("When and under which name")
    await page.locator("#name").fill("Visits of the clinic")
    typed.append("Name")
    await page.locator("button.main[name=go][value=next]").click()
    await page.locator("h1", has_text="Visits of the clinic").wait_for()
    while True:
        async with page.expect_navigation():
            await page.get_by_role("button", name="Load now").click()
        if await page.get_by_text("A load has been started").count():
            break
        await page.reload()  # the controller makes its deployment in a moment, and the page says so
    await page.get_by_text(f"Loaded {ROWS:,} rows").first.wait_for()
    seconds = time.monotonic() - began
    await page.goto(page.url.partition("?")[0])
    await keep(page, "page-connector")
    with duckdb.connect(str(platform / "warehouse.duckdb"), read_only=True) as warehouse:
        assert warehouse.execute("SELECT count(*), count(DISTINCT last_name) FROM connector_1.visit").fetchall() == [
            (ROWS, 1)
        ]
        assert warehouse.execute("SELECT count(*) FROM connector_1.visit WHERE last_name = 'Muster'").fetchall() == [
            (0,)
        ], "what may tell who a person is was proposed to be hashed"
    with capsys.disabled():
        print(f"\nFrom nothing to landed rows: {seconds:.0f} s, {len(typed)} fields typed.")
    assert len(typed) <= MOST_FIELDS, typed
    assert seconds <= MOST_SECONDS
