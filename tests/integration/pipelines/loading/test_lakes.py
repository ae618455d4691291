"""Delta tables: append, merge and replace are exact, also after a run that died."""

import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pytest

from tests.support.data_plane.killing import POINTS, SWAP_POINTS, Forge
from tests.support.data_plane.platform import Platform, Sql

EMR = {"env": "CAI_SECRET_EMR"}


@pytest.fixture
def forge(platform: Platform, emr: Sql, tmp_path: Path) -> Iterator[Forge]:
    """Forks runs; made last, since it inherits the environment."""
    forge = Forge(tmp_path / "runs.log")
    yield forge
    forge.close()


def add(platform: Platform, disposition: str, **source: Any) -> int:
    table = {"name": "visit", "primary_key": "id", "write_disposition": disposition, "cursor_column": "at"}
    lake = {"type": "filesystem", "format": "delta", "url": str(platform.settings.data_dir / "lake")}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table], **source}
    return platform.add(source, destination=lake)


def rows(platform: Platform, connector: int) -> list[dict[str, Any]]:
    path = platform.settings.data_dir / "lake" / f"connector_{connector}" / "visit"
    found: list[dict[str, Any]] = deltalake.DeltaTable(path).to_pyarrow_table().to_pylist()
    return sorted(found, key=lambda row: int(row["id"]))


@pytest.mark.parametrize(
    ("disposition", "points"),
    [
        ("append", ["load-end"]),  # the rows are there, and the load is not complete
        pytest.param("append", ["load-mid", "load-end", "confirm"], marks=pytest.mark.soak),
        pytest.param("merge", ["load-mid", "load-end", "confirm"], marks=pytest.mark.soak),
        pytest.param("replace", ["load-mid", "load-end", "confirm"], marks=pytest.mark.soak),
    ],
)
def test_a_killed_run_neither_loses_nor_doubles_rows_of_a_lake(
    platform: Platform, emr: Sql, forge: Forge, disposition: str, points: list[str]
) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text, at timestamp)")
    connector = add(platform, disposition)
    for number, point in enumerate(points):
        emr(
            "INSERT INTO visit SELECT i, repeat('x', 40), timestamp '2024-01-01' + i * interval '1 s' "
            f"FROM generate_series({number * 150 + 1}, {number * 150 + 150}) i"
        )
        assert forge.run(connector, point) == -9
        assert forge.run(connector) == 0
        assert [row["id"] for row in rows(platform, connector)] == list(range(1, number * 150 + 151)), point


def test_a_lake_is_merged_widened_and_made_anew(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int PRIMARY KEY, note text, at timestamp, cost numeric(10,2), clock time, doc jsonb)")
    emr("INSERT INTO visit VALUES (1, 'a', '2024-01-01', 1.25, '10:00', '{\"a\": 1}')")
    emr("INSERT INTO visit VALUES (2, 'b', '2024-01-01')")
    connector = add(platform, "merge", mask=["note"])
    platform.run(connector)
    emr("ALTER TABLE visit ADD COLUMN ward int")
    emr("UPDATE visit SET cost = 7.5, ward = 9, at = '2024-01-02' WHERE id = 2")
    platform.run(connector)
    first, second = rows(platform, connector)
    assert (first["cost"], first["ward"], first["doc"], str(first["clock"])[:8]) == (
        Decimal("1.25"), None, '{"a": 1}', "10:00:00",
    )  # fmt: skip
    assert (second["cost"], second["ward"]) == (Decimal("7.50"), 9)
    assert len(first["note"]) == 64
    emr("DELETE FROM visit WHERE id = 1")
    platform.run(connector, full_refresh=True)
    assert [row["id"] for row in rows(platform, connector)] == [2]


def table(platform: Platform, connector: int, name: str) -> deltalake.DeltaTable:
    return deltalake.DeltaTable(platform.settings.data_dir / "lake" / f"connector_{connector}" / name)


def add_two(platform: Platform, emr: Sql) -> int:
    """A connector of a table that is appended and one that is merged, of a hundred rows each."""
    for name in ("labs", "visit"):
        emr(f"CREATE TABLE {name} (id int PRIMARY KEY, note text, at timestamp)")
        emr(
            f"INSERT INTO {name} SELECT i, 'old', timestamp '2024-01-01' + i * interval '1 s' "
            "FROM generate_series(1, 100) i"
        )
    rules = {"primary_key": "id", "cursor_column": "at", "lag": 0}
    return add(
        platform,
        "merge",
        tables=[
            {"name": "labs", "write_disposition": "append", **rules},
            {"name": "visit", "write_disposition": "merge", **rules},
        ],
    )


def test_who_reads_a_lake_finds_all_rows_during_refreshes(platform: Platform, emr: Sql) -> None:
    connector = add_two(platform, emr)
    platform.run(connector)
    done, seen, errors = threading.Event(), list[int](), list[str]()

    def read() -> None:
        while not done.is_set():
            for name in ("labs", "visit"):
                try:
                    seen.append(table(platform, connector, name).to_pyarrow_table(columns=["id"]).num_rows)
                except Exception as error:
                    errors.append(str(error))
            done.wait(0.05)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(5):
        emr(f"INSERT INTO labs VALUES ({101 + number}, 'new', '2023-01-01')")  # no cursor finds it
        before = table(platform, connector, "labs").version()
        summary = platform.run(connector, full_refresh=True)
        assert summary.rows == {"labs": 101 + number, "visit": 100}
        assert table(platform, connector, "labs").version() == before + 1
    done.set()
    reader.join(timeout=60)
    assert errors == []
    assert len(seen) > 10
    assert min(seen) >= 100
    assert [row["id"] for row in rows(platform, connector)] == list(range(1, 101))
    # A column that is gone and one that is new, and a table of which nothing is left.
    emr("ALTER TABLE labs DROP COLUMN note")
    emr("ALTER TABLE labs ADD COLUMN more int")
    emr("DELETE FROM visit")
    platform.run(connector, full_refresh=True)
    assert {"id", "at"} <= set(table(platform, connector, "labs").to_pyarrow_table().column_names)
    assert "note" not in table(platform, connector, "labs").to_pyarrow_table().column_names
    assert rows(platform, connector) == []
    emr("INSERT INTO visit VALUES (7, 'again', '2025-01-01')")
    platform.run(connector)
    assert [row["id"] for row in rows(platform, connector)] == [7]


KILLS = [*POINTS, *SWAP_POINTS]


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[] if point == "swap-mid" else [pytest.mark.soak]) for point in KILLS]
)
def test_a_refresh_of_a_lake_that_is_killed_leaves_the_old_rows(
    platform: Platform, emr: Sql, forge: Forge, point: str
) -> None:
    connector = add_two(platform, emr)

    def landed() -> list[tuple[int, int]]:
        """Rows of both tables, and how many of them are new."""
        found = [table(platform, connector, name).to_pyarrow_table()["note"].to_pylist() for name in ("labs", "visit")]
        return [(len(notes), notes.count("new")) for notes in found]

    assert forge.run(connector) == 0
    old, new = (100, 0), (100, 99)
    for name in ("labs", "visit"):
        emr(f"UPDATE {name} SET note = 'new' WHERE id < 100")  # no cursor finds it
        emr(f"ALTER TABLE {name} ADD COLUMN more int")
    assert forge.run(connector, point, full_refresh=True) == -9
    # Each by one commit: it stands old or new, and never between.
    changed = {"swap-mid": [new, old], "swap-end": [new, new], "confirm": [new, new]}
    assert landed() == changed.get(point, [old, old])
    for name in ("labs", "visit"):
        emr(f"INSERT INTO {name} VALUES (1000, 'last', '2025-01-01')")
    assert forge.run(connector) == 0
    # The next run takes back what was never completed: old cursors go on from old rows.
    assert landed() == [(101, 99 if point == "confirm" else 0)] * 2
    assert forge.run(connector, full_refresh=True) == 0
    assert landed() == [(101, 99)] * 2
