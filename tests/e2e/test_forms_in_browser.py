"""A business user in the Prefect UI: fills in the form for a connector, and its first run lands rows.

Needs Chromium on the machine. `CAI_SCREENSHOTS=docs/images` keeps what is seen as pictures for the documentation.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings

from local.embedded_postgres import EmbeddedPostgres
from settings import ROOT, read_env_file
from tests.support.chromium import CHROMIUM, QUIET
from tests.support.servers.prefect_server import free_port

playwright: Any = pytest.importorskip("playwright.async_api")

VISITS = 1234
START_SECONDS = 180
RUN_MILLISECONDS = 60_000
TRIES = 3

pytestmark = [pytest.mark.alone, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[dict[str, str]]:
    """`make run DEMO=0` on free ports; the variables of its `env` file."""
    told = {
        "CAI_DATA_DIR": str(tmp_path),
        "CAI_API_PORT": str(free_port()),
        "PREFECT_SERVER_API_PORT": str(free_port()),
        "DEMO": "0",
    }
    inherited = {key: value for key, value in os.environ.items() if key != "CAI_DATABASE_URL"}
    with subprocess.Popen([sys.executable, "-m", "local.stack"], cwd=ROOT, env=inherited | told) as stack:
        try:
            yield {**told, "env": str(tmp_path / "env")}
        finally:
            stack.terminate()


@pytest.fixture
async def joined(platform: dict[str, str]) -> dict[str, str]:
    """The platform's addresses, once its forms are deployed."""

    async def forms() -> dict[str, str] | None:
        variables = read_env_file(Path(platform["env"]))
        try:
            async with httpx.AsyncClient() as client:
                flows = {"name": {"any_": ["create-connector"]}}
                url = f"{variables['PREFECT_API_URL']}/deployments/filter"
                listed = (await client.post(url, json={"flows": flows})).json()
                (await client.get(f"{variables['CAI_API_URL']}/ready")).raise_for_status()
        except (httpx.HTTPError, KeyError):
            return None
        ui = variables["PREFECT_API_URL"].removesuffix("/api")
        if not listed:
            return None
        way = f"deployments/deployment/{listed[0]['id']}/run"
        return {**variables, "form": f"{ui}/{way}", "newer form": f"{ui}/v2/{way}"}

    found: dict[str, str] = await until(forms, START_SECONDS)
    return found


@pytest.fixture
async def clinic(postgres: EmbeddedPostgres) -> str:
    """A clinic's database with a table of visits."""
    url = postgres.create_database("clinic_of_the_form")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "CREATE TABLE visit AS SELECT n AS id, now() AS updated_at FROM generate_series(1, 1234) n"
        )
    finally:
        await connection.close()
    return url


@pytest.fixture
async def page(joined: dict[str, str]) -> AsyncIterator[Any]:
    """A page of a browser."""
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        try:
            yield await browser.new_page(viewport={"width": 1200, "height": 1650})
        finally:
            await browser.close()


async def until(condition: Any, seconds: float = 60) -> Any:
    """What `condition` says as soon as it says anything but None or False."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.2)
    return found


def field(scope: Any, label: str) -> Any:
    """The field of a form under this label."""
    said = f"span[contains(@class, 'schema-form-property__label')][starts-with(normalize-space(.), '{label}')]"
    return scope.locator(
        f"xpath=.//div[contains(concat(' ', @class, ' '), ' schema-form-property ')]"
        f"[./div[contains(@class, 'p-label__header')]//{said}]"
    ).first


async def write(scope: Any, label: str, text: str) -> None:
    """Fill in a text field."""
    await field(scope, label).locator("textarea").fill(text)


async def keep(page: Any, name: str) -> None:
    """A picture of the page for the documentation, if one is wanted."""
    if "CAI_SCREENSHOTS" in os.environ:
        await page.screenshot(path=Path(os.environ["CAI_SCREENSHOTS"]) / f"{name}.png")


async def test_a_connector_made_in_the_ui_lands_rows(page: Any, joined: dict[str, str], clinic: str) -> None:
    with temporary_settings({PREFECT_API_URL: joined["PREFECT_API_URL"]}):
        await Secret(value=clinic).asave("clinic-login")

    async with httpx.AsyncClient(base_url=joined["CAI_API_URL"], timeout=30) as api:
        # A slip first: the form's run says what is wrong, and nothing is saved.
        await fill_in(page, joined["form"], schedule="61 * * * *")
        await submit(page)
        await page.get_by_text("schedule: the minute field takes 0 to 59.").first.wait_for(timeout=RUN_MILLISECONDS)
        await page.locator(".state-badge").get_by_text("Failed").first.wait_for(timeout=RUN_MILLISECONDS)
        await keep(page, "form-refused")
        assert (await api.get("/api/v1/connectors")).json()["items"] == []

        await fill_in(page, joined["form"], schedule="0 2 * * *")
        await keep(page, "form-create")
        await submit(page)
        await page.get_by_text("was created.").first.wait_for(timeout=RUN_MILLISECONDS)
        await page.get_by_text("Artifacts", exact=True).click()
        await page.get_by_text("connector-1-form").first.click()
        await page.get_by_text("every day at 02:00 (Europe/Berlin)").first.wait_for()
        await keep(page, "form-created")

        (made,) = (await api.get("/api/v1/connectors")).json()["items"]
        where = f"/api/v1/connectors/{made['id']}"

        async def deployed() -> bool:
            return (await api.get(where)).json()["prefectDeploymentId"] is not None

        await until(deployed)
        run = (await api.post(f"{where}/run")).json()

        async def ended() -> Any:
            return (await api.get(f"{where}/runs")).json()["items"][0]["endedAt"] is not None

        await page.goto(run["url"])
        await until(ended, 120)
        (last,) = (await api.get(f"{where}/runs")).json()["items"]
        assert (last["id"], last["state"], last["rowsLoaded"]) == (run["id"], "Completed", VISITS), last["message"]

        # The same form in the newer of Prefect's UIs.
        await fill_in_newer(page, joined["newer form"], directory=joined["CAI_DATA_DIR"])
        await submit(page)

        async def named() -> Any:
            items = (await api.get("/api/v1/connectors")).json()["items"]
            return next((item for item in items if item["name"] == "Files of the clinic"), None)

        source = (await until(named))["source"]
        assert (source["type"], source["table"]) == ("files", "labs")


async def fill_in_newer(page: Any, form: str, *, directory: str) -> None:
    """The form for a connector of files, in the newer UI."""
    await page.goto(form)
    await page.get_by_label("name", exact=True).fill("Files of the clinic")
    await page.get_by_role("tab", name="Files").click()
    # The kind is chosen, from one, and nobody types another.
    await page.locator("button", has_text=re.compile("^files$")).wait_for()
    assert await page.get_by_role("textbox", name="Kind (Optional)").count() == 0
    assert "`" not in await page.locator("body").inner_text(), "help is shown as it is written"
    await page.get_by_label("Directory or bucket", exact=True).fill(directory)
    await page.get_by_label("Table (Optional)", exact=True).fill("labs")
    await page.get_by_label("schedule (Optional)", exact=True).fill("0 3 * * *")


async def submit(page: Any) -> None:
    """Submit the form, and go to its run."""
    for _ in range(TRIES):
        await page.get_by_role("button", name="Submit").click()
        try:
            await page.get_by_role("button", name="View run").last.click(timeout=RUN_MILLISECONDS // TRIES)
        except playwright.TimeoutError:
            continue  # a server on SQLite was busy and refused: the form stands as it was
        return
    raise AssertionError("the form's run was never made")


async def fill_in(page: Any, form: str, *, schedule: str) -> None:
    """The form for a connector of a SQL database."""
    await page.goto(form)
    await write(page, "name", "Visits of the clinic")
    source = field(page, "source")
    await source.get_by_text("SQL database").click()
    await write(source, "Credentials", "clinic-login")
    await source.get_by_role("button", name="Add item").first.click()
    table = field(source, "Tables")
    await write(table, "Table", "visit")
    key = field(table, "Primary key")
    await key.get_by_role("button", name="Add item").click()
    await key.locator("textarea").fill("id")
    await write(table, "Cursor column", "updated_at")
    await write(page, "schedule", schedule)
    await write(page, "timezone", "Europe/Berlin")
