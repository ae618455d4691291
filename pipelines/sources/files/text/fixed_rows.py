"""Files of fixed width as Arrow tables of text: each column stands at the same places of every line."""

import io
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from connectors.sources.files import FileReading
from pipelines.sources.files.decoding import BLOCK_BYTES, Utf8, unpacked

PAGE_ROWS = 50_000
_END_OF_FILE = "\x1a"
"""How older systems write it."""


def fixed_tables(reopen: Callable[[], Any], source: FileReading, tell: Callable[[str], None]) -> Iterator[pa.Table]:
    """A file's rows, every cell as text without the spaces around it. `tell` is given sentences about the file."""
    lines = io.TextIOWrapper(io.BufferedReader(Utf8(unpacked(reopen()), source.encoding), BLOCK_BYTES), "utf-8")
    end = max(field.last for field in source.fields)
    nulls = pa.array(source.null_values, pa.string())
    number, longer = source.skip, 0
    rest = islice(lines, source.skip, None)
    while page := [line.rstrip("\r\n") for line in islice(rest, PAGE_ROWS)]:
        for line in page:
            number += 1
            if len(line) > end and line[end:].strip() and not longer:
                longer = number
        if kept := [
            line for line in page if line.strip().strip(_END_OF_FILE) and not _is_comment(line, source.comment)
        ]:
            yield _table(pa.array(kept, pa.string()), source, nulls)
    if longer:
        tell(f"has text behind the last of its fields, from line {longer} on, which was not read: name it in fields")


def _is_comment(line: str, mark: str | None) -> bool:
    return mark is not None and line.startswith(mark)


def _table(lines: pa.Array, source: FileReading, nulls: pa.Array) -> pa.Table:
    columns = {}
    for field in source.fields:
        cells = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(lines, field.first - 1, field.last))
        columns[field.name] = pc.if_else(pc.is_in(cells, nulls), pa.scalar(None, pa.string()), cells)
    return pa.table(columns)
