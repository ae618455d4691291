"""Limits of sources and profiles of what may land on the page: kept, shown, changed, refused and deleted."""

import html
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.api_rig import client
from tests.support.people import Browser, browsing

LIMIT = {
    "name": "emr",
    "hosts": "EMR.example.org, 10.0.0.7",
    "credentials": "emr-token, sqlalchemy-connector/emr",
    "loads": "2",
    "quiet_hours": "fri, sat 22:00-06:00 Europe/Berlin\r\n 12:00 - 13:00",
}
DROPS = '{"rules": [{"names": ["ssn"], "method": "drop"}]}'


@pytest.fixture
async def browser(database_url: str) -> AsyncIterator[Browser]:
    """A browser without scripts that follows no redirect."""
    async with client(database_url) as http, browsing(http) as browser:
        yield browser


def typed(page: httpx.Response) -> dict[str, str]:
    """What the fields of the page's form hold."""
    fields = re.findall(r'<input id="(\w+)"[^>]* value="([^"]*)"', page.text)
    fields += re.findall(r'<textarea id="(\w+)"[^>]*>([^<]*)</textarea>', page.text)
    return {name: html.unescape(value) for name, value in fields}


async def test_a_limit_is_kept_as_typed_changed_and_deleted(browser: Browser) -> None:
    assert (await browser.send_form("/limits", "/limits", **LIMIT)).status_code == 303
    kept = (await browser.get("/api/v1/source-limits/emr")).json()
    assert kept["hosts"] == ["emr.example.org", "10.0.0.7"]
    assert kept["credentials"] == [{"secret": "emr-token"}, {"block": "sqlalchemy-connector/emr"}]
    assert kept["quietHours"] == [
        {"start": "22:00", "end": "06:00", "days": ["fri", "sat"], "timezone": "Europe/Berlin"},
        {"start": "12:00", "end": "13:00", "days": [], "timezone": None},
    ]
    again = typed(await browser.get("/limits", params={"change": "emr"}))
    assert (await browser.send_form("/limits", "/limits", **{**again, "loads": ""})).status_code == 303
    changed = (await browser.get("/api/v1/source-limits/emr")).json()
    assert {**changed, "changedAt": 0} == {**kept, "loads": None, "changedAt": 0}
    assert (await browser.send_form("/limits/emr/delete", "/limits")).status_code == 303
    assert "No source has a limit." in (await browser.get("/limits")).text
    assert (await browser.send_form("/limits/emr/delete", "/limits")).status_code == 404


REFUSED: tuple[tuple[dict[str, str], str], ...] = (
    ({"name": "The EMR"}, "The name must have small letters"),
    ({"hosts": "https://emr/x"}, "https://emr/x must be a host's name alone"),
    ({"hosts": "", "credentials": ""}, "else the limit holds for nothing"),
    ({"loads": "", "quiet_hours": ""}, "else nothing is limited"),
    ({"loads": "many"}, "a number from 1 to 1000"),
    ({"credentials": "pass word"}, "pass word is none"),
    ({"quiet_hours": "at night"}, "“at night” must look like"),
    ({"quiet_hours": "25:00-06:00"}, "time of day"),
    ({"quiet_hours": "moonday 22:00-06:00"}, "mon"),
    ({"quiet_hours": "22:00-06:00 Berlin"}, "time zone"),
)


async def test_what_is_no_limit_is_refused_and_stays_typed(browser: Browser) -> None:
    for changes, words in REFUSED:
        answer = await browser.send_form("/limits", "/limits", **{**LIMIT, **changes})
        assert answer.status_code == 422, changes
        (refused,) = re.findall(r'<p class="refused" role="alert">([^<]+)</p>', answer.text)
        assert words in html.unescape(refused)
        assert {**typed(answer), "csrf": ""} == {**LIMIT, **changes, "csrf": ""}
    assert (await browser.get("/api/v1/source-limits")).json()["items"] == []


async def test_a_profile_is_kept_from_one_that_is_shipped_and_shown_to_be_changed(browser: Browser) -> None:
    begun = typed(await browser.get("/protections", params={"change": "limited_data_set"}))
    assert begun["name"] == "own_limited_data_set"
    assert (await browser.send_form("/protections", "/protections", **begun)).status_code == 303
    shipped = (await browser.get("/api/v1/protections/limited_data_set")).json()
    own = (await browser.get("/api/v1/protections/own_limited_data_set")).json()
    assert own["rules"] == shipped["rules"]
    for rules, words in (("{", "must be JSON"), ('{"rules": [{"path": "a[0]", "method": "drop"}]}', "by its number")):
        answer = await browser.send_form("/protections", "/protections", name="study", rules=rules)
        assert (answer.status_code, words in html.unescape(answer.text)) == (422, True)
    taken = await browser.send_form("/protections", "/protections", name="safe_harbor", rules=DROPS)
    assert (taken.status_code, "safe_harbor" in typed(taken)["name"]) == (422, True)
    assert (await browser.send_form("/protections/safe_harbor/delete", "/protections")).status_code == 403
    assert (await browser.send_form("/protections/own_limited_data_set/delete", "/protections")).status_code == 303
    assert "own_limited_data_set" not in (await browser.get("/protections")).text
