"""Locks of other people's transactions: one row is one connector's matter, and troubles that last are told by name."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from connectors.connector import ConnectorRow
from connectors.freshness import Promise
from connectors.status import Phase, Reason
from database.connection.engine import open_engine
from database.control.cycle_requests import CycleResult, Requests
from database.store import Store
from deployments.monitoring import alerts as alerts_module
from deployments.monitoring.alerts import Alerts
from deployments.monitoring.database_health import DatabaseHealth
from rigs.control_plane import Rig, insert, rig
from rigs.fake_prefect import FakePrefect
from tests.support.control_plane.last_loads import record_last_load
from tests.support.servers.webhook import Webhook

LEFT_OPEN = [
    "SELECT * FROM cai_connectors WHERE id = {0} FOR UPDATE",
    "SELECT * FROM cai_connectors WHERE id = {0} FOR SHARE",
    "UPDATE cai_connectors SET description = 'being edited' WHERE id = {0}",
]


@asynccontextmanager
async def left_open(database_url: str, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """A back end's transaction that has run these statements and is not ended."""
    connection = await asyncpg.connect(database_url, server_settings={"application_name": "a back end"})
    transaction = connection.transaction()
    await transaction.start()
    try:
        for statement in statements:
            await connection.execute(statement)
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


async def of(parts: Rig, connector_id: int) -> tuple[Phase | None, Reason | None]:
    status = await parts.status(connector_id)
    return (None, None) if status is None else (status.phase, status.reason)


async def row(parts: Rig, connector_id: int) -> ConnectorRow:
    found = await parts.store.row(connector_id)
    assert found is not None
    return found


@pytest.mark.parametrize("statement", LEFT_OPEN)
async def test_a_row_that_a_back_end_holds_is_its_connectors_matter_and_the_others_go_on(
    store: Store, database_url: str, statement: str
) -> None:
    async with rig(store, FakePrefect()) as parts:
        held, *others = [await parts.insert(name=f"c{number}") for number in range(5)]
        began = time.monotonic()
        async with left_open(database_url, statement.format(held)):
            await parts.cycle()
            assert time.monotonic() - began < 10, "nobody waits for another connector's row"
            assert [await of(parts, other) for other in others] == [(Phase.SYNCED, Reason.IN_SYNC)] * 4
            assert all([(await row(parts, other)).prefect_deployment_id for other in others])
            assert await of(parts, held) == (Phase.RETRYING, Reason.ROW_LOCKED)
            status = await parts.status(held)
            assert status is not None
            assert "Another session's open transaction holds this connector's row" in (status.message or "")
            for attempts in range(2, 8):
                parts.clock.advance(31)
                await parts.cycle()
                again = await parts.status(held)
                assert again is not None
                assert again.attempts == attempts, "it is tried again, at least every 30 s"
        parts.clock.advance(31)
        await parts.cycle()
        assert await of(parts, held) == (Phase.SYNCED, Reason.IN_SYNC)
        assert (await row(parts, held)).prefect_deployment_id is not None


async def test_the_lease_is_renewed_while_a_row_is_held(store: Store, database_url: str) -> None:
    """What waits holds no lease: a lock that a trigger of a back end's runs into is waited for, for a moment."""
    async with store.engine.begin() as connection:
        await connection.execute(sa.text("CREATE TABLE clinic (id int PRIMARY KEY)"))
        await connection.execute(sa.text("INSERT INTO clinic VALUES (1)"))
        await connection.execute(
            sa.text(
                "CREATE FUNCTION touch_clinic() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "IF NEW.name = 'c0' THEN PERFORM 1 FROM clinic FOR UPDATE; END IF; RETURN NEW; END $$"
            )
        )
        await connection.execute(
            sa.text("CREATE TRIGGER touch BEFORE UPDATE ON cai_connectors FOR EACH ROW EXECUTE FUNCTION touch_clinic()")
        )
    async with rig(store, FakePrefect()) as parts:
        held, *others = [await parts.insert(name=f"c{number}") for number in range(20)]
        async with left_open(database_url, "SELECT * FROM clinic FOR UPDATE"):
            cycle = asyncio.create_task(parts.cycle())
            while not cycle.done():
                async with asyncio.timeout(1):
                    await parts.lease.renew()
                await asyncio.sleep(0.05)
            await cycle
            assert {await of(parts, other) for other in others} == {(Phase.SYNCED, Reason.IN_SYNC)}
            assert await of(parts, held) == (Phase.RETRYING, Reason.ROW_LOCKED)
        parts.clock.advance(31)
        await parts.cycle()
        assert await of(parts, held) == (Phase.SYNCED, Reason.IN_SYNC)


async def test_a_status_row_that_somebody_holds_is_remembered_until_it_can_be_written(
    store: Store, database_url: str
) -> None:
    async with rig(store, FakePrefect()) as parts:
        held, other = [await parts.insert(name=f"c{number}") for number in range(2)]
        await parts.cycle()
        for connector_id in (held, other):
            await parts.change(connector_id, is_active=False)
        lock = f"SELECT * FROM cai_connector_status WHERE connector_id = {held} FOR UPDATE"
        async with left_open(database_url, lock):
            await parts.cycle()
            assert await of(parts, other) == (Phase.PAUSED, Reason.INACTIVE)
            assert await of(parts, held) == (Phase.SYNCED, Reason.IN_SYNC)
            assert parts.reconciler.known[held].reason is Reason.ROW_LOCKED
        parts.clock.advance(31)
        await parts.cycle()
        assert await of(parts, held) == (Phase.PAUSED, Reason.INACTIVE)


@pytest.mark.parametrize("table", ["cai_connector_status", "cai_connector_loads"])
async def test_what_is_left_of_a_deleted_connector_goes_once_its_rows_are_free(
    store: Store, database_url: str, table: str
) -> None:
    gateway = FakePrefect()
    async with rig(store, gateway) as parts:
        held, other = [await parts.insert(name=f"c{number}") for number in range(2)]
        await parts.cycle()
        async with store.engine.begin() as connection:
            for number in (held, other):
                await record_last_load(connection, number)
        await parts.remove(held, other)
        async with left_open(database_url, f"SELECT * FROM {table} WHERE connector_id = {held} FOR UPDATE"):
            await parts.cycle()
            assert await parts.status(other) is None
            assert (await parts.status(held)) is not None
            assert gateway.server.deployments == {}
        parts.clock.advance(31)
        await parts.cycle()
        assert await parts.status(held) is None
        assert await store.loads() == {}


async def test_a_trigger_that_refuses_one_connector_refuses_no_other(store: Store) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(
            sa.text(
                "ALTER TABLE cai_connectors ADD CONSTRAINT no_robots "
                "CHECK (name <> 'c7' OR prefect_deployment_id IS NULL)"
            )
        )
    async with rig(store, FakePrefect()) as parts:
        numbers = [await parts.insert(name=f"c{number}") for number in range(20)]
        await parts.cycle()
        refused = numbers[7]
        assert {await of(parts, each) for each in numbers if each != refused} == {(Phase.SYNCED, Reason.IN_SYNC)}
        status = await parts.status(refused)
        assert status is not None
        assert (status.phase, status.reason) == (Phase.RETRYING, Reason.DATABASE_REFUSED)
        assert "it breaks the constraint no_robots of the table cai_connectors" in (status.message or "")
        async with store.engine.begin() as connection:
            await connection.execute(sa.text("ALTER TABLE cai_connectors DROP CONSTRAINT no_robots"))
        parts.clock.advance(31)
        await parts.cycle()
        assert await of(parts, refused) == (Phase.SYNCED, Reason.IN_SYNC)


@pytest.mark.parametrize("table", ["cai_connectors", "cai_connector_status"])
@pytest.mark.parametrize("mode", ["SHARE", "ACCESS EXCLUSIVE"])
async def test_a_whole_table_that_is_held_ends_the_cycle_soon_and_the_lease_lives_on(
    store: Store, database_url: str, table: str, mode: str
) -> None:
    async with rig(store, FakePrefect()) as parts:
        for number in range(3):
            await parts.insert(name=f"c{number}")
        async with left_open(database_url, f"LOCK TABLE {table} IN {mode} MODE"):
            began = time.monotonic()
            with pytest.raises(DBAPIError):
                await parts.cycle()
            assert time.monotonic() - began < 10
            await parts.lease.renew()
        await parts.cycle()
        assert {status.phase for status in (await store.statuses()).values()} == {Phase.SYNCED}


async def test_what_lasts_is_alerted_by_its_own_name_and_with_who_holds_it(
    store: Store, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    health = DatabaseHealth(Alerts([], "clinical-ai"), 120, store.engine, monotonic=lambda: now)
    async with rig(store, FakePrefect()) as parts:
        await parts.insert()
        async with left_open(database_url, "LOCK TABLE cai_connector_status IN SHARE MODE") as holder:
            for now in (0.0, 60.0, 121.0, 180.0):  # noqa: B007 - the clock's own
                with pytest.raises(DBAPIError) as failed:
                    await parts.cycle()
                await health.failed(failed.value)
            pid = await holder.fetchval("SELECT pg_backend_pid()")
        alerts = [record.getMessage() for record in caplog.records if record.getMessage().startswith("ALERT")]
        assert len(alerts) == 1
        assert "another session's open transaction holds locks" in alerts[0]
        assert f"process {pid} (application a back end, for " in alerts[0]
        health.answered()
        assert [r for r in caplog.records if r.getMessage().startswith("RECOVERED database")]


async def test_the_end_of_a_databases_trouble_is_told_though_the_process_that_told_it_is_gone(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts_module, "RETRY_SECONDS", 0.0)
    with Webhook() as operations:
        first = DatabaseHealth(Alerts([operations.url], "clinical-ai", engine=store.engine), 0, store.engine)
        async with left_open(database_url, "LOCK TABLE cai_alerts IN SHARE MODE"):
            await first.failed(TimeoutError())
            await first.alerts.drain()
        await first.failed(TimeoutError())
        await first.alerts.drain()
        assert len(operations.said) == 1, "it is written down later, and told once"

        second = DatabaseHealth(Alerts([operations.url], "clinical-ai", engine=store.engine), 0, store.engine)
        await second.take_over()
        second.answered()
        second.answered()
        await second.alerts.drain()
        assert operations.said[1:] == [
            "[clinical-ai] Recovered: The database does what it is asked again; waiting changes go on."
        ]


async def test_a_promise_that_somebody_holds_keeps_no_other_from_being_written(store: Store, database_url: str) -> None:
    async with rig(store, FakePrefect()) as parts:
        now = parts.clock()
        kept = [Promise(number, "0 * * * *", "UTC", now) for number in (1, 2)]
        await store.keep_promises(kept, [], parts.lease.fence)
        later = [Promise(number, "5 * * * *", "UTC", now) for number in (1, 2)]
        async with left_open(database_url, "SELECT * FROM cai_connector_freshness WHERE connector_id = 1 FOR UPDATE"):
            await store.keep_promises(later, [], parts.lease.fence)
            found = await store.promises([1, 2])
            assert [found[number].schedule for number in (1, 2)] == ["0 * * * *", "5 * * * *"]
            await store.keep_promises([], [1, 2], parts.lease.fence)
        assert set(await store.promises([1, 2])) == {1}


async def test_a_request_that_somebody_holds_keeps_no_other_from_being_answered(
    store: Store, database_url: str
) -> None:
    requests = Requests(store.engine)
    async with rig(store, FakePrefect()) as parts:
        held, other = await requests.ask(allow_mass_prune=False), await requests.ask(allow_mass_prune=False)
        async with left_open(database_url, f"SELECT * FROM cai_cycle_requests WHERE id = {held} FOR UPDATE"):
            await requests.answer(await requests.pending(), CycleResult(True, "done"), parts.lease.fence)
            assert await requests.answer_of(other) is not None
        assert [each.id for each in await requests.pending()] == [held]


async def test_nobody_leads_and_it_is_told_while_the_leases_row_is_held(store: Store, database_url: str) -> None:
    async with rig(store, FakePrefect()) as parts:
        async with left_open(database_url, "SELECT * FROM cai_controller_lease FOR UPDATE"):
            began = time.monotonic()
            with pytest.raises(DBAPIError):
                await parts.lease.renew()
            assert time.monotonic() - began < 10, "who waits for the lease says soon that it waits in vain"
        await parts.lease.renew()


async def test_a_trigger_that_refuses_one_connectors_freshness_refuses_no_other(
    store: Store, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "ALTER TABLE cai_connector_freshness ADD CONSTRAINT odd CHECK (connector_id <> 2); "
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$; "
        "CREATE TRIGGER keep BEFORE DELETE ON cai_connector_freshness FOR EACH ROW WHEN (OLD.connector_id = 4) "
        "EXECUTE FUNCTION keep()"
    )
    await connection.close()
    async with rig(store, FakePrefect()) as parts:
        kept = [Promise(number, "0 * * * *", "UTC", parts.clock()) for number in range(1, 6)]
        await store.keep_promises(kept, [], parts.lease.fence)
        assert set(await store.promises(range(1, 6))) == {1, 3, 4, 5}
        await store.keep_promises(kept[:3], [4, 5], parts.lease.fence)
        assert set(await store.promises(range(1, 6))) == {1, 3, 4}


async def test_a_policy_that_refuses_one_connectors_row_stops_no_other(store: Store, database_url: str) -> None:
    name = database_url.rpartition("/")[2]
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        f"CREATE ROLE plain_{name} LOGIN PASSWORD 'plain'; GRANT ALL ON ALL TABLES IN SCHEMA public TO plain_{name}; "
        "ALTER TABLE cai_connectors ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON cai_connectors USING (true) "
        "WITH CHECK (name <> 'c1' OR prefect_deployment_id IS NULL)"
    )
    try:
        numbers = [await insert(store, name=f"c{number}") for number in range(3)]
        login = sa.make_url(database_url).set(username=f"plain_{name}", password="plain")
        engine = open_engine(login.render_as_string(hide_password=False))
        async with rig(Store(engine), FakePrefect()) as parts:
            await parts.cycle()
            found = [await of(parts, number) for number in numbers]
        await engine.dispose()
        assert [phase for phase, _ in found] == [Phase.SYNCED, Phase.RETRYING, Phase.SYNCED]
        assert found[1][1] is Reason.DATABASE_REFUSED
    finally:
        await connection.execute(f"DROP OWNED BY plain_{name}; DROP ROLE plain_{name}")
        await connection.close()
