"""Runs of connectors on real databases, without Prefect around them."""

import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from connectors.runs import Options
from local.clinic import TABLES
from pipelines.connector_lock import Locks, connector_key
from pipelines.errors import ConfigurationError
from pipelines.load_history import Told
from pipelines.loading.summary import Summary
from pipelines.missed_run import Due
from pipelines.run import run_connector
from tests.support.data_plane.listening import listening
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR, omop

Sql = Callable[[str], list[tuple[Any, ...]]]


def test_real_clinical_rows_land_in_duckdb(platform: Platform, clinic: dict[str, str], clinic_url: str) -> None:
    connector = platform.add(omop(clinic))
    summary = platform.run(connector)
    assert summary.total_rows == 218_232
    assert (platform.settings.data_dir / "warehouse.duckdb").stat().st_mode & 0o077 == 0
    for table in TABLES:
        (landed,) = platform.duck(f"SELECT count(*) FROM connector_{connector}.{table}")
        assert landed[0] == summary.rows[table]


def test_a_connector_that_is_gone_or_deactivated_is_skipped(platform: Platform, clinic: dict[str, str]) -> None:
    connector = platform.add(omop(clinic, "person"), is_active=False)
    assert platform.skip(connector) == (
        f"Connector {connector} is deactivated, so nothing was loaded: activate it first."
    )
    assert platform.skip(connector + 1) == f"Connector {connector + 1} was deleted: nothing was loaded."


def test_an_invalid_connector_fails_with_its_sentence_which_is_counted_and_told(platform: Platform) -> None:
    connector = platform.add({"type": "rest_api", "base_url": "http://emr"}, schedule="never")
    told: list[Told] = []
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"^source\.resources is required\.$"):
            platform.run(connector, tell=told.append)
    with platform.connection.cursor() as cursor:
        cursor.execute("SELECT outcome, message, failures, configuration_failures FROM cai_connector_loads")
        assert cursor.fetchall() == [("failed", "source.resources is required.", 2, 2)]
    assert [(each.outcome, each.kind, each.failures) for each in told] == [
        ("failed", "configuration", 1),
        ("failed", "configuration", 2),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "every day"},
        {"schedule": ""},
        {"timezone": "Mars/Olympus"},
        {"name": " "},
        {"work_pool_name": " "},
        {"work_queue_name": ""},
    ],
)
def test_what_a_load_does_not_use_may_be_wrong_and_the_last_good_deployment_goes_on(
    platform: Platform, emr: Sql, wrong: dict[str, str]
) -> None:
    emr("CREATE TABLE visit (id int)")
    emr("INSERT INTO visit VALUES (1)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]}
    connector = platform.add(source, schedule="0 * * * *", run_policy={"missed_runs": "skip"})
    with platform.connection.cursor() as cursor:
        ((column, value),) = wrong.items()
        cursor.execute(f"UPDATE cai_connectors SET {column} = %s", (value,))
    overdue = Due(UUID(int=1), UUID(int=2), datetime.now(UTC))
    assert platform.run(connector, due=overdue).total_rows == 1
    with platform.connection.cursor() as cursor:
        cursor.execute("SELECT outcome, rows FROM cai_connector_loads")
        assert cursor.fetchall() == [("completed", 1)]


def test_a_missed_run_of_a_schedule_that_became_wrong_is_done(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]}
    connector = platform.add(source, schedule="every day", run_policy={"missed_runs": "skip"})
    long_ago = Due(UUID(int=1), UUID(int=2), datetime(2024, 1, 1, tzinfo=UTC))
    assert platform.run(connector, due=long_ago).total_rows == 0


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("is_active = false", "is deactivated, so nothing was loaded: activate it first."),
        ("dataset_name = 'moved'", "Loaded 1 row into duckdb dataset moved: visit 1."),
        ("source = '{}'", "source.type must say which kind it is"),
    ],
)
def test_a_run_that_waited_for_its_turn_loads_by_the_row_as_it_is_then(
    platform: Platform, emr: Sql, database_url: str, change: str, outcome: str
) -> None:
    emr("CREATE TABLE visit (id int)")
    emr("INSERT INTO visit VALUES (1)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]}
    connector = platform.add(source)
    ended: list[str] = []

    def run() -> None:
        try:
            done = run_connector(connector, Options(), platform.settings)
        except ConfigurationError as error:
            ended.append(str(error))
        else:
            ended.append(done.sentence if isinstance(done, Summary) else done.message)

    with Locks.open(database_url) as other, listening() as lines:
        assert other.take(connector_key(connector))
        waiting = threading.Thread(target=run)
        waiting.start()
        lines.wait_for("Waiting for the run before")
        with platform.connection.cursor() as cursor:
            cursor.execute(f"UPDATE cai_connectors SET {change}")
    waiting.join(120)
    assert len(ended) == 1
    assert outcome in ended[0]


@pytest.mark.parametrize("disposition", ["append", "merge"])
def test_a_cursor_brings_each_change_once(platform: Platform, emr: Sql, disposition: str) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text, updated_at timestamptz)")
    emr(
        "INSERT INTO visit SELECT i, 'n' || i, timestamptz '2024-01-01' + i * interval '1 s' "
        "FROM generate_series(1, 100) i"
    )
    table = {"name": "visit", "primary_key": "id", "cursor_column": "updated_at", "write_disposition": disposition}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]})
    assert platform.run(connector).total_rows == 100
    assert platform.run(connector).total_rows == 0
    emr("INSERT INTO visit VALUES (101, 'new', '2024-02-01')")
    emr("UPDATE visit SET note = 'changed', updated_at = '2024-02-02' WHERE id = 1")
    summary = platform.run(connector)
    assert summary.total_rows == 2
    assert summary.since == {"visit": "2024-01-01 00:01:40+00:00"}
    assert "| visit | 2 | 2024-01-01 00:01:40+00:00 |" in summary.markdown
    ((rows, ids),) = platform.duck(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.visit")
    assert (rows, ids) == ((101, 101) if disposition == "merge" else (102, 101))


def test_replace_always_holds_just_what_the_source_has(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE ward (id int, name text)")
    emr("INSERT INTO ward SELECT i, 'w' FROM generate_series(1, 10) i")
    table = {"name": "ward", "write_disposition": "replace"}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]})
    platform.run(connector)
    emr("DELETE FROM ward WHERE id > 7")
    platform.run(connector)
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.ward") == [(7,)]


def test_a_changed_dataset_gets_everything_again(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, at timestamp)")
    emr("INSERT INTO visit SELECT i, timestamp '2024-01-01' + i * interval '1 s' FROM generate_series(1, 10) i")
    table = {"name": "visit", "primary_key": "id", "cursor_column": "at"}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]})
    platform.run(connector)
    with platform.connection.cursor() as cursor:
        cursor.execute("UPDATE cai_connectors SET dataset_name = 'moved' WHERE id = %s", (connector,))
    assert platform.run(connector).total_rows == 10
    assert platform.duck("SELECT count(*) FROM moved.visit") == [(10,)]
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visit") == [(10,)]


def test_a_dataset_named_as_the_file_is_refused_before_anything_is_read(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int)")
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]})
    with platform.connection.cursor() as cursor:
        cursor.execute("UPDATE cai_connectors SET dataset_name = 'warehouse' WHERE id = %s", (connector,))
    with pytest.raises(ConfigurationError, match="dataset_name must not be 'warehouse', the name of the DuckDB file"):
        platform.run(connector)


def test_a_full_refresh_drops_what_the_source_forgot(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, at timestamp)")
    emr("INSERT INTO visit SELECT i, timestamp '2024-01-01' + i * interval '1 s' FROM generate_series(1, 10) i")
    table = {"name": "visit", "primary_key": "id", "cursor_column": "at", "write_disposition": "append"}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]})
    platform.run(connector)
    emr("DELETE FROM visit WHERE id <= 5")
    assert platform.run(connector, full_refresh=True).total_rows == 5
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visit") == [(5,)]
    assert platform.run(connector).total_rows == 0


def test_every_type_of_postgres_lands_readable(platform: Platform, emr: Sql) -> None:
    emr("CREATE TYPE mood AS ENUM ('calm', 'tense')")
    emr(
        "CREATE TABLE kinds (i int, s smallint, b bigint, n numeric(10,2), free numeric, d date, ts timestamp, "
        "tz timestamptz, j jsonb, u uuid, raw bytea, ok boolean, f float8, v varchar(5), c char(3), t time, "
        "m mood, list int[], span interval, addr inet)"
    )
    emr(
        "INSERT INTO kinds VALUES (1, 2, 3, 1.50, 2.123456789, '2024-01-01', '2024-01-01 10:00', "
        "'2024-01-01 10:00+02', '{\"a\": [1]}', '706d0fc5-30aa-43bd-8dad-3f88e1c042a1', '\\x00ff', true, 1.5, "
        "'100%', 'abc', '10:00', 'calm', '{1,2}', '1 day', '10.0.0.1')"
    )
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [{"name": "kinds"}]})
    platform.run(connector)
    (row,) = platform.duck(
        "SELECT i + s + b, n::text, free::text, d::text, ts::text, tz = timestamptz '2024-01-01 08:00Z', j->'$.a[0]', "
        f"u, octet_length(raw), ok, f, v, c, t::text, m, list::text, span, addr FROM connector_{connector}.kinds"
    )
    assert row[:6] == (6, "1.50", "2.123456789", "2024-01-01", "2024-01-01 10:00:00", True)
    assert row[6:11] == ("1", "706d0fc5-30aa-43bd-8dad-3f88e1c042a1", 2, True, 1.5)
    assert row[11:] == ("100%", "abc", "10:00:00", "calm", "[1, 2]", "1 day", "10.0.0.1/32")


def test_other_dialects_are_read_through_sqlalchemy(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(tmp_path / "emr.sqlite") as emr:
        emr.execute("CREATE TABLE visit (id INTEGER PRIMARY KEY, note TEXT, value REAL, at TIMESTAMP)")
        rows = [(number, "n", number / 2, f"2024-01-01 00:00:{number:02}") for number in range(60)]
        emr.executemany("INSERT INTO visit VALUES (?, ?, ?, ?)", rows)
    emr.close()
    monkeypatch.setenv("CAI_SECRET_EMR", f"sqlite:///{tmp_path}/emr.sqlite")
    table = {"name": "visit", "primary_key": "id", "cursor_column": "at"}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]})
    assert platform.run(connector).total_rows == 60
    assert platform.run(connector).total_rows == 0
    found = platform.duck(f'SELECT count(*), sum(value), max("at")::text FROM connector_{connector}.visit')
    assert found == [(60, 885.0, "2024-01-01 00:00:59")]


def test_a_table_that_is_not_there_is_named(platform: Platform, clinic: dict[str, str]) -> None:
    source = {"type": "sql_database", "credentials": clinic, "tables": [{"name": "persons"}]}
    with pytest.raises(ConfigurationError, match="no table persons"):
        platform.run(platform.add(source))
