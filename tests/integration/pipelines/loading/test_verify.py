"""Source and destination compared in runs: after a load, and in one that loads nothing."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR
from tests.support.servers.http_server import Asked, WebServer
from tests.support.servers.peers import mysql_server

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
TABLE = {"name": "visit", "primary_key": ["id", "site"], "cursor_column": "at"}
COLUMNS = "id int, site varchar(9), weight numeric(12,3), share float, born date, at timestamp, note varchar(90)"


def fill(execute: Callable[[str], Any]) -> None:
    """A table of values that are rounded, masked and converted on their way."""
    execute(f"CREATE TABLE visit ({COLUMNS}, PRIMARY KEY (id, site))")
    for number in range(1, 31):
        execute(
            f"INSERT INTO visit VALUES ({number}, 's{number % 3}', {number}.125, {number / 7}, '1970-01-{number:02}', "
            f"'2024-01-{number:02} 08:00:00', 'note {number}')"
        )
    execute("INSERT INTO visit (id, site, at) VALUES (100, 's', '2024-02-01 08:00:00')")


@pytest.fixture(params=["postgres", "mysql", "sqlite"])
def source(request: pytest.FixtureRequest, emr: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same table in a database of each kind."""
    if request.param == "postgres":
        fill(emr)
        yield
    elif request.param == "sqlite":
        monkeypatch.setenv("CAI_SECRET_EMR", f"sqlite:///{tmp_path}/emr.db")
        with sqlite3.connect(tmp_path / "emr.db") as database:
            fill(database.execute)
        yield
    else:
        import pymysql

        from pipelines.sources.sql.dialects import sync_url

        (tmp_path / "mysql").mkdir()
        with mysql_server(tmp_path / "mysql") as url:
            monkeypatch.setenv("CAI_SECRET_EMR", url)
            at = sync_url(url)
            connection = pymysql.connect(
                host=at.host, port=at.port or 0, user=at.username, password=at.password or "", database=at.database,
                autocommit=True,
            )  # fmt: skip
            with connection, connection.cursor() as cursor:
                fill(cursor.execute)
            yield


def add(platform: Platform, destination: str, **more: Any) -> int:
    """A connector of that table, one column of it masked."""
    return platform.add(
        {"type": "sql_database", "credentials": EMR, "tables": [TABLE], "mask": ["note"], **more},
        destination=POSTGRES if destination == "postgres" else None,
    )


def compared(platform: Platform, connector: int) -> tuple[Any, ...]:
    """What the platform keeps of a comparison: table, numbers, ranges and differences."""
    with platform.connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, at_source, in_destination, missing, extra, different, ranges, differences "
            "FROM cai_comparisons WHERE connector_id = %s",
            [connector],
        )
        table, *rows, ranges, differences = cursor.fetchone()
    return table, tuple(rows), ranges, differences


@pytest.mark.parametrize("destination", ["duckdb", "postgres"])
def test_a_loss_a_surplus_and_a_change_are_found_by_their_keys(
    platform: Platform, source: None, warehouse: Sql, destination: str
) -> None:
    connector = add(platform, destination)
    assert "nothing has landed yet" in platform.run(connector, reconcile="sums").sentence
    platform.run(connector)

    def do(statement: str) -> list[tuple[Any, ...]]:
        if destination == "postgres":
            return warehouse(statement)
        with duckdb.connect(str(platform.settings.data_dir / "warehouse.duckdb")) as connection:
            return connection.execute(statement).fetchall()

    equal = platform.run(connector, reconcile="sums")
    assert equal.sentence == "Table 'visit': 31 rows at the source, 31 landed, all equal."
    table = f"connector_{connector}.visit"
    do(f"DELETE FROM {table} WHERE id = 7")
    do(f"UPDATE {table} SET weight = 8.124 WHERE id = 8")
    do(f"UPDATE {table} SET id = 900 WHERE id = 9")
    found = platform.run(connector, reconcile="sums")
    assert found.sentence == (
        "Table 'visit': 31 rows at the source, 30 landed; 2 are missing, 1 are too many, 1 are different: their keys "
        f"stand in connector_{connector}._cai_differences."
    )
    keys = do(f"SELECT what, row_key FROM connector_{connector}._cai_differences ORDER BY what, row_key")
    assert [what for what, _ in keys] == ["different", "extra", "missing", "missing"]
    assert [key.split(",")[0] for _, key in keys] == ['{"id":8', '{"id":900', '{"id":7', '{"id":9']
    table, rows, ranges, differences = compared(platform, connector)
    assert (table, rows) == ("visit", (31, 30, 2, 1, 1))
    assert [(each["kind"], each["key"]["id"], each["columns"]) for each in differences] == [
        ("different", 8, ["weight"]), ("extra", 900, []), ("missing", 7, []), ("missing", 9, []),
    ]  # fmt: skip
    assert [sum(each[side] for each in ranges) for side in ("at_source", "in_destination", "differ")] == [31, 30, 4]
    assert (ranges[0]["first"], ranges[-1]["last"]) == ("1", "900")
    counted = platform.run(connector, reconcile="counts")
    assert counted.sentence == "Table 'visit': 31 rows at the source, 30 landed, counted only."
    assert platform.run(connector).total_rows in {0, 1}  # no cursor has moved


def test_a_load_that_verifies_says_what_differs(platform: Platform, emr: Sql) -> None:
    fill(emr)
    connector = add(platform, "duckdb", verify="sums")
    assert "landed" not in platform.run(connector).sentence
    emr("UPDATE visit SET weight = 1 WHERE id = 5")  # no cursor finds it
    assert "0 are missing, 0 are too many, 1 are different" in platform.run(connector).sentence


def test_sources_and_destinations_of_other_kinds_are_compared_as_far_as_they_can(
    platform: Platform, emr: Sql, inbox: Path
) -> None:
    for number in (1, 2):
        (inbox / f"{number}.csv").write_text(f"id,note\n{number},a\n{number + 10},b\n")
    files = {"type": "files", "url": str(inbox), "format": "csv", "table": "labs", "primary_key": "id"}
    connector = platform.add(files)
    platform.run(connector)
    equal = "Table 'labs': 4 rows at the source, 4 landed, all equal."
    assert platform.run(connector, reconcile="sums").sentence == equal
    (inbox / "2.csv").unlink()
    found = platform.run(connector, reconcile="sums").sentence
    assert found.startswith("Table 'labs': 2 rows at the source, 4 landed; 0 are missing, 2 are too many, 0 are diff")
    fill(emr)
    for number, kind in enumerate(("delta", "parquet", "jsonl")):
        lake = {"type": "filesystem", "url": str(platform.settings.data_dir / f"lake{number}"), "format": kind}
        table = {"name": "visit", "primary_key": ["id", "site"]} if kind == "delta" else {"name": "visit"}
        connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]}, destination=lake)
        platform.run(connector)
        counted = "Table 'visit': 31 rows at the source, 31 landed, counted only."
        assert platform.run(connector, reconcile="sums").sentence == counted, kind


def test_a_fhir_server_is_read_anew_as_a_whole(platform: Platform) -> None:
    held = [{"resourceType": "Patient", "id": f"p{n}", "meta": {"lastUpdated": "2024-01-01T00:00:00Z"}} for n in (1, 2)]

    def answer(asked: Asked) -> Any:
        since = asked.query.get("_lastUpdated")
        found = [] if since else held
        return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in found]}

    with WebServer(answer) as server:
        connector = platform.add({"type": "fhir", "base_url": server.url, "resource_types": ["Patient"]})
        platform.run(connector)
        equal = "Table 'patient': 2 rows at the source, 2 landed, all equal."
        assert platform.run(connector, reconcile="sums").sentence == equal
        held.pop()
        assert "1 are too many" in platform.run(connector, reconcile="sums").sentence
