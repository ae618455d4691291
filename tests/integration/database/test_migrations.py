"""The migrations: from nothing, on a back end's own table, and back."""

import subprocess

import asyncpg
import pytest

from local.embedded_postgres import EmbeddedPostgres
from rigs.migrated import migrate

CONSENT = ("-x", "drop-connectors=yes")
SOURCE = '{"type": "files", "url": "/data", "format": "csv", "table": "labs"}'


async def test_user_columns_alone_move_generation_and_updated_at(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        row = await connection.fetchrow(
            "INSERT INTO cai_connectors (name, source) VALUES ('a', $1) RETURNING *", SOURCE
        )
        assert (row["generation"], row["timezone"], row["is_active"], row["run_policy"]) == (1, "UTC", True, "{}")
        stored = await connection.fetchrow(
            "UPDATE cai_connectors SET prefect_deployment_id = gen_random_uuid() RETURNING *"
        )
        assert (stored["generation"], stored["updated_at"]) == (1, row["updated_at"])
        changed = await connection.fetchrow("UPDATE cai_connectors SET schedule = '0 * * * *' RETURNING *")
        assert changed["generation"] == 2
        assert changed["updated_at"] > row["updated_at"]
        same = await connection.fetchrow("UPDATE cai_connectors SET schedule = '0 * * * *', generation = 9 RETURNING *")
        assert same["generation"] == 2
    finally:
        await connection.close()


async def test_a_mappers_explicit_nulls_become_the_defaults(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        row = await connection.fetchrow(
            "INSERT INTO cai_connectors (name, source, timezone, is_active, run_policy, created_at, updated_at) "
            "VALUES ('a', $1, NULL, NULL, NULL, NULL, NULL) RETURNING *",
            SOURCE,
        )
        assert (row["timezone"], row["is_active"], row["run_policy"]) == ("UTC", True, "{}")
        assert row["created_at"] is not None
    finally:
        await connection.close()


async def test_a_change_that_matters_is_notified_and_our_own_write_is_not(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    heard: list[str] = []
    listener = await asyncpg.connect(database_url)
    try:
        await listener.add_listener("cai_connectors", lambda *args: heard.append(args[3]))
        number = await connection.fetchval(
            "INSERT INTO cai_connectors (name, source) VALUES ('a', $1) RETURNING id", SOURCE
        )
        await connection.execute("UPDATE cai_connectors SET prefect_deployment_id = gen_random_uuid()")
        await connection.execute("UPDATE cai_connectors SET is_active = false")
        await connection.execute("DELETE FROM cai_connectors")
        await connection.execute("TRUNCATE cai_connectors")
        await listener.execute("SELECT 1")  # notifications of committed transactions come before this answer
        assert heard == [str(number)] * 3 + ["*"]
    finally:
        await listener.close()
        await connection.close()


async def test_a_back_ends_table_is_adopted_with_its_rows_and_kept_by_the_downgrade(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("legacy")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "CREATE TABLE cai_connectors (id integer PRIMARY KEY, name varchar(80), schedule varchar(40), "
            "is_active boolean, prefect_deployment_id varchar(64), created_at timestamp, owner text)"
        )
        await connection.execute(
            "INSERT INTO cai_connectors VALUES "
            "(7, 'Labs', '0 * * * *', NULL, '6f1c3c1e-0c1b-4d5e-9a56-0d6f3b9f9c11', '2026-01-02 03:04:05', 'ann'), "
            "(8, NULL, NULL, false, 'pending', NULL, 'bob')"
        )
        migrate(url)
        rows = await connection.fetch("SELECT * FROM cai_connectors ORDER BY id")
        assert [row["name"] for row in rows] == ["Labs", "connector-8"]
        assert [row["is_active"] for row in rows] == [True, False]
        assert [str(row["prefect_deployment_id"]) for row in rows] == ["6f1c3c1e-0c1b-4d5e-9a56-0d6f3b9f9c11", "None"]
        assert [row["source"] for row in rows] == ["{}", "{}"]
        assert rows[0]["created_at"].isoformat() == "2026-01-02T03:04:05+00:00"
        assert rows[0]["owner"] == "ann"
        new = await connection.fetchval("INSERT INTO cai_connectors (name, source) VALUES ('n', '{}') RETURNING id")
        assert new == 9
        migrate(url, *CONSENT, "downgrade", "base")
        assert await connection.fetchval("SELECT count(*) FROM cai_connectors") == 3
        migrate(url)
        assert await connection.fetchval("SELECT count(*) FROM cai_connectors") == 3
    finally:
        await connection.close()


async def test_a_table_of_our_own_goes_with_the_downgrade_when_that_is_meant(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("fresh")
    migrate(url)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("INSERT INTO cai_connectors (name, source) VALUES ('a', $1)", SOURCE)
        migrate(url, *CONSENT, "downgrade", "base")
        for table in ("connectors", "connector_status", "connector_loads", "connector_freshness", "database", "alerts"):
            assert await connection.fetchval(f"SELECT to_regclass('cai_{table}')") is None, table
        migrate(url)
        assert await connection.fetchval("SELECT count(*) FROM cai_connectors") == 0
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("target", "table"),
    [
        ("0006", "cai_audit"),
        ("0002", "cai_connector_loads"),
        ("0001", "cai_database"),
        ("base", "cai_connectors"),
    ],
)
async def test_a_downgrade_that_would_delete_for_good_is_refused_and_changes_nothing(
    postgres: EmbeddedPostgres, target: str, table: str
) -> None:
    url = postgres.create_database(f"kept_{target}")
    migrate(url)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("INSERT INTO cai_connectors (name, source) VALUES ('a', $1)", SOURCE)
        if target == "0002":
            await connection.execute(
                "INSERT INTO cai_loads (connector_id, generation, started_at, outcome, is_last) "
                "VALUES (1, 1, now(), 'completed', true)"
            )
        if target == "base":
            await connection.execute("DELETE FROM cai_database")
        if target != "0006":
            migrate(url, *CONSENT, "downgrade", "0006")
        newest = await connection.fetchval("SELECT version_num FROM alembic_version")
        with pytest.raises(subprocess.CalledProcessError) as refused:
            migrate(url, "downgrade", target)
        said = refused.value.stdout + refused.value.stderr
        assert f"({table}, 1 rows) for good, so nothing was changed." in said
        assert "alembic -x drop-connectors=yes downgrade" in said
        assert "Traceback" not in said
        assert await connection.fetchval("SELECT count(*) FROM cai_connectors") == 1
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == newest
    finally:
        await connection.close()


async def test_doubled_names_are_refused_with_the_way_out(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("doubled")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE cai_connectors (id bigint PRIMARY KEY, name text)")
        await connection.execute("INSERT INTO cai_connectors VALUES (1, 'Labs'), (2, 'Labs')")
    finally:
        await connection.close()
    with pytest.raises(subprocess.CalledProcessError) as failed:
        migrate(url)
    assert "several connectors of one name (Labs): rename them first" in failed.value.stderr


async def test_how_loads_go_is_the_same_before_and_after_there_was_one_ledger(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("one_ledger")
    migrate(url, "upgrade", "0025")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            """
            INSERT INTO cai_loads (connector_id, generation, started_at, ended_at, outcome, message, rows) VALUES
                (1, 1, '2026-01-01', '2026-01-01', 'failed', 'No.', 0),
                (1, 2, '2026-01-02', '2026-01-02', 'completed', 'Loaded 3 rows.', 3),
                (1, 2, '2026-01-03', '2026-01-03', 'completed', 'A part of it.', 1),
                (2, 5, '2026-01-04', NULL, 'running', NULL, 0);
            INSERT INTO cai_connector_loads (connector_id, generation, outcome, message, rows, started_at, ended_at,
                last_success_at, failures, configuration_failures, loads_completed, loads_failed, rows_loaded,
                rows_rejected) VALUES
                (1, 2, 'completed', 'Loaded 3 rows.', 3, '2026-01-02', '2026-01-02', '2026-01-02', 0, 0, 1, 1, 3, 0),
                (2, 5, 'running', 'It failed before.', 0, '2026-01-04', NULL, '2025-12-01', 2, 1, 7, 9, 70, 4),
                (3, 1, 'failed', 'Pruned since.', 0, '2024-01-01', '2024-01-01', NULL, 1, 1, 0, 1, 0, 0)
            """
        )
        shown = "SELECT * FROM cai_connector_loads ORDER BY connector_id"
        before = [dict(row) for row in await connection.fetch(shown)]
        migrate(url)
        assert [dict(row) for row in await connection.fetch(shown)] == before
        assert await connection.fetchval("SELECT count(*) FROM cai_loads") == 5, "one for what had no row any more"
        migrate(url, "downgrade", "0025")
        assert [dict(row) for row in await connection.fetch(shown)] == before
    finally:
        await connection.close()
