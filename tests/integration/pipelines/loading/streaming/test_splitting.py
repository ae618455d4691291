"""Tables that several runs copy: what they leave, and what becomes of parts whose run dies."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from connectors.runs import Options
from pipelines.connector_lock import Locks, name_key
from pipelines.helping import NO_PLACE, OVER, help_load
from pipelines.host import PlainHost
from pipelines.loading.summary import Summary
from pipelines.run import run_connector
from pipelines.sources.sql.streams import fitness
from tests.support.data_plane.helpers import Helpers
from tests.support.data_plane.killing import PART_POINTS, SPLIT_POINTS, Forge
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
ROWS = 3_000


def fill(emr: Sql) -> None:
    """A table of some blocks."""
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text, at timestamp NOT NULL)")
    emr(
        "INSERT INTO visit SELECT i, repeat('x', 40), timestamp '2024-01-01' + i * interval '1 s' "
        f"FROM generate_series(1, {ROWS}) i"
    )


def add(platform: Platform, **rules: Any) -> int:
    """A connector from the one into the other."""
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", **rules}]}
    return platform.add(source, destination=POSTGRES)


def run(platform: Platform, connector: int, host: PlainHost | None = None, *, anew: bool = False) -> Summary:
    """A run that loads."""
    outcome = run_connector(connector, Options(full_refresh=anew), platform.settings, host)
    assert isinstance(outcome, Summary)
    return outcome


def rows(warehouse: Sql, connector: int) -> list[tuple[Any, ...]]:
    """What has landed: how many rows, of how many keys, and a sum of all values."""
    return warehouse(
        "SELECT count(*), count(DISTINCT id), count(DISTINCT _dlt_load_id), sum(hashtext(id || note || at)) "
        f"FROM connector_{connector}.visit"
    )


def left_over(warehouse: Sql) -> list[tuple[Any, ...]]:
    """Tables of parts."""
    return warehouse(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE '\\_cai\\_%' AND relname <> '_cai_loads'"
    )


WAYS = {
    "append": {"write_disposition": "append"},
    "append-cursor": {"write_disposition": "append", "cursor_column": "at"},
    "merge-cursor": {"primary_key": "id", "cursor_column": "at"},
    "replace": {"write_disposition": "replace"},
}


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[] if way in {"append", "merge-cursor"} else pytest.mark.soak) for way in WAYS]
)
def test_a_split_table_lands_as_one_that_is_not(
    platform: Platform, emr: Sql, warehouse: Sql, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(fitness, "LEAST_BYTES", 0)
    fill(emr)
    split, whole = add(platform, split=2, **WAYS[way]), add(platform, **WAYS[way])
    for anew in (False, True):
        host = Helpers(platform.settings)
        told = [run(platform, split, host, anew=anew), run(platform, whole, anew=anew)]
        assert host.asked == [1]
        assert host.said == [f"Copied 8 parts with {ROWS:,} rows."]
        assert rows(warehouse, split) == rows(warehouse, whole)
        assert told[0].sentence.replace(f"_{split}", f"_{whole}") == told[1].sentence
        tables = [
            {name: value for name, value in asdict(summary.tables[0]).items() if name not in {"bytes", "seconds"}}
            for summary in told
        ]
        assert tables[0] == tables[1]
        assert told[0].size_bytes > ROWS * 40
        assert not left_over(warehouse)


@pytest.fixture
def forge(platform: Platform, emr: Sql, warehouse: Sql, tmp_path: Path) -> Iterator[Forge]:
    """Forks runs; made last, since it inherits the environment."""
    forge = Forge(tmp_path / "runs.log")
    yield forge
    forge.close()


KILLED = [
    *((point, "", way) for point in SPLIT_POINTS for way in WAYS),
    *(("", point, way) for point in PART_POINTS for way in WAYS),
]
CORNERS = [
    ("stream-mid", "", "append"),
    ("split-seen", "", "append-cursor"),
    ("", "part-mid", "merge-cursor"),
    ("", "part-in", "append"),
]
"""The cells that each test run does; `make soak` does all."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(CORNERS, id="corners"),
        *(pytest.param([cell], marks=pytest.mark.soak, id="-".join(filter(None, cell))) for cell in KILLED),
    ],
)
def test_neither_a_killed_load_nor_a_killed_part_loses_or_doubles_rows(
    platform: Platform, emr: Sql, warehouse: Sql, forge: Forge, cells: list[tuple[str, str, str]]
) -> None:
    fill(emr)
    for point, helper, way in cells:
        die_and_look(platform, warehouse, forge, point, helper, way)


def die_and_look(platform: Platform, warehouse: Sql, forge: Forge, point: str, helper: str, way: str) -> None:
    """Let a load or its helper die, and load again where it was the load."""
    connector = add(platform, split=2, **WAYS[way])
    anew = not way.startswith("append")
    assert forge.run(connector, point, streams=True, helper=helper, full_refresh=anew) == (-9 if point else 0)
    if point:
        seen = warehouse(f"SELECT to_regclass('connector_{connector}.visit')")
        assert seen == [(None,)] or warehouse(f"SELECT count(*) FROM connector_{connector}.visit") == [(0,)]
        assert forge.run(connector, streams=True, helper="", full_refresh=anew) == 0
    assert rows(warehouse, connector)[0][:3] == (ROWS, ROWS, 1)
    assert not left_over(warehouse)
    with platform.connection.cursor() as cursor:
        loaded = f"FROM cai_loads JOIN {{}} ON load_id = id WHERE outcome = 'completed' AND connector_id = {connector}"
        cursor.execute(f"SELECT sum(p.rows), bool_and(p.rows > 0) {loaded.format('cai_load_parts p')}")
        assert cursor.fetchone() == (ROWS, True)
        cursor.execute(f"SELECT cai_loads.rows, read {loaded.format('cai_load_tables')}")
        assert cursor.fetchone() == (ROWS, ROWS)


def test_a_table_that_something_belongs_to_keeps_it(
    platform: Platform, emr: Sql, warehouse: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitness, "LEAST_BYTES", 0)
    fill(emr)
    connector = add(platform, split=2, write_disposition="append")
    run(platform, connector)
    warehouse(f"DELETE FROM connector_{connector}.visit")
    warehouse(f"CREATE VIEW seen AS SELECT id FROM connector_{connector}.visit")
    run(platform, connector)
    assert warehouse("SELECT count(*) FROM seen") == [(ROWS,)]
    assert not left_over(warehouse)


def test_who_can_not_help_says_so_and_the_load_goes_on_alone(
    platform: Platform, emr: Sql, warehouse: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitness, "LEAST_BYTES", 0)
    fill(emr)
    connector = add(platform, split=2, write_disposition="append")

    class Unhelped(Helpers):
        def _help(self, load_id: int) -> None:
            with platform.connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO cai_source_limits (name, hosts, loads, changed_by) "
                    "VALUES ('emr', '{127.0.0.1}', 1, 'x')"
                )
                with Locks.open(platform.settings.resolved_database_url()) as other:
                    assert other.take(name_key("source limit emr 0"))
                    super()._help(load_id)
                cursor.execute("DELETE FROM cai_source_limits")
                cursor.execute('UPDATE cai_connectors SET source = source || \'{"mask": ["x"]}\'')
                super()._help(load_id)

    host = Unhelped(platform.settings)
    run(platform, connector, host)
    assert host.said == [NO_PLACE, OVER]
    assert rows(warehouse, connector)[0][0] == ROWS
    with platform.connection.cursor() as cursor:
        cursor.execute("SELECT max(id) FROM cai_loads")
        assert help_load(cursor.fetchone()[0], platform.settings) == OVER


def test_a_table_that_can_not_stream_is_loaded_by_one_run_which_says_so(
    platform: Platform, emr: Sql, warehouse: Sql
) -> None:
    fill(emr)
    emr("INSERT INTO visit SELECT i, repeat('x', 400), now() FROM generate_series(10001, 13000) i")
    source = {"type": "sql_database", "credentials": EMR, "mask": "note", "tables": [{"name": "visit", "split": 2}]}
    summary = run(platform, platform.add(source, destination=POSTGRES))
    assert "Table visit was loaded by one run, whatever its split is, since 'note' is masked." in summary.sentence
    assert summary.rows == {"visit": 2 * ROWS}
