"""Files of JSON lines as pages of rows, whose numbers keep the digits that they were written with."""

import io
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import orjson

from connectors.sources.files import FilesSource
from pipelines.rows.json_values import is_written_back, loses_digits, may_repeat, parse, parse_leniently
from pipelines.sources.files.decoding import BLOCK_BYTES, Utf8, unpacked
from pipelines.sources.files.faults import BrokenFileError

PAGE_ROWS = 50_000
_LOOKED_THROUGH = 2_000
"""Lines that are looked through together for numbers that need the slower parser."""


def json_pages(
    reopen: Callable[[], Any], source: FilesSource, repeats: Callable[[int], None] = lambda _: None
) -> Iterator[list[Any]]:
    """A file's rows, page by page. `repeats` is told each line in which an object gives a name several values.

    Raises:
        BrokenFileError: for a line that is no JSON, with its number.
    """
    lines = io.BufferedReader(Utf8(unpacked(reopen()), source.encoding), BLOCK_BYTES)
    page: list[Any] = []
    number = 1
    while some := list(islice(lines, _LOOKED_THROUGH)):
        found = _parsed(some)
        if found is None:
            # Not while the parser's own error is at hand, which holds the line.
            found = [_value(line, at, repeats) for at, line in enumerate(some, start=number) if not line.isspace()]
        page += found
        number += len(some)
        if len(page) >= PAGE_ROWS:
            yield page
            page = []
    if page:
        yield page


def _parsed(some: list[bytes]) -> list[Any] | None:
    """The rows of lines, or None where each has to be read by itself: for its digits or its names, or as broken."""
    lines = [line for line in some if not line.isspace()]
    try:
        found = [orjson.loads(line) for line in lines]
    except ValueError:
        return None
    # Without their ends, most are then equal to what is written of them, byte by byte.
    joined = b"[" + b",".join([line.rstrip() for line in lines]) + b"]"
    written = orjson.dumps(found)
    if is_written_back(written, joined) or not (may_repeat(written, joined) or loses_digits(joined)):
        return found
    return None


def _value(line: bytes, number: int, repeats: Callable[[int], None]) -> Any:
    def repeated(_name: str) -> None:
        repeats(number)

    try:
        return parse(line, repeated)
    except ValueError:
        pass
    try:
        # NaN, and control characters in texts, as some systems write them.
        return parse_leniently(line.decode(), repeated)
    except ValueError:
        pass
    # Not from the parser's own error, which holds the line.
    raise BrokenFileError(f"has no JSON in line {number}: correct or remove it")
