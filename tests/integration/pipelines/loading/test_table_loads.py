"""Rows that runs write into the load history, on real loads: the sums hold, and no run costs a session more."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from dlt.extract.extractors import ArrowExtractor
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.loads import FailureKind, Outcome
from database import loads
from pipelines import connector_lock
from pipelines.errors import ConfigurationError, UnexpectedError
from pipelines.load_history import DIED
from pipelines.loading.measures import table_sizes
from tests.support.data_plane.killing import Forge
from tests.support.data_plane.platform import Platform, Sql
from tests.support.servers.http_server import Asked, WebServer

EMR = {"env": "CAI_SECRET_EMR"}
WAREHOUSE = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
COUNTS = "table_name, read, written, rejected, repeated, new, changed, deleted, rows_after"
DESTINATIONS = pytest.mark.parametrize("destination", [None, WAREHOUSE], ids=["duckdb", "postgres"])
RUN = UUID(int=5)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that does much else counts all the same."""
    monkeypatch.setattr(table_sizes, "LEAST_SECONDS", 30)


def asked(platform: Platform, query: str) -> list[tuple[Any, ...]]:
    with platform.connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def last(platform: Platform, columns: str = COUNTS) -> list[tuple[Any, ...]]:
    """The tables of the newest load."""
    newest = "(SELECT max(id) FROM cai_loads)"
    return asked(platform, f"SELECT {columns} FROM cai_load_tables WHERE load_id = {newest} ORDER BY table_name")


def source(**table: Any) -> dict[str, Any]:
    return {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", **table}]}


@DESTINATIONS
def test_a_merge_tells_new_rows_from_changed_ones(
    platform: Platform, emr: Sql, warehouse: Sql, destination: dict[str, Any] | None
) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, at timestamptz, note text)")
    at = "'2026-01-01T00:00Z'::timestamptz + n * interval '1 h'"
    emr(f"INSERT INTO visit SELECT n, {at}, 'a' FROM generate_series(1, 10) n")
    merged = source(primary_key="id", cursor_column="at", write_disposition="merge")
    number = platform.add(merged, destination=destination)
    platform.run(number)
    assert last(platform) == [("visit", 10, 10, 0, 0, 10, 0, 0, 10)]
    ((begun, ended),) = last(platform, "cursor_from, cursor_to")
    assert begun is None
    assert ended.startswith("2026-01-01")

    emr("UPDATE visit SET at = at + interval '1 year', note = 'b' WHERE id <= 3")
    emr("INSERT INTO visit VALUES (11, '2027-06-01T00:00Z', 'c'), (12, '2027-06-02T00:00Z', 'c')")
    platform.run(number)
    # Of the ten, the newest comes again at the cursor's border and stands there already.
    assert last(platform) == [("visit", 5, 5, 0, 1, 2, 3, 0, 12)]
    assert last(platform, "cursor_from")[0][0] == ended
    assert len(set(asked(platform, "SELECT schema_hash FROM cai_load_tables"))) == 1

    platform.run(number)
    assert last(platform) == [("visit", 0, 0, 0, 1, 0, 0, None, None)], "nothing is written, and nothing is counted"


@DESTINATIONS
def test_appends_replacements_and_refreshes_are_told_as_what_they_are(
    platform: Platform, emr: Sql, warehouse: Sql, destination: dict[str, Any] | None
) -> None:
    emr("CREATE TABLE visit (id int, note text)")
    emr("INSERT INTO visit VALUES (1, 'a'), (2, 'b')")
    appended = platform.add(source(write_disposition="append"), destination=destination, dataset_name="appended")
    replaced = platform.add(source(write_disposition="replace"), destination=destination, dataset_name="replaced")
    for number in (appended, replaced):
        platform.run(number)
        assert last(platform)[0][:7] == ("visit", 2, 2, 0, 0, 2, 0)
    emr("INSERT INTO visit VALUES (3, 'c')")
    platform.run(appended)
    assert last(platform) == [("visit", 3, 3, 0, 0, 3, 0, 0, 5)]
    platform.run(replaced)
    assert last(platform) == [("visit", 3, 3, 0, 0, 3, 0, 2, 3)]
    platform.run(appended, full_refresh=True)
    assert last(platform) == [("visit", 3, 3, 0, 0, 3, 0, 5, 3)]
    ((options, outcome, rows),) = asked(
        platform, "SELECT options, outcome, rows FROM cai_loads ORDER BY id DESC LIMIT 1"
    )
    assert (options, outcome, rows) == ({"full_refresh": True}, "completed", 3)


def test_rows_that_a_contract_leaves_out_are_rejected_and_counted(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text)")
    emr("INSERT INTO visit VALUES (1, 'a')")
    number = platform.add(source(primary_key="id") | {"schema_contract": "discard_row"})
    platform.run(number)
    emr("ALTER TABLE visit ADD COLUMN extra int")
    emr("INSERT INTO visit VALUES (2, 'b', NULL), (3, 'c', 7), (4, 'd', 8)")
    platform.run(number)
    assert last(platform, "read, written, rejected") == [(4, 2, 2)]
    assert asked(platform, "SELECT rows_loaded, rows_rejected FROM cai_connector_loads") == [(3, 2)]


def test_files_count_what_is_whole_and_the_newest_version_of_a_row(platform: Platform, inbox: Path) -> None:
    (inbox / "1.jsonl").write_text('{"id": 1, "v": "a"}\n{"id": 2, "v": "a"}\n')
    (inbox / "2.jsonl").write_text('{"id": 2, "v": "b"}\n{"id": 3, "v": "b"}\n')
    (inbox / "3.jsonl").write_text('{"id": 9, "v": "b"}\n{"id": 10')
    labs = {"type": "files", "url": str(inbox), "glob": "*.jsonl", "format": "jsonl", "table": "labs"}
    platform.run(platform.add(labs | {"primary_key": ["id"], "write_disposition": "merge"}))
    assert last(platform) == [("labs", 3, 3, 0, 1, 3, 0, 0, 3)]
    assert sorted(platform.duck("SELECT id, v FROM connector_1.labs")) == [(1, "a"), (2, "b"), (3, "b")]


def test_rows_that_are_lost_on_the_way_end_the_load_before_one_lands(
    platform: Platform, emr: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    emr("CREATE TABLE visit (id int)")
    emr("INSERT INTO visit SELECT generate_series(1, 10)")
    whole = ArrowExtractor._write_item

    def lossy(self: Any, table: str, resource: str, items: Any, columns: Any = None) -> None:
        whole(self, table, resource, [item.slice(1) for item in items], columns)

    monkeypatch.setattr(ArrowExtractor, "_write_item", lossy)
    number = platform.add(source(write_disposition="append"))
    with pytest.raises(UnexpectedError, match="Of table visit, 10 rows were read and 0 rejected, but 9"):
        platform.run(number)
    assert asked(platform, "SELECT outcome, kind, rows FROM cai_loads") == [("failed", "unexpected", 0)]
    assert asked(platform, "SELECT * FROM cai_load_tables") == []
    with pytest.raises(Exception, match="visit"):
        platform.duck(f"SELECT count(*) FROM connector_{number}.visit")


def test_a_killed_runs_load_is_ended_by_the_next_one(platform: Platform, emr: Sql, tmp_path: Path) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY)")
    emr("INSERT INTO visit SELECT generate_series(1, 300)")
    number = platform.add(source(primary_key="id", write_disposition="append"))
    forge = Forge(tmp_path / "runs.log")
    try:
        every: tuple[dict[str, Any], ...] = ({}, {"row_limit": 10})
        for options in every:
            assert forge.run(number, "load-mid", **options) == -9
            assert asked(platform, "SELECT outcome, ended_at FROM cai_loads ORDER BY id DESC LIMIT 1") == [
                ("running", None)
            ]
            platform.run(number, **options)
    finally:
        forge.close()
    told = asked(platform, "SELECT outcome, kind, message, rows FROM cai_loads ORDER BY id")
    dead = ("failed", "died", DIED, 0)
    assert told[::2] == [dead, dead]
    assert [(each[0], each[3]) for each in told[1::2]] == [("completed", 300), ("completed", 10)]
    assert asked(platform, "SELECT failures, loads_failed FROM cai_connector_loads") == [(0, 1)], (
        "a part counts for nothing"
    )


def test_rest_rows_of_several_pages_are_counted_as_they_come(platform: Platform) -> None:
    pages = [
        [{"id": 1, "at": "2026-01-01"}, {"id": 2, "at": "2026-01-02"}],
        [{"id": 3, "at": "2026-01-03"}, {"id": 3, "at": "2026-01-04"}],
        [],
    ]

    def answer(asked: Asked) -> Any:
        return pages[min(int(asked.query.get("page", 1)), 3) - 1]

    with WebServer(answer) as web:
        resource = {
            "name": "visits", "path": "v", "primary_key": "id", "cursor_path": "at",
            "paginator": {"type": "page_number", "base_page": 1, "total_path": None, "stop_after_empty_page": True},
        }  # fmt: skip
        platform.run(platform.add({"type": "rest_api", "base_url": web.url, "resources": [resource]}))
    assert last(platform) == [("visits", 3, 3, 0, 1, 3, 0, 0, 3)]
    assert last(platform, "cursor_to")[0][0].startswith("2026-01-04")


def test_a_run_asks_the_platforms_database_no_more_often_than_before(
    platform: Platform, emr: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    emr("CREATE TABLE visit (id int)")
    emr("INSERT INTO visit VALUES (1)")
    number = platform.add(source())
    sessions: list[str] = []
    statements: list[str] = []
    connect, first = connector_lock._session, connector_lock._first

    def opened(address: str) -> Any:
        sessions.append(address)
        return connect(address)

    def counted(connection: Any, statement: str, values: Any = None) -> Any:
        statements.append(statement)
        return first(connection, statement, values)

    monkeypatch.setattr(connector_lock, "_session", opened)
    monkeypatch.setattr(connector_lock, "_first", counted)
    platform.run(number)
    assert len(sessions) == 1
    writing = [each for each in statements if "INTO cai_" in each or "UPDATE cai_" in each]
    assert len(writing) == 3, "the dead, the start and the end: one statement each, which is one transaction"


async def test_old_loads_are_forgotten_and_others_stay(platform: Platform, emr: Sql, engine: AsyncEngine) -> None:
    emr("CREATE TABLE visit (id int)")
    emr("INSERT INTO visit VALUES (1)")
    number = platform.add(source())
    for _ in range(3):
        platform.run(number)
    asked(platform, "UPDATE cai_loads SET started_at = now() - interval '31 days' WHERE id = 1 RETURNING id")

    async def fence(connection: AsyncConnection) -> None:
        del connection

    assert await loads.prune(engine, timedelta(days=32), fence) == 0
    assert await loads.prune(engine, timedelta(days=30), fence) == 1
    assert asked(platform, "SELECT DISTINCT load_id FROM cai_load_tables ORDER BY 1") == [(2,), (3,)]
    found = await loads.history(engine, number, limit=5, before=None)
    assert [each.id for each in found] == [3, 2]
    assert [each.id for each in await loads.history(engine, number, limit=5, before=3)] == [2]


async def test_a_runs_rows_are_known_by_its_id(platform: Platform, emr: Sql, engine: AsyncEngine) -> None:
    emr("CREATE TABLE visit (id int)")
    emr("INSERT INTO visit VALUES (1), (2)")
    number = platform.add(source())
    platform.run(number, run_id=RUN, actor="alice")
    with pytest.raises(ConfigurationError):
        platform.run(platform.add(source() | {"tables": [{"name": "gone"}]}), run_id=UUID(int=6))
    assert await loads.rows_of_runs(engine, [RUN, UUID(int=6), UUID(int=7)]) == {RUN: 2}
    found = await loads.of_run(engine, number, RUN)
    assert found is not None
    assert (found[0].outcome, found[0].actor, found[0].rows, found[1][0].written) == (Outcome.COMPLETED, "alice", 2, 2)
    assert await loads.of_run(engine, number, UUID(int=6)) is None, "another connector's"
    ((failed,),) = [await loads.history(engine, number + 1, limit=5, before=None)]
    assert (failed.kind, failed.rows) == (FailureKind.CONFIGURATION, 0)
