"""Histories: each version of a row with the moments between which it stood there, whatever a run has died of."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.errors import ConfigurationError
from tests.support.data_plane.killing import POINTS, SWAP_POINTS, Forge
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR
from tests.support.servers.http_server import WebServer

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
DESTINATIONS = ("duckdb", "postgres")


class Told:
    """A connector of the table `visit` with a history, and what the history says."""

    def __init__(self, platform: Platform, emr: Sql, warehouse: Sql, destination: str) -> None:
        self.emr = emr
        self._platform = platform
        self._ask = warehouse if destination == "postgres" else platform.duck
        self.is_in_postgres = destination == "postgres"
        self._given = POSTGRES if destination == "postgres" else None
        self.id = 0
        emr("CREATE TABLE visit (id int PRIMARY KEY, note text, at timestamp DEFAULT clock_timestamp())")
        emr("INSERT INTO visit SELECT i, 'n' || i, timestamp '2024-01-01' FROM generate_series(1, 12) i")

    def add(self, **more: Any) -> None:
        table = {"name": "visit", "primary_key": "id", "history": True, **more}
        source = {"type": "sql_database", "credentials": EMR, "tables": [table]}
        self.id = self._platform.add(source, destination=self._given)

    def load(self, **options: Any) -> datetime:
        """Load, and return a moment after it."""
        self._platform.run(self.id, **options)
        return datetime.now(UTC)

    def table(self, name: str) -> str:
        return f"connector_{self.id}.{name}"

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return self._ask(query)

    def as_of(self, moment: datetime, columns: str = "id, note") -> list[tuple[Any, ...]]:
        return self.ask(
            f"SELECT {columns} FROM {self.table('visit__history')} WHERE valid_from <= '{moment.isoformat()}' "
            f"AND (valid_to IS NULL OR valid_to > '{moment.isoformat()}') ORDER BY id"
        )

    def source(self, columns: str = "id, note") -> list[tuple[Any, ...]]:
        return self.emr(f"SELECT {columns} FROM visit ORDER BY id")


@pytest.fixture(params=DESTINATIONS)
def told(request: pytest.FixtureRequest, platform: Platform, emr: Sql, warehouse: Sql) -> Told:
    """In each destination."""
    return Told(platform, emr, warehouse, request.param)


@pytest.mark.parametrize("deletes", ["remove", "mark"])
def test_each_moment_has_the_rows_that_stood_there_then(told: Told, deletes: str) -> None:
    told.add(deletes=deletes, cursor_column="at")
    seen = []

    def load(**options: Any) -> None:
        seen.append((told.load(**options), told.source()))

    load()
    told.emr("UPDATE visit SET note = 'other', at = clock_timestamp() WHERE id IN (2, 3)")
    told.emr("INSERT INTO visit VALUES (13, 'new')")
    load()
    told.emr("DELETE FROM visit WHERE id IN (3, 4)")
    load()
    told.emr(
        "INSERT INTO visit VALUES (3, 'again', clock_timestamp()), (4, 'n4', '2024-01-01')"
    )  # the second behind the cursor
    load(full_refresh=True)
    told.emr("UPDATE visit SET id = 50, at = clock_timestamp() WHERE id = 5")
    load()
    load()  # nothing is new
    for moment, rows in seen:
        assert told.as_of(moment) == rows
    assert told.ask(f"SELECT count(*) FROM {told.table('visit__history')}") == [(12 + 3 + 2 + 1,)]
    assert told.as_of(datetime(2020, 1, 1, tzinfo=UTC)) == []
    if told.is_in_postgres:  # whose planner would else compare each row with each version
        both = ", ".join(f"'{told.table(name)}'::regclass" for name in ("visit", "visit__history"))
        unknown = f"SELECT relname FROM pg_class WHERE oid IN ({both}) AND reltuples < 0"
        assert told.ask(unknown) == []


def test_a_row_that_comes_again_without_a_newer_cursor_begins_again(told: Told) -> None:
    told.add(deletes="mark", cursor_column="at")
    told.load()
    told.emr("DELETE FROM visit WHERE id = 4")
    gone, left = told.load(), told.source()
    told.emr("INSERT INTO visit VALUES (4, 'n4', '2024-01-01')")
    assert told.as_of(told.load()) == told.source()
    assert told.as_of(gone) == left


def test_columns_that_come_go_and_become_wider(told: Told) -> None:
    told.add()
    first, rows = told.load(), told.source()
    told.emr("ALTER TABLE visit ADD COLUMN weight int")
    told.emr("UPDATE visit SET weight = 7 WHERE id = 1")
    second, weighed = told.load(), told.source("id, note, weight")
    assert told.ask(f"SELECT count(*) FROM {told.table('visit__history')}") == [(13,)]  # no version for an empty column
    told.emr("ALTER TABLE visit ALTER COLUMN weight TYPE numeric(12, 2)")
    told.emr("UPDATE visit SET weight = 8.25 WHERE id = 2")
    third, wider = told.load(), told.source("id, note, weight")
    told.emr("ALTER TABLE visit ALTER COLUMN weight TYPE text USING 'w' || weight")
    fourth, texts = told.load(full_refresh=True), told.source("id, note, weight")
    told.emr("ALTER TABLE visit DROP COLUMN weight")
    fifth = told.load(full_refresh=True)
    assert told.as_of(first) == rows
    number = "id, note, CAST(CAST(weight AS decimal(12, 2)) AS decimal(12, 2))"
    assert told.as_of(second, number) == weighed
    assert told.as_of(third, number) == wider
    assert told.as_of(fourth, "id, note, weight") == texts
    assert told.as_of(fifth, "id, note, weight") == [(*row, None) for row in told.source()]


def test_a_source_that_is_empty_at_a_full_refresh_ends_all_versions(told: Told) -> None:
    told.add(deletes="ignore")
    first, rows = told.load(), told.source()
    told.emr("DELETE FROM visit")
    assert told.as_of(told.load(full_refresh=True)) == []
    told.emr("INSERT INTO visit VALUES (3, 'again')")
    assert told.as_of(told.load()) == [(3, "again")]
    assert told.as_of(first) == rows


def test_files_and_a_web_api_have_histories_too(platform: Platform, inbox: Path) -> None:
    (inbox / "1.csv").write_text("id,note\n1,a\n2,b\n")
    files = {"type": "files", "url": str(inbox), "format": "csv", "table": "Lab results", "primary_key": "id"}
    connector = platform.add({**files, "history": True})
    platform.run(connector)
    (inbox / "2.csv").write_text("id,note\n2,c\n")
    platform.run(connector)
    notes = "SELECT id, note, valid_to IS NULL FROM connector_{}.{}__history ORDER BY id, valid_from"
    assert platform.duck(notes.format(connector, "lab_results")) == [(1, "a", True), (2, "b", False), (2, "c", True)]
    rows = [{"id": 1, "note": {"of": [1]}}]
    with WebServer(lambda _: rows) as server:
        resource = {"name": "Visits", "path": "visits", "primary_key": "id", "history": True}
        connector = platform.add({"type": "rest_api", "base_url": server.url, "resources": [resource]})
        platform.run(connector)
        platform.run(connector)  # JSON of equal values is no version
        rows[0]["note"] = {"of": [2]}
        platform.run(connector)
    found = platform.duck(notes.format(connector, "visits"))
    assert [(id_, str(note), now) for id_, note, now in found] == [(1, '{"of":[1]}', False), (1, '{"of":[2]}', True)]


def test_a_history_that_was_switched_off_catches_up(told: Told, platform: Platform) -> None:
    told.add(deletes="remove", cursor_column="at")
    told.load()
    told.ask(f"SELECT count(*) FROM {told.table('visit__history')}")
    with platform.connection.cursor() as cursor:
        switch = "UPDATE cai_connectors SET source = jsonb_set(source, '{tables,0,history}', %s) WHERE id = %s"
        cursor.execute(switch, ("false", told.id))
        told.emr("UPDATE visit SET note = 'other', at = clock_timestamp() WHERE id = 1")
        told.emr("DELETE FROM visit WHERE id = 2")
        told.load()
        cursor.execute(switch, ("true", told.id))
    assert told.as_of(told.load()) == told.source()  # which brings no row


def test_a_view_on_a_history_is_told_with_the_way_out(platform: Platform, emr: Sql, warehouse: Sql) -> None:
    told = Told(platform, emr, warehouse, "postgres")
    told.add()
    told.load()
    warehouse(f"CREATE VIEW shown AS SELECT id, note FROM {told.table('visit__history')}")
    emr("ALTER TABLE visit ADD COLUMN weight int")
    assert told.as_of(told.load()) == told.source()
    emr("ALTER TABLE visit ALTER COLUMN note TYPE int USING id")
    with pytest.raises(ConfigurationError, match="'shown' in the destination uses it"):
        told.load(full_refresh=True)
    warehouse("DROP VIEW shown")
    assert told.as_of(told.load(), "id, CAST(note AS int)") == told.source()


def test_a_column_of_a_historys_own_name_is_refused_before_anything_is_written(told: Told) -> None:
    told.emr("ALTER TABLE visit ADD COLUMN valid_to date")
    told.add()
    with pytest.raises(ConfigurationError, match="'valid_to' of its own"):
        told.load()


@pytest.fixture
def forge(platform: Platform, emr: Sql, warehouse: Sql, tmp_path: Path) -> Iterator[Forge]:
    """Forks runs; made last, since it inherits the environment."""
    forge = Forge(tmp_path / "runs.log")
    yield forge
    forge.close()


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=[] if point in {"load-mid", "history"} else [pytest.mark.soak])
        for point in (*POINTS, "history", "history-end")
    ],
)
def test_a_killed_run_leaves_a_history_that_catches_up(
    platform: Platform, emr: Sql, warehouse: Sql, forge: Forge, destination: str, point: str
) -> None:
    told = Told(platform, emr, warehouse, destination)
    told.add(deletes="remove", cursor_column="at")
    assert forge.run(told.id, point) == -9
    first, rows = told.load(), told.source()
    emr("UPDATE visit SET note = 'other', at = clock_timestamp() WHERE id < 5")
    emr("DELETE FROM visit WHERE id = 12")
    assert forge.run(told.id, point) == -9
    assert told.as_of(told.load()) == told.source()
    assert told.as_of(first) == rows
    assert told.ask(f"SELECT count(*) FROM {told.table('visit__history')}") == [(16,)]


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("point", [pytest.param(point, marks=[pytest.mark.soak]) for point in SWAP_POINTS])
def test_a_full_refresh_that_is_killed_leaves_the_history_whole(
    platform: Platform, emr: Sql, warehouse: Sql, forge: Forge, destination: str, point: str
) -> None:
    told = Told(platform, emr, warehouse, destination)
    told.add()
    first, rows = told.load(), told.source()
    emr("DELETE FROM visit WHERE id = 12")
    forge.run(told.id, point, full_refresh=True)
    assert told.as_of(told.load(full_refresh=True)) == told.source()
    assert told.as_of(first) == rows
    assert told.ask(f"SELECT count(*) FROM {told.table('visit__history')}") == [(12,)]


def test_in_a_duckdb_file_a_version_is_never_empty(platform: Platform, emr: Sql, warehouse: Sql) -> None:
    told = Told(platform, emr, warehouse, "duckdb")
    told.add(deletes="remove")
    told.load()
    with duckdb.connect(str(platform.settings.data_dir / "warehouse.duckdb")) as connection:
        # As another worker's clock might have it.
        connection.execute(f"UPDATE {told.table('_cai_histories')} SET followed_at = now() + INTERVAL 1 HOUR")
    emr("UPDATE visit SET note = 'other' WHERE id = 1")
    emr("DELETE FROM visit WHERE id = 2")
    told.load()
    history = told.table("visit__history")
    assert told.ask(f"SELECT count(*) FROM {history} WHERE valid_to <= valid_from") == [(0,)]
    assert told.ask(f"SELECT count(*) FROM {history} WHERE valid_from > now() + INTERVAL 30 MINUTE") == [(1,)]
