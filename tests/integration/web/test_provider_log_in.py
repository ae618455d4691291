"""Logging in at the page by an OpenID Connect provider: one of PyPI's, over real HTTP."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from api.app import create_app
from api.sign_in.code_flow import Attempt
from settings import Settings
from tests.support.api_rig import no_prefect, reached, unreachable
from tests.support.people import OWN, Browser, browsing

mock: Any = pytest.importorskip("oidc_provider_mock", reason="no oidc-provider-mock here")

ANN, EVE = "ann@example.org", "eve@example.org"
TOKENS_LAST = timedelta(seconds=50)
"""Less than the minute by which Authlib, by itself, holds a token to have expired."""
ROLES = {"oncology": {"role": "editor", "team": OWN}}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A provider with two users, of whom one is in a group that has a role."""
    users = [
        mock.User(sub="u1", claims={"email": ANN, "groups": ["oncology"]}),
        mock.User(sub="u2", claims={"email": EVE, "groups": ["strangers"]}),
    ]
    with mock.run_server_in_thread(user_claims=users, access_token_max_age=TOKENS_LAST) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
async def browser(database_url: str, issuer: str) -> AsyncIterator[Browser]:
    """A browser at an installation that trusts the provider."""
    settings = Settings(
        database_url=SecretStr(database_url),
        oidc_issuer=issuer,
        oidc_client_id="connectors",
        oidc_client_secret=SecretStr("of-the-test"),
        oidc_roles=ROLES,
    )
    app = create_app(settings, no_prefect, reached, unreachable)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport) as http, browsing(http) as found:
            yield found


async def answered(browser: Browser, sub: str, **form: str) -> str:
    """Begins a log-in and lets a user act at the provider; where the provider sends the browser."""
    begun = await browser.get("/login", params={"next": "/week"})
    assert begun.status_code == 303
    async with httpx.AsyncClient() as http:
        answer = await http.post(begun.headers["location"], data=form or {"sub": sub})
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


async def entries(database_url: str) -> list[tuple[str, str]]:
    """What the history tells of log-ins: action and actor."""
    connection = await asyncpg.connect(database_url)
    try:
        query = "SELECT action, actor FROM cai_audit WHERE action LIKE 'log%' ORDER BY id"
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_a_user_of_the_provider_logs_in_with_the_role_of_a_group(browser: Browser, database_url: str) -> None:
    assert (await browser.get("/week")).status_code == 401
    asked = parse_qs(urlsplit((await browser.get("/login")).headers["location"]).query)
    assert (asked["code_challenge_method"], asked["response_type"]) == (["S256"], ["code"])
    assert asked["redirect_uri"] == ["http://127.0.0.1:8080/login/callback"]
    assert all(len(asked[each][0]) > 20 for each in ("state", "nonce", "code_challenge"))
    back = await answered(browser, "u1")
    welcome = await browser.get(back)
    assert (welcome.status_code, welcome.headers["location"]) == (303, "/week"), welcome.text
    page = await browser.get("/week")
    assert (page.status_code, ANN in page.text) == (200, True)
    assert (await browser.get("/connectors/new")).status_code == 200
    assert "/access" not in page.text
    connection = await asyncpg.connect(database_url)
    try:
        left = await connection.fetchval("SELECT max(expires_at) - now() FROM cai_sessions")
    finally:
        await connection.close()
    assert timedelta(seconds=1) < left <= TOKENS_LAST
    # The same answer again, as from the browser's history, logs nobody in.
    assert (await browser.get(back)).status_code == 403
    assert await entries(database_url) == [("log_in", ANN), ("log_in_refused", "nobody")]


async def test_who_is_in_no_group_with_a_role_is_told_so(browser: Browser, database_url: str) -> None:
    answer = await browser.get(await answered(browser, "u2"))
    assert answer.status_code == 403
    assert "none of the groups has a role here" in answer.text
    assert (await browser.get("/")).status_code == 401
    assert await entries(database_url) == [("log_in_refused", EVE)]


async def test_an_answer_that_is_not_for_this_browser_logs_nobody_in(browser: Browser) -> None:
    back = await answered(browser, "u1")
    attempt = Attempt.read(browser.cookies["cai_log_in"])
    assert attempt is not None
    for changed in (
        "",
        "nonsense",
        Attempt("another", attempt.nonce, attempt.verifier, "/").written(),
    ):
        assert await with_attempt(browser, back, changed) == 403, changed
    back = await answered(browser, "u1")
    attempt = Attempt.read(browser.cookies["cai_log_in"])
    assert attempt is not None
    changed = Attempt(attempt.state, "another", attempt.verifier, "/").written()
    assert await with_attempt(browser, back, changed) == 403


async def with_attempt(browser: Browser, back: str, attempt: str) -> int:
    """The status of a provider's answer in a browser that keeps this attempt."""
    browser.cookies.clear()
    browser.cookies.set("cai_log_in", attempt, domain="127.0.0.1", path="/login")
    status = (await browser.get(back)).status_code
    assert "cai_session" not in browser.cookies
    return status


async def test_who_declines_at_the_provider_is_logged_in_by_nothing(browser: Browser, database_url: str) -> None:
    answer = await browser.get(await answered(browser, "u1", action="deny"))
    assert answer.status_code == 403
    assert await entries(database_url) == [("log_in_refused", "nobody")]


async def test_a_provider_that_is_down_is_told_in_a_sentence(database_url: str) -> None:
    settings = Settings(
        database_url=SecretStr(database_url), oidc_issuer="http://127.0.0.1:9", oidc_client_id="connectors"
    )
    app = create_app(settings, no_prefect, reached, unreachable)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport) as http, browsing(http) as browser:
            answer = await browser.get("/login")
            assert answer.status_code == 503
            assert "does not answer" in answer.text
            assert (await browser.get("/login/token")).status_code == 200
