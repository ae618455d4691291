"""Checks: a load whose rows fail them leaves nothing that is visible, waits for a person, or says so."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pytest

from pipelines.errors import ChecksError
from pipelines.load_history import Told
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}
DESTINATIONS = ("duckdb", "postgres", "delta")


def add(platform: Platform, destination: str, checks: dict[str, Any], **table: Any) -> int:
    """A connector of one table with checks."""
    said = {"name": "visit", "primary_key": "id", "checks": checks, **table}
    lake = {"type": "filesystem", "format": "delta", "url": str(platform.settings.data_dir / "lake")}
    return platform.add(
        {"type": "sql_database", "credentials": EMR, "tables": [said]},
        destination={"postgres": POSTGRES, "delta": lake}.get(destination),
    )


def fill(emr: Sql, rows: int = 10) -> None:
    """A table of so many rows."""
    emr("CREATE TABLE visit (id int PRIMARY KEY, mrn text, sex text, kind int, at timestamptz)")
    emr(
        "INSERT INTO visit SELECT i, 'm' || i, CASE WHEN i % 2 = 0 THEN 'f' ELSE 'm' END, i % 3, "
        f"now() - interval '1 hour' FROM generate_series(1, {rows}) i"
    )


@pytest.fixture
def ids(platform: Platform, request: pytest.FixtureRequest) -> Callable[[int, str], list[int]]:
    """The ids that stand in a connector's table of a destination; none where there is no table yet."""
    warehouse: Sql = request.getfixturevalue("warehouse")

    def ask(connector: int, destination: str) -> list[int]:
        if destination == "delta":
            path = platform.settings.data_dir / "lake" / f"connector_{connector}" / "visit"
            if not deltalake.DeltaTable.is_deltatable(str(path)):
                return []
            return sorted(row["id"] for row in deltalake.DeltaTable(path).to_pyarrow_table().to_pylist())
        sql = warehouse if destination == "postgres" else platform.duck
        schema = f"connector_{connector}"
        tables = f"SELECT 1 FROM information_schema.tables WHERE table_schema = '{schema}' AND table_name = 'visit'"
        return [key for (key,) in sql(f"SELECT id FROM {schema}.visit ORDER BY id")] if sql(tables) else []

    return ask


Ids = Callable[[int, str], list[int]]

COLUMNS = {"not_null": ["mrn"], "unique": ["mrn"], "accepted": {"sex": ["m", "f"], "kind": [0, 1, "2"]}}


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_load_that_fails_its_checks_leaves_nothing_visible(
    platform: Platform, emr: Sql, ids: Ids, destination: str
) -> None:
    fill(emr)
    connector = add(platform, destination, COLUMNS)
    platform.run(connector)
    assert ids(connector, destination) == list(range(1, 11))
    emr("UPDATE visit SET mrn = NULL WHERE id IN (1, 2)")
    emr("UPDATE visit SET sex = 'SECRET' WHERE id = 3")
    emr("UPDATE visit SET kind = 77 WHERE id = 4")
    emr("INSERT INTO visit VALUES (11, 'm5', 'f', 1, now())")
    with pytest.raises(ChecksError) as raised:
        platform.run(connector)
    said = str(raised.value)
    assert said.startswith("Nothing was loaded, since checks failed: table 'visit': 2 rows without 'mrn' (not_null)")
    assert "1 row whose 'sex' is none of the accepted values" in said
    assert "1 row whose 'kind' is none of the accepted values" in said
    assert "2 rows whose 'mrn' another row of the load has too (unique)" in said
    assert "SECRET" not in said
    assert ids(connector, destination) == list(range(1, 11))
    # Corrected, all of it lands: no cursor has moved, nothing was kept of the load that failed.
    emr("UPDATE visit SET mrn = 'm' || id, sex = 'f', kind = 2")
    platform.run(connector)
    assert ids(connector, destination) == list(range(1, 12))


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("disposition", ["append", "merge"])
def test_unique_is_of_what_stands_in_the_destination_too(
    platform: Platform, emr: Sql, ids: Ids, destination: str, disposition: str
) -> None:
    fill(emr)
    connector = add(
        platform, destination, {"unique": [["mrn", "sex"]]}, cursor_column="id", lag=0, write_disposition=disposition
    )
    platform.run(connector)
    emr("INSERT INTO visit VALUES (11, 'm1', 'm', 1, now())")
    with pytest.raises(ChecksError, match="1 row whose 'mrn', 'sex' a row in the destination has too"):
        platform.run(connector)
    emr("UPDATE visit SET sex = 'f' WHERE id = 11")  # another value of the two together
    platform.run(connector)
    assert ids(connector, destination) == list(range(1, 12))
    if disposition == "merge":  # rows that the load itself replaces do not count
        emr("UPDATE visit SET id = 13, mrn = 'm20' WHERE id = 11")
        emr("INSERT INTO visit VALUES (12, 'm10', 'f', 1, now()), (14, 'm11', 'm', 1, now())")
        with pytest.raises(ChecksError, match="1 row whose"):
            platform.run(connector)
        emr("UPDATE visit SET mrn = 'm30' WHERE id = 12")
        platform.run(connector)


def test_fewer_rows_than_usual_fail_and_the_first_load_is_compared_with_none(platform: Platform, emr: Sql) -> None:
    fill(emr, 100)
    connector = add(platform, "duckdb", {"max_drop_percent": 20, "min_rows": 30}, write_disposition="replace")
    for _ in range(2):
        platform.run(connector)
    emr("DELETE FROM visit WHERE id > 80")
    platform.run(connector)
    emr("DELETE FROM visit WHERE id > 79")
    with pytest.raises(ChecksError, match=r"79 rows, 21% fewer than the 100 of its loads before"):
        platform.run(connector)
    emr("DELETE FROM visit WHERE id > 29")
    with pytest.raises(ChecksError, match=r"29 rows, fewer than min_rows \(30\)"):
        platform.run(connector)
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visit") == [(80,)]
    platform.run(connector, row_limit=5)  # a part, which says nothing of how many there are
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visit") == [(5,)]
    emr("DELETE FROM visit")
    with pytest.raises(ChecksError, match="0 rows, fewer than min_rows"):
        platform.run(connector)


def test_a_load_from_a_cursor_is_compared_with_such_loads(platform: Platform, emr: Sql) -> None:
    fill(emr, 1000)
    connector = add(platform, "duckdb", {"max_drop_percent": 50}, cursor_column="id", lag=0)
    platform.run(connector)
    for first in (1001, 1011):  # a thousand, then ten each: no drop
        emr(f"INSERT INTO visit SELECT i, 'm', 'f', 1, now() FROM generate_series({first}, {first + 9}) i")
        platform.run(connector)
    emr("INSERT INTO visit VALUES (2000, 'm', 'f', 1, now())")
    with pytest.raises(ChecksError, match="90% fewer"):
        platform.run(connector)


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_column_that_is_not_fresh_fails(platform: Platform, emr: Sql, ids: Ids, destination: str) -> None:
    fill(emr)
    fresh = {"freshness": {"column": "at", "max_age": 7200}}
    connector = add(platform, destination, fresh, cursor_column="id", lag=0)
    platform.run(connector)
    emr("INSERT INTO visit SELECT 11, 'm', 'f', 1, now() - interval '3 days'")
    platform.run(connector)  # what stands in the destination is fresh enough
    assert ids(connector, destination) == list(range(1, 12))
    other = add(platform, destination, fresh, write_disposition="replace")
    emr("UPDATE visit SET at = now() - interval '3 days'")
    emr("INSERT INTO visit SELECT 12, 'm', 'f', 1, timestamptz '2999-01-01'")  # a slip says nothing of its age
    with pytest.raises(ChecksError, match="the newest 'at' is 3 days old, and max_age is 2 hours"):
        platform.run(other)
    assert ids(other, destination) == []


def test_a_warning_lands_and_is_told(platform: Platform, emr: Sql) -> None:
    fill(emr)
    emr("UPDATE visit SET mrn = NULL WHERE id = 1")
    connector = add(platform, "duckdb", {"not_null": ["mrn"], "unique": ["none"], "on_failure": "warn"})
    summary = platform.run(connector)
    assert "A check of table 'visit': 1 row without 'mrn' (not_null)." in summary.sentence
    assert "A check of table 'visit': it has no column 'none', which is to be checked." in summary.sentence
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.visit") == [(10,)]


def decide(platform: Platform, connector: int, state: str) -> None:
    with platform.connection.cursor() as cursor:
        cursor.execute(
            "UPDATE cai_held_loads SET state = %s, decided_by = 'alice' WHERE connector_id = %s", [state, connector]
        )


def held(platform: Platform, connector: int) -> list[tuple[Any, ...]]:
    with platform.connection.cursor() as cursor:
        cursor.execute("SELECT id, table_name, state FROM cai_held_loads WHERE connector_id = %s", [connector])
        return list(cursor.fetchall())


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_held_load_lands_when_a_person_lets_it_through(
    platform: Platform, emr: Sql, ids: Ids, destination: str
) -> None:
    fill(emr)
    emr("UPDATE visit SET mrn = NULL WHERE id = 1")
    connector = add(platform, destination, {**COLUMNS, "on_failure": "hold"})
    told: list[Told] = []
    for _ in range(2):
        with pytest.raises(ChecksError, match="waits for a person: table 'visit': 1 row without 'mrn'"):
            platform.run(connector, tell=told.append)
    assert [each.outcome for each in told] == ["held", "failed", "failed"]  # people are told once
    assert ids(connector, destination) == []
    ((first, table, state),) = held(platform, connector)
    assert (table, state) == ("visit", "waiting")

    decide(platform, connector, "refused")
    with pytest.raises(ChecksError, match="alice has refused that"):
        platform.run(connector)
    assert ids(connector, destination) == []

    # What was let through is what was seen: a load that fails another check waits anew.
    decide(platform, connector, "approved")
    emr("UPDATE visit SET sex = 'x' WHERE id = 2")
    with pytest.raises(ChecksError, match="waits for a person"):
        platform.run(connector)
    ((second, _, state),) = held(platform, connector)
    assert (second != first, state) == (True, "waiting")
    decide(platform, connector, "approved")
    summary = platform.run(connector)
    assert "Checks failed and alice let it through: table 'visit': 1 row without 'mrn'" in summary.sentence
    assert ids(connector, destination) == list(range(1, 11))
    assert held(platform, connector) == []
    with pytest.raises(ChecksError, match="waits for a person"):  # it was let through once
        platform.run(connector)


def test_rows_of_files_and_of_masked_columns_are_checked(platform: Platform, inbox: Path) -> None:
    soon = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    (inbox / "labs.csv").write_text(f"id,mrn,taken\n1,77,{soon}\n2,77,2020-01-01\n3,,2020-01-01\n")
    checks = {"unique": ["mrn"], "not_null": "mrn", "freshness": {"column": "taken", "max_age": 7200}}
    connector = platform.add({"type": "files", "url": str(inbox / "labs.csv"), "mask": ["mrn"], "checks": checks})
    with pytest.raises(ChecksError) as raised:
        platform.run(connector)
    assert "1 row without 'mrn'" in str(raised.value)
    assert "2 rows whose 'mrn' another row" in str(raised.value)
    assert "max_age" not in str(raised.value)
