"""Openings of the DuckDB file that a load writes into: as few as another run allows that waits for it."""

from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.data_plane.platform import Platform

TABLES = [
    {"table": name, "glob": f"{name}.csv", "format": "csv", "primary_key": "id"} for name in ("labs", "visits", "notes")
]


@pytest.fixture
def labs(platform: Platform, inbox: Path) -> int:
    """A connector that fills three tables of a DuckDB file."""
    for table in TABLES:
        (inbox / f"{table['table']}.csv").write_text("id,value\n1,7\n2,8\n")
    return platform.add({"type": "files", "url": str(inbox), "tables": TABLES})


def test_a_load_opens_its_file_once_for_each_time_that_it_has_it_for_itself(
    platform: Platform, labs: int, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.run(labs)
    opened: Counter[str] = Counter()
    connect = duckdb.connect

    def counted(database: Any = ":memory:", *args: Any, **kwargs: Any) -> duckdb.DuckDBPyConnection:
        opened[Path(str(database)).name] += 1
        return connect(database, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(duckdb, "connect", counted)
        for table in TABLES:
            (inbox / f"{table['table']}.csv").write_text("id,value\n1,70\n2,8\n3,9\n")
        platform.run(labs)
    # Once to see what is there, and once to load: another run may have the file while this one reads its source.
    assert opened["warehouse.duckdb"] == 2
    # It has let go of it: the same process may open it in another way.
    assert platform.duck(f"SELECT id, value FROM connector_{labs}.labs ORDER BY id") == [(1, 70), (2, 8), (3, 9)]


def test_a_load_that_fails_lets_go_of_its_file(platform: Platform, labs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.run(labs)
    monkeypatch.setattr("pipelines.loading.replacing.refresh.Refresh.load", _out_of_space)
    with pytest.raises(Exception, match="disk is full"):
        platform.run(labs, full_refresh=True)
    assert platform.duck(f"SELECT count(*) FROM connector_{labs}.labs") == [(2,)]


def _out_of_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")
