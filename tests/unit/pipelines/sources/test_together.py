"""Tables that one reading fills: each comes whole, in large pages, whatever came of it at once."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.sources import together
from pipelines.sources.together import Spool


def page(**columns: list[str]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def test_each_table_has_all_its_rows_in_whichever_order_tables_are_asked_for(tmp_path: Path) -> None:
    readings = []

    def read() -> Iterator[dict[str, pa.Table]]:
        readings.append(1)
        for number in range(5):
            # The second column comes later: a code that was never missing before.
            more = {"more": [f"m{number}"]} if number > 2 else {}
            yield {"a": page(id=[str(number)], **more), "b": page(id=[f"b{number}"]), "none": page(id=[])}

    spool = Spool(read, tmp_path)
    assert [row["id"] for part in spool.pages("b") for row in part.to_pylist()] == [f"b{number}" for number in range(5)]
    (rows,) = spool.pages("a")
    assert rows.to_pylist() == [
        {"id": str(number), "more": f"m{number}" if number > 2 else None} for number in range(5)
    ]
    (nothing,) = spool.pages("none")
    assert (nothing.num_rows, nothing.column_names) == (0, ["id"])
    assert len(readings) == 1


def test_small_pages_go_on_as_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "PAGE_BYTES", 1000)
    spool = Spool(lambda: ({"a": page(id=[f"{number:020}"])} for number in range(100)), tmp_path)
    sizes = [part.num_rows for part in spool.pages("a")]
    assert sum(sizes) == 100
    assert 2 <= len(sizes) <= 4
    # What was read is gone from the disk.
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
    assert list(spool.pages("a")) == []
