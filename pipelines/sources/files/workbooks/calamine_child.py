"""The child process that reads one sheet by calamine: see `by_calamine`.

It imports nothing of ours, which would take memory.
"""

import io
import resource
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

import orjson
from python_calamine import CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum


def main(sheet: str, memory_bytes: int) -> None:
    """Write the lines of a sheet, or of no sheet the names of all."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # No image of the memory, which holds the file, is left by one that dies.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    book = CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
    out = sys.stdout.buffer
    for line in _rows(book, sheet) if sheet else [_names(book)]:
        out.write(orjson.dumps(line, default=_tagged, option=orjson.OPT_PASSTHROUGH_DATETIME) + b"\n")
    out.flush()


def _names(book: CalamineWorkbook) -> list[tuple[str, bool]]:
    return [
        (sheet.name, sheet.visible != SheetVisibleEnum.Visible)
        for sheet in book.sheets_metadata
        if sheet.typ == SheetTypeEnum.WorkSheet
    ]


def _rows(book: CalamineWorkbook, name: str) -> Iterator[Any]:
    sheet = book.get_sheet_by_name(name)
    yield [
        (top + 1, left + 1, bottom + 1, right + 1) for (top, left), (bottom, right) in sheet.merged_cell_ranges or []
    ]
    # Its rows begin at row 1, but at the first column that is used.
    blank = [None] * (sheet.start[1] if sheet.start else 0)
    for number, values in enumerate(sheet.iter_rows(), start=1):
        row = [_plain(value) for value in values]
        if any(value is not None for value in row):
            yield number, blank + row


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return None if isinstance(value, str) and not value else value


def _tagged(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"moment": value.isoformat()}
    if isinstance(value, date):
        return {"day": value.isoformat()}
    if isinstance(value, time):
        return {"time": value.isoformat()}
    if isinstance(value, timedelta):
        return {"span": value // timedelta(microseconds=1)}
    raise TypeError


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
