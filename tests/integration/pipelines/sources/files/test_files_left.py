"""Files that can't be read now: they are named and left, the others land, and no row comes twice or is dropped."""

import contextlib
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError, TransientError
from pipelines.sources import Context
from pipelines.sources.files import holding
from pipelines.sources.files.finding import Choice, find
from pipelines.sources.files.holding import Held, WholeFiles
from pipelines.sources.files.reading import Reading
from pipelines.sources.files.stores import Found, Store
from pipelines.sources.files.text.json_rows import PAGE_ROWS
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import files_source


def files(inbox: Path, **keys: Any) -> dict[str, Any]:
    return {"type": "files", "url": str(inbox), "table": "labs", **keys}


def test_a_broken_file_waits_and_the_others_land(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id,v\n1,a\n")
    (inbox / "b.csv").write_text("id,v\n2,b\n3\n")
    (inbox / "c.csv.gz").write_bytes(gzip.compress(b"id,v\n4,d\n" * 999, mtime=0)[:-9])
    (inbox / "d.csv.filepart").write_text("id,v\n9,x\n")
    (inbox / "LABS [1].CSV").write_text("id,v\n5,e\n")
    connector = platform.add(files(inbox))
    summary = platform.run(connector)
    assert summary.total_rows == 2
    told = " ".join(summary.remarks)
    assert "Not loaded: b.csv has another number of cells than the 2 columns in line 3" in told
    assert "Not loaded: c.csv.gz is no whole gzip file" in told
    assert (
        "1 file was left alone, for the names are those of unfinished, hidden or saved copies: d.csv.filepart." in told
    )
    with pytest.raises(ConfigurationError, match=r"line 3.* 1 more files can't be read either\."):
        platform.run(connector)
    # Corrected, it lands as a whole, and nothing of it was there before.
    (inbox / "b.csv").write_text("id,v\n2,b\n3,c\n")
    assert platform.run(connector).total_rows == 2
    assert platform.duck(f"SELECT id, v FROM connector_{connector}.labs ORDER BY id") == [
        (1, "a"), (2, "b"), (3, "c"), (5, "e"),
    ]  # fmt: skip


def test_what_replaces_a_table_is_whole_or_the_table_stands(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id\n1\n")
    (inbox / "b.csv").write_text("id\n2\n")
    connector = platform.add(files(inbox, write_disposition="replace"))
    platform.run(connector)
    (inbox / "b.csv").write_text('id\n"2\n')
    with pytest.raises(ConfigurationError, match=r"b\.csv has a quote that is never closed in line 2"):
        platform.run(connector)
    assert platform.duck(f"SELECT id FROM connector_{connector}.labs ORDER BY id") == [(1,), (2,)]


def test_a_full_refresh_is_whole_or_the_table_stands(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id\n1\n")
    (inbox / "b.csv").write_text("id\n2\n")
    connector = platform.add(files(inbox))
    platform.run(connector)
    (inbox / "b.csv").write_text("id\n2,3\n")
    with pytest.raises(ConfigurationError, match=r"b\.csv has another number of cells"):
        platform.run(connector, full_refresh=True)
    assert platform.duck(f"SELECT id FROM connector_{connector}.labs ORDER BY id") == [(1,), (2,)]
    (inbox / "b.csv").write_text("id\n2\n")
    assert platform.run(connector, full_refresh=True).total_rows == 2


def test_two_columns_of_one_name_land_both_and_masked_both(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id,note,note\n1,a,b\n")
    connector = platform.add(files(inbox, primary_key="id"))
    platform.run(connector)
    assert platform.duck(f"SELECT note, note_2 FROM connector_{connector}.labs") == [("a", "b")]
    masked = platform.add(files(inbox, primary_key="id", mask="note"))
    platform.run(masked)
    assert platform.duck(f"SELECT length(note), length(note_2) FROM connector_{masked}.labs") == [(64, 64)]


def test_a_change_of_how_files_are_read_is_told(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text('id,v\n1,""\n')
    connector = platform.add(files(inbox))
    assert platform.run(connector).remarks == ()
    with platform.connection.cursor() as cursor:
        changed = json.dumps(files(inbox, quoted_nulls=False))
        cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (changed, connector))
    (inbox / "b.csv").write_text('id,v\n2,""\n')
    (remark,) = platform.run(connector).remarks
    assert "until a full refresh" in remark
    (inbox / "c.csv").write_text('id,v\n3,""\n')
    assert platform.run(connector).remarks == ()
    assert platform.duck(f"SELECT id, v FROM connector_{connector}.labs ORDER BY id")[1:] == [(2, ""), (3, "")]


def whole_files() -> WholeFiles:
    """A step with none before it that could learn of a file what isn't so."""
    return WholeFiles(None, lambda: lambda: None)


class Restless(Store):
    """A store whose files change at the moment at which they are opened or looked at again."""

    def open(self, file: Found) -> Any:
        opened = super().open(file)
        self._move(file, "read")
        return opened

    def again(self, file: Found) -> Found | None:
        self._move(file, "looked at")
        return super().again(file)

    def _move(self, file: Found, when: str) -> None:
        path = Path(file.path)
        if file.name == f"{when}.csv":
            with path.open("a") as written:
                written.write("2\n")
        if file.name == "gone.csv" and when == "looked at":
            path.unlink()


def left(inbox: Path, names: list[str], *, young: bool = False, **keys: Any) -> tuple[list[Any], list[str]]:
    """The rows that are read of files that change meanwhile, and what is said of the others."""
    for name in names:
        (inbox / name).write_text("id\n1\n")
        if not young:
            os.utime(inbox / name, (1, 1))
    context = Context(Secrets(), local_file_roots=(inbox,), rehearsal=True)
    asked = files_source(url=str(inbox), write_disposition="replace", **keys)
    store, choice = find(asked, context)
    reading = Reading(asked, context, Restless(store.root, roots=store.roots), choice, whole_files())
    rows: list[Any] = []
    with contextlib.suppress(TransientError):
        for page in reading.pages():
            if (table := reading.whole_files(page)) is not None:
                rows += table.to_pylist()
    return rows, reading.unsettled


def test_a_file_that_changes_while_it_is_read_waits(inbox: Path) -> None:
    assert left(inbox, ["a.csv", "read.csv"]) == (
        [{"id": "1"}],
        ["read.csv changed while it was read: the next run reads it."],
    )


def test_a_file_that_grows_waits(inbox: Path) -> None:
    assert left(inbox, ["a.csv", "looked at.csv"], young=True) == (
        [{"id": "1"}],
        ["looked at.csv is still being written: the next run reads it."],
    )


def test_a_file_that_is_gone_is_told(inbox: Path) -> None:
    assert left(inbox, ["a.csv", "gone.csv"], young=True) == (
        [{"id": "1"}],
        ["gone.csv was gone when the run came to it."],
    )


def test_a_table_is_not_replaced_as_long_as_a_file_is_written(inbox: Path) -> None:
    (inbox / "read.csv").write_text("id\n1\n")
    os.utime(inbox / "read.csv", (1, 1))
    asked = files_source(url=str(inbox), write_disposition="replace")
    store, choice = find(asked, Context(Secrets(), local_file_roots=(inbox,)))
    reading = Reading(asked, Context(Secrets()), Restless(store.root, roots=store.roots), choice, whole_files())
    with pytest.raises(TransientError, match="the next run reads it"):
        list(reading.pages())


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b'{"id": 1}\n{"id": "canary"\n', r"a\.jsonl has no JSON in line 2"),
        ("a.jsonl.gz", gzip.compress(b'{"id": "canary"}\n' * 999, mtime=0)[:-9], r"a\.jsonl\.gz is no whole gzip file"),
        ("a.parquet", b"PAR1canary", r"a\.parquet is no whole parquet file"),
        ("a.parquet", b"", r"a\.parquet is no whole parquet file"),
    ],
)
def test_a_broken_file_of_another_format_is_named(
    platform: Platform, inbox: Path, name: str, content: bytes, sentence: str
) -> None:
    (inbox / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        platform.run(platform.add(files(inbox, format=name.split(".")[1])))
    assert "canary" not in str(caught.value)


def test_a_parquet_file_with_a_damaged_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"x": [f"value {number}" for number in range(20_000)]})
    pyarrow.parquet.write_table(table, path, compression="snappy", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[1000:60_000] = bytes(59_000)
    path.write_bytes(content)
    asked = files_source(url=str(tmp_path), format="parquet", write_disposition="replace")
    context = Context(Secrets(), local_file_roots=(tmp_path,))
    with pytest.raises(ConfigurationError, match=r"a\.parquet is no whole parquet file"):
        list(Reading(asked, context, *find(asked, context), whole_files()).pages())


def test_what_does_not_fit_into_memory_comes_back_in_its_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(holding, "MEMORY_BYTES", 100)
    tables = [pa.table({"x": [n] * 50, "d": pa.array(["a", None] * 25).dictionary_encode()}) for n in range(5)]
    tables[3:3] = [pa.table({"x": [9], "late": ["b"]})] * 2
    held = Held(tmp_path)
    for _ in range(2):
        for table in tables:
            held.add(table)
        assert [held.take() for _ in range(len(held))] == tables
    assert not list(tmp_path.iterdir())


def test_a_broken_file_leaves_no_trace_in_names_and_types(platform: Platform, inbox: Path) -> None:
    # A page is read, and its columns have names and types, before the line that ends it.
    page = '{"Id": "a", "Code": "x", "v": 7, "SSN": "123"}\n' * PAGE_ROWS
    (inbox / "a.jsonl").write_text(page + "{\n")
    (inbox / "b.jsonl").write_text('{"id": 1, "code": "y", "v": true}\n{"id": 2, "code": "z", "v": false}\n')
    os.utime(inbox / "a.jsonl", (1, 1))
    asked = files(inbox, glob="*.jsonl", format="jsonl")
    with pytest.raises(ConfigurationError, match=r"source\.mask names 'ssn', which no table of this connector has"):
        platform.run(platform.add({**asked, "mask": ["ssn"]}))
    connector = platform.add(asked)
    assert platform.run(connector).total_rows == 2
    columns = platform.duck(f"SELECT column_name FROM (DESCRIBE connector_{connector}.labs)")
    assert columns == [("id",), ("code",), ("v",), ("_dlt_load_id",)]
    assert platform.duck(f"SELECT id, code, v FROM connector_{connector}.labs ORDER BY id") == [
        (1, "y", True),
        (2, "z", False),
    ]


def test_a_run_that_finds_nothing_new_says_nothing_of_it(inbox: Path) -> None:
    asked = files_source(url=str(inbox), write_disposition="replace")
    assert list(Reading(asked, Context(Secrets()), Store(str(inbox)), Choice(), whole_files()).pages()) == []


def test_a_file_is_read_once_its_marker_is_there(platform: Platform, inbox: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (inbox / name).write_text(f"id\n{ord(name[0])}\n")
    (inbox / "a.csv.done").touch()
    connector = platform.add(files(inbox, marker="{name}.done"))
    summary = platform.run(connector)
    assert summary.total_rows == 1
    assert summary.remarks == ("Not loaded yet: 1 file waits for its marker: b.csv (b.csv.done).",)
    # What was read needs its marker no more.
    (inbox / "a.csv.done").unlink()
    (inbox / "b.csv.done").touch()
    summary = platform.run(connector)
    assert (summary.total_rows, summary.remarks) == (1, ())
    # Rewritten, it waits for a marker that is not older than itself; and a table is not replaced without it.
    later = (inbox / "b.csv.done").stat().st_mtime + 60
    (inbox / "b.csv").write_text("id\n1\n")
    os.utime(inbox / "b.csv", (later, later))
    assert "b.csv (b.csv.done)" in platform.run(connector).sentence
    replaced = platform.add(files(inbox, marker="{name}.done", write_disposition="replace", glob="b.csv"))
    with pytest.raises(TransientError, match="1 file waits for its marker"):
        platform.run(replaced)
    os.utime(inbox / "b.csv.done", (later, later))
    assert platform.run(replaced).total_rows == 1
