"""Packed files: read as they would be unpacked, or refused by name."""

import bz2
import contextlib
import gzip
import io
import zipfile
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.packing import members
from pipelines.sources.files.text.csv_rows import Way, csv_tables
from tests.support.data_plane.samples import files_source

CSV = b"id,v\n" + b"".join(b"%d,%d\n" % (number, number * 7919 % 10007) for number in range(60_000))


def read(content: bytes) -> tuple[list[dict[str, Any]], list[str]]:
    told: list[str] = []
    source = files_source()
    with contextlib.ExitStack() as opened:
        parts = members(lambda: io.BytesIO(content), source, opened, told.append)
        rows = [row for one in parts for table in csv_tables(one, source, Way()) for row in table.to_pylist()]
    return rows, told


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda raw: gzip.compress(raw, mtime=0),
    "bzip2": lambda raw: bz2.compress(raw[:300_000]) + bz2.compress(raw[300_000:]),
    "zstd": lambda raw: bytes(pa.compress(raw, "zstd", asbytes=True)),
    "zstd in parts": lambda raw: b"".join(
        b"\x50\x2a\x4d\x18\x04\0\0\0size" + pa.compress(part, "zstd", asbytes=True)
        for part in (raw[:300_000], raw[300_000:])
    ),
    "zip": lambda raw: zipped({"any name": raw}),
}


@pytest.mark.parametrize("kind", PACKED)
def test_what_is_packed_is_what_was_written(kind: str) -> None:
    assert read(PACKED[kind](CSV)) == read(CSV)


@pytest.mark.parametrize("kind", PACKED)
def test_what_was_cut_is_refused(kind: str) -> None:
    packed = PACKED[kind](CSV)
    with pytest.raises(BrokenFileError, match=f"no whole {kind.split(maxsplit=1)[0]}"):
        read(packed[: len(packed) * 2 // 3])


def test_each_member_of_an_archive_is_read() -> None:
    files = {
        "b/2.CSV": b"id,v\n2,b\n",
        "1.csv.gz": gzip.compress(b"id,v\n1,a\n"),
        "readme.txt": b"x",
        "__MACOSX/1.csv": b"x",
    }
    rows, told = read(zipped(files))
    assert [row["id"] for row in rows] == ["1", "2"]
    assert told == ["is a zip archive of which 1 of 3 files were left alone, for their names end otherwise"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_read_each() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in ("1", "2"):
            archive.writestr("a.csv", f"id,v\n{number},x\n")
    assert [row["id"] for row in read(buffer.getvalue())[0]] == ["1", "2"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.csv": bytes(80_000_000)}, "unpacks to more than 250 times its size"),
        ({"../../etc/a.csv": b"id\n1\n"}, "a member whose name goes out of it"),
        ({"/a.csv": b"id\n1\n"}, "a member whose name goes out of it"),
        ({"a.txt": b"", "b.txt": b""}, "without a file that ends as .csv"),
        ({}, "without a file that ends as .csv"),
        ({"a.csv": zipped({"b.csv": b"id\n1\n"})}, "is a zip archive, or a workbook"),
    ],
)
def test_hostile_archives_are_refused(files: dict[str, bytes], said: str) -> None:
    with pytest.raises(BrokenFileError, match=said):
        read(zipped(files))
