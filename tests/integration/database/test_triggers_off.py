"""Changes that move no counter: found by comparing what stands, by the controller at its next poll and by ETags."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from connectors.status import Phase
from database import audit
from database.audit import AuditFilter
from database.store import Store
from rigs.control_plane import Rig, rig
from rigs.fake_prefect import FakePrefect
from tests.support.api_rig import CONNECTORS, assert_problem, client, create


async def silently(database_url: str, statement: str) -> None:
    """Run a statement with all triggers off."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"SET session_replication_role = replica; {statement}")
    finally:
        await connection.close()


def crons(gateway: FakePrefect) -> dict[str, str]:
    return {row["name"]: row["schedules"][0]["schedule"]["cron"] for row in gateway.server.deployments.values()}


SILENT = [
    "UPDATE cai_connectors SET schedule = '7 7 * * *' WHERE id = 1",
    "UPDATE cai_connectors SET schedule = '7 7 * * *', generation = generation + 1 WHERE id = 1",
    "UPDATE cai_connectors SET schedule = '7 7 * * *', generation = 1 WHERE id = 1",
]


@pytest.mark.parametrize("statement", SILENT)
async def test_the_next_poll_finds_a_change_that_was_made_with_triggers_off(
    store: Store, database_url: str, statement: str
) -> None:
    gateway = FakePrefect()
    async with rig(store, gateway) as parts:
        changed, other = await parts.insert(name="a"), await parts.insert(name="b")
        await parts.change(changed, description="so that its generation is 2")
        await parts.cycle(audit=True)
        await silently(database_url, statement)
        parts.clock.advance(10)
        await parts.cycle()
        assert crons(gateway)[f"connector-{changed}-pipeline"] == "7 7 * * *"
        assert crons(gateway)[f"connector-{other}-pipeline"] == "0 */4 * * *"


async def test_a_write_that_changes_nothing_of_ours_asks_prefect_for_nothing(store: Store, database_url: str) -> None:
    gateway = FakePrefect()
    async with rig(store, gateway) as parts:
        number = await parts.insert()
        await parts.cycle(audit=True)
        await silently(database_url, "ALTER TABLE cai_connectors ADD COLUMN seen int")
        await silently(database_url, "UPDATE cai_connectors SET seen = 1")
        report = await parts.cycle()
        assert (report.settled, report.applied) == (set(), 0)
        await silently(database_url, "UPDATE cai_connectors SET schedule = '7 7 * * *'")
        assert await _settled(parts, number)
        await silently(database_url, "DELETE FROM cai_connectors")
        await parts.cycle()
        assert gateway.server.deployments == {}


async def _settled(parts: Rig, number: int) -> bool:
    await parts.cycle()
    status = await parts.status(number)
    return status is not None and status.phase is Phase.SYNCED


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API, without tokens."""
    async with client(database_url) as http:
        yield http


@pytest.mark.parametrize("statement", SILENT)
async def test_an_etag_is_stale_once_the_row_was_changed_with_triggers_off(
    api: httpx.AsyncClient, database_url: str, statement: str
) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    first = (await api.patch(where, json={"description": "seen"})).headers["ETag"]
    assert first == '"2"'
    await silently(database_url, statement)
    for stale in (first, '"1"'):
        assert_problem(await api.patch(where, json={"name": "x"}, headers={"If-Match": stale}), 412)
    now = (await api.get(where)).headers["ETag"]
    assert now.strip('"').partition("-")[2], "the content is in it where the counter says nothing"
    assert (await api.get(where)).headers["ETag"] == now
    patched = await api.patch(where, json={"name": "x"}, headers={"If-Match": now})
    assert patched.status_code == 200
    assert "-" not in patched.headers["ETag"], "what is saved through the triggers counts again"


async def test_our_own_write_neither_hides_a_silent_change_nor_makes_an_etag_stale(
    api: httpx.AsyncClient, database_url: str
) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    connection = await asyncpg.connect(database_url)
    try:
        ours = "UPDATE cai_connectors SET prefect_deployment_id = gen_random_uuid()"
        await connection.execute(ours)
        assert (await api.get(where)).headers["ETag"] == '"1"'
        await silently(database_url, "UPDATE cai_connectors SET description = 'silent'")
        await connection.execute(ours)
        assert_problem(await api.patch(where, json={"name": "x"}, headers={"If-Match": '"1"'}), 412)
        await connection.execute("UPDATE cai_connectors SET generation = 7")
        assert (await api.get(where)).headers["ETag"].startswith('"1-')
    finally:
        await connection.close()


@pytest.mark.parametrize("statement", [*SILENT, "DELETE FROM cai_connectors"])
async def test_the_controllers_audit_records_what_was_changed_with_triggers_off(
    store: Store, database_url: str, statement: str
) -> None:
    async with rig(store, FakePrefect()) as parts:
        number = await parts.insert(name="a")
        await parts.cycle(audit=True)
        await silently(database_url, statement)
        await parts.cycle(audit=True)
        await parts.cycle(audit=True)
        async with store.engine.connect() as connection:
            newest, created = await audit.history(connection, number, limit=5)
        assert (created.action, newest.action, newest.actor) == ("create", "found", "unknown")
        assert newest.reason is not None
        assert "triggers off" in newest.reason


async def test_a_mass_prune_that_is_allowed_is_an_entry(store: Store) -> None:
    async with rig(store, FakePrefect()) as parts:
        await parts.cycle(audit=True, allow_mass_prune=True)
        async with store.engine.connect() as connection:
            (entry,) = await audit.entries(connection, AuditFilter(), limit=5)
        assert (entry.action, entry.actor, entry.via) == ("allow_mass_prune", "controller", "controller")
