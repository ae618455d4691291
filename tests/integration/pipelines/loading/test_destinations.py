"""Destinations: PostgreSQL, files, the others by name; and two connectors that share one."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest

from connectors.runs import Options
from pipelines.access import postgres_sessions
from pipelines.access.database_urls import database_url, postgres_url
from pipelines.connector_lock import Locks, name_key
from pipelines.errors import ConfigurationError
from pipelines.loading.one_schema import needs_one_schema, staged
from pipelines.loading.summary import Summary
from pipelines.run import run_connector
from tests.support.data_plane.listening import listening
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR, omop
from tests.support.servers.http_server import WebServer

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}


@pytest.mark.parametrize("disposition", ["append", "merge", "replace"])
def test_postgres_holds_the_same_rows_as_the_source(
    platform: Platform, emr: Sql, warehouse: Sql, disposition: str
) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text, extra jsonb, price numeric(8,2), at timestamptz)")
    emr(
        "INSERT INTO visit SELECT i, 'n', '{\"a\": [1, 2]}', i / 4.0, timestamptz '2024-01-01Z' + i * interval '1 s' "
        "FROM generate_series(1, 100) i"
    )
    table = {"name": "visit", "primary_key": "id", "cursor_column": "at", "write_disposition": disposition}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table]}
    connector = platform.add(source, destination=POSTGRES)
    platform.run(connector)
    emr("INSERT INTO visit VALUES (101, 'new', NULL, NULL, '2024-02-01Z')")
    platform.run(connector)
    ask = "SELECT count(*), sum(price), max(at), max(extra->'a'->>1) FROM {}"
    assert warehouse(ask.format(f"connector_{connector}.visit")) == emr(ask.format("visit"))


def test_rest_rows_land_in_postgres_as_json_and_moments(platform: Platform, warehouse: Sql) -> None:
    rows = [{"id": 1, "seen": "2024-01-01T00:00:00Z", "who": {"n": 1}}]
    with WebServer(lambda asked: rows) as web:
        source = {
            "type": "rest_api", "base_url": web.url, "paginator": {"type": "single_page"},
            "resources": [{"name": "visits", "path": "v", "primary_key": "id"}],
        }  # fmt: skip
        connector = platform.add(source, destination=POSTGRES)
        platform.run(connector)
        platform.run(connector)
    found = warehouse(f"SELECT id, who->>'n', seen = timestamptz '2024-01-01Z' FROM connector_{connector}.visits")
    assert found == [(1, "1", True)]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_files_hold_each_increment_once(platform: Platform, emr: Sql, tmp_path: Path, kind: str) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, at timestamp)")
    emr("INSERT INTO visit SELECT i, timestamp '2024-01-01' + i * interval '1 s' FROM generate_series(1, 10) i")
    table = {"name": "visit", "primary_key": "id", "cursor_column": "at", "write_disposition": "append"}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table]}
    lake = tmp_path / "lake"
    connector = platform.add(source, destination={"type": "filesystem", "url": str(lake), "format": kind})
    assert platform.run(connector).total_rows == 10
    emr("INSERT INTO visit VALUES (11, '2024-02-01')")
    assert platform.run(connector).total_rows == 1
    reader = {"parquet": "read_parquet", "jsonl": "read_json", "csv": "read_csv"}[kind]
    files = f"{lake}/connector_{connector}/visit/*"
    assert duckdb.execute(f"SELECT count(*), count(DISTINCT id) FROM {reader}('{files}')").fetchall() == [(11, 11)]


def test_files_that_cannot_be_merged_are_refused(platform: Platform, clinic: dict[str, str], tmp_path: Path) -> None:
    connector = platform.add(omop(clinic, "person"), destination={"type": "filesystem", "url": str(tmp_path / "lake")})
    with pytest.raises(ConfigurationError, match="can't be merged"):
        platform.run(connector)


def test_a_destination_without_its_package_names_it(
    platform: Platform, clinic: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_SECRET_SNOWFLAKE", "snowflake://user:canary@account/db/schema?warehouse=w&role=r")
    destination = {"type": "snowflake", "credentials": {"env": "CAI_SECRET_SNOWFLAKE"}}
    with pytest.raises(ConfigurationError, match="snowflake") as caught:
        platform.run(platform.add(omop(clinic, "person"), destination=destination))
    assert "canary" not in str(caught.value)


def test_two_connectors_share_a_duckdb_file_by_waiting(platform: Platform, clinic: dict[str, str]) -> None:
    connectors = [platform.add(omop(clinic, "person", "visit_occurrence")) for _ in range(3)]
    outcomes: list[Any] = []
    threads = [
        threading.Thread(target=lambda one=one: outcomes.append(run_connector(one, Options(), platform.settings)))
        for one in connectors
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(outcome) for outcome in outcomes] == [Summary] * 3
    for connector in connectors:
        assert platform.duck(f"SELECT count(*) FROM connector_{connector}.person") == [(2_694,)]


def test_a_load_waits_for_the_file_and_not_only_its_neighbours(
    platform: Platform, clinic: dict[str, str], database_url: str
) -> None:
    connector = platform.add(omop(clinic, "person"))
    path = (platform.settings.data_dir / "warehouse.duckdb").resolve()
    done = threading.Event()

    def run() -> None:
        run_connector(connector, Options(), platform.settings)
        done.set()

    with Locks.open(database_url) as other:
        assert other.take(name_key(f"duckdb:{path}"))
        thread = threading.Thread(target=run)
        with listening() as lines:
            thread.start()
            lines.wait_for("Waiting for another connector to finish with the DuckDB file")
        assert not path.exists()
    thread.join(60)
    assert done.is_set()
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.person") == [(2_694,)]


def test_two_connectors_share_a_dataset_and_keep_their_own_rows(platform: Platform, emr: Sql, warehouse: Sql) -> None:
    for name in ("a", "b"):
        emr(f"CREATE TABLE {name} (id int PRIMARY KEY)")
        emr(f"INSERT INTO {name} SELECT * FROM generate_series(1, 50)")
    sources = [
        {"type": "sql_database", "credentials": EMR, "tables": [{"name": name, "primary_key": "id"}]}
        for name in ("a", "b")
    ]
    connectors = [platform.add(source, destination=POSTGRES, dataset_name="shared") for source in sources]
    outcomes: list[Any] = []
    threads = [
        threading.Thread(target=lambda one=one: outcomes.append(run_connector(one, Options(), platform.settings)))
        for one in connectors * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(outcome) for outcome in outcomes] == [Summary] * 4
    assert warehouse("SELECT (SELECT count(*) FROM shared.a), (SELECT count(*) FROM shared.b)") == [(50, 50)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql+psycopg2://u:p@h:5433/d", "postgresql://u:p@h:5433/d"),
        ("postgres://u:p@h/d?sslmode=require", "postgresql://u:p@h/d?sslmode=require"),
        ("postgresql://u@h/d", "postgresql://u:@h/d"),
        (
            {"connection_info": {"driver": "postgresql", "username": "u", "password": "p@s", "host": "h"}},
            "postgresql://u:p%40s@h",
        ),
    ],
)  # fmt: skip
def test_addresses_are_understood(given: Any, expected: str) -> None:
    assert postgres_url(given) == expected


@pytest.mark.parametrize("given", ["host=h password=canary", "mysql://u:canary@h/d", 7, {"password": "canary"}])
def test_what_is_no_address_is_refused_without_being_shown(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"destination\.credentials") as caught:
        postgres_url(given)
    assert "canary" not in str(caught.value)


def test_a_sqlalchemy_block_makes_an_address() -> None:
    assert database_url({"connection_info": "sqlite:///x.db"}, "source.credentials") == "sqlite:///x.db"


@pytest.fixture
def lodger(warehouse: Sql, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A login that owns one schema of the warehouse and may make no other: the schema's name."""
    url = os.environ["CAI_SECRET_WAREHOUSE"]
    role = f"lodger_{url.rpartition('/')[2]}"
    warehouse(f"CREATE ROLE {role} LOGIN PASSWORD 'lodger'")
    warehouse(f"CREATE SCHEMA own AUTHORIZATION {role}")
    monkeypatch.setenv("CAI_SECRET_WAREHOUSE", f"postgresql://{role}:lodger@{url.rpartition('@')[2]}")
    yield "own"
    warehouse(f"DROP OWNED BY {role} CASCADE")
    warehouse(f"DROP ROLE {role}")


@pytest.mark.parametrize("disposition", ["append", "merge", "replace"])
def test_a_login_that_owns_one_schema_loads_into_it(
    platform: Platform, emr: Sql, warehouse: Sql, lodger: str, disposition: str
) -> None:
    name = "visit_" + "x" * 50  # with a prefix it is longer than PostgreSQL's names may be
    emr(f"CREATE TABLE {name} (id int PRIMARY KEY, note text, at timestamptz)")
    emr(
        f"INSERT INTO {name} SELECT i, 'old', timestamptz '2024-01-01Z' + i * interval '1 s' FROM generate_series(1, "
        f"9) i"
    )
    table = {"name": name, "primary_key": "id", "write_disposition": disposition}
    cursor = {} if disposition == "replace" else {"cursor_column": "at"}
    source = {"type": "sql_database", "credentials": EMR, "tables": [{**table, **cursor}]}
    connector = platform.add(source, destination=POSTGRES, dataset_name=lodger)
    platform.run(connector)
    emr(f"UPDATE {name} SET note = 'new', at = '2024-02-01Z' WHERE id = 1")
    emr(f"INSERT INTO {name} VALUES (10, 'new', '2024-02-01Z')")
    platform.run(connector)
    count = "SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE note = 'new') FROM own."
    assert warehouse(count + name) == [(11 if disposition == "append" else 10, 10, 2)]
    platform.run(connector, full_refresh=True)
    assert warehouse(count + name) == [(10, 10, 2)]
    schemas = "SELECT count(*) FROM information_schema.schemata WHERE schema_name LIKE 'connector%'"
    assert warehouse(schemas) == [(0,)]


def test_a_login_without_a_schema_is_told_to_name_one(
    platform: Platform, emr: Sql, warehouse: Sql, lodger: str
) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", "primary_key": "id"}]}
    with pytest.raises(ConfigurationError, match="may make no schema, and 'connector_1' is not there"):
        platform.run(platform.add(source, destination=POSTGRES))
    warehouse("CREATE SCHEMA others")
    with pytest.raises(ConfigurationError, match="may make no table in the schema 'others'"):
        platform.run(platform.add(source, destination=POSTGRES, dataset_name="others"))


def test_staging_tables_of_long_names_stay_apart() -> None:
    names = [staged("connector_123456_staging", "t" * 50 + end) for end in ("a", "b", "ä" * 5)]
    assert len(set(names)) == 3
    assert all(len(name.encode()) <= 63 for name in names)


def test_rights_and_columns_are_asked_for_over_one_session(warehouse: Sql, tmp_path: Path) -> None:
    url = os.environ["CAI_SECRET_WAREHOUSE"]
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with postgres_sessions.kept():
        assert not needs_one_schema(url, "clinic", "staging")
        assert warehouse(sessions) == [(1,)]
        pipeline = dlt.pipeline(
            "sessions", pipelines_dir=str(tmp_path), destination=dlt.destinations.postgres(url), dataset_name="clinic"
        )
        with pipeline.sql_client() as client:
            client.execute_sql("SELECT 1")
        assert warehouse(sessions) == [(1,)]
