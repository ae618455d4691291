"""DuckDB's memory by the width of tables."""

import pytest

from pipelines.loading.destinations import memory_for


@pytest.mark.parametrize(("widest", "megabytes"), [(0, 64), (40, 70), (2_050, 404), (4_000, 450)])
def test_duckdb_gets_memory_for_its_columns(widest: int, megabytes: int) -> None:
    assert memory_for(widest) == megabytes
