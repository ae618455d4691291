"""Files of JSON lines as pages of rows."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from connectors.kinds import FilesSource
from pipelines.sources.files.decoding import BLOCK_BYTES, Utf8, unpacked
from pipelines.sources.files.faults import BrokenFileError

PAGE_ROWS = 50_000


def json_pages(reopen: Callable[[], Any], source: FilesSource) -> Iterator[list[Any]]:
    """A file's rows, page by page.

    Raises:
        BrokenFileError: for a line that is no JSON, with its number.
    """
    page: list[Any] = []
    for number, line in enumerate(io.BufferedReader(Utf8(unpacked(reopen()), source.encoding), BLOCK_BYTES), start=1):
        if line.strip():
            page.append(_parsed(line, number))
        if len(page) == PAGE_ROWS:
            yield page
            page = []
    if page:
        yield page


def _parsed(line: bytes, number: int) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    # Not from the parser's own error, which holds the line.
    raise BrokenFileError(f"has no JSON in line {number}: correct or remove it")
