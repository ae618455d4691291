"""Logging in at the page by a token, a link or a proxy: sessions, forms, log-outs, and their entries in the history."""

import asyncio
import getpass
from pathlib import Path

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from api.app import create_app
from connectors.people import EVERYTHING, Role
from local.stack import Stack
from settings import Settings
from tests.support.api_rig import TOKEN, client, no_prefect, reached, unreachable
from tests.support.people import OWN, TOKENS, browsing, made_connector, made_token
from use_cases.sessions import LONGEST, REFUSED_A_MINUTE, RefusedTally, Sessions

SESSION = "cai_session"


async def told(database_url: str) -> list[tuple[str, str, str]]:
    """What the history tells of log-ins, the oldest first: action, actor, door."""
    connection = await asyncpg.connect(database_url)
    try:
        query = "SELECT action, actor, via FROM cai_audit WHERE action LIKE 'log%' ORDER BY id"
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_a_token_begins_a_session_of_its_person_and_log_out_ends_it(database_url: str) -> None:
    async with client(database_url, tokens=(TOKEN,)) as admin:
        token = await made_token(admin, Role.EDITOR, OWN, name="ann")
        made = await made_connector(admin, OWN)
        async with browsing(admin, token["token"]) as ann:
            cookie = ann.cookies[SESSION]
            page = await ann.get("/")
            assert page.status_code == 200
            assert "ann" in page.text
            assert (await ann.get("/access")).text.count(token["token"]) == 0
            done = await ann.send_form(f"/connectors/{made['id']}/resume", f"/connectors/{made['id']}")
            assert done.status_code == 303
            out = await ann.send_form("/logout")
            assert out.status_code == 303
            assert SESSION not in ann.cookies
            assert (await ann.get("/")).status_code == 401
            ann.cookies.set(SESSION, cookie, domain="127.0.0.1")
            assert (await ann.get("/")).status_code == 401
    assert await told(database_url) == [("log_in", "ann", "page"), ("log_out", "ann", "page")]
    connection = await asyncpg.connect(database_url)
    try:
        actors = await connection.fetch("SELECT actor, via FROM cai_audit WHERE action = 'update'")
        assert [tuple(each) for each in actors] == [("ann", "page")]
        # Neither the cookie nor the token is anywhere in what is kept.
        for table in ("cai_audit", "cai_sessions"):
            text = str(await connection.fetch(f"SELECT * FROM {table}"))
            assert cookie not in text
            assert token["token"] not in text
    finally:
        await connection.close()


async def test_the_session_of_a_token_ends_with_it(database_url: str) -> None:
    async with client(database_url, tokens=(TOKEN,)) as admin:
        token = await made_token(admin, Role.READER, None)
        async with browsing(admin, token["token"]) as person:
            assert (await person.get("/")).status_code == 200
            assert (await admin.delete(f"{TOKENS}/{token['id']}")).status_code == 204
            assert (await person.get("/")).status_code == 401
        ending = await made_token(admin, Role.READER, None, name="ending", expiresAt="2999-01-01T00:00:00Z")
        async with browsing(admin, ending["token"]) as person:
            assert (await person.get("/")).status_code == 200
            connection = await asyncpg.connect(database_url)
            try:
                left = await connection.fetchval("SELECT max(expires_at) - now() FROM cai_sessions")
                assert left <= LONGEST
                await connection.execute("UPDATE cai_sessions SET expires_at = now()")
            finally:
                await connection.close()
            assert (await person.get("/")).status_code == 401


async def test_the_session_of_the_environments_token_ends_when_that_is_changed(database_url: str) -> None:
    async with client(database_url, tokens=(TOKEN,)) as admin, browsing(admin, TOKEN) as person:
        assert (await person.get("/access")).status_code == 200
        cookie = person.cookies[SESSION]
    async with client(database_url, tokens=("another",)) as admin, browsing(admin) as person:
        person.cookies.set(SESSION, cookie, domain="127.0.0.1")
        assert (await person.get("/")).status_code == 401
    async with client(database_url, tokens=("another", TOKEN)) as admin, browsing(admin) as person:
        person.cookies.set(SESSION, cookie, domain="127.0.0.1")
        assert (await person.get("/")).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", "cai_" + "a" * 43, "x" * 20_000, "\udcff", "a.b.c"])
async def test_a_text_that_is_no_token_logs_nobody_in_and_is_written_nowhere(database_url: str, token: str) -> None:
    async with client(database_url, tokens=(TOKEN,)) as admin, browsing(admin) as stranger:
        text = token.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        answer = await stranger.send_form("/login/token", "/login/token", token=text)
        assert answer.status_code == 403
        assert "There is no such token" in answer.text
        assert SESSION not in stranger.cookies
        assert len(text) < 5 or text not in answer.text
        assert (await stranger.get("/")).status_code == 401
    assert await told(database_url) == [("log_in_refused", "nobody", "page")]


async def test_a_form_without_its_pages_text_changes_nothing(database_url: str) -> None:
    async with client(database_url, tokens=(TOKEN,)) as admin:
        made = await made_connector(admin, OWN)
        address = f"/connectors/{made['id']}/resume"
        async with browsing(admin, TOKEN) as ann, browsing(admin, TOKEN) as eve:
            theirs = await eve.form_text()
            for text in (None, "", "wrong", theirs):
                answer = await ann.post(address, data={} if text is None else {"csrf": text})
                assert answer.status_code == 403
                assert "Nothing was changed" in answer.text
                assert "Content-Security-Policy" in answer.headers
            assert (await ann.post("/logout")).status_code == 403
            assert (await ann.get("/")).status_code == 200
            row = (await admin.get(f"/api/v1/connectors/{made['id']}")).json()
            assert (row["isActive"], row["generation"]) == (False, 1)


async def test_a_stranger_cannot_log_a_browser_in_from_elsewhere(database_url: str) -> None:
    async with client(database_url, tokens=(TOKEN,)) as admin, browsing(admin) as browser:
        answer = await browser.post("/login/token", data={"token": TOKEN})
        assert answer.status_code == 403
        assert SESSION not in browser.cookies


async def test_where_nobody_is_asked_for_a_name_forms_are_guarded_all_the_same(database_url: str) -> None:
    async with client(database_url) as api, browsing(api) as browser:
        made = await made_connector(api, None)
        address = f"/connectors/{made['id']}/resume"
        assert (await browser.post(address)).status_code == 403
        assert (await browser.send_form(address, f"/connectors/{made['id']}")).status_code == 303
        assert (await browser.get("/login?next=/week")).headers["location"] == "/week"


@pytest.mark.parametrize(
    ("base_url", "secure"), [("http://127.0.0.1:8080", False), ("https://connectors.example.org", True)]
)
async def test_cookies_are_for_no_script_and_no_other_site(database_url: str, base_url: str, secure: bool) -> None:
    async with client(database_url, tokens=(TOKEN,)) as admin, browsing(admin, base_url=base_url) as browser:
        shown = await browser.get("/login")
        answer = await browser.send_form("/login/token", "/login", token=TOKEN)
        session, form = answer.headers["set-cookie"], shown.headers["set-cookie"]
        assert session.startswith("cai_session=")
        for cookie, same_site in ((session, "samesite=lax"), (form, "samesite=strict")):
            assert "httponly" in cookie.lower()
            assert same_site in cookie.lower()
            assert ("secure" in cookie.lower()) is secure


@pytest.mark.parametrize(
    "asked", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "/a\nb", "/login", "", "x"]
)
async def test_a_log_in_leads_to_pages_of_ours_alone(database_url: str, asked: str) -> None:
    async with client(database_url, tokens=(TOKEN,)) as admin, browsing(admin) as browser:
        answer = await browser.send_form("/login/token", "/login", token=TOKEN, next=asked)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert (await browser.get("/login", params={"next": asked})).headers["location"] == "/"
        assert (await browser.get("/login", params={"next": "/week"})).headers["location"] == "/week"


async def test_a_link_logs_in_once(database_url: str) -> None:
    async with client(database_url, tokens=(TOKEN,)) as admin, browsing(admin) as first, browsing(admin) as second:
        sessions: Sessions = admin._transport.app.state.sessions  # type: ignore[attr-defined]
        key = await sessions.make_link("ann", EVERYTHING)
        first.cookies.set(SESSION, key, domain="127.0.0.1")
        assert (await first.get("/")).status_code == 401
        assert (await first.get("/login/link", params={"key": key})).status_code == 303
        assert (await first.get("/access")).status_code == 200
        assert (await second.get("/login/link", params={"key": key})).status_code == 403
        assert (await second.get("/login/link")).status_code == 403
    assert [each[:2] for each in await told(database_url)] == [
        ("log_in", "ann"),
        ("log_in_refused", "nobody"),
        ("log_in_refused", "nobody"),
    ]


async def test_make_run_prints_a_link_that_logs_in(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url=SecretStr(database_url), data_dir=tmp_path, api_token=[SecretStr(TOKEN)])
    stack = Stack(settings, 4200, demo=False)
    stack._variables = {"CAI_API_URL": "http://127.0.0.1:8080", "CAI_DATABASE_URL": database_url}
    address = await asyncio.to_thread(stack._page)
    async with client(database_url, tokens=(TOKEN,)) as admin, browsing(admin) as browser:
        assert (await browser.get(address)).status_code == 303
        page = await browser.get("/access")
        assert (page.status_code, getpass.getuser() in page.text) == (200, True)


async def test_a_proxy_names_the_visitor_of_a_page_from_its_own_addresses_alone(database_url: str) -> None:
    settings = Settings(
        database_url=SecretStr(database_url),
        oidc_roles={"oncology": {"role": "editor", "team": OWN}},
        trusted_user_header="X-User",
        trusted_proxies=["10.1.0.0/16"],
    )
    app = create_app(settings, no_prefect, reached, unreachable)
    headers = {"X-User": "ann", "X-Forwarded-Groups": "oncology"}
    async with app.router.lifespan_context(app):
        for peer, status in (("10.1.2.3", 200), ("10.2.0.1", 401)):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(peer, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as http:
                answer = await http.get("/", headers=headers)
                assert answer.status_code == status, peer
                assert ("ann" in answer.text) is (status == 200)
                # Nobody logs out of a proxy here, and a form of another site's page is refused.
                assert "Log out" not in answer.text
                assert (await http.post("/connectors/new", headers=headers)).status_code == (
                    403 if status == 200 else 401
                )


def test_refused_log_ins_are_written_as_fast_as_people_make_them_and_else_counted() -> None:
    now = 0.0
    tally = RefusedTally(lambda: now)
    assert [tally.next() for _ in range(REFUSED_A_MINUTE)] == [0] * REFUSED_A_MINUTE
    assert [tally.next() for _ in range(7)] == [None] * 7
    now = 60.0
    assert (tally.next(), tally.next()) == (7, 0)
