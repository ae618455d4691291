"""Files of SAS, SPSS and Stata, cell by cell against pyreadstat's whole read, and what it loses."""

import io
import math
import random
import struct
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pyreadstat
import pytest

from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.statistics import codebook_pages, statistics_pages, xpt
from tests.support.data_plane.samples import files_source


def read(content: bytes, form: str, **keys: Any) -> pa.Table:
    pages = list(statistics_pages(lambda: io.BytesIO(content), files_source(format=form, **keys)))
    return pa.concat_tables(pages, promote_options="permissive")


def codebook(content: bytes, form: str) -> dict[tuple[str, str], Any]:
    (page,) = codebook_pages(lambda: io.BytesIO(content), files_source(format=form), "f")
    return {(row["variable"], row["value"]): row["label"] for row in page}


def ibm(value: float) -> bytes:
    """A number as IBM's mainframes write it, computed with fractions."""
    if value == 0:
        return bytes(8)
    rest, power = abs(Fraction(value)), 64
    while rest >= 1:
        rest, power = rest / 16, power + 1
    while rest < Fraction(1, 16):
        rest, power = rest * 16, power - 1
    return struct.pack(">Q", (value < 0) << 63 | power << 56 | round(rest * 2**56))


def transport(columns: list[tuple[str, str, int]], rows: list[list[bytes]]) -> bytes:
    """A transport file of version 5: columns of name, format and width (0: a number), and cells as bytes."""

    def head(name: str, digits: str = "0" * 30) -> bytes:
        return f"HEADER RECORD*******{name:8}HEADER RECORD!!!!!!!{digits}  ".encode()

    out = head("LIBRARY") + b" " * 160 + head("MEMBER", "000000000000000001600000000140") + head("DSCRPTR") + b" " * 160
    out += head("NAMESTR", f"00000{len(columns):05}{'0' * 20}")
    start, names = 0, b""
    for number, (name, form, width) in enumerate(columns, start=1):
        names += struct.pack(
            ">hhhh8s40s8shhh2s8shhl52s", 2 if width else 1, 0, width or 8, number, name.ljust(8).encode(),
            f"label of {name}".ljust(40).encode(), form.ljust(8).encode(), 0, 0, 0, b"", b" " * 8, 0, 0, start, b"",
        )  # fmt: skip
        start += width or 8
    for part in (names, b"".join(b"".join(row) for row in rows)):
        out += part + b" " * (-len(part) % 80) + (head("OBS") if part is names else b"")
    return out


def test_numbers_of_mainframes_are_exact_and_special_missing_values_kept_apart() -> None:
    draw = random.Random(7)
    numbers = [0.0, 0.1, -1.5, 7.2e75, 5.4e-79, 2.0**53, math.pi, *(draw.uniform(-1e9, 1e9) for _ in range(500))]
    missing = [bytes([letter]) + bytes(7) for letter in b".ABZ_"]
    content = transport([("X", "BEST", 0), ("T", "", 5)], [[c, b" ab  "] for c in [*map(ibm, numbers), *missing]])
    table = read(content, "xpt")
    expected, _ = pyreadstat.read_xport(io.BytesIO(content), output_format="dict")
    assert table["X"].to_pylist() == [*numbers, None, None, None, None, None]
    assert table["X"].to_pylist()[: len(numbers)] == list(expected["X"])[: len(numbers)]
    assert table["X__v_text"].to_pylist()[-5:] == [None, ".A", ".B", ".Z", "._"]
    assert set(table["T"].to_pylist()) == {" ab"}
    assert codebook(content, "xpt") == {("X", ""): "label of X", ("T", ""): "label of T"}


def test_days_moments_and_times_by_their_formats() -> None:
    day = (date(2024, 2, 29) - date(1960, 1, 1)).days
    rows = [[day, day * 86400 + 0.25, 3600.5], [day + 0.5, 1e15, 25 * 3600], [-693_000, -1e9, 0], [9e9, 0, 86399]]
    cells = [[ibm(float(value)) for value in row] for row in rows]
    table = read(transport([("D", "DATE", 0), ("M", "DATETIME", 0), ("C", "TIME", 0)], cells), "xpt")
    assert table["D"].to_pylist() == [date(2024, 2, 29), None, date(1960, 1, 1) - timedelta(days=693_000), None]
    assert table["D__v_double"].to_pylist() == [None, day + 0.5, None, 9e9]
    assert table["M"].to_pylist()[0] == datetime(2024, 2, 29, 0, 0, 0, 250000, UTC)
    assert table["M__v_double"].to_pylist() == [None, 1e15, None, None]
    assert table["C"].to_pylist() == [time(1, 0, 0, 500000), None, time(0), time(23, 59, 59)]
    assert table["C__v_double"].to_pylist() == [None, 90000.0, None, None]
    whole = read(transport([("D", "DTDATE", 0)], [[ibm(float(day * 86400))]]), "xpt")
    assert whole["D"].to_pylist() == [datetime(2024, 2, 29, tzinfo=UTC)]


def frame(count: int) -> polars.DataFrame:
    draw = random.Random(count)
    return polars.DataFrame(
        {
            "usubjid": [f"S-{number:05}" for number in range(count)],
            "aval": [None if draw.random() < 0.1 else draw.uniform(-100, 100) for _ in range(count)],
            "seq": [float(number) for number in range(count)],
            "note": [draw.choice(["", "a", " lead", "ä", "x" * 30]) for _ in range(count)],
            "adt": [date(2020, 1, 1 + number % 28) for number in range(count)],
        }
    )


@pytest.mark.parametrize("form", ["xpt5", "xpt8", "sav", "dta"])
@pytest.mark.parametrize("count", [1, 7, 45_000])
def test_each_cell_is_what_pyreadstat_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, count: int
) -> None:
    monkeypatch.setattr(xpt, "PAGE_BYTES", 100_000)
    path = tmp_path / "f"
    labels: dict[str, str | None] = {"usubjid": "Subject", "aval": "Value"}
    match form:
        case "sav":
            pyreadstat.write_sav(frame(count), str(path), column_labels=labels)
        case "dta":
            pyreadstat.write_dta(frame(count), str(path), column_labels=labels)
        case _:
            formats = {"adt": "DATE9"}
            version: Any = int(form[-1])
            pyreadstat.write_xport(
                frame(count), str(path), column_labels=labels, file_format_version=version, variable_format=formats
            )
    kind = form[:3]
    expected, _ = getattr(pyreadstat, f"read_{'xport' if kind == 'xpt' else kind}")(str(path), output_format="dict")
    table = read(path.read_bytes(), kind)
    assert table.column_names == list(expected)
    for name, values in expected.items():
        wanted = [None if value in ("", None) or value != value else value for value in values]  # noqa: PLR0124
        assert table[name].to_pylist() == wanted, name
    assert codebook(path.read_bytes(), kind)["usubjid", ""] == "Subject"


def test_codes_stay_codes_and_missing_ones_stand_beside(tmp_path: Path) -> None:
    path = str(tmp_path / "f.sav")
    pyreadstat.write_sav(
        polars.DataFrame({"code": [1.0, 2.0, 98.0, 99.0, None]}),
        path,
        variable_value_labels={"code": {1.0: "A", 2.0: "A"}},
        missing_ranges={"code": [{"lo": 97, "hi": 99}]},
    )
    table = read(Path(path).read_bytes(), "sav")
    assert table["code"].to_pylist() == [1.0, 2.0, None, None, None]
    assert table["code__v_text"].to_pylist() == [None, None, "98", "99", None]
    assert codebook(Path(path).read_bytes(), "sav") == {("code", ""): None, ("code", "1"): "A", ("code", "2"): "A"}


def test_files_that_were_cut_are_told(tmp_path: Path) -> None:
    for form in ("xpt", "sav", "dta"):
        path = str(tmp_path / form)
        getattr(pyreadstat, f"write_{'xport' if form == 'xpt' else form}")(frame(500), path)
        content = Path(path).read_bytes()
        with pytest.raises(BrokenFileError, match="cut"):
            read(content[: len(content) * 2 // 3 // 80 * 80], form)
        with pytest.raises(BrokenFileError, match="cut"):
            read(b"id,v\n1,2\n", form)
    rows = [[ibm(1.0)]] * 40
    with pytest.raises(BrokenFileError, match="is cut"):
        read(transport([("X", "", 0)], rows)[:-8], "xpt")


def test_text_in_another_encoding_is_told_and_read_with_the_setting() -> None:
    content = transport([("T", "", 8)], [["Müller".encode("cp1252").ljust(8)]])
    with pytest.raises(BrokenFileError, match="set encoding"):
        read(content, "xpt")
    assert read(content, "xpt", encoding="cp1252")["T"].to_pylist() == ["Müller"]


@pytest.mark.parametrize("encoding", [None, "cp1252"])
def test_texts_end_where_blanks_and_zeros_begin(encoding: str | None) -> None:
    cells = [
        b"ab      ",
        b"ab\0\0\0\0\0\0",
        b" a b  \0\0",
        b"a \0 \0\0\0\0",
        b"        ",
        bytes(8),
        b"\0\0a     ",
        b"12345678",
    ]
    found = read(transport([("T", "", 8)], [[cell] for cell in cells * 50]), "xpt", encoding=encoding)["T"]
    assert found.to_pylist() == ["ab", "ab", " a b", "a \0", None, None, "\0\0a", "12345678"] * 50


def test_short_numbers_are_read_and_a_field_beyond_its_row_is_told() -> None:
    content = bytearray(transport([("X", "", 0), ("T", "", 3)], [[ibm(1.5), b"abc"]] * 30))
    at = content.index((8).to_bytes(2) + (1).to_bytes(2) + b"X  ")
    content[at : at + 2] = (4).to_bytes(2)  # the number has its first four bytes alone, and a row seven of eleven
    with pytest.raises(BrokenFileError, match="cut or damaged"):
        read(bytes(content), "xpt")
    short = transport([("X", "", 0)], [[ibm(value)[:4] + b"    "] for value in (1.5, -2.25, 0.0)])
    narrow = bytearray(short)
    at = narrow.index((8).to_bytes(2) + (1).to_bytes(2) + b"X  ")
    narrow[at : at + 2] = (4).to_bytes(2)
    rows = b"".join(ibm(value)[:4] for value in (1.5, -2.25, 0.0, 7.0))
    table = read(bytes(narrow[: len(narrow) - 80]) + rows.ljust(80), "xpt")
    assert table["X"].to_pylist() == [1.5, -2.25, 0.0, 7.0]
