"""Rows without a key are told before anything is written, with the way out."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipelines.errors import ConfigurationError
from pipelines.loading.deduplication.keys import Keys
from tests.support.data_plane.platform import Platform, Sql


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"id": [1, None], "r": [1, 1]}, "At least 1 row of table t has no value in the key column 'id'"),
        ({"r": [1, 2]}, "At least 2 rows of table t have no value in the key column 'id'"),
        ({"id": [1, None], "id__v_text": [None, "a-3"], "r": [1, 1]}, "run a full refresh"),
        ({"id": [1, 2]}, "Column 'r' was in the key of table t"),
    ],
)
def test_a_row_without_its_key_is_told_with_the_way_out(rows: dict[str, list[object]], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Keys("t", ("id",), ("r",)).check(pa.table(rows))
    assert sentence in str(refused.value)
    assert "a-3" not in str(refused.value)


def test_rows_with_their_keys_pass() -> None:
    Keys("t", ("id",)).check(pa.table({"id": [1], "v": [None]}))
    Keys("t").check(pa.table({"v": [None]}))


@pytest.mark.parametrize("kind", ["duckdb", "postgres", "delta"])
def test_a_key_that_the_table_did_not_have_comes_by_a_full_refresh(
    platform: Platform, emr: Sql, warehouse: Sql, tmp_path: Path, kind: str
) -> None:
    emr("CREATE TABLE labs (id int, x int); INSERT INTO labs VALUES (1, 1), (2, 2)")
    places: dict[str, dict[str, Any]] = {
        "duckdb": {},
        "postgres": {"destination": {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}},
        "delta": {"destination": {"type": "filesystem", "url": str(tmp_path / "lake"), "format": "delta"}},
    }
    place = places[kind]
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}}
    connector = platform.add({**source, "tables": [{"name": "labs", "primary_key": "id"}]}, **place)
    platform.run(connector)
    emr("ALTER TABLE labs ADD visit int; UPDATE labs SET visit = 5; INSERT INTO labs VALUES (1, 3, 6)")
    wider = {**source, "tables": [{"name": "labs", "primary_key": ["id", "visit"]}]}
    with platform.connection.cursor() as cursor:
        cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (json.dumps(wider), connector))
    with pytest.raises(ConfigurationError, match=r"'visit' of table labs is in the key now.*full refresh"):
        platform.run(connector)
    assert platform.run(connector, full_refresh=True).rows == {"labs": 3}
    assert platform.run(connector).rows == {"labs": 3}


def test_a_table_that_somebody_dropped_comes_back_by_a_full_refresh(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE labs (id int PRIMARY KEY, seen date); INSERT INTO labs VALUES (1, '2024-01-01')")
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}}
    table = {"name": "labs", "primary_key": "id", "cursor_column": "seen"}
    connector = platform.add({**source, "tables": [table]})
    platform.run(connector)
    with duckdb.connect(str(platform.settings.data_dir / "warehouse.duckdb")) as opened:
        opened.execute(f"DROP TABLE connector_{connector}.labs")
    emr("INSERT INTO labs VALUES (2, '2024-06-01')")
    # Not the newer row alone, as if it were all.
    with pytest.raises(ConfigurationError, match=r"labs.*somebody has dropped.*full refresh"):
        platform.run(connector)
    assert platform.run(connector, full_refresh=True).rows == {"labs": 2}
