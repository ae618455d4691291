"""Cursors of tables: each newer row lands, in the server's order, and none lands twice."""

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigurationError
from tests.support.data_plane.platform import Platform

Sql = Callable[[str], list[tuple[Any, ...]]]

POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}


def table(**keys: Any) -> dict[str, Any]:
    named = {"name": "visit", "cursor_column": "at", **keys}
    return {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [named]}


@pytest.fixture(params=["duckdb", "postgres"])
def landed(request: pytest.FixtureRequest, platform: Platform, warehouse: Sql) -> Any:
    """Adds a connector with this destination, and asks for what has landed."""

    class Landed:
        def add(self, source: dict[str, Any]) -> int:
            destination = POSTGRES if request.param == "postgres" else None
            self.connector = platform.add(source, destination=destination)
            return self.connector

        def __call__(self, what: str, order: str = "1, 2") -> list[tuple[Any, ...]]:
            ask = warehouse if request.param == "postgres" else platform.duck
            return ask(f"SELECT {what} FROM connector_{self.connector}.visit ORDER BY {order}")

    return Landed()


def test_a_row_that_changes_again_within_one_value_lands(platform: Platform, emr: Sql, landed: Any) -> None:
    emr("CREATE TABLE visit (id int, at date, note text)")
    emr("INSERT INTO visit VALUES (1, '2024-01-01', 'morning')")
    connector = landed.add(table(primary_key="id"))
    platform.run(connector)
    emr("UPDATE visit SET note = 'evening'")
    assert platform.run(connector).total_rows == 1
    assert landed("id, note") == [(1, "evening")]
    assert platform.run(connector).total_rows == 0


def test_a_row_that_is_committed_late_lands_and_nothing_lands_twice(platform: Platform, emr: Sql, landed: Any) -> None:
    emr("CREATE TABLE visit (id int, at timestamptz, note text)")
    emr("INSERT INTO visit VALUES (1, '2024-01-01 00:10:00Z', 'first'), (2, '2024-01-01 00:09:00Z', 'first')")
    connector = landed.add(table())
    platform.run(connector)
    emr("INSERT INTO visit VALUES (3, '2024-01-01 00:06:00Z', 'late'), (4, '2024-01-01 00:04:00Z', 'beyond the lag')")
    assert platform.run(connector).total_rows == 1
    assert platform.run(connector).total_rows == 0
    assert landed("id, note") == [(1, "first"), (2, "first"), (3, "late")]


def test_a_second_equal_row_at_the_border_lands_as_a_second_row(platform: Platform, emr: Sql, landed: Any) -> None:
    emr("CREATE TABLE visit (at date, dose numeric(6,2), given boolean, note text, meta jsonb, raw bytea, t interval)")
    row = """('2024-01-01', 1.50, true, NULL, '{"b": 1.0, "a": [1, null]}', '\\x00ff', '1 day')"""
    emr(f"INSERT INTO visit VALUES {row}, {row}")
    connector = landed.add(table())
    assert platform.run(connector).total_rows == 2
    assert platform.run(connector).total_rows == 0
    emr(f"INSERT INTO visit VALUES {row}")
    assert platform.run(connector).total_rows == 1
    assert platform.run(connector).total_rows == 0
    assert landed("count(*)", "1") == [(3,)]


@pytest.mark.parametrize("written", ["parquet", "delta"])
def test_border_rows_of_files_land_once(platform: Platform, emr: Sql, tmp_path: Path, written: str) -> None:
    emr("CREATE TABLE visit (at timestamptz, dose numeric(6,2), note text)")
    row = "('2024-01-01 10:00Z', 1.50, NULL)"
    emr(f"INSERT INTO visit VALUES {row}, {row}, ('2024-01-01 10:01Z', 2, 'a')")
    lake = {"type": "filesystem", "url": str(tmp_path / "lake"), "format": written}
    connector = platform.add(table(), destination=lake)
    assert platform.run(connector).total_rows == 3
    emr(f"INSERT INTO visit VALUES {row}")
    assert platform.run(connector).total_rows == 1
    emr("ALTER TABLE visit ADD more int DEFAULT 7")
    emr("INSERT INTO visit VALUES ('2024-01-01 10:01Z', 3, 'b', 8)")
    assert platform.run(connector).total_rows == 1
    assert platform.run(connector).total_rows == 0


@pytest.mark.parametrize("change", ["a column is added", "columns", "mask", "unmask"])
def test_border_rows_land_once_though_the_table_changes(platform: Platform, emr: Sql, landed: Any, change: str) -> None:
    emr("CREATE TABLE visit (at date, value int, mrn text)")
    emr("INSERT INTO visit SELECT '2024-01-01', i, 'p' || i FROM generate_series(1, 5) i")
    keys = {"columns": ["value", "mrn"]} if change == "columns" else {}
    masked = {"mask": ["mrn"]} if change == "unmask" else {}
    connector = landed.add(table(**keys) | masked)
    platform.run(connector)
    source = table()
    if change in {"columns", "a column is added"}:
        emr("ALTER TABLE visit ADD more int DEFAULT 7")
    if change == "mask":
        source |= {"mask": ["mrn"]}
    with platform.connection.cursor() as cursor:
        cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (_json(source), connector))
    emr("INSERT INTO visit (at, value, mrn) VALUES ('2024-01-01', 6, 'p6')")
    for _ in range(3):
        platform.run(connector)
    assert landed("count(*), count(DISTINCT value)", "1") == [(6, 6)]


def _json(value: Any) -> str:
    return json.dumps(value)


@pytest.mark.parametrize(
    ("definition", "first", "second"),
    [
        ("mrn_seq", "9", "10"),
        ("oid", "9", "10"),
        ("numeric", "9.5", "10.25"),
        ("double precision", "0.1", "0.2"),
        ("numeric(30,10)", "9", "12345678901234567890.5"),
        ("bigint", "9223372036854775806", "9223372036854775807"),
        ("timestamp", "2024-01-01 00:00:00", "2024-01-01 00:00:00.5"),
        ("timestamptz", "2024-10-27 02:59+02", "2024-10-27 02:10+01"),
        ("text", "2024-01-01 00:00", "2024-01-01 00:01"),
    ],
)
@pytest.mark.parametrize("disposition", ["append", "merge"])
def test_the_next_value_of_each_type_lands_in_the_servers_order(
    platform: Platform, emr: Sql, definition: str, first: str, second: str, disposition: str
) -> None:
    emr("CREATE DOMAIN mrn_seq AS int CHECK (VALUE > 0)")
    emr(f"CREATE TABLE visit (id int, at {definition})")
    emr(f"INSERT INTO visit VALUES (1, '{first}')")
    connector = platform.add(table(primary_key="id", write_disposition=disposition, lag=0))
    platform.run(connector)
    emr(f"INSERT INTO visit VALUES (2, '{second}')")
    # Numbers in a column of text: nobody looks for the border, and where rows merge, it is written again.
    again = disposition == "merge" and definition == "oid"
    assert platform.run(connector).total_rows == 1 + again
    assert platform.run(connector).total_rows == again
    assert platform.duck(f"SELECT id FROM connector_{connector}.visit ORDER BY 1") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        ("mood", "'sad'"), ("xid8", "'9'"), ("money", "9"), ("time", "'10:00'"), ("interval", "'1 day'"),
        ("boolean", "true"), ("jsonb", "'1'"), ("int[]", "'{1}'"), ("uuid", "gen_random_uuid()"), ("bytea", "'a'"),
    ],
)  # fmt: skip
def test_a_cursor_of_a_type_with_another_order_is_refused(
    platform: Platform, emr: Sql, definition: str, value: str
) -> None:
    emr("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
    emr(f"CREATE TABLE visit (id int, at {definition})")
    emr(f"INSERT INTO visit VALUES (1, {value})")
    with pytest.raises(ConfigurationError, match="whose order on the server is not the one"):
        platform.run(platform.add(table(primary_key="id")))


def test_texts_that_are_not_written_alike_are_refused_and_land_when_they_sort(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int, at text)")
    emr("INSERT INTO visit VALUES (1, 'b9'), (2, 'B9')")
    connector = platform.add(table(primary_key="id"))
    with pytest.raises(ConfigurationError, match="neither a moment"):
        platform.run(connector)
    sorting = platform.add(table(primary_key="id", cursor_type="text"))
    platform.run(sorting)
    emr("INSERT INTO visit VALUES (3, 'b9a'), (4, 'ba'), (5, 'B9')")
    assert platform.run(sorting).total_rows == 3  # and the border, once more
    assert platform.duck(f"SELECT id FROM connector_{sorting}.visit ORDER BY 1") == [(1,), (2,), (3,), (4,)]
    emr("TRUNCATE visit; INSERT INTO visit VALUES (1, '9'), (2, '10')")
    with pytest.raises(ConfigurationError, match="not all written alike"):
        platform.run(connector)


def test_more_columns_and_another_beginning_bring_what_is_missing(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int, at date, note text)")
    emr("INSERT INTO visit SELECT i, date '2024-01-01' + i, 'n' || i FROM generate_series(1, 20) i")
    connector = platform.add(table(primary_key="id", columns=["id"], initial_value="2024-01-15"))
    assert platform.run(connector).total_rows == 7
    for changed, rows in (({"columns": []}, 7), ({"columns": ["id"], "initial_value": "2024-01-10"}, 12)):
        keys: dict[str, Any] = {"columns": ["id"], "initial_value": "2024-01-15"} | changed
        with platform.connection.cursor() as cursor:
            source = _json(table(primary_key="id", **keys))
            cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (source, connector))
        summary = platform.run(connector)
        assert "read anew from the beginning" in summary.sentence
        assert next(iter(changed)) in summary.sentence or "initial_value" in summary.sentence
        assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visit") == [(rows,)]
        assert platform.run(connector).total_rows == 0
        if not changed["columns"]:
            assert platform.duck(f"SELECT count(note) FROM connector_{connector}.visit") == [(7,)]


def test_an_appending_table_whose_source_moved_says_that_a_full_refresh_is_needed(
    platform: Platform, emr: Sql, clinic_url: str
) -> None:
    emr("CREATE TABLE visit (id int, at date)")
    emr("INSERT INTO visit VALUES (1, '2024-01-10')")
    connector = platform.add(table(initial_value="2024-01-05"))
    platform.run(connector)
    emr("INSERT INTO visit VALUES (2, '2024-01-02'), (3, '2024-01-11')")
    with platform.connection.cursor() as cursor:
        source = _json(table(initial_value="2024-01-01"))
        cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (source, connector))
    assert "(initial_value changed)" in platform.run(connector).sentence
    assert "come only with a full refresh" in platform.run(connector).sentence  # each run, until it is done
    platform.run(connector, full_refresh=True)
    assert platform.run(connector).remarks == ()
    assert platform.duck(f"SELECT id FROM connector_{connector}.visit ORDER BY 1") == [(1,), (2,), (3,)]


def test_a_backfill_of_days_brings_those_days(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int, at date, note text)")
    emr("INSERT INTO visit SELECT i, date '2024-01-01' + i, 'n' FROM generate_series(0, 9) i")
    connector = platform.add(table(primary_key="id"))
    platform.run(connector)
    emr("UPDATE visit SET note = 'corrected'")
    window = {
        "backfill_from": datetime(2024, 1, 3, 12, tzinfo=UTC),
        "backfill_to": datetime(2024, 1, 5, 12, tzinfo=UTC),
    }
    platform.run(connector, **window)
    found = platform.duck(f"SELECT id FROM connector_{connector}.visit WHERE note = 'corrected' ORDER BY 1")
    assert found == [(2,), (3,), (4,)]


def test_the_state_of_200_000_rows_of_one_value_stays_flat(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int, at date)")
    emr("INSERT INTO visit SELECT i, '2024-01-01' FROM generate_series(1, 200000) i")
    connector = platform.add(table())
    assert platform.run(connector).total_rows == 200_000
    emr("INSERT INTO visit VALUES (200001, '2024-01-01')")
    assert platform.run(connector).total_rows == 1
    assert platform.duck(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.visit") == [(200_001,) * 2]
    ((size,),) = platform.duck(f"SELECT max(length(state)) FROM connector_{connector}._dlt_pipeline_state")
    assert size < 2000


@pytest.fixture
def sqlite(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> Sql:
    path = inbox / "emr.db"
    monkeypatch.setenv("CAI_SECRET_EMR", f"sqlite:///{path}")

    def execute(statement: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(path) as connection:
            return connection.execute(statement).fetchall()

    return execute


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("DATE", "2024-01-01", "2024-01-01"),
        ("DATETIME", "2024-01-01 10:00:00", "2024-01-01 10:00:00"),
        ("DATETIME", "2024-01-01 10:00:00", "2024-01-01T10:00:00.5"),
        ("TEXT", "2024-01-01", "2024-01-01"),
        ("INTEGER", 9, 10),
        ("NUMERIC(10,2)", 9.5, 10),
        ("REAL", 9.5, 10.25),
    ],
)
@pytest.mark.parametrize("disposition", ["append", "merge"])
def test_sqlite_goes_on_from_each_type(
    platform: Platform, sqlite: Sql, kind: str, first: Any, second: Any, disposition: str
) -> None:
    sqlite(f"CREATE TABLE visit (id int, at {kind}, note text)")
    sqlite(f"INSERT INTO visit VALUES (1, '{first}', 'a')")
    connector = platform.add(table(primary_key="id", write_disposition=disposition))
    platform.run(connector)
    sqlite(f"INSERT INTO visit VALUES (2, '{second}', 'b')")
    platform.run(connector)
    assert disposition == "merge" or platform.run(connector).total_rows == 0
    assert platform.duck(f"SELECT id FROM connector_{connector}.visit ORDER BY 1") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("first", "value", "second", "using", "lands"),
    [
        ("date", "2024-01-01", "bigint", "5", False),
        ("bigint", "5", "timestamp", "'2024-01-01'", False),
        ("bigint", "5", "text", "'2024-01-01'", False),
        ("date", "2024-01-01", "text", "'2024-01-01'", False),
        ("date", "2024-01-01", "timestamptz", "at", True),
        ("text", "2024-01-01 00:00:00", "timestamp", "at::timestamp", True),
        ("int", "5", "numeric", "at", True),
    ],
)
def test_a_cursor_whose_type_has_changed_goes_on_or_is_told(
    platform: Platform, emr: Sql, first: str, value: str, second: str, using: str, lands: bool
) -> None:
    emr(f"CREATE TABLE visit (id int PRIMARY KEY, at {first}); INSERT INTO visit VALUES (1, '{value}')")
    connector = platform.add(table(primary_key="id"))
    platform.run(connector)
    emr(f"ALTER TABLE visit ALTER at TYPE {second} USING {using}; INSERT INTO visit SELECT 2, at FROM visit")
    if lands:
        platform.run(connector)
    else:
        with pytest.raises(ConfigurationError, match=r"of different kinds .* Run a full refresh") as told:
            platform.run(connector)
        assert "2024" not in str(told.value)
        platform.run(connector, full_refresh=True)
    assert platform.duck(f"SELECT id FROM connector_{connector}.visit ORDER BY 1") == [(1,), (2,)]


def test_an_appended_row_that_lost_its_cursor_is_told(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int, at date)")
    emr("INSERT INTO visit VALUES (1, '2024-01-01')")
    connector = platform.add(table())
    platform.run(connector)
    emr("INSERT INTO visit VALUES (2, NULL)")
    with pytest.raises(ConfigurationError, match="missing or empty in some rows"):
        platform.run(connector)


@pytest.mark.parametrize("written", ["duckdb", "delta"])
def test_rows_of_a_day_of_sqlite_are_appended_as_often_as_they_are_there(
    platform: Platform, sqlite: Sql, tmp_path: Path, written: str
) -> None:
    sqlite("CREATE TABLE visit (at DATE, value INT)")
    sqlite("INSERT INTO visit VALUES ('2024-01-01', 1), ('2024-01-01', 1), ('2024-01-01', 2)")
    lake = {"type": "filesystem", "url": str(tmp_path / "lake"), "format": "delta"}
    connector = platform.add(table(), destination=lake if written == "delta" else None)
    loaded = [platform.run(connector).total_rows]
    sqlite("INSERT INTO visit VALUES ('2024-01-01', 1)")
    loaded.append(platform.run(connector).total_rows)
    sqlite("ALTER TABLE visit ADD COLUMN more TEXT DEFAULT 'm'")
    sqlite("INSERT INTO visit VALUES ('2024-01-01', 3, 'm'), ('2024-01-02', 3, 'm')")
    loaded += [platform.run(connector).total_rows for _ in range(2)]
    assert loaded == [3, 1, 2, 0]
