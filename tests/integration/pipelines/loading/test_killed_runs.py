"""kill -9 at every point of a run, then a run again: no row lost, none twice."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.data_plane.killing import POINTS, STREAM_POINTS, Forge
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR

Sql = Callable[[str], list[tuple[Any, ...]]]

DISPOSITIONS = ("append", "merge", "replace")
DESTINATIONS = ("duckdb", "postgres")
CELLS = [
    (point, disposition, destination, directory)
    for point in POINTS
    for disposition in DISPOSITIONS
    for destination in DESTINATIONS
    for directory in ("same", "lost")
] + [(point, "append", "files", "lost") for point in POINTS]
STREAMED = [
    (point, disposition)
    for point in ("extract-end", "normalize-end", *STREAM_POINTS, "load-mid", "load-end", "confirm")
    for disposition in DISPOSITIONS
]
STREAMED_CORNERS = {
    ("stream-begin", "append"),
    *(("stream-mid", disposition) for disposition in DISPOSITIONS),
    ("stream-end", "append"),
    ("stream-end", "merge"),
    ("load-mid", "append"),
    ("load-end", "append"),
    ("load-end", "merge"),
}
CORNERS = {
    *(
        (point, "append", "duckdb", "lost")
        for point in ("extract-mid", "normalize-mid", "load-mid", "load-end", "confirm")
    ),
    *(
        (point, "append", destination, "lost")
        for point in ("load-mid", "load-end")
        for destination in ("postgres", "files")
    ),
    ("load-mid", "merge", "duckdb", "lost"),
    ("load-end", "merge", "postgres", "same"),
    *(("load-mid", "replace", destination, "same") for destination in DESTINATIONS),
}
"""The cells that each test run does; `make soak` does all."""


@pytest.fixture
def forge(platform: Platform, emr: Sql, warehouse: Sql, tmp_path: Path) -> Iterator[Forge]:
    """Forks runs; made last, since it inherits the environment."""
    forge = Forge(tmp_path / "runs.log")
    yield forge
    forge.close()


def in_memory(query: str) -> list[tuple[Any, ...]]:
    """Ask files, for which no database is needed."""
    return duckdb.execute(query).fetchall()


@pytest.mark.parametrize(
    ("point", "disposition", "destination", "directory"),
    [pytest.param(*cell, marks=[] if cell in CORNERS else [pytest.mark.soak], id="-".join(cell)) for cell in CELLS],
)
def test_a_killed_run_neither_loses_nor_doubles_rows(
    platform: Platform,
    emr: Sql,
    warehouse: Sql,
    forge: Forge,
    point: str,
    disposition: str,
    destination: str,
    directory: str,
) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text, at timestamp)")
    emr(
        "INSERT INTO visit SELECT i, repeat('x', 40), timestamp '2024-01-01' + i * interval '1 s' "
        "FROM generate_series(1, 300) i"
    )
    table = {"name": "visit", "primary_key": "id", "write_disposition": disposition, "cursor_column": "at"}
    lake = platform.settings.data_dir / "lake"
    given = {
        "duckdb": None,
        "postgres": {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}},
        "files": {"type": "filesystem", "url": str(lake)},
    }[destination]
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [table]}
    connector = platform.add(source, destination=given)
    asks: dict[str, Sql] = {"duckdb": platform.duck, "postgres": warehouse, "files": in_memory}
    ask = asks[destination]

    def landed() -> tuple[int, int]:
        table = f"connector_{connector}.visit"
        if destination == "files":
            table = f"read_parquet('{lake}/connector_{connector}/visit/*.parquet')"
        ((rows, ids),) = ask(f"SELECT count(*), count(DISTINCT id) FROM {table}")
        return rows, ids

    for expected in (300, 450):  # the first load, with nothing there yet, and an increment
        assert forge.run(connector, point) == -9
        if directory == "lost":
            shutil.rmtree(platform.settings.data_dir / "runs", ignore_errors=True)
        assert forge.run(connector) == 0
        assert landed() == (expected, expected)
        emr(
            "INSERT INTO visit SELECT i, repeat('x', 40), timestamp '2024-01-02' + i * interval '1 s' "
            "FROM generate_series(301, 450) i ON CONFLICT DO NOTHING"
        )
    assert not (platform.settings.data_dir / "runs" / str(connector)).exists()
    if destination == "files":
        assert not list(lake.rglob("_cai_loads/*"))
        return
    statuses = ask(f"SELECT DISTINCT status FROM connector_{connector}._dlt_loads")
    assert statuses == [(0,)]


@pytest.mark.parametrize(
    ("point", "disposition"),
    [
        pytest.param(*cell, marks=[] if cell in STREAMED_CORNERS else [pytest.mark.soak], id="-".join(cell))
        for cell in STREAMED
    ],
)
def test_a_killed_stream_neither_loses_nor_doubles_rows(
    platform: Platform, emr: Sql, warehouse: Sql, forge: Forge, point: str, disposition: str
) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text, at timestamp)")
    rows = "INSERT INTO visit SELECT i, repeat('x', 40), timestamp '2024-01-01' + i * interval '1 s' "
    emr(f"{rows} FROM generate_series(1, 300) i")
    cursor = {} if disposition == "replace" else {"cursor_column": "at"}
    table = {"name": "visit", "primary_key": "id", "write_disposition": disposition, **cursor}
    connector = platform.add(
        {"type": "sql_database", "credentials": EMR, "tables": [table]},
        destination={"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}},
    )
    for expected in (
        300,
        450,
    ):  # the first load, with nothing there yet, and an increment with known rows at its border
        assert forge.run(connector, point, streams=True) == -9
        assert forge.run(connector, streams=expected == 300) == 0
        landed = warehouse(f"SELECT count(*), count(DISTINCT id), count(note) FROM connector_{connector}.visit")
        assert landed == [(expected, expected, expected)]
        emr(f"{rows} FROM generate_series(301, 450) i ON CONFLICT DO NOTHING")
    assert warehouse(f"SELECT DISTINCT status FROM connector_{connector}._dlt_loads") == [(0,)]


def test_a_full_refresh_that_is_killed_is_done_again(platform: Platform, emr: Sql, forge: Forge) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, at timestamp)")
    emr("INSERT INTO visit SELECT i, timestamp '2024-01-01' + i * interval '1 s' FROM generate_series(1, 300) i")
    table = {"name": "visit", "primary_key": "id", "cursor_column": "at", "write_disposition": "append"}
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [table]}
    connector = platform.add(source)
    assert forge.run(connector) == 0
    assert forge.run(connector, "load-mid", full_refresh=True) == -9
    assert forge.run(connector) == 0
    assert platform.duck(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.visit") == [(300, 300)]
