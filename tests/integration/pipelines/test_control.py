"""Options of a run (tables, a backfill, a limit) and of a connector for each of its runs (masks, contracts)."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigurationError
from pipelines.protection.masking import masking_key
from pipelines.protection.methods.hashing import hashed
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR, omop
from tests.support.servers.http_server import Asked, WebServer

Sql = Callable[[str], list[tuple[Any, ...]]]


def visits(**keys: Any) -> dict[str, Any]:
    """A source with a table that has a cursor."""
    table = {"name": "visit", "primary_key": "id", "cursor_column": "at", **keys}
    return {"type": "sql_database", "credentials": EMR, "tables": [table]}


@pytest.fixture
def visit(emr: Sql) -> Sql:
    """A source with 100 visits, one an hour from 2024-01-01 00:00 on."""
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text, at timestamp)")
    emr("INSERT INTO visit SELECT i, 'n', timestamp '2024-01-01' + i * interval '1 h' FROM generate_series(0, 99) i")
    return emr


def test_only_the_tables_asked_for_are_read(platform: Platform, clinic: dict[str, str]) -> None:
    connector = platform.add(omop(clinic, "person", "visit_occurrence"))
    assert set(platform.run(connector, tables=("Person",)).rows) == {"person"}
    with pytest.raises(ConfigurationError, match="no table ward: it has person, visit_occurrence"):
        platform.run(connector, tables=("ward",))


def test_a_backfill_brings_its_time_again_and_leaves_the_cursor(platform: Platform, visit: Sql) -> None:
    connector = platform.add(visits())
    platform.run(connector)
    visit("UPDATE visit SET note = 'corrected' WHERE id BETWEEN 10 AND 30")  # the cursor didn't move: unseen
    window = {
        "backfill_from": datetime(2024, 1, 1, 10, tzinfo=UTC),
        "backfill_to": datetime(2024, 1, 1, 20, tzinfo=UTC),
    }
    assert platform.run(connector, **window).total_rows == 10
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visit WHERE note = 'corrected'") == [(10,)]
    visit("INSERT INTO visit VALUES (100, 'new', '2024-02-01')")
    assert platform.run(connector).total_rows == 1
    assert platform.run(connector, backfill_from=datetime(2024, 1, 1, tzinfo=UTC)).total_rows == 101


def test_a_backfill_of_appended_rows_is_refused(platform: Platform, visit: Sql) -> None:
    with pytest.raises(ConfigurationError, match="would double its rows"):
        platform.run(platform.add(visits(write_disposition="append")), backfill_from=datetime(2024, 1, 1, tzinfo=UTC))


def test_a_limited_run_is_gone_on_from_without_loss(platform: Platform, visit: Sql) -> None:
    visit("UPDATE visit SET at = timestamp '2025-01-01' - id * interval '1 h'")  # the newest stand first
    connector = platform.add(visits(write_disposition="append"))
    assert platform.run(connector, row_limit=30).total_rows == 30
    assert platform.run(connector).total_rows == 70
    assert platform.duck(f"SELECT count(*), count(DISTINCT id) FROM connector_{connector}.visit") == [(100, 100)]


def test_an_initial_value_is_where_the_first_load_begins(platform: Platform, visit: Sql) -> None:
    assert platform.run(platform.add(visits(initial_value="2024-01-03"))).total_rows == 52
    with pytest.raises(ConfigurationError, match="does not fit its cursor at"):
        platform.run(platform.add(visits(initial_value="20")))


def test_only_the_columns_asked_for_land_with_key_and_cursor(platform: Platform, visit: Sql) -> None:
    connector = platform.add(visits(columns=["note"]))
    platform.run(connector)
    visit("ALTER TABLE visit DROP COLUMN note")
    with pytest.raises(ConfigurationError, match=r"no column 'note'.*it has 'at', 'id'"):
        platform.run(connector)
    columns = platform.duck(f"SELECT column_name FROM (DESCRIBE connector_{connector}.visit)")
    assert [name for (name,) in columns] == ["id", "note", "at", "_dlt_load_id"]


@pytest.mark.parametrize("kind", ["sql_database", "rest_api"])
def test_a_masked_column_is_hashed_before_anything_is_written(
    platform: Platform, emr: Sql, tmp_path: Path, kind: str
) -> None:
    rows = [{"id": number, "ssn": f"canary-{number % 7}", "Note": "x"} for number in range(50)]
    emr('CREATE TABLE visit (id int, ssn text, "Note" text)')
    for row in rows:
        emr(f"INSERT INTO visit VALUES ({row['id']}, '{row['ssn']}', 'x')")
    seen_on_disk: list[str] = []

    def answer(asked: Asked) -> Any:
        return rows

    with WebServer(answer) as web:
        source = {
            "sql_database": {"type": kind, "credentials": EMR, "tables": [{"name": "visit"}]},
            "rest_api": {
                "type": kind, "base_url": web.url, "paginator": {"type": "single_page"},
                "resources": [{"name": "visit", "path": "v"}],
            },
        }[kind]  # fmt: skip
        connector = platform.add({**source, "mask": ["SSN", "note"]})
        platform.run(connector)
    key = masking_key(platform.settings.data_dir)
    landed = platform.duck(f"SELECT DISTINCT ssn FROM connector_{connector}.visit")
    assert {value for (value,) in landed} == {hashed(f"canary-{number}", key) for number in range(7)}
    for path in tmp_path.rglob("*"):
        if path.is_file() and b"canary" in path.read_bytes():
            seen_on_disk.append(path.name)
    assert not seen_on_disk
    assert (platform.settings.data_dir / "mask.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["sql_database", "rest_api"])
def test_a_frozen_schema_refuses_a_new_column_and_names_it(platform: Platform, emr: Sql, kind: str) -> None:
    emr("CREATE TABLE visit (id int)")
    emr("INSERT INTO visit VALUES (1)")
    rows: list[dict[str, Any]] = [{"id": 1}]
    with WebServer(lambda asked: rows) as web:
        source = {
            "sql_database": {"type": kind, "credentials": EMR, "tables": [{"name": "visit"}]},
            "rest_api": {
                "type": kind, "base_url": web.url, "paginator": {"type": "single_page"},
                "resources": [{"name": "visit", "path": "v"}],
            },
        }[kind]  # fmt: skip
        frozen = platform.add({**source, "schema_contract": "freeze"})
        discarding = platform.add({**source, "schema_contract": "discard_value"})
        for connector in (frozen, discarding):
            platform.run(connector)
        emr("ALTER TABLE visit ADD COLUMN extra text DEFAULT 'x'")
        rows[0]["extra"] = "x"
        with pytest.raises(ConfigurationError, match=r"column 'extra' of table 'visit'"):
            platform.run(frozen)
        platform.run(discarding)
    columns = platform.duck(f"SELECT column_name FROM (DESCRIBE connector_{discarding}.visit)")
    assert ("extra",) not in columns
    assert platform.duck(f"SELECT count(*) FROM connector_{discarding}.visit") == [(2,)]
