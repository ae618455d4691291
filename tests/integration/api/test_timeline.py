"""The timeline over HTTP: loads, changes, phases and alerts of one connector in one row, a page at a time."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from connectors.freshness import Freshness, Promise
from connectors.people import Role
from connectors.status import Phase, Reason, Status
from database import events
from database.statuses import StatusRecord
from database.store import Store
from tests.support.api_rig import CONNECTORS, TOKEN, assert_problem, client, create
from tests.support.people import OTHER, OWN, holding, made_connector, made_token


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of CAI_API_TOKEN."""
    async with client(database_url, tokens=(TOKEN,)) as http:
        yield http


async def unfenced(_: Any) -> None:
    """A fence that lets everything by."""


async def stands(store: Store, number: int, phase: Phase, reason: Reason, message: str) -> None:
    """The controller records how a connector stands."""
    assert not await store.record([StatusRecord(number, Status(number, phase, reason, message))], unfenced)


async def shown(api: httpx.AsyncClient, number: int, **query: Any) -> dict[str, Any]:
    """A page of a timeline."""
    answer = await api.get(f"{CONNECTORS}/{number}/timeline", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def lived(api: httpx.AsyncClient, store: Store, database_url: str) -> int:
    """A connector that was made, planned, late, loaded, changed and broken, in this order."""
    number = int((await create(api))["id"])
    await stands(store, number, Phase.SYNCED, Reason.IN_SYNC, "Prefect holds it.")
    await stands(store, number, Phase.SYNCED, Reason.IN_SYNC, "Prefect still holds it.")
    since = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    quiet = Promise(number, "0 */4 * * *", "UTC", since)
    await store.keep_promises([quiet], [], unfenced)
    late = Promise(number, "0 */4 * * *", "UTC", since, Freshness.OVERDUE, since, alerted=True)
    await store.keep_promises([late], [], unfenced)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO cai_loads (connector_id, generation, actor, started_at, ended_at, outcome, rows) "
            "VALUES ($1, 1, 'schedule', clock_timestamp(), clock_timestamp(), 'completed', 42)",
            number,
        )
    finally:
        await connection.close()
    await store.keep_promises([quiet], [], unfenced)
    answer = await api.patch(f"{CONNECTORS}/{number}", json={"schedule": "nonsense"}, headers={"X-Reason": "a slip"})
    assert answer.status_code == 422
    answer = await api.patch(f"{CONNECTORS}/{number}", json={"description": "x"}, headers={"X-Reason": "so be it"})
    assert answer.status_code == 200
    await stands(store, number, Phase.INVALID, Reason.INVALID_SOURCE, "source: it names no table.")
    return number


async def test_all_that_became_of_a_connector_stands_in_one_row(
    api: httpx.AsyncClient, store: Store, database_url: str
) -> None:
    number = await lived(api, store, database_url)
    items = (await shown(api, number))["items"]
    assert [each["kind"] for each in items] == ["phase", "change", "alert", "load", "alert", "phase", "change"]
    invalid, changed, over, load, overdue, planned, made = items
    assert (invalid["standing"]["state"], invalid["standing"]["reason"]) == ("invalid", "InvalidSource")
    assert invalid["message"] == "source: it names no table."
    assert (changed["actor"], changed["message"]) == ("environment", "so be it")
    assert changed["change"]["changes"] == [{"path": "/description", "from": None, "to": "x"}]
    assert over["standing"]["state"] == "over"
    assert (load["load"]["rows"], load["actor"]) == (42, "schedule")
    assert overdue["standing"] == {
        "state": "overdue",
        "reason": None,
        "since": "2026-01-02T03:04:00Z",
        "alerted": True,
    }
    assert overdue["message"] == "It has missed its dates since 2026-01-02 03:04 UTC. People were notified."
    assert planned["message"] == "Prefect holds it.", "the same phase twice is one moment"
    assert made["change"]["action"] == "create"
    times = [each["at"] for each in items]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_hold_each_moment_once(api: httpx.AsyncClient, store: Store, database_url: str, limit: int) -> None:
    number = await lived(api, store, database_url)
    whole = (await shown(api, number))["items"]
    pages: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = await shown(api, number, **query)
        pages += page["items"]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert pages == whole
    answer = await api.get(f"{CONNECTORS}/{number}/timeline", params={"cursor": "1-2"})
    assert answer.status_code == 422
    assert "cursor is what nextCursor of the page before says, unchanged." in answer.text


async def test_of_another_teams_connector_nothing_is_told(api: httpx.AsyncClient) -> None:
    theirs = await made_connector(api, OTHER)
    token = await made_token(api, Role.ADMIN, OWN)
    async with holding(api, token["token"]) as ann:
        assert_problem(await ann.get(f"{CONNECTORS}/{theirs['id']}/timeline"), 404)


async def test_a_deleted_connectors_timeline_stays_until_it_is_old(
    api: httpx.AsyncClient, store: Store, database_url: str
) -> None:
    number = await lived(api, store, database_url)
    assert (await api.delete(f"{CONNECTORS}/{number}")).status_code == 204
    assert not await store.record([StatusRecord(number, None)], unfenced)
    items = (await shown(api, number))["items"]
    assert (items[0]["change"]["action"], len(items)) == ("delete", 8)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("UPDATE cai_connector_events SET at = at - interval '8 days' WHERE kind = 'phase'")
    finally:
        await connection.close()
    assert await events.prune(store.engine, timedelta(days=7), unfenced) == 2
    assert [each["kind"] for each in (await shown(api, number))["items"]].count("phase") == 0
