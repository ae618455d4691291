"""Limits of sources at the API: kept, shown, refused and deleted, with a history."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.api_rig import TOKEN, client

LIMITS = "/api/v1/source-limits"
NIGHT = {"start": "22:00", "end": "06:00", "days": ["fri"], "timezone": "Europe/Berlin"}


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of CAI_API_TOKEN."""
    async with client(database_url, tokens=(TOKEN,)) as http:
        yield http


async def test_a_limit_is_kept_shown_changed_and_deleted_with_a_history(admin: httpx.AsyncClient) -> None:
    said = {"hosts": ["EMR.example.org"], "credentials": [{"secret": "emr"}], "loads": 2, "quietHours": [NIGHT]}
    made = await admin.put(f"{LIMITS}/emr", json=said)
    assert made.status_code == 200, made.text
    kept = made.json()
    assert {name: kept[name] for name in said} == said | {"hosts": ["emr.example.org"]}
    assert (kept["name"], kept["waiting"], kept["changedBy"]) == ("emr", 0, "environment")
    assert (await admin.put(f"{LIMITS}/emr", json={"hosts": ["emr"], "loads": 1})).json()["quietHours"] == []
    assert [each["name"] for each in (await admin.get(LIMITS)).json()["items"]] == ["emr"]
    assert (await admin.delete(f"{LIMITS}/emr")).status_code == 204
    assert (await admin.get(f"{LIMITS}/emr")).status_code == 404
    entries = (await admin.get("/api/v1/audit")).json()["items"]
    assert [each["action"] for each in entries if "limit" in each["action"]] == [
        "source_limit_deleted", "source_limit_kept", "source_limit_kept",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "pointer", "words"),
    [
        ({"loads": 2}, "/hosts", "must name a host"),
        ({"hosts": ["emr"]}, "/loads", "nothing is limited"),
        ({"hosts": ["https://emr/"], "loads": 2}, "/hosts/0", "must be a host's name alone"),
        ({"hosts": ["emr"], "loads": 0}, "/loads", "1"),
        ({"hosts": ["emr"], "quietHours": [{"start": "1", "end": "06:00"}]}, "/quietHours/0/start", "time of day"),
        ({"credentials": ["password"], "loads": 1}, "/credentials/0", "Secret block"),
    ],
)
async def test_what_is_no_limit_is_refused_at_its_field(
    admin: httpx.AsyncClient, said: dict[str, Any], pointer: str, words: str
) -> None:
    answer = await admin.put(f"{LIMITS}/emr", json=said)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert words in error["detail"]
