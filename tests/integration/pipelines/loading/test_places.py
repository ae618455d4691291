"""Places that a run refuses to write, keeps, and makes so that others can read them."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from connectors.runs import Options
from pipelines.access.database_urls import checked, postgres_url
from pipelines.errors import ConfigurationError
from pipelines.loading.destinations import local_paths, make_duckdb_file
from pipelines.run import run_connector
from settings import Settings
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
LAST_LTS = "1.4.4"


def files(inbox: Path, text: str, **keys: Any) -> dict[str, Any]:
    (inbox / "a.csv").write_text(text)
    return {"type": "files", "url": str(inbox), "glob": "*.csv", "table": "visit", **keys}


def stored(path: Path) -> str:
    """The oldest DuckDB that reads a file, in DuckDB's own words."""
    with duckdb.connect(str(path), read_only=True) as file:
        found = file.execute("SELECT tags['storage_version'] FROM duckdb_databases() WHERE path IS NOT NULL").fetchone()
    return str(found[0]) if found else ""


def test_a_duckdb_file_of_ours_is_one_that_the_last_lts_reads(platform: Platform, inbox: Path) -> None:
    connector = platform.add(files(inbox, "id,name\n1,a\n", primary_key="id"))
    platform.run(connector)
    platform.run(connector, full_refresh=True)
    assert stored(platform.settings.data_dir / "warehouse.duckdb").startswith("v1.4.0")


def test_a_duckdb_file_is_of_the_version_that_is_asked_for(tmp_path: Path) -> None:
    make_duckdb_file(tmp_path / "new's.duckdb", "latest")
    assert not stored(tmp_path / "new's.duckdb").startswith("v1.")
    make_duckdb_file(tmp_path / "new's.duckdb", "v1.4.0")  # what is there stays
    assert not stored(tmp_path / "new's.duckdb").startswith("v1.")
    with pytest.raises(ConfigurationError, match="storage_version v9"):
        make_duckdb_file(tmp_path / "never.duckdb", "v9.0.0")


@pytest.mark.soak
def test_the_last_lts_opens_a_file_of_ours(platform: Platform, inbox: Path, tmp_path: Path) -> None:
    platform.run(platform.add(files(inbox, "id,name,at\n1,a,2024-01-01T00:00:00Z\n2,b,\n", primary_key="id")))
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", f"duckdb=={LAST_LTS}"], check=True)
    ask = (
        "import duckdb, sys; f = duckdb.connect(sys.argv[1], read_only=True); "
        "print(duckdb.__version__, f.execute('SELECT count(*) FROM connector_1.visit').fetchone()[0])"
    )
    path = str(platform.settings.data_dir / "warehouse.duckdb")
    answer = subprocess.run([python, "-c", ask, path], check=True, capture_output=True, text=True)
    assert answer.stdout.split() == [LAST_LTS, "2"]


# --- two connectors, one table ----------------------------------------------------------------------------------------


def test_a_row_written_by_sql_that_takes_another_connectors_table_does_not_load(
    platform: Platform, inbox: Path
) -> None:
    source = files(inbox, "id\n1\n", write_disposition="replace")
    first, second = (platform.add(source, dataset_name="shared") for _ in range(2))
    for connector in (first, second):
        with pytest.raises(ConfigurationError, match="which also writes 'visit'"):
            platform.run(connector)


def test_connectors_share_a_table_when_both_say_so(platform: Platform, inbox: Path, warehouse: Sql) -> None:
    on_purpose = {**POSTGRES, "shared_tables": True}
    source = files(inbox, "id\n1\n", write_disposition="append")
    connectors = [platform.add(source, dataset_name="shared", destination=on_purpose) for _ in range(2)]
    for connector in connectors:
        platform.run(connector)
    assert warehouse("SELECT count(*) FROM shared.visit") == [(2,)]
    with pytest.raises(ConfigurationError, match="would drop 'visit'"):
        platform.run(connectors[0], full_refresh=True)
    assert warehouse("SELECT count(*) FROM shared.visit") == [(2,)]


# --- a source that is empty for once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("destination", [None, POSTGRES, "delta"])
def test_a_replaced_table_keeps_its_rows_when_the_source_is_empty(
    platform: Platform, emr: Sql, warehouse: Sql, tmp_path: Path, destination: Any
) -> None:
    if destination == "delta":
        pytest.importorskip("deltalake")
        destination = {"type": "filesystem", "url": str(tmp_path / "lake"), "format": "delta"}

    def count() -> int:
        if destination is None:
            return int(platform.duck(f"SELECT count(*) FROM connector_{connector}.visit")[0][0])
        if destination is POSTGRES:
            return int(warehouse(f"SELECT count(*) FROM connector_{connector}.visit")[0][0])
        found = duckdb.execute(f"SELECT count(*) FROM delta_scan('{tmp_path}/lake/connector_{connector}/visit')")
        return int((found.fetchone() or (0,))[0])

    emr("CREATE TABLE visit (id int PRIMARY KEY)")
    emr("INSERT INTO visit VALUES (1), (2)")
    table = {"name": "visit", "write_disposition": "replace"}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table]}
    connector = platform.add(source, destination=destination)
    platform.run(connector)
    emr("DELETE FROM visit")
    kept = platform.run(connector)
    assert "The source had no rows for 'visit', which therefore keeps those of the load before" in kept.sentence
    emr("INSERT INTO visit VALUES (3)")
    assert platform.run(connector).total_rows == 1
    if destination is None or destination is POSTGRES:
        assert count() == 1


def test_a_replaced_table_is_emptied_when_that_is_meant(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY)")
    emr("INSERT INTO visit VALUES (1), (2)")
    table = {"name": "visit", "write_disposition": "replace"}
    kept, emptied = (
        platform.add({"type": "sql_database", "credentials": EMR, "tables": [{**table, **more}]})
        for more in ({}, {"allow_empty": True})
    )
    for connector in (kept, emptied):
        platform.run(connector)
    emr("DELETE FROM visit")
    for connector in (kept, emptied):
        platform.run(connector)
    assert platform.duck(f"SELECT count(*) FROM connector_{kept}.visit") == [(2,)]
    assert platform.duck(f"SELECT count(*) FROM connector_{emptied}.visit") == [(0,)]
    platform.run(kept, full_refresh=True)
    assert platform.duck(f"SELECT count(*) FROM connector_{kept}.visit") == [(0,)]


# --- places -----------------------------------------------------------------------------------------------------------


def test_a_run_writes_no_file_outside_of_its_directories(
    platform: Platform, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAI_LOCAL_DESTINATION_ROOTS")
    platform.settings = Settings()
    outside = tmp_path / "outside"
    outside.mkdir()
    platform.settings.data_dir.mkdir(exist_ok=True)
    (platform.settings.data_dir / "link").symlink_to(outside)
    source = files(inbox, "id\n1\n")
    for destination in (
        {"type": "duckdb", "path": "../outside/x.duckdb"},
        {"type": "duckdb", "path": "link/x.duckdb"},
        {"type": "filesystem", "url": str(outside)},
    ):
        with pytest.raises(ConfigurationError, match="CAI_LOCAL_DESTINATION_ROOTS"):
            run_connector(platform.add(source, destination=destination), Options(), platform.settings)
    assert list(outside.iterdir()) == []


def test_a_sqlite_source_is_read_below_the_roots_of_local_files_only(
    platform: Platform, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]}
    for directory in (inbox, tmp_path):
        with sqlite3.connect(directory / "emr.db") as database:
            database.execute("CREATE TABLE visit (id integer)")
            database.execute("INSERT INTO visit VALUES (1)")
    (inbox / "link.db").symlink_to(tmp_path / "emr.db")
    monkeypatch.setenv("CAI_SECRET_EMR", f"sqlite:///{inbox}/emr.db")
    assert platform.run(platform.add(source)).total_rows == 1
    for path in (f"{tmp_path}/emr.db", f"{inbox}/../emr.db", f"{inbox}/link.db", f"file:{tmp_path}/emr.db?uri=true"):
        monkeypatch.setenv("CAI_SECRET_EMR", f"sqlite:///{path}")
        with pytest.raises(ConfigurationError, match="CAI_LOCAL_FILE_ROOTS"):
            platform.run(platform.add(source))


@pytest.mark.parametrize(
    ("credentials", "paths"),
    [
        ("sqlite:////tmp/x.db", ["/tmp/x.db"]),
        ("sqlite:///x.db?mode=rwc", ["x.db"]),
        ({"catalog": "sqlite:///c.db", "storage": {"bucket_url": "file:///tmp/y"}}, ["c.db", "/tmp/y"]),
        ("snowflake://user:password@account/database", []),
        ({"uri": "/tmp/lance"}, ["/tmp/lance"]),
    ],
)
def test_paths_in_the_credentials_of_embedded_destinations_are_found(credentials: Any, paths: list[str]) -> None:
    assert [str(path) for path in local_paths(credentials)] == paths


# --- addresses --------------------------------------------------------------------------------------------------------


def test_a_password_with_a_space_works(
    platform: Platform, emr: Sql, inbox: Path, monkeypatch: pytest.MonkeyPatch, warehouse: Sql
) -> None:
    password = "my pass%1"
    warehouse(f"CREATE ROLE spaced LOGIN SUPERUSER PASSWORD '{password}'")
    host = os.environ["CAI_SECRET_WAREHOUSE"].rpartition("@")[2]
    monkeypatch.setenv("CAI_SECRET_WAREHOUSE", f"postgresql://spaced:{password}@{host}")
    connector = platform.add(files(inbox, "id\n1\n"), destination=POSTGRES)
    platform.run(connector)
    assert warehouse(f"SELECT count(*) FROM connector_{connector}.visit") == [(1,)]
    monkeypatch.setenv("CAI_SECRET_EMR", f"postgresql://spaced:{password}@{host}")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]}
    source["schema"] = f"connector_{connector}"
    assert platform.run(platform.add(source)).total_rows == 1


def test_a_missing_database_is_named(
    platform: Platform, inbox: Path, warehouse: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = os.environ["CAI_SECRET_WAREHOUSE"].rpartition("/")[0] + "/no_such_thing"
    monkeypatch.setenv("CAI_SECRET_WAREHOUSE", address)
    with pytest.raises(ConfigurationError, match="has no database 'no_such_thing': create it there"):
        platform.run(platform.add(files(inbox, "id\n1\n"), destination=POSTGRES))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql://u:swordfish@h/d?foo=1", "the parameter 'foo', which PostgreSQL does not know"),
        ("postgresql://u:swordfish@h/d?sslmode=bogus", "'sslmode'"),
        ("postgresql://u:swordfish@h/d?connect_timeout=abc", "a number of seconds"),
        ("postgresql://u:swordfish@h:port/d", "a number as its port"),
    ],
)
def test_what_is_wrong_with_an_address_is_named(address: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        checked(address, "source.credentials")
    assert "source.credentials" in str(caught.value)
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://u:my pass@h/d", "postgresql://u:my%20pass@h/d"),
        ("postgresql://u:50%@h/d", "postgresql://u:50%25@h/d"),
        ("postgresql://u:a%40b+c@h/d", "postgresql://u:a%40b%2Bc@h/d"),
        ("postgresql://u:p@h/d?sslmode=require", "postgresql://u:p@h/d?sslmode=require"),
    ],
)
def test_a_password_is_encoded_as_drivers_want_it(given: str, expected: str) -> None:
    assert postgres_url(given) == expected
