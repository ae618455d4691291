"""Workbooks that only calamine reads (xlsb, ods), in a child process with a limit of memory.

calamine holds a sheet as a whole, and a hostile or sparse workbook makes it abort the process: a child may die, and
then the file is named and left. It gets the file's bytes by its standard input and writes a line of JSON for each row,
so that nothing of the file stands on a disk.
"""

import contextlib
from collections.abc import Generator, Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import orjson

from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.fed_child import FedChild, blocks
from pipelines.sources.files.workbooks.cells import Merged, Sheet, duration

MEMORY_BYTES = 2 * 1024 * 1024 * 1024
"""The child's address space. Of a million rows, calamine takes 0.8 to 1 GB."""
_CHILD = Path(__file__).with_name("calamine_child.py")


@contextlib.contextmanager
def sheets(stream: Any) -> Iterator[list[Sheet]]:
    """The sheets of a workbook, each of which is read by a child of its own.

    Raises:
        BrokenFileError: when it is none, or takes more memory than it may.
    """
    (listed,) = list(_lines(stream, ""))
    yield [_sheet(stream, name, hidden) for name, hidden in listed]


def _sheet(stream: Any, name: str, hidden: bool) -> Sheet:
    def rows() -> Iterator[tuple[int, list[Any]]]:
        lines = _lines(stream, name)
        next(lines)
        for number, values in lines:
            yield number, [_value(value) for value in values]

    def merged() -> list[Merged]:
        lines = _lines(stream, name)
        found = [Merged(*ends) for ends in next(lines)]
        lines.close()
        return found

    return Sheet(name, hidden, rows, merged)


def _value(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, text),) = value.items()
    if kind == "span":
        return duration(timedelta(microseconds=text))
    forms: dict[str, Any] = {"day": date, "moment": datetime, "time": time}
    return forms[kind].fromisoformat(text)


def _lines(stream: Any, sheet: str) -> Generator[Any, None, None]:
    """What a child says of a workbook: of a sheet its merged cells and then each row, of none the sheets' names."""
    with FedChild(_CHILD, sheet, str(MEMORY_BYTES), given=blocks(stream)) as child:
        for line in child.answer:
            yield orjson.loads(line)
        status = child.status()
    if status != 0:
        raise BrokenFileError(
            "is no workbook that can be read, or takes more than 2 GB of memory: save it as xlsx or csv, or remove it"
        )
