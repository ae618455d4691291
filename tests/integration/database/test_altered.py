"""A back end alters a table of ours while API and controller are at work: nobody's statement fails for it."""

import asyncpg
import pytest

from database.store import Store
from tests.support.api_rig import CONNECTORS, client, create
from tests.support.back_end import run

ALTERATIONS = [
    "ALTER TABLE cai_connectors ALTER COLUMN description TYPE varchar(200)",
    "ALTER TABLE cai_connectors ALTER COLUMN timezone TYPE varchar(64)",
    "ALTER TABLE cai_connectors ALTER COLUMN name TYPE varchar(90)",
    "ALTER TABLE cai_connector_status ALTER COLUMN message TYPE varchar(4000)",
    "ALTER TABLE cai_connectors ADD COLUMN clinic text DEFAULT 'x'",
]


@pytest.mark.parametrize("statement", ALTERATIONS)
async def test_a_statement_that_was_used_before_works_after_a_back_ends_alter_table(
    store: Store, database_url: str, statement: str
) -> None:
    async with client(database_url) as api:
        made = await create(api)
        for _ in range(3):
            assert (await api.get(CONNECTORS)).status_code == 200
            await store.rows(), await store.statuses(), await store.marks(), await store.fleet()
        await run(database_url, statement)
        await store.rows(), await store.statuses(), await store.marks(), await store.fleet()
        assert (await api.get(CONNECTORS)).status_code == 200
        assert (await api.patch(f"{CONNECTORS}/{made['id']}", json={"schedule": "7 7 * * *"})).status_code == 200


@pytest.mark.parametrize(
    "column",
    ["id TYPE integer", "name TYPE varchar(90)", "description TYPE varchar(200)", "tags TYPE varchar[]"],
)
async def test_a_session_that_has_written_goes_on_writing_and_its_history_is_kept(
    database_url: str, column: str
) -> None:
    session = await asyncpg.connect(database_url)
    try:
        for altered in (False, True):
            if altered:
                await run(database_url, f"ALTER TABLE cai_connectors ALTER COLUMN {column}")
            await session.execute("INSERT INTO cai_connectors (name, source, timezone) VALUES ('a', '{}', NULL)")
            await session.execute("UPDATE cai_connectors SET schedule = '0 7 * * *'")
            await session.execute("UPDATE cai_connectors SET prefect_deployment_id = gen_random_uuid()")
            row = await session.fetchrow("SELECT timezone, generation FROM cai_connectors")
            assert tuple(row) == ("UTC", 2)
            await session.execute("SET session_replication_role = replica")
            await session.execute("UPDATE cai_connectors SET description = 'written with the triggers off'")
            await session.execute("SET session_replication_role = origin")
            assert await session.fetchval("SELECT cai_audit_find()") == 1
            await session.execute("DELETE FROM cai_connectors")
        entries = await session.fetch("SELECT action FROM cai_audit ORDER BY id")
        assert [entry["action"] for entry in entries] == ["create", "update", "found", "delete"] * 2
    finally:
        await session.close()
