"""Delta tables: append, merge and replace are exact, also after a run that died."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pytest

from tests.support.data_plane.killing import Forge
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
