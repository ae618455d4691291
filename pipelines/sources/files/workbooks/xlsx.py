"""Workbooks of Excel since 2007, as a stream: the memory that is needed is that of the texts that sheets share.

Libraries hold a whole sheet (calamine: 789 MB for a million rows, and error cells are empty) or take twelve times the
time; openpyxl's rules for dates are used, and it is the reference of the tests. Entities of a hostile file are refused
by the parser, which also limits texts and depths.
"""

import contextlib
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import PurePosixPath
from typing import Any

from lxml import etree
from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH, from_excel

from pipelines.sources.files import archives
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.workbooks.cells import Merged, Sheet, Unknown, duration

MOST_COLUMNS = 16_384
"""The columns of a sheet of Excel."""
MOST_TEXT_BYTES = 1024 * 1024 * 1024
"""Texts that sheets share, unpacked; they are held in memory."""
MOST_PART_BYTES = 64 * 1024 * 1024
"""Any other part that is read as a whole."""

_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]+)(\d+):([A-Z]+)(\d+)"')
_CLOCK = re.compile(r"[hs]|AM/PM", re.IGNORECASE)
_NO_CLOCK = re.compile(r'".*?"|\[[^\]]*\]|\\.|_.')
_DIGITS = re.compile(r"-?\d{1,15}", re.ASCII)
_SPAN, _DAY, _MOMENT = "span", "day", "moment"


@contextlib.contextmanager
def sheets(stream: Any) -> Iterator[list[Sheet]]:
    """The sheets of a workbook, which can be read until it is closed.

    Raises:
        BrokenFileError: when it is none, here or while its rows are read.
    """
    broken = False
    try:
        with archives.opened(stream) as archive:
            yield _Workbook(archive).sheets()
    except (etree.XMLSyntaxError, UnicodeDecodeError):
        # Not from the parser's own error, which may hold a part of the text.
        broken = True
    if broken:
        raise BrokenFileError("is no workbook that can be read: its parts are damaged; save it again or remove it")


@dataclass(slots=True)
class _Workbook:
    archive: zipfile.ZipFile

    def sheets(self) -> list[Sheet]:
        main = "xl/workbook.xml"
        links = self._part("_rels/.rels")
        for link in () if links is None else links:
            if str(link.get("Type")).endswith("/officeDocument"):
                main = str(link.get("Target")).lstrip("/")
        book = self._part(main)
        if book is None:
            raise BrokenFileError("is no workbook of Excel: it has none of its parts; save it as xlsx")
        folder = PurePosixPath(main).parent
        targets = {}
        found = self._part(str(folder / "_rels" / (PurePosixPath(main).name + ".rels")))
        for link in () if found is None else found:
            target = str(link.get("Target"))
            path = target.lstrip("/") if target.startswith("/") else str(folder / target)
            targets[link.get("Id")] = (str(link.get("Type")), path)
        texts = next((path for kind, path in targets.values() if kind.endswith("/sharedStrings")), "")
        styles = next((path for kind, path in targets.values() if kind.endswith("/styles")), "")
        properties = book.find("{*}workbookPr")
        old = properties is not None and properties.get("date1904") in {"1", "true", "on"}
        reading = _Reading(self.archive, self._texts(texts), self._kinds(styles), MAC_EPOCH if old else WINDOWS_EPOCH)
        return list(self._sheets(book, targets, reading))

    def _sheets(self, book: Any, targets: dict[Any, tuple[str, str]], reading: "_Reading") -> Iterator[Sheet]:
        there = set(self.archive.namelist())
        for sheet in book.iterfind("{*}sheets/{*}sheet"):
            link = next((value for name, value in sheet.attrib.items() if name.endswith("}id")), None)
            kind, path = targets.get(link, ("", ""))
            if kind.endswith("/worksheet") and path in there:
                hidden = sheet.get("state", "visible") != "visible"

                def rows(path: str = path) -> Iterator[tuple[int, list[Any]]]:
                    return reading.rows(path)

                def merged(path: str = path) -> list[Merged]:
                    return reading.merged(path)

                yield Sheet(str(sheet.get("name")), hidden, rows, merged)

    def _part(self, path: str) -> Any:
        if path not in self.archive.namelist():
            return None
        if self.archive.getinfo(path).file_size > MOST_PART_BYTES:
            raise BrokenFileError("has a part that is larger than those of any workbook: correct or remove it")
        part = etree.fromstring(self.archive.read(path))
        _check_declares_nothing(part)
        return part

    def _texts(self, path: str) -> list[str]:
        if path not in self.archive.namelist():
            return []
        if self.archive.getinfo(path).file_size > MOST_TEXT_BYTES:
            raise BrokenFileError("holds more than 1 GB of texts: split it, or save it as csv")
        found: list[str] = []
        with self.archive.open(path) as stream:
            for _, item in etree.iterparse(stream, tag="{*}si"):
                if not found:
                    _check_declares_nothing(item)
                found.append(_text(item))
                _forget(item)
        return found

    def _kinds(self, path: str) -> list[str]:
        """Of each style of cells, whether its numbers are spans, days or moments; empty for none of them."""
        styles = self._part(path)
        if styles is None:
            return []
        formats = dict(BUILTIN_FORMATS)
        for own in styles.iterfind("{*}numFmts/{*}numFmt"):
            formats[int(own.get("numFmtId", 0))] = own.get("formatCode") or "General"
        return [
            _kind(formats.get(int(style.get("numFmtId", 0)), "General"))
            for style in styles.iterfind("{*}cellXfs/{*}xf")
        ]


def _kind(code: str) -> str:
    if not is_date_format(code):
        return ""
    if is_timedelta_format(code):
        return _SPAN
    return _MOMENT if _CLOCK.search(_NO_CLOCK.sub("", code.split(";", maxsplit=1)[0])) else _DAY


@dataclass(slots=True)
class _Reading:
    """The reading of the sheets of one workbook."""

    archive: zipfile.ZipFile
    texts: list[str]
    kinds: list[str]
    epoch: datetime

    def rows(self, path: str) -> Iterator[tuple[int, list[Any]]]:
        places: dict[str, int] = {}
        number = 0
        values: list[Any] = []
        checked = False
        with self.archive.open(path) as stream:
            for _, element in etree.iterparse(stream, tag=("{*}c", "{*}row")):
                if not checked:
                    _check_declares_nothing(element)
                    checked = True
                if element.tag.endswith("}row"):
                    number = int(element.get("r") or number + 1)
                    if values:
                        yield number, values
                    values = []
                    _forget(element)
                    continue
                name = (element.get("r") or "").rstrip("0123456789")
                place = places.get(name)
                if place is None:
                    place = places[name] = _column(name) - 1 if name else -1
                place = len(values) if place < 0 else place
                value = self._value(element)
                if place >= MOST_COLUMNS:
                    raise BrokenFileError(f"has a row of more than {MOST_COLUMNS:,} cells: correct or remove it")
                if value is not None:
                    while len(values) < place:
                        values.append(None)
                    values[place:] = [value]
                elif not name:
                    values.append(None)
                element.clear()

    def _value(self, cell: Any) -> Any:
        written, formula, inline = None, False, None
        for child in cell:
            match child.tag.rpartition("}")[2]:
                case "v":
                    written = child.text
                case "f":
                    formula = True
                case "is":
                    inline = child
        kind = cell.get("t", "n")
        if written is None or inline is not None:
            if inline is not None:
                return _text(inline)
            return Unknown("a formula that was never calculated") if formula and kind != "str" else None
        if kind == "s":
            return self._shared(written)
        if (read := _BY_TYPE.get(kind)) is not None:
            return read(written)
        return self._number(written, self.kinds[int(cell.get("s") or 0)] if self.kinds else "")

    def _shared(self, index: str) -> str:
        try:
            return self.texts[int(index)]
        except (ValueError, IndexError):
            pass
        raise BrokenFileError("names a text that it does not hold: it is damaged; save it again")

    def _number(self, written: str, kind: str) -> Any:
        try:
            number = int(written) if _DIGITS.fullmatch(written) else float(written)
        except ValueError:
            return _unescaped(written)
        if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
            number = int(number)
        return self._dated(number, kind) if kind else number

    def _dated(self, number: float, kind: str) -> Any:
        try:
            found = from_excel(number, self.epoch, timedelta=kind == _SPAN)
        except (OverflowError, ValueError):
            return Unknown("a date that no calendar has")
        if isinstance(found, timedelta):
            return duration(found)
        if kind == _DAY and isinstance(found, time) and number == 0:
            return Unknown("a date that no calendar has")
        if kind == _DAY and isinstance(found, datetime) and found.time() == time():
            return found.date()
        return found

    def merged(self, path: str) -> list[Merged]:
        """The merged cells, which stand behind all rows: the part is unpacked once more, and not parsed."""
        found, rest = [], b""
        with self.archive.open(path) as stream:
            while block := stream.read(1024 * 1024):
                text = rest + block
                end = 0
                for match in _MERGED.finditer(text):
                    left, top, right, bottom = (part.decode() for part in match.groups())
                    found.append(Merged(int(top), _column(left), int(bottom), _column(right)))
                    end = match.end()
                rest = text[max(end, len(text) - 200) :]
        return found


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _text(item: Any) -> str:
    """The text of an element `si` or `is`: of all its runs, without what says how to read them aloud."""
    parts = [
        part.text or ""
        for child in item
        for part in (
            (child,) if child.tag.endswith("}t") else child.iterfind("{*}t") if child.tag.endswith("}r") else ()
        )
    ]
    return _unescaped("".join(parts))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def _iso(text: str) -> Any:
    for form in (date, datetime, time):
        with contextlib.suppress(ValueError):
            return form.fromisoformat(text)
    return text


_BY_TYPE: dict[str, Callable[[str], Any]] = {
    "str": _unescaped,
    "b": lambda written: written.strip() in {"1", "true"},
    "e": Unknown,
    "d": _iso,
}
"""How a cell is read whose type says more than that it is a number."""


def _check_declares_nothing(element: Any) -> None:
    """Refuse entities of a part's own, by which a few bytes become many, or another file's.

    Raises:
        BrokenFileError: the part has a document type.
    """
    if element.getroottree().docinfo.internalDTD is not None:
        raise BrokenFileError("declares a document type in its parts, as no workbook does: save it again or remove it")


def _forget(element: Any) -> None:
    """Free an element that was read, and those before it."""
    element.clear()
    parent = element.getparent()
    while element.getprevious() is not None:
        del parent[0]
