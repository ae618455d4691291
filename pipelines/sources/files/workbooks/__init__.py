"""Workbooks as pages of rows: which sheets, what their columns are called, and where a table ends.

A value lands as its cell has it: a number as a number, text as text though it looks like one, a day or a moment by the
cell's format, a percentage as the number behind it. Cells without a value of their own (`#N/A`, a formula that was
never calculated) land as no value, and a remark says how many there are and where the first ones stand.
"""

import fnmatch
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from itertools import islice
from typing import Any

from connectors.sources.file_formats import FileFormat
from connectors.sources.files import FileReading
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.origin import SHEET
from pipelines.sources.files.workbooks.cells import Sheet, Unknown

PAGE_ROWS = 20_000
_SHOWN = 3
_LOOKED_AT = 50
"""Rows that tell what a column holds, before anything is loaded."""
_KINDS = {bool: "bool", int: "number", float: "number", date: "date", datetime: "timestamp", time: "time"}


def workbook_pages(
    reopen: Callable[[], Any],
    source: FileReading,
    tell: Callable[[str], None] = lambda _: None,
    twin: Callable[[str, str], None] = lambda *_: None,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of a workbook's sheets, page by page. `tell` gets sentences about the file, which begin after its name,
    and `twin` a name that two columns have, with the one under which the second lands.

    Raises:
        BrokenFileError: when it can't be read, or has none of the sheets that the source names.
    """
    with _opened(reopen(), source) as sheets:
        for sheet in _chosen(sheets, source.sheet, tell):
            yield from _Table(sheet, source, tell, twin).pages()


def sheets_of(reopen: Callable[[], Any], source: FileReading) -> list[tuple[str, dict[str, str]]]:
    """The sheets of a workbook that are not hidden, each with its columns and what the first of their values are.

    Raises:
        BrokenFileError: when it can't be read.
    """
    found = []
    with _opened(reopen(), source) as sheets:
        for sheet in sheets:
            if sheet.hidden:
                continue
            table = _Table(sheet, source, lambda _: None)
            kinds: dict[str, str] = {}
            for _, values in islice(table.body(), _LOOKED_AT):
                for name, value in zip(table.names, values, strict=False):
                    if value is not None and not isinstance(value, Unknown):
                        kinds.setdefault(name, _KINDS.get(type(value), "text"))
            found.append((sheet.name, {name: kinds.get(name, "text") for name in table.names}))
    return found


def _opened(stream: Any, source: FileReading) -> AbstractContextManager[list[Sheet]]:
    if source.format is FileFormat.XLSX:
        from pipelines.sources.files.workbooks import xlsx  # noqa: PLC0415  # each reader brings a library of its own

        return xlsx.sheets(stream)
    from pipelines.sources.files.workbooks import by_calamine  # noqa: PLC0415

    return by_calamine.sheets(stream)


def _chosen(sheets: list[Sheet], asked: str | None, tell: Callable[[str], None]) -> list[Sheet]:
    if not sheets:
        raise BrokenFileError("has no sheet of cells: correct or remove it")
    if asked is None:
        first = next((sheet for sheet in sheets if not sheet.hidden), sheets[0])
        if len(sheets) > 1:
            tell(
                f"has {len(sheets)} sheets, of which the first, '{first.name}', was read: name others with sheet "
                "('*' for all)"
            )
        return [first]
    found = [sheet for sheet in sheets if sheet.name.casefold() == asked.casefold()]
    found = found or [sheet for sheet in sheets if fnmatch.fnmatchcase(sheet.name.casefold(), asked.casefold())]
    if not found:
        names = ", ".join(f"'{sheet.name}'" for sheet in sheets[:_SHOWN])
        more = f" and {len(sheets) - _SHOWN} more" if len(sheets) > _SHOWN else ""
        raise BrokenFileError(f"has no sheet '{asked}': it has {names}{more}")
    return found


@dataclass(slots=True)
class _Table:
    """The table of one sheet."""

    sheet: Sheet
    source: FileReading
    tell: Callable[[str], None]
    twin: Callable[[str, str], None] = lambda *_: None
    names: list[str] = field(default_factory=list)
    titles: list[tuple[int, list[Any]]] = field(default_factory=list)
    """The rows that have the names."""
    wide: list[tuple[int, int, str]] | None = None
    """Titles that are merged over several columns: from and to which, from 1. None: nobody has asked yet."""
    unknown: int = 0
    places: list[str] = field(default_factory=list)
    """Where the first cells without a value stand, and what they are."""

    def pages(self) -> Iterator[list[dict[str, Any]]]:
        nulls = frozenset(self.source.null_values)
        page: list[dict[str, Any]] = []
        for number, values in self.body():
            row = [self._known(value, number, place, nulls) for place, value in enumerate(values)]
            if not any(value is not None for value in row):
                continue
            while len(self.names) < len(row):
                self.names.append(self._distinct(self._beyond(len(self.names) + 1)))
            row += [None] * (len(self.names) - len(row))
            origin = {SHEET: self.sheet.name} if self.source.origin else {}
            page.append({**origin, **dict(zip(self.names, row, strict=True))})
            if len(page) >= PAGE_ROWS:
                yield page
                page = []
        if page:
            yield page
        if self.unknown:
            cells = "1 cell" if self.unknown == 1 else f"{self.unknown:,} cells"
            more = "..." * (self.unknown > _SHOWN)
            self.tell(f"has {cells} without a value, of which nothing landed: {', '.join(self.places)}{more}")

    def body(self) -> Iterator[tuple[int, list[Any]]]:
        """The rows below the names and above the end."""
        held: deque[tuple[int, list[Any]]] = deque()
        rows = (row for row in self.sheet.rows() if row[0] > self.source.skip and any(v is not None for v in row[1]))
        if self.source.header is True:
            self._name(list(islice(rows, self.source.header_rows)))
        elif not isinstance(self.source.header, bool):
            self.names = list(self.source.header)
        for row in rows:
            held.append(row)
            if len(held) > self.source.skip_end:
                yield held.popleft()

    def _name(self, rows: list[tuple[int, list[Any]]]) -> None:
        """Take the names of the columns from the rows that have them."""
        width = max((len(values) for _, values in rows), default=0)
        titles = [values + [None] * (width - len(values)) for _, values in rows]
        if any(value is None for values in titles for value in values):
            self._spread(rows, titles)
        self.titles = rows
        for place, column in enumerate(zip(*titles, strict=True), start=1):
            parts = dict.fromkeys(_written(value) for value in column if value is not None)
            self.names.append(self._distinct(" ".join(parts).strip() or f"column_{place}"))

    def _spread(self, rows: list[tuple[int, list[Any]]], titles: list[list[Any]]) -> None:
        """Give each of the cells that are merged the title that the first one has."""
        at = {number: values for (number, _), values in zip(rows, titles, strict=True)}
        for merged in self.sheet.merged():
            if merged.top not in at:
                continue
            title = at[merged.top][merged.left - 1] if merged.left <= len(at[merged.top]) else None
            for number in range(merged.top, min(merged.bottom, max(at)) + 1):
                for place in range(merged.left, min(merged.right, len(titles[0])) + 1):
                    if number in at:
                        at[number][place - 1] = title

    def _beyond(self, place: int) -> str:
        """The name of a column behind those with a title: of what is merged over it, or its place."""
        if self.wide is None:
            at = dict(self.titles)
            # Asked for late, for a workbook says at its end what is merged.
            self.wide = [
                (merged.left, merged.right, _written(at[merged.top][merged.left - 1]))
                for merged in (self.sheet.merged() if at else ())
                if merged.left <= len(at.get(merged.top, ())) and at[merged.top][merged.left - 1] is not None
            ]
        parts = dict.fromkeys(title for left, right, title in self.wide if left <= place <= right)
        return " ".join(parts).strip() or f"column_{place}"

    def _distinct(self, name: str) -> str:
        number, distinct = 1, name
        while distinct in self.names:
            number += 1
            distinct = f"{name}_{number}"
        if number > 1:
            self.twin(name, distinct)
        return distinct

    def _known(self, value: Any, number: int, place: int, nulls: frozenset[str]) -> Any:
        if isinstance(value, Unknown):
            self.unknown += 1
            if len(self.places) < _SHOWN:
                self.places.append(f"{value.what} in {self.sheet.name}!{letters(place)}{number}")
            return None
        return None if isinstance(value, str) and value in nulls else value


def letters(place: int) -> str:
    """The letters of a column, which are those of its place from 0."""
    found = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        found = chr(65 + rest) + found
    return found


def _written(value: Any) -> str:
    if isinstance(value, Unknown):
        return value.what
    return value.strip() if isinstance(value, str) else value.isoformat() if hasattr(value, "isoformat") else str(value)
