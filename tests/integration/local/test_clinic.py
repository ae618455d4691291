"""The demo's clinical database."""

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from local.clinic import TABLES, fill
from local.embedded_postgres import EmbeddedPostgres


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[str]:
    with EmbeddedPostgres(tmp_path / "postgres", throwaway=True) as postgres:
        yield postgres.create_database("clinic")


async def test_the_clinic_holds_every_row_under_its_key_and_is_filled_once(clinic: str) -> None:
    assert fill(clinic) == 218_232
    assert fill(clinic) == 0
    connection = await asyncpg.connect(clinic)
    try:
        for table, key in TABLES.items():
            columns = await connection.fetch(
                "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
                "AND a.attnum = ANY(i.indkey) WHERE i.indrelid = $1::text::regclass AND i.indisprimary",
                table,
            )
            assert {column[0] for column in columns} == set(key)
        kinds = await connection.fetchrow(
            "SELECT pg_typeof(measurement_id)::text, pg_typeof(measurement_date)::text FROM measurement LIMIT 1"
        )
        assert tuple(kinds) == ("bigint", "date")
    finally:
        await connection.close()
