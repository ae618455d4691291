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
        try:
            page += values_of(some, number, repeats)
        except NoJsonError as error:
            raise BrokenFileError(f"has no JSON in line {error.line}: correct or remove it") from None
        number += len(some)
        if len(page) >= PAGE_ROWS:
            yield page
            page = []
    if page:
        yield page
