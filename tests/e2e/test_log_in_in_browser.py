"""People log in at the page in Chromium, at two makers' OpenID Connect providers: in with a role, out, and timed out.

Needs Chromium on the machine, and for the certified one of npm also node with the package `oidc-provider`.
"""

import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest

from tests.support.api_rig import TOKEN
from tests.support.people import OTHER, OWN, made_connector
from tests.support.servers.api_process import served
from tests.support.servers.peers import oidc_provider
from tests.support.servers.prefect_server import free_port
from tests.support.waiting import until

playwright: Any = pytest.importorskip("playwright.async_api")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROLES = {"oncology": {"role": "editor", "team": OWN}}
SECONDS = 45
"""How long a log-in lasts: long enough to look round on a busy machine."""
WAIT_MILLISECONDS = 60_000

pytestmark = [pytest.mark.alone, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

Runs = Callable[[Path, str, int], AbstractContextManager[str]]


@contextmanager
def mocked(directory: Path, callback: str, seconds: int) -> Iterator[str]:
    """PyPI's `oidc-provider-mock`: its issuer, with the users of `oidc_provider`."""
    del directory, callback
    mock: Any = pytest.importorskip("oidc_provider_mock", reason="no oidc-provider-mock here")
    users = [
        mock.User(sub="ann", claims={"email": "ann@example.org", "groups": ["oncology"]}),
        mock.User(sub="eve", claims={"email": "eve@example.org", "groups": ["strangers"]}),
    ]
    with mock.run_server_in_thread(user_claims=users, access_token_max_age=timedelta(seconds=seconds)) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    """Chromium."""
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        try:
            yield browser
        finally:
            await browser.close()


async def visiting(browser: Any) -> Any:
    """A page of a browser that nobody has used, which loads nothing from elsewhere."""
    context = await browser.new_context()
    context.set_default_timeout(WAIT_MILLISECONDS)

    async def nearby(route: Any) -> None:
        is_near = urlsplit(route.request.url).hostname in {"127.0.0.1", "localhost"}
        await (route.continue_() if is_near else route.abort())

    await context.route("**/*", nearby)
    return await context.new_page()


async def log_in(page: Any, url: str, name: str) -> str:
    """Follow the page's link, and let a user act at the provider; the address to which the browser was sent first."""
    await page.goto(url)
    async with page.expect_request(lambda request: "code_challenge" in request.url) as asked:
        await page.get_by_role("link", name="Log in").click()
    address = str((await asked.value).url)
    if await page.locator("input[name=sub]").count():
        await page.locator("input[name=sub]").fill(name)
        await page.get_by_role("button", name="Authorize").click()
    else:
        if await page.locator("input[name=login]").count():
            await page.locator("input[name=login]").fill(name)
            await page.locator("input[name=password]").fill("any")
            await page.get_by_role("button", name="Sign-in").click()
        if await page.get_by_role("button", name="Continue").count():
            await page.get_by_role("button", name="Continue").click()
    await page.wait_for_url(lambda at: urlsplit(at).port == urlsplit(url).port)
    return address


async def log_ins(database_url: str) -> list[tuple[str, str]]:
    """What the history tells of log-ins: action and actor."""
    connection = await asyncpg.connect(database_url)
    try:
        query = "SELECT action, actor FROM cai_audit WHERE action LIKE 'log%' ORDER BY id"
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


@pytest.mark.parametrize("runs", [oidc_provider, mocked], ids=["oidc-provider", "oidc-provider-mock"])
async def test_a_user_is_let_in_with_the_role_of_a_group_goes_out_and_is_timed_out(
    browser: Any, database_url: str, tmp_path: Path, runs: Runs
) -> None:
    port = free_port()
    with runs(tmp_path, f"http://127.0.0.1:{port}/login/callback", SECONDS) as issuer:
        told = {
            "CAI_OIDC_ISSUER": issuer,
            "CAI_OIDC_CLIENT_ID": "connectors",
            "CAI_OIDC_CLIENT_SECRET": "of-the-test",
            "CAI_OIDC_SCOPES": "openid email groups",
            "CAI_OIDC_ROLES": json.dumps(ROLES),
        }
        with served(database_url, tmp_path, TOKEN, port=port, **told) as url:
            async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as admin:
                for team in (OWN, OTHER):
                    await made_connector(admin, team)
            await visit(browser, url)
    said = await log_ins(database_url)
    ann = [(action, actor) for action, actor in said if "ann" in actor]
    assert [action for action, _ in ann] == ["log_in", "log_out", "log_in"]
    assert [action for action, actor in said if "eve" in actor] == ["log_in_refused"]


async def visit(browser: Any, url: str) -> None:
    """What ann and eve see."""
    page = await visiting(browser)
    asked = parse_qs(urlsplit(await log_in(page, f"{url}/week", "ann")).query)
    assert (asked["code_challenge_method"], asked["response_type"]) == (["S256"], ["code"])
    assert urlsplit(page.url).path == "/week", await page.content()
    await page.goto(f"{url}/")
    await page.get_by_text(f"Secret study of {OWN}").wait_for()
    text = await page.content()
    assert f"Secret study of {OTHER}" not in text
    # The role of the group: an editor sees credentials, and neither the audit trail nor tokens.
    assert await page.get_by_role("link", name="Credentials").count() == 1
    assert await page.get_by_role("link", name="Audit").count() == 0
    assert await page.evaluate("document.cookie") == "", "scripts read no cookie of ours"

    await page.get_by_role("button", name="Log out").click()
    await page.get_by_text("You are logged out.").wait_for()
    assert (await page.goto(f"{url}/")).status == 401

    await log_in(page, f"{url}/", "ann")
    await page.get_by_text(f"Secret study of {OWN}").wait_for()

    stranger = await visiting(browser)
    await log_in(stranger, f"{url}/", "eve")
    await stranger.get_by_text("none of the groups has a role here").wait_for()
    assert (await stranger.goto(f"{url}/")).status == 401

    async def has_ended() -> bool:
        return bool((await page.goto(f"{url}/")).status == 401)

    await until("the session has ended with the token", has_ended, SECONDS + 30)
    await page.get_by_text("Who are you?").wait_for()
