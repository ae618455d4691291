"""JSON lines as systems write them: each line's values with their digits, or the line's number."""

import io
from typing import Any

import pytest
from pydantic import TypeAdapter

from connectors.sources.files import FilesSource
from pipelines.rows.json_values import dump
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.text.json_rows import json_pages


def read(content: str | bytes, **keys: Any) -> list[bytes]:
    """The rows of a file, as JSON."""
    source = TypeAdapter(FilesSource).validate_python({"type": "files", "url": "/in", "format": "jsonl", **keys})
    data = content.encode() if isinstance(content, str) else content
    return [dump(row) for page in json_pages(lambda: io.BytesIO(data), source) for row in page]


@pytest.mark.parametrize(
    "line",
    ['{"id":123456789012345678901,"n":1.50}', '{"n":1E5,"x":[1.0,{"y":7.40}]}', '{"t":"1.50 \\" 1e5","n":5}', "[1,2]"],
)
def test_numbers_keep_their_digits(line: str) -> None:
    assert read(f'{{"plain":1}}\n{line}\n\n') == [b'{"plain":1}', line.encode()]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_what_lines_are_written_in_is_found(encoding: str) -> None:
    assert read('{"name":"Müller"}\r\n{"name":"Weiß"}'.encode(encoding)) == [
        '{"name":"Müller"}'.encode(),
        '{"name":"Weiß"}'.encode(),
    ]


def test_what_nearly_is_json_is_read() -> None:
    assert read('{"note":"a\tb"}\n') == [b'{"note":"a\\tb"}']
    assert len(read('{"n":NaN}\n')) == 1


@pytest.mark.parametrize("line", ['{"id": "canary"', '[{"id": "canary"},', "canary", '{"id": "canary"}{"id": 2}'])
def test_a_line_that_is_no_json_is_told_by_its_number(line: str) -> None:
    with pytest.raises(BrokenFileError, match="has no JSON in line 3") as caught:
        read(f'{{"id": 1}}\n\n{line}\n')
    assert "canary" not in repr(caught.value)
    assert caught.value.__context__ is None


def test_half_of_a_character_is_told_by_its_line() -> None:
    source = TypeAdapter(FilesSource).validate_python({"type": "files", "url": "/in", "format": "jsonl"})
    data = b'{"id": 1}\n{"id": "a\\ud83d"}\n{"id": "\\ud83d\\ude00"}\n'
    told: list[int] = []
    pages = json_pages(lambda: io.BytesIO(data), source, halves=told.append)
    assert [row["id"] for page in pages for row in page] == [1, "a\ufffd", "\U0001f600"]
    assert told == [2]


def test_a_line_that_is_nested_too_deeply_is_told_by_its_number() -> None:
    with pytest.raises(BrokenFileError, match="in line 2"):
        read('{"id": 1}\n' + "[" * 500 + "]" * 500 + "\n")


def test_a_name_with_several_values_is_told_by_its_line() -> None:
    source = TypeAdapter(FilesSource).validate_python({"type": "files", "url": "/in", "format": "jsonl"})
    data = b'{"id": 1}\n{"id": 2, "v": 1, "v": 1}\n\n{"id": 3, "in": {"v": 1, "v": 2}}\n{"id": 4, "v": NaN, "v": 1}\n'
    told: list[int] = []
    pages = json_pages(lambda: io.BytesIO(data), source, told.append)
    assert [row for page in pages for row in page] == [
        {"id": 1},
        {"id": 2, "v": 1},
        {"id": 3, "in": {"v": 2}},
        {"id": 4, "v": 1},
    ]
    assert told == [4, 5]
