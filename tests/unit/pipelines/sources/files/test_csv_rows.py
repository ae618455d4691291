"""CSV as hospitals write it: each file's rows come out as they stand, or the file is refused with the line."""

import bz2
import csv
import gzip
import io
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from connectors.sources.files import FilesSource
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.text import csv_grammar, csv_rows
from pipelines.sources.files.text.csv_grammar import Check, CsvSettings, Dialect, beginning, diagnosis, rows
from pipelines.sources.files.text.csv_rows import AnotherWayError, Way, csv_tables

Rows = list[tuple[str | None, ...]]


def read(content: str | bytes, **keys: Any) -> tuple[list[str], Rows]:
    """The names and rows of a file."""
    source = TypeAdapter(FilesSource).validate_python({"type": "files", "url": "/in", "format": "csv", **keys})
    data = content.encode() if isinstance(content, str) else content
    way = Way(escape=source.escape or "")
    while True:
        try:
            tables = list(csv_tables(lambda: io.BytesIO(data), source, way))
            break
        except AnotherWayError as other:
            way = other.way
    names: list[str] = []
    found: Rows = []
    for table in tables:
        names = table.column_names
        found += zip(*(column.to_pylist() for column in table.columns), strict=True)
    return names, found


@pytest.mark.parametrize(
    ("content", "keys", "expected"),
    [
        ('sep=;\nid;note\n1;"a,b"\n', {}, ("id note", [("1", "a,b")])),
        ('"sep=|"\r\nid|note\r\n1|a,b;c\r\n', {}, ("id note", [("1", "a,b;c")])),
        ('"Name, first";id\n"a,b,c";1\n', {}, ("Name,_first id", [("a,b,c", "1")])),
        ("id;value\n1;1,5\n2;2,5\n", {}, ("id value", [("1", "1,5"), ("2", "2,5")])),
        ("1,5;2\n3,5;4\n", {"header": False}, ("column_1 column_2", [("1,5", "2"), ("3,5", "4")])),
        ("1;2\n3;4\n", {"header": ["p", "q"]}, ("p q", [("1", "2"), ("3", "4")])),
        ("a:b\n1:2\n", {"delimiter": ":"}, ("a b", [("1", "2")])),
        ('a\tb\n"1"\t2\n', {"delimiter": "tab"}, ("a b", [("1", "2")])),
        ("\n \n\r\nid,b\n1,2\n\n3,4\n\n", {}, ("id b", [("1", "2"), ("3", "4")])),
        ("Report;of\nLab\nid,b\n1,2\n", {"skip": 2}, ("id b", [("1", "2")])),
        ("# made by a system\n#\nid,b\n#1,2\n", {"comment": "#"}, ("id b", [("#1", "2")])),
        ("id,note,note,,\n1,2,3,4,5\n", {}, ("id note note column column", [("1", "2", "3", "4", "5")])),
        ("id,b\r1,2\r3,4\r", {}, ("id b", [("1", "2"), ("3", "4")])),
        ("id,b\n1,x\0y\n", {}, ("id b", [("1", "x\0y")])),
        ('id,b\n1,5" pipe\n2,x"y"z\n', {}, ("id b", [("1", '5" pipe'), ("2", 'x"y"z')])),
        ('a;b\n"x;2\n', {"quote": ""}, ("a b", [('"x', "2")])),
        ("a;b\n'x;y''s';2\n", {"quote": "'"}, ("a b", [("x;y's", "2")])),
        ('id,b\n1,"two\r\nlines, ""said"""\n', {}, ("id b", [("1", 'two\r\nlines, "said"')])),
        ('id,note\n1,"say \\"hi\\", ok"\n2,C:\\dir\n', {}, ("id note", [("1", 'say "hi", ok'), ("2", "C:\\dir")])),
        ('id,"no\\"te"\n1,"\\"x\\""\n', {}, ('id no"te', [("1", '"x"')])),
        ('id,note\n1,"C:\\"\n2,x\n', {}, ("id note", [("1", "C:\\"), ("2", "x")])),
        ("id;note\n1;a\\;b\n2;C:\\dir\\\\n\n", {"escape": "\\"}, ("id note", [("1", "a;b"), ("2", "C:\\dir\\n")])),
        ("", {}, ("", [])),
        ("\n\n", {}, ("", [])),
        ("id,b\n\n\n", {}, ("", [])),
    ],
)  # fmt: skip
def test_rows_come_out_as_they_stand(content: str, keys: dict[str, Any], expected: tuple[str, Rows]) -> None:
    names, found = read(content, **keys)
    assert (" ".join(name.replace(" ", "_") for name in names), found) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [None, None, None, "NA", "x"]),
        ({"quoted_nulls": False}, ["", None, "", "NA", "x"]),
        ({"null_values": ["", "NA"]}, [None, None, None, None, "x"]),
        ({"null_values": ["NA"], "quoted_nulls": False}, ["", "", "", None, "x"]),
    ],
)
def test_an_empty_text_is_told_from_no_value_as_the_connector_says(keys: Any, expected: list[str | None]) -> None:
    _, found = read('id,v\n1,""\n2,\n3,""\n4,NA\n5,x\n', **keys)
    assert [value for _, value in found] == expected


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff"),
     ("utf-16-le", b""), ("utf-16-be", b""), ("utf-32-le", b"\xff\xfe\0\0"), ("cp1252", b"")],
)  # fmt: skip
def test_what_a_file_is_written_in_is_found(encoding: str, mark: bytes) -> None:
    content = mark + "id;name\n1;Müller\n2;Weiß\n".encode(encoding)
    assert read(content) == (["id", "name"], [("1", "Müller"), ("2", "Weiß")])


def test_an_encoding_that_is_named_is_used() -> None:
    assert read("id;name\n1;Žluť\n".encode("cp1250"), encoding="cp1250")[1] == [("1", "Žluť")]
    # A mark says more than a setting, which is one for all files.
    assert read("id;name\n1;Žluť\n".encode("utf-8-sig"), encoding="cp1250")[1] == [("1", "Žluť")]


def test_umlauts_that_come_late_in_a_file_are_read() -> None:
    plain = "id;name\n" + "1;Smith\n" * 400_000
    for encoding in ("utf-8", "cp1252"):
        assert read((plain + "2;Müller\n").encode(encoding))[1][-1] == ("2", "Müller")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("id,b\n1\n2,3\n4,5,canary\n7,8\n", r"has 2 lines that can't be read \(line 2, 4\), the first for an"),
        ("id,b\n1,canary\n2,3,4\n", "has another number of cells than the 2 columns in line 3"),
        ('\n\nid,b\n1,"x\ny\nz"\n2,3,4\n', "another number of cells than the 2 columns in line 7"),
        ('id,b\n1,"canary\n2,d\n', "has a quote that is never closed in line 2"),
        ('id,b\n1,"canary\n2,"def"\n', "has text after a closing quote in line 2"),
        ('id,b\n1,"canary\n2,"def\n3,x\n', "has text after a closing quote in line 2"),
        ('id,b\n1,"O"canary"\n', "has text after a closing quote in line 2"),
        ('"id,b\n1,canary\n', "has a quote that is never closed in line 1"),
        ("id,name\n1,Müller\n2,ä\n".encode() + b"3,canary\xff\n", "bytes that are none, the first in line 4"),
        (("id,name\n1,Müller\n" + "2,ä\n" * 400_000).encode() + b"3,canary\xff\n", "byte in line 400003 that"),
        (b"id,name\n1,canary\x81\n", "holds a byte in line 2 that can't be read"),
        (b"PK\x03\x04canary", "is a zip archive, or a workbook"),
        (bz2.compress(b"id,canary\n1,2\n")[:-9], "is no whole bzip2 file"),
        (b"\n<!DOCTYPE html>\n<html>canary", "is a web page or XML"),
        (b"a\0\0b,canary\n1,2\n", "has bytes that are no text in line 1"),
        (gzip.compress(b"id,canary\n1,2\n" * 9_000, mtime=0)[:-20], "is no whole gzip file"),
        (gzip.compress(b"id,canary\n1,2\n" * 9_000, mtime=0)[:25], "is no whole gzip file"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_by_line_and_without_its_content(content: str | bytes, sentence: str) -> None:
    with pytest.raises(BrokenFileError, match=sentence) as caught:
        read(content)
    assert "canary" not in repr(caught.value)
    assert "canary" not in repr(caught.value.__context__)


@pytest.mark.parametrize(
    "content",
    ["1,Smith,1970-01-31\n2,Jones,1971-01-31\n", "Smith;1,5\nJones;2,5\n", "31.01.1970;x\n01.02.1971;y\n", "7\n8\n"],
)
def test_a_first_row_that_is_no_header_is_told_by_its_line(content: str) -> None:
    with pytest.raises(BrokenFileError, match="numbers or dates where the names of the columns should be in line 1"):
        read(content)
    assert len(read(content, header=False)[1]) == 2


@pytest.mark.parametrize(
    "header", ["id,2021,2022", "name,1,2", "test,2024-01-01,2024-01-02", "id,7", "name,x", "718-7,2345-7", ","]
)
def test_a_header_of_years_days_or_codes_is_one(header: str) -> None:
    second = ",".join("1" if name != "name" else "Smith" for name in header.split(","))
    assert len(read(f"{header}\n{second}\n")[1]) == 1


def test_a_header_of_any_length_is_read() -> None:
    names = [f"column number {number}" for number in range(50_000)]
    assert read(";".join(names) + "\n" + ";".join(map(str, range(50_000))))[0] == names


def test_a_cell_larger_than_a_block_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows.Way.__init__, "__defaults__", ("", 64 * 1024, False))
    report = "x,\n" * 100_000
    assert read(f'id,report\n1,"{report}"\n2,b\n')[1] == [("1", report), ("2", "b")]


CELL = st.text(st.sampled_from('ab,;"\\\n\r ü\t|'), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6), st.sampled_from(",;\t|"), st.sampled_from("\n\r"))
def test_what_was_written_by_the_rules_comes_back(written: Rows, delimiter: str, end: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b", "c"])
    writer.writerows(written)
    assert read(text.getvalue(), quoted_nulls=False) == (["a", "b", "c"], written)


@settings(deadline=None, max_examples=400)
@given(st.text(st.sampled_from('ab,"\n'), max_size=40), st.sampled_from(["", "\\"]))
def test_whatever_is_read_is_what_the_grammar_has(body: str, escape: str) -> None:
    if escape:
        body = body.replace("b", "\\")
    content = f"x,y\n{body}"
    try:
        _, found = read(content, escape=escape, null_values=[])
    except BrokenFileError:
        return
    start = beginning(content.encode(), CsvSettings(escape=escape), whole=True)
    assert start is not None
    expected = list(rows([content.encode()[start.offset :]], start.dialect, 2))
    assert found == [row.cells for row in expected]
    assert all(row.problem is None and len(row.cells) == 2 for row in expected)


@settings(deadline=None, max_examples=400)
@given(st.text(st.sampled_from('ab,"\n\r\\'), max_size=60), st.sampled_from(["", "\\"]), st.integers(1, 9))
def test_wrong_lines_are_found_the_same_in_whichever_way(body: str, escape: str, size: int) -> None:
    content = body.encode()
    dialect = Dialect(",", escape=escape)
    slowly = diagnosis(rows([content], dialect, 1), 2)
    blocks = [content[at : at + size] for at in range(0, len(content), size)]
    quickly = diagnosis(rows(blocks, dialect, 1, width=2), 2)
    assert (quickly.problem, quickly.count, quickly.lines) == (slowly.problem, slowly.count, slowly.lines)
    assert quickly.longest >= slowly.longest


def test_blocks_may_be_cut_anywhere() -> None:
    content = b'id,note\n1,"a ""b"", c\nd"\n2,"\\"\n3,x\n'
    start = beginning(content, CsvSettings(), whole=True)
    assert start is not None
    whole = list(rows([content[start.offset :]], start.dialect, start.line))
    assert [row.cells for row in whole] == [("1", 'a "b", c\nd'), ("2", "\\"), ("3", "x")]
    for size in (1, 2, 3, 7):
        blocks = [content[at : at + size] for at in range(start.offset, len(content), size)]
        assert list(rows(blocks, start.dialect, start.line)) == whole
        check = Check(start.dialect)
        assert b"".join(check(blocks)) == content[start.offset :]
        assert not check.doubtful


def in_doubt(body: bytes) -> bool:
    """Whether a quote stands within a cell or is never closed, sign by sign."""
    open_, beside = False, b',\r\n"'
    for at, sign in enumerate(body):
        if sign != ord('"'):
            continue
        neighbour = body[at + 1 : at + 2] if open_ else body[max(at - 1, 0) : at]
        if neighbour and neighbour not in beside:
            return True
        open_ = not open_
    return open_


@pytest.mark.parametrize("piece", [7, 64, 200, 256 * 1024])
def test_quotes_are_found_in_doubt_wherever_they_stand(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(csv_grammar, "_PIECE_BYTES", piece)
    draw = random.Random(11)
    met = set()
    for _ in range(300):
        cells = [draw.choice(['""', '"a"', '"x, ""y"""', "b", "", '"two\r\nlines"', "7" * 61]) for _ in range(40)]
        body = "".join(cell + draw.choice(",\n\r") for cell in cells).encode()
        if draw.random() < 0.5:
            at = draw.randrange(len(body))
            body = body[:at] + draw.choice([b'"', b"x", b""]) + body[at + 1 :]
        cut = draw.randrange(len(body))
        check = Check(Dialect(","))
        assert b"".join(check([body[:cut], body[cut:]])) == body
        assert check.doubtful == in_doubt(body), body
        met.add(check.doubtful)
    assert met == {False, True}
