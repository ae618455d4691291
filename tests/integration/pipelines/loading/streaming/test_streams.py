"""Rows that stream from one PostgreSQL into another: what they leave, and what becomes of servers that die."""

import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import pytest

from pipelines.errors import TransientError
from pipelines.sources.sql.streams import fitness
from pipelines.sources.sql.streams.snapshot import Snapshot
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}

COLUMNS = {
    "small": ("smallint", ["0", "-32768", "32767"]),
    "whole": ("int", ["0", "2147483647", "-2147483648"]),
    "big": ("bigint", ["9223372036854775807", "-9223372036854775808"]),
    "single": ("real", ["0.1", "'-infinity'", "'NaN'", "1e-45"]),
    "double": ("double precision", ["0.1", "'infinity'", "'NaN'", "1e300"]),
    "yes": ("boolean", ["true", "false"]),
    "day": ("date", ["'0001-01-01'", "'9999-12-31'"]),
    "at": ("timestamp", ["'0001-01-01'", "'9999-12-31 23:59:59.999999'", "'2024-02-29 12:00:00.000001'"]),
    "zoned": ("timestamptz", ["'0001-01-01 00:00+00'", "'2024-07-01 12:00+02'", "'9999-12-31 23:59:59+00'"]),
    "coarse": ("timestamp(3)", ["'2024-01-01 00:00:00.123'"]),
    "clock": ("time", ["'00:00'", "'23:59:59.999999'"]),
    "note": ("text", ["''", "'it''s ü 漢 \U0001f600'", "repeat('x', 5000)"]),
    "short": ("varchar(12)", ["'a  '", "''"]),
    "mood": ("mood", ["'glad'", "'sad'"]),
    "price": ("numeric(10,2)", ["-0.01", "99999999.99", "1.5"]),
    "exact": ("numeric(38,20)", ["123456789012345678.12345678901234567890"]),
    "uid": ("uuid", ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    "extra": ("jsonb", ['\'{"b": [1, {"c": "ü"}], "a": null}\'', "'null'", "'1.50'"]),
    "raw": ("bytea", ["'\\x00ff'", "''"]),
    "code": ("positive", ["1", "7"]),
}
"""Types that stream, each with values at its edges."""


def fill(emr: Sql) -> None:
    """A table of all of them, with every value of each, and with none."""
    emr("CREATE TYPE mood AS ENUM ('glad', 'sad')")
    emr("CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    emr(f"CREATE TABLE visit (id int PRIMARY KEY, changed timestamptz NOT NULL, {columns})")
    for number in range(6):
        values = ", ".join(
            "NULL" if number == 5 else f"CAST({values[number % len(values)]} AS {kind})"
            for kind, values in COLUMNS.values()
        )
        emr(f"INSERT INTO visit SELECT {number}, timestamptz '2024-01-01 00:00+00' + interval '{number} s', {values}")


def add(platform: Platform, **rules: Any) -> int:
    """A connector from the one into the other."""
    table = {"name": "visit", **rules}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table]}
    return platform.add(source, destination=POSTGRES)


def left(warehouse: Sql, connector: int) -> tuple[Any, ...]:
    """What a connector's loads have left: columns, rows, and dlt's own record."""
    dataset = f"connector_{connector}"
    columns = warehouse(
        "SELECT column_name, udt_name, is_nullable, numeric_precision, numeric_scale, datetime_precision "
        f"FROM information_schema.columns WHERE table_schema = '{dataset}' AND table_name = 'visit' ORDER BY 1"
    )
    names = ", ".join(f'"{name}"' for name, *_ in columns if name != "_dlt_load_id")
    rows = warehouse(f"SELECT to_json(found)::text FROM (SELECT {names} FROM {dataset}.visit ORDER BY id) AS found")
    loads = warehouse(
        f"SELECT count(*), count(DISTINCT _dlt_load_id), bool_and(_dlt_load_id IN (SELECT load_id FROM "
        f"{dataset}._dlt_loads WHERE status = 0)) FROM {dataset}.visit"
    )
    return columns, rows, loads, warehouse(f"SELECT DISTINCT status FROM {dataset}._dlt_loads")


WAYS = {
    "append": {},
    "append-cursor": {"write_disposition": "append", "cursor_column": "changed"},
    "merge": {"primary_key": "id"},
    "merge-cursor": {"primary_key": "id", "cursor_column": "changed"},
    "replace": {"primary_key": "id", "write_disposition": "replace"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_leaves_what_files_leave(
    platform: Platform,
    emr: Sql,
    warehouse: Sql,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    caplog.set_level(logging.INFO, "prefect.pipelines")
    fill(emr)
    by_stream, by_files = add(platform, **WAYS[way]), add(platform, **WAYS[way])
    monkeypatch.setattr(fitness, "LEAST_ROWS", 0)
    # Each load by its way, then one through files for both; a full refresh and two increments by their ways.
    for number, options in enumerate(({}, {}, {"full_refresh": True}, {}, {})):
        monkeypatch.setattr(fitness, "LEAST_BYTES", 0 if number != 1 else 10**9)
        caplog.clear()
        streamed = platform.run(by_stream, **options)
        assert ("visit streams: " in caplog.text) is (number != 1)
        monkeypatch.setattr(fitness, "LEAST_BYTES", 10**9)
        filed = platform.run(by_files, **options)
        assert left(warehouse, by_stream) == left(warehouse, by_files)
        told = [
            [
                {name: value for name, value in asdict(table).items() if name not in {"bytes", "seconds"}}
                for table in summary.tables
            ]
            for summary in (streamed, filed)
        ]
        assert told[0] == told[1]
        assert streamed.sentence == filed.sentence.replace(f"connector_{by_files}", f"connector_{by_stream}")
        emr(f"UPDATE visit SET note = 'new', changed = changed + interval '1 day' WHERE id = {number}")
        emr(f"INSERT INTO visit (id, changed) SELECT {10 + number}, now()")


def test_few_new_rows_go_through_files(
    platform: Platform, emr: Sql, monkeypatch: pytest.MonkeyPatch, warehouse: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "prefect.pipelines")
    monkeypatch.setattr(fitness, "LEAST_BYTES", 0)
    fill(emr)
    connector = add(platform, primary_key="id", cursor_column="changed")
    platform.run(connector)
    emr("INSERT INTO visit (id, changed) SELECT 100, now()")
    assert platform.run(connector).rows == {"visit": 1}
    assert "visit goes through files, since few rows are new." in caplog.text
    # Many do, though the server's planner knows nothing of them yet.
    emr(
        "INSERT INTO visit (id, changed) SELECT i, clock_timestamp() + interval '1 hour' "
        "FROM generate_series(1000, 30000) i"
    )
    assert platform.run(connector).rows == {"visit": 29_001}
    assert "visit streams: 29,001 rows" in caplog.text


@pytest.mark.parametrize("disposition", ["append", "merge"])
def test_an_increment_whose_source_is_killed_lands_nothing_and_the_next_run_all(
    platform: Platform, emr: Sql, warehouse: Sql, monkeypatch: pytest.MonkeyPatch, disposition: str
) -> None:
    monkeypatch.setattr(fitness, "LEAST_BYTES", 0)
    monkeypatch.setattr(fitness, "LEAST_ROWS", 0)
    large(emr)
    connector = add(platform, primary_key="id", cursor_column="id", lag=1000, write_disposition=disposition)
    assert platform.run(connector).rows == {"visit": 20_000}
    emr("INSERT INTO visit SELECT i, repeat('y', 400) FROM generate_series(20001, 40000) i")
    with monkeypatch.context() as patched:
        cut(patched, ended(os.environ["CAI_SECRET_EMR"], "(SELECT"))
        with pytest.raises(TransientError, match="session ended"):
            platform.run(connector)
    assert warehouse(f"SELECT max(id) FROM connector_{connector}.visit") == [(20_000,)]
    # A row of the border has another version, which files bring; the new ones stream.
    emr("UPDATE visit SET note = 'late' WHERE id = 19990")
    assert platform.run(connector).rows == {"visit": 20_001}
    landed = warehouse(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.visit")
    assert landed == [(40_000 + (disposition == "append"), 40_000)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("day", "'infinity'"), ("day", "'0044-03-15 BC'"), ("at", "'10000-01-01'"), ("zoned", "'-infinity'"),
        ("clock", "'24:00'"), ("price", "'NaN'"),
    ],
)  # fmt: skip
def test_a_table_with_a_value_beside_its_column_goes_through_files(
    platform: Platform, emr: Sql, warehouse: Sql, monkeypatch: pytest.MonkeyPatch, column: str, value: str
) -> None:
    monkeypatch.setattr(fitness, "LEAST_BYTES", 0)
    kind = COLUMNS[column][0]
    emr(f"CREATE TABLE visit (id int PRIMARY KEY, {column} {kind})")
    emr(f"INSERT INTO visit SELECT i, CASE WHEN i = 7 THEN CAST({value} AS {kind}) END FROM generate_series(1, 9) i")
    connector = add(platform, primary_key="id")
    platform.run(connector)
    beside = warehouse(f"SELECT id FROM connector_{connector}.visit WHERE {column}__v_text IS NOT NULL")
    assert (beside, warehouse(f"SELECT count(*) FROM connector_{connector}.visit")) == ([(7,)], [(9,)])


def cut(monkeypatch: pytest.MonkeyPatch, end: Callable[[], None]) -> None:
    """Do something in the middle of the first copy."""
    rows = Snapshot.rows
    left = [1_000_000]

    def cutting(snapshot: Snapshot, statement: str, into: Any) -> int:
        write = into.write

        class Into:
            def write(self, block: bytes) -> int:
                before, left[0] = left[0], left[0] - len(block)
                if before > 0 >= left[0]:
                    end()
                return int(write(block))

        whole: Any = Into()
        return rows(snapshot, statement, whole)

    monkeypatch.setattr(Snapshot, "rows", cutting)


def large(emr: Sql) -> None:
    """A table of more rows than any buffer holds."""
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text)")
    emr("INSERT INTO visit SELECT i, repeat('x', 400) FROM generate_series(1, 20000) i")


def ended(url: str, wanted: str) -> Callable[[], None]:
    """What ends the sessions of a database in which a COPY runs."""

    def end() -> None:
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                f"WHERE datname = current_database() AND query LIKE 'COPY {wanted}%' AND state = 'active'"
            )
            assert cursor.fetchone() == (1,)

    return end


def test_a_source_that_is_killed_among_the_rows_is_not_their_end(
    platform: Platform, emr: Sql, warehouse: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitness, "LEAST_BYTES", 0)
    large(emr)
    connector = add(platform, primary_key="id")

    cut(monkeypatch, ended(os.environ["CAI_SECRET_EMR"], "(SELECT"))
    # Nothing has changed meanwhile, so the rows of another moment are those that were counted.
    assert platform.run(connector).rows == {"visit": 20_000}
    assert warehouse(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.visit") == [(20_000, 20_000)]


def test_a_source_that_is_killed_and_has_changed_lands_nothing_and_the_next_run_all(
    platform: Platform, emr: Sql, warehouse: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitness, "LEAST_BYTES", 0)
    large(emr)
    connector = add(platform)

    end = ended(os.environ["CAI_SECRET_EMR"], "(SELECT")

    def end_and_change() -> None:
        end()
        emr("INSERT INTO visit VALUES (20001, 'late')")

    cut(monkeypatch, end_and_change)
    with pytest.raises(TransientError, match=r"session ended .* changed since"):
        platform.run(connector)
    assert warehouse(f"SELECT count(*) FROM connector_{connector}.visit") == [(0,)]
    assert platform.run(connector).rows == {"visit": 20_001}
    assert warehouse(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.visit") == [(20_001, 20_001)]


def test_a_destination_that_is_killed_among_the_rows_takes_them_once(
    platform: Platform, emr: Sql, warehouse: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitness, "LEAST_BYTES", 0)
    large(emr)
    connector = add(platform)

    cut(monkeypatch, ended(os.environ["CAI_SECRET_WAREHOUSE"], '"'))
    assert platform.run(connector).rows == {"visit": 20_000}
    assert warehouse(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.visit") == [(20_000, 20_000)]
