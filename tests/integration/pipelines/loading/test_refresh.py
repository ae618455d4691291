"""A full refresh beside the old rows: who reads meanwhile, who has views, and runs that die on the way."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg2  # type: ignore[import-untyped]
import pytest

from pipelines.errors import ConfigurationError
from tests.support.data_plane.killing import POINTS, SWAP_POINTS, Forge
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
ROWS = 300


@pytest.fixture
def forge(platform: Platform, emr: Sql, warehouse: Sql, tmp_path: Path) -> Iterator[Forge]:
    """Forks runs; made last, since it inherits the environment."""
    forge = Forge(tmp_path / "runs.log")
    yield forge
    forge.close()


def source(*tables: str) -> dict[str, Any]:
    """Tables with a cursor, each of them appended, merged or replaced in turn."""
    rules = ("append", "merge", "replace")
    return {
        "type": "sql_database",
        "credentials": EMR,
        "tables": [
            {"name": name, "primary_key": "id", "cursor_column": "at", "lag": 0, "write_disposition": rules[number % 3]}
            for number, name in enumerate(tables)
        ],
    }


def fill(emr: Sql, *tables: str) -> None:
    """Make tables of so many rows."""
    for name in tables:
        emr(f"CREATE TABLE {name} (id int PRIMARY KEY, note text, at timestamp)")
        emr(
            f"INSERT INTO {name} SELECT i, repeat('x', 40), timestamp '2024-01-01' + i * interval '1 s' "
            f"FROM generate_series(1, {ROWS}) i"
        )


class Reader:
    """Counts the rows of views every so often, in a thread of its own, and keeps what it saw."""

    def __init__(self, connect: Callable[[], Any], queries: list[str]) -> None:
        self._connect, self._queries = connect, queries
        self.seen: list[int] = []
        self.errors: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        with closing(self._connect()) as connection:
            while not self._done.is_set():
                for query in self._queries:
                    try:
                        cursor = connection.cursor()
                        cursor.execute(query)
                        self.seen.append(cursor.fetchone()[0])
                    except Exception as error:
                        self.errors.append(str(error))
                self._done.wait(0.1)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(timeout=30)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("refreshes", [5, pytest.param(20, marks=pytest.mark.soak)])
@pytest.mark.parametrize("destination", ["duckdb", "postgres"])
def test_who_reads_through_a_view_finds_all_rows_during_refreshes(
    platform: Platform, emr: Sql, warehouse: Sql, destination: str, refreshes: int
) -> None:
    names = ("visit", "labs", "drug")
    fill(emr, *names)
    connector = platform.add(source(*names), destination=POSTGRES if destination == "postgres" else None)
    platform.run(connector)
    path = str(platform.settings.data_dir / "warehouse.duckdb")

    def connect() -> Any:
        if destination == "duckdb":  # a file that a process writes is read in that process only
            return duckdb.connect(path)
        connection = psycopg2.connect(os.environ["CAI_SECRET_WAREHOUSE"])
        connection.autocommit = True
        return connection

    with closing(connect()) as connection:
        for name in names:
            connection.cursor().execute(f"CREATE VIEW v_{name} AS SELECT * FROM connector_{connector}.{name}")
    with Reader(connect, [f"SELECT count(*) FROM v_{name}" for name in names]) as reader:
        for number in range(refreshes):
            emr(f"INSERT INTO visit VALUES ({ROWS + number + 1}, 'new', '2023-01-01')")  # no cursor finds it
            summary = platform.run(connector, full_refresh=True)
            assert summary.rows == {"visit": ROWS + number + 1, "labs": ROWS, "drug": ROWS}
    assert reader.errors == []
    assert len(reader.seen) > 10
    assert min(reader.seen) >= ROWS
    for number in range(len(names)):
        of_view = reader.seen[number :: len(names)]
        assert of_view == sorted(of_view), "never fewer rows than before"
    with closing(connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*), count(DISTINCT id) FROM v_visit")
        assert cursor.fetchone() == (ROWS + refreshes, ROWS + refreshes)


KILLS = [(point, destination) for point in (*POINTS, *SWAP_POINTS) for destination in ("duckdb", "postgres")]
CORNERS = {
    ("load-mid", "duckdb"),
    ("load-end", "postgres"),
    *(("swap-mid", destination) for destination in ("duckdb", "postgres")),
    ("swap-end", "postgres"),
    ("confirm", "duckdb"),
}


@pytest.mark.parametrize(
    ("point", "destination"),
    [pytest.param(*cell, marks=[] if cell in CORNERS else [pytest.mark.soak], id="-".join(cell)) for cell in KILLS],
)
def test_a_refresh_that_is_killed_leaves_the_old_rows(
    platform: Platform, emr: Sql, warehouse: Sql, forge: Forge, point: str, destination: str
) -> None:
    fill(emr, "visit", "visit_labs")
    connector = platform.add(source("visit", "visit_labs"), destination=POSTGRES if destination == "postgres" else None)
    ask = warehouse if destination == "postgres" else platform.duck

    def landed() -> list[tuple[Any, ...]]:
        return [
            row
            for table in ("visit", "visit_labs")
            for row in ask(f"SELECT count(*), count(DISTINCT id), min(note) FROM connector_{connector}.{table}")
        ]

    assert forge.run(connector) == 0
    old = [(ROWS, ROWS, "x" * 40)] * 2
    assert landed() == old
    for table in ("visit", "visit_labs"):
        emr(f"UPDATE {table} SET note = 'changed' WHERE id < {ROWS}")  # no cursor finds it
        emr(f"ALTER TABLE {table} ADD COLUMN more int")
    assert forge.run(connector, point, full_refresh=True) == -9
    new = [(ROWS, ROWS, "changed")] * 2
    assert landed() == (new if point == "confirm" else old)
    for table in ("visit", "visit_labs"):
        emr(f"INSERT INTO {table} VALUES (1000, 'changed', '2025-01-01')")
    # Old cursors go on from where they were.
    assert forge.run(connector) == 0
    assert [row[:2] for row in landed()] == [(ROWS + 1, ROWS + 1)] * 2
    assert forge.run(connector, full_refresh=True) == 0
    assert landed() == [(ROWS + 1, ROWS + 1, "changed")] * 2


@pytest.mark.parametrize("destination", ["duckdb", "postgres"])
def test_a_refresh_of_one_table_moves_no_other_tables_cursor(
    platform: Platform, emr: Sql, warehouse: Sql, destination: str
) -> None:
    fill(emr, "visit", "labs")
    connector = platform.add(source("visit", "labs"), destination=POSTGRES if destination == "postgres" else None)
    ask = warehouse if destination == "postgres" else platform.duck
    platform.run(connector)
    emr(f"UPDATE labs SET note = 'changed' WHERE id < {ROWS}")  # the last one is at the cursor's border
    emr("DELETE FROM visit WHERE id = 1")
    if destination == "postgres":  # keys of others' tables wait for the new rows, where they may
        visit = f"connector_{connector}.visit"
        warehouse(f"CREATE UNIQUE INDEX ON {visit} (id); CREATE TABLE n (v bigint REFERENCES {visit} (id) DEFERRABLE)")
        warehouse("INSERT INTO n VALUES (2)")
    summary = platform.run(connector, full_refresh=True, tables=("visit",))
    assert summary.rows == {"visit": ROWS - 1}
    assert ask(f"SELECT count(*) FROM connector_{connector}.visit") == [(ROWS - 1,)]
    assert ask(f"SELECT count(*) FROM connector_{connector}.labs WHERE note = 'changed'") == [(0,)]
    emr("INSERT INTO labs VALUES (1000, 'x', '2025-01-01')")
    emr("INSERT INTO visit VALUES (1000, 'x', '2025-01-01')")
    assert platform.run(connector).rows["visit"] == 1
    assert ask(f"SELECT count(*) FROM connector_{connector}.labs WHERE note = 'changed'") == [(0,)]
    assert ask(f"SELECT count(*) FROM connector_{connector}.labs") == [(ROWS + 1,)]


@pytest.mark.parametrize("destination", ["duckdb", "postgres"])
def test_a_refresh_takes_another_shape(platform: Platform, emr: Sql, warehouse: Sql, destination: str) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, gone text, shown text, kind int)")
    emr("INSERT INTO visit VALUES (1, 'a', 'b', 7)")
    table = {"name": "visit", "primary_key": "id"}
    connector = platform.add(
        {"type": "sql_database", "credentials": EMR, "tables": [table]},
        destination=POSTGRES if destination == "postgres" else None,
    )
    platform.run(connector)
    path = str(platform.settings.data_dir / "warehouse.duckdb")

    def do(statement: str) -> list[tuple[Any, ...]]:
        if destination == "postgres":
            return warehouse(statement)
        with duckdb.connect(path) as connection:
            return connection.execute(statement).fetchall()

    do(f"CREATE VIEW seen AS SELECT id, shown FROM connector_{connector}.visit")
    emr("ALTER TABLE visit DROP COLUMN gone, DROP COLUMN shown, ADD COLUMN more text DEFAULT 'm'")
    emr("ALTER TABLE visit ALTER COLUMN kind TYPE text")
    emr("INSERT INTO visit VALUES (2, 'x7', 'n')")
    summary = platform.run(connector, full_refresh=True)
    assert "no longer has" in summary.sentence
    assert "shown" in summary.sentence
    assert do(f"SELECT id, kind, more FROM connector_{connector}.visit ORDER BY id") == [(1, "7", "m"), (2, "x7", "n")]
    assert do("SELECT id, shown FROM seen ORDER BY id") == [(1, None), (2, None)]
    emr("INSERT INTO visit VALUES (3, 'y', 'o')")
    platform.run(connector)
    assert do("SELECT count(*) FROM seen") == [(3,)]


def test_a_view_on_a_column_whose_type_changes_is_named(platform: Platform, emr: Sql, warehouse: Sql) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, kind int)")
    emr("INSERT INTO visit VALUES (1, 7)")
    table = {"name": "visit", "primary_key": "id"}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]}, destination=POSTGRES)
    platform.run(connector)
    warehouse(f"CREATE VIEW seen AS SELECT kind FROM connector_{connector}.visit")
    emr("ALTER TABLE visit ALTER COLUMN kind TYPE text")
    with pytest.raises(ConfigurationError, match="'kind' of table 'visit' another type"):
        platform.run(connector, full_refresh=True)
    assert warehouse("SELECT kind FROM seen") == [(7,)]
