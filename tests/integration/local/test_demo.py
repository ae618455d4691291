"""The demo's connector."""

import json
from pathlib import Path

import asyncpg
import duckdb

from connectors.sources.sql_database import SqlDatabaseSource
from local.clinic import TABLES
from local.demo import NAME, insert_once, landed, source


async def test_a_second_start_makes_no_second_connector(database_url: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        first = await insert_once(connection, tmp_path / "demo.json")
        assert first is not None
        assert await insert_once(connection, tmp_path / "demo.json") == first
        # Died between the row and the memory of it.
        (tmp_path / "demo.json").unlink()
        assert await insert_once(connection, tmp_path / "demo.json") == first
        assert await connection.fetchval("SELECT count(*) FROM cai_connectors") == 1
    finally:
        await connection.close()


async def test_what_a_user_does_with_the_demos_connector_stays(database_url: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        made = await insert_once(connection, tmp_path / "demo.json")
        await connection.execute("UPDATE cai_connectors SET name = 'mine', schedule = '5 5 * * *'")
        assert await insert_once(connection, tmp_path / "demo.json") == made
        row = await connection.fetchrow("SELECT name, schedule FROM cai_connectors")
        assert tuple(row) == ("mine", "5 5 * * *")
        await connection.execute("DELETE FROM cai_connectors")
        assert await insert_once(connection, tmp_path / "demo.json") is None
        assert await connection.fetchval("SELECT count(*) FROM cai_connectors") == 0
    finally:
        await connection.close()


async def test_another_database_is_not_taken_for_the_one_that_had_the_demo(database_url: str, tmp_path: Path) -> None:
    memory = tmp_path / "demo.json"
    memory.write_text(json.dumps({"00000000-0000-0000-0000-000000000000": 1}))
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("INSERT INTO cai_connectors (name, source) VALUES ('a stranger''s', '{}')")
        made = await insert_once(connection, memory)
        assert await connection.fetchval("SELECT name FROM cai_connectors WHERE id = $1", made) == NAME
    finally:
        await connection.close()


def test_the_demos_source_is_valid_and_merges_on_the_clinics_keys() -> None:
    described = SqlDatabaseSource.model_validate(source())
    assert {table.name: table.primary_key for table in described.tables} == TABLES
    assert described.credentials.model_dump() == {"block": "sqlalchemy-connector/clinic"}
    assert {table.write_disposition for table in described.tables} == {"merge"}


def test_landed_counts_the_tables_of_one_dataset_without_dlts_own(tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    assert landed(warehouse, "connector_1") == {}
    with duckdb.connect(str(warehouse)) as connection:
        for schema, table, rows in (("connector_1", "visit", 3), ("connector_1", "_dlt_loads", 1), ("other", "x", 9)):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            connection.execute(f"CREATE TABLE {schema}.{table} AS SELECT * FROM range({rows})")
    assert landed(warehouse, "connector_1") == {"visit": 3}
    assert landed(warehouse, "connector_2") == {}
