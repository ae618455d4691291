"""Files of JSON lines as pages of rows, whose numbers keep the digits that they were written with."""

import io
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from connectors.sources.files import FilesSource
from pipelines.rows.ndjson import NoJsonError, values_of
from pipelines.sources.files.decoding import BLOCK_BYTES, Utf8, unpacked
from pipelines.sources.files.faults import BrokenFileError

PAGE_ROWS = 50_000
_LOOKED_THROUGH = 2_000
"""Lines that are looked through together for numbers that need the slower parser."""


def json_pages(
    reopen: Callable[[], Any],
    source: FilesSource,
    repeats: Callable[[int], None] = lambda _: None,
    reject: Callable[[int, str], None] | None = None,
    halves: Callable[[int], None] = lambda _: None,
) -> Iterator[list[Any]]:
    """A file's rows, page by page. `repeats` is told each line in which an object gives a name several values.

    `reject` is told each line that is no JSON, with its text; None: such a line breaks the file. `halves` is told each
    line with half of a character.

    Raises:
        BrokenFileError: for a line that is no JSON, with its number; or for more of them than there are rows.
    """
    lines = io.BufferedReader(Utf8(unpacked(reopen()), source.encoding), BLOCK_BYTES)
    page: list[Any] = []
    number, good, bad = 1, 0, 0
    while some := list(islice(lines, _LOOKED_THROUGH)):
        found = list(_rows_of(some, number, repeats, halves, reject))
        page += (row for row in found if row is not _NONE)
        bad += (broken := sum(row is _NONE for row in found))
        good += len(found) - broken
        number += len(some)
        if len(page) >= PAGE_ROWS:
            yield page
            page = []
    if bad > good:
        raise BrokenFileError(f"has no JSON in {bad} lines, which are more than its rows: correct or remove it")
    if page:
        yield page


def first_half_told(tell: Callable[[str], None]) -> Callable[[int], None]:
    """Takes each line with half of a character, and tells the first one of a file."""
    told: list[int] = []

    def halves(line: int) -> None:
        if not told:
            told.append(line)
            tell(
                f"has half of a character in line {line}, as where a text was cut: such a half landed as the character "
                "U+FFFD"
            )

    return halves


_NONE = object()
"""In the place of a row that a line does not hold."""


def _rows_of(
    lines: list[bytes],
    number: int,
    repeats: Callable[[int], None],
    halves: Callable[[int], None],
    reject: Callable[[int, str], None] | None,
) -> Iterator[Any]:
    """The rows of lines, of which the first has this number."""
    broken = 0
    try:
        yield from values_of(lines, number, repeats, halves)
    except NoJsonError as error:
        broken = error.line
    if not broken:
        return
    if reject is None:
        # Not while the parser's own error is at hand.
        raise BrokenFileError(f"has no JSON in line {broken}: correct or remove it")
    for at, line in enumerate(lines, start=number):
        try:
            yield from values_of([line], at, repeats, halves)
        except NoJsonError:
            reject(at, line.decode(errors="replace").rstrip("\r\n"))
            yield _NONE
