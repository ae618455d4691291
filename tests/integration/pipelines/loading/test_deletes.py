"""Rows that are gone at the source: swept by their keys, marked or removed, and never on the word of a bad answer."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from connectors.runs import Options
from pipelines.errors import ConfigurationError, RunError
from pipelines.host import Listeners
from pipelines.load_history import Told
from pipelines.run import run_connector
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR
from tests.support.servers.http_server import Answer, Asked, WebServer

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
DESTINATIONS = ("duckdb", "postgres")


def add(platform: Platform, destination: str, deletes: str, **more: Any) -> int:
    """A connector of one table with a key of two columns and a cursor, which no deleted row moves."""
    table = {"name": "visit", "primary_key": ["id", "site"], "cursor_column": "at", "deletes": deletes, **more}
    return platform.add(
        {"type": "sql_database", "credentials": EMR, "tables": [table]},
        destination=POSTGRES if destination == "postgres" else None,
    )


def fill(emr: Sql, rows: int = 20) -> None:
    """A table of so many rows."""
    emr("CREATE TABLE visit (id int, site text, note text, at timestamp, PRIMARY KEY (id, site))")
    emr(
        "INSERT INTO visit SELECT i, 's' || i % 3, 'n', timestamp '2024-01-01' + i * interval '1 hour' "
        f"FROM generate_series(1, {rows}) i"
    )


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_what_is_gone_at_the_source_is_removed_or_marked(
    platform: Platform, emr: Sql, warehouse: Sql, destination: str
) -> None:
    fill(emr)
    removing, marking, ignoring = (add(platform, destination, how) for how in ("remove", "mark", "ignore"))
    ask = warehouse if destination == "postgres" else platform.duck
    for connector in (removing, marking, ignoring):
        platform.run(connector)
    emr("DELETE FROM visit WHERE id IN (3, 4)")
    emr("UPDATE visit SET id = 105 WHERE id = 5")  # another key, and no newer cursor
    emr("INSERT INTO visit VALUES (21, 's1', 'n', '2025-01-01')")
    began = datetime.now(UTC)
    summaries = {connector: platform.run(connector) for connector in (removing, marking, ignoring)}
    rows = f"SELECT id FROM connector_{removing}.visit WHERE id < 8 OR id > 19 ORDER BY id"
    assert ask(rows) == [(1,), (2,), (6,), (7,), (20,), (21,)]
    assert ask(f"SELECT count(*) FROM connector_{ignoring}.visit") == [(21,)]
    marked = ask(f"SELECT id, _deleted_at FROM connector_{marking}.visit WHERE _deleted_at IS NOT NULL ORDER BY id")
    assert [key for key, _ in marked] == [3, 4, 5]
    assert all(began - timedelta(seconds=1) <= moment <= datetime.now(UTC) for _, moment in marked)
    for connector, left in ((removing, 18), (marking, 21)):
        (table,) = summaries[connector].tables
        assert table.deleted == 3
        assert table.rows_after in {None, left}  # PostgreSQL may not have had the time to count
    # A row that comes again loses its mark, with or without a newer cursor.
    emr("INSERT INTO visit VALUES (3, 's0', 'again', '2023-01-01'), (4, 's1', 'again', '2025-01-02')")
    platform.run(marking)
    marked = ask(f"SELECT id FROM connector_{marking}.visit WHERE _deleted_at IS NOT NULL")
    assert marked == [(5,)]


def waiting(platform: Platform) -> list[tuple[Any, ...]]:
    """The deletes that wait for a person."""
    with platform.connection.cursor() as cursor:
        cursor.execute("SELECT connector_id, table_name, gone, rows FROM cai_withheld_deletes")
        return list(cursor.fetchall())


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("gone", ["all", "half"])
def test_too_many_are_kept_and_told_once_until_somebody_allows_it(
    platform: Platform, emr: Sql, warehouse: Sql, destination: str, gone: str
) -> None:
    fill(emr)
    connector = add(platform, destination, "remove")
    ask = warehouse if destination == "postgres" else platform.duck
    platform.run(connector)
    emr("DELETE FROM visit" if gone == "all" else "DELETE FROM visit WHERE id <= 10")
    told: list[Told] = []
    for _ in range(2):
        summary = run_connector(connector, Options(), platform.settings, listeners=Listeners(told.append))
        number = 20 if gone == "all" else 10
        assert f"{number} of 20 rows of table 'visit' are gone at the source" in summary.sentence  # type: ignore[union-attr]
        assert ask(f"SELECT count(*) FROM connector_{connector}.visit") == [(20,)]
    assert [each.outcome for each in told] == ["withheld", "completed", "completed"]
    assert waiting(platform) == [(connector, "visit", number, 20)]
    if gone == "half":  # what a person lets through is what was shown, and not what a source says by then
        emr("ALTER TABLE visit RENAME TO visits; CREATE VIEW visit AS SELECT * FROM visits WHERE id > 17")
        summary = platform.run(connector, tables=("visit",), allow_mass_delete=True)
        assert "17 of 20 rows of table 'visit' are gone at the source" in summary.sentence
        assert waiting(platform) == [(connector, "visit", 17, 20)]
        assert ask(f"SELECT count(*) FROM connector_{connector}.visit") == [(20,)]
        emr("DROP VIEW visit; ALTER TABLE visits RENAME TO visit")
    platform.run(connector, tables=("visit",), allow_mass_delete=True)
    assert waiting(platform) == [], "nothing waits for a person any more"
    assert ask(f"SELECT count(*) FROM connector_{connector}.visit") == [(20 - number,)]


def test_a_sweep_waits_for_its_date(platform: Platform, emr: Sql) -> None:
    fill(emr)
    connector = add(platform, "duckdb", "remove", deletes_every="0 3 1 1 *")
    platform.run(connector)
    emr("DELETE FROM visit WHERE id = 1")
    platform.run(connector)
    count = f"SELECT count(*) FROM connector_{connector}.visit"
    assert platform.duck(count) == [(20,)]
    with duckdb.connect(str(platform.settings.data_dir / "warehouse.duckdb")) as warehouse:
        warehouse.execute(f"UPDATE connector_{connector}._cai_sweeps SET swept_at = now() - INTERVAL 400 DAY")
    platform.run(connector)
    assert platform.duck(count) == [(19,)]


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_masked_key_is_compared_as_it_landed(platform: Platform, emr: Sql, warehouse: Sql, destination: str) -> None:
    fill(emr)
    table = {"name": "visit", "primary_key": "id", "deletes": "remove"}
    connector = platform.add(
        {"type": "sql_database", "credentials": EMR, "tables": [table], "mask": ["id"]},
        destination=POSTGRES if destination == "postgres" else None,
    )
    platform.run(connector)
    emr("DELETE FROM visit WHERE id = 7")
    platform.run(connector)
    ask = warehouse if destination == "postgres" else platform.duck
    assert ask(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.visit") == [(19, 19)]


def test_pages_that_end_early_delete_nothing(platform: Platform) -> None:
    rows = [{"id": number, "note": "n"} for number in range(1, 13)]
    held: dict[str, Any] = {"rows": rows, "total": 12}

    def answer(asked: Asked) -> Any:
        offset = int(asked.query.get("offset", 0))
        return {"items": held["rows"][offset : offset + 5], "total": held["total"]}

    resource = {
        "name": "visits",
        "path": "visits",
        "primary_key": "id",
        "deletes": "remove",
        "data_selector": "$.items",
        "paginator": {"type": "offset", "limit": 5, "total_path": "$.total"},
    }
    with WebServer(answer) as server:
        connector = platform.add({"type": "rest_api", "base_url": server.url, "resources": [resource]})
        platform.run(connector)
        count = f"SELECT count(*) FROM connector_{connector}.visits"
        held["rows"] = rows[:11]  # and still says 12
        with pytest.raises(RunError):
            platform.run(connector)
        assert platform.duck(count) == [(12,)]
        held["total"] = 11
        platform.run(connector)
        assert platform.duck(count) == [(11,)]


def test_no_row_goes_on_the_word_of_a_bad_answer(platform: Platform) -> None:
    rows = [{"id": number, "at": "2024-01-01T00:00:00Z"} for number in range(1, 13)]
    kept = "12 of 12 rows of table 'visits' are gone"
    bad: dict[str, tuple[Any, str | None]] = {
        "empty": ({"items": []}, kept),
        "half": ({"items": rows[:6]}, "6 of 12 rows of table 'visits' are gone"),
        "nothing": (Answer(b""), None),
        "cut": (Answer({"items": rows}, cut=40), None),
        "a page of HTML": (Answer(b"<html>Maintenance</html>", headers={"Content-Type": "text/html"}), None),
        "an error as 200": ({"error": "no access"}, None),
        "an error": (Answer({"error": "no access"}, status=403), None),
        "other rows": ({"items": [{"message": "no access"}]}, None),
    }
    held: dict[str, Any] = {"answer": {"items": rows}}
    resource = {
        "name": "visits", "path": "visits", "primary_key": "id", "deletes": "remove", "data_selector": "$.items",
        "cursor_path": "at", "cursor_param": "since",
    }  # fmt: skip
    # The load asks for what is new, and is answered; the sweep asks for all.
    with WebServer(lambda asked: {"items": rows[-1:]} if "since" in asked.query else held["answer"]) as server:
        connector = platform.add({"type": "rest_api", "base_url": server.url, "resources": [resource]})
        platform.run(connector)
        for name, (answer, sentence) in bad.items():
            held["answer"] = answer
            if sentence is None:
                with pytest.raises(RunError):
                    platform.run(connector)
            else:
                assert sentence in platform.run(connector).sentence
            assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visits") == [(12,)], name
        held["answer"] = {"items": rows[1:]}
        platform.run(connector)
        assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visits") == [(11,)]


def test_no_row_goes_when_a_database_shows_less_or_nothing(platform: Platform, emr: Sql) -> None:
    fill(emr)
    connector = add(platform, "duckdb", "remove")
    platform.run(connector)
    count = f"SELECT count(*) FROM connector_{connector}.visit"
    # A view in the table's place: of no row, of some, and of one that fails after the first rows.
    emr("ALTER TABLE visit RENAME TO visits")
    for where, sentence in (("false", "20 of 20 rows"), ("id <= 9", "11 of 20 rows"), ("1 / (15 - id) <> 7", None)):
        emr(f"CREATE OR REPLACE VIEW visit AS SELECT * FROM visits WHERE {where}")
        if sentence is None:
            with pytest.raises(RunError):
                platform.run(connector)
        else:
            assert sentence in platform.run(connector).sentence
        assert platform.duck(count) == [(20,)], where


def test_deletes_are_refused_where_rows_have_no_key_or_no_place(platform: Platform, emr: Sql) -> None:
    fill(emr)
    files = {"type": "filesystem", "url": str(platform.settings.data_dir / "lake"), "format": "delta"}
    table = {"name": "visit", "primary_key": ["id", "site"], "deletes": "remove"}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]}, destination=files)
    with pytest.raises(ConfigurationError, match="DuckDB and PostgreSQL only"):
        platform.run(connector)
    table = {"name": "visit", "deletes": "remove"}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table]})
    with pytest.raises(ConfigurationError, match="they need a primary_key"):
        platform.run(connector)
