"""SAS transport files (XPT), versions 5 and 8, decoded by numpy.

pyreadstat reads each chunk from the beginning of the file, and makes one missing value of `.`, `._` and `.A` to `.Z`.
The format has no number of rows: a file that was cut is told by its length alone, which is a multiple of 80.
"""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.statistics.variables import SAS, Kind, Variable, page, sas_kind

RECORD = 80
PAGE_BYTES = 8 * 1024 * 1024
MOST_VARIABLES = 100_000
_NAMESTR = struct.Struct(">hhhh8s40s8shhh2s8shhl32sh18x")
_MEMBER = re.compile(rb"HEADER RECORD\*{7}(MEMBER  |MEMBV8  )HEADER RECORD!{7}")
_NOT_ONE = "is no SAS transport file that can be read: it is cut or damaged, or made by PROC CPORT; bring it again"


@dataclass(frozen=True, slots=True)
class _Field:
    variable: Variable
    width: int
    start: int


class Transport:
    """One transport file, open at its first row.

    Raises:
        BrokenFileError: when it is none.
    """

    def __init__(self, stream: Any, encoding: str | None) -> None:
        self._stream = io.BufferedReader(stream, 1024 * 1024) if isinstance(stream, io.RawIOBase) else stream
        self._encoding = encoding or "utf-8"
        try:
            self._begin()
        except (ValueError, struct.error):
            damaged = True
        else:
            damaged = False
        if damaged:
            # Not from an error that may quote the file.
            raise BrokenFileError(_NOT_ONE)

    @property
    def variables(self) -> list[Variable]:
        """Its columns, in the order in which they stand."""
        return [field.variable for field in self._fields]

    def _record(self, *names: bytes) -> bytes:
        found: bytes = self._stream.read(RECORD)
        if len(found) < RECORD or (
            names and not (found.startswith(b"HEADER RECORD") and found[20:28].strip() in names)
        ):
            raise BrokenFileError(_NOT_ONE)
        return found

    def _begin(self) -> None:
        self._record(b"LIBRARY", b"LIBV8")
        self._record(), self._record()
        member = self._record(b"MEMBER", b"MEMBV8")
        size = int(member[74:78])
        self._record(b"DSCRPTR", b"DSCPTV8")
        self._record(), self._record()
        count = int(self._record(b"NAMESTR", b"NAMSTV8")[53:58])
        if count > MOST_VARIABLES or size not in {136, 140}:
            raise BrokenFileError(_NOT_ONE)
        raw = self._stream.read(-(-count * size // RECORD) * RECORD)
        self._fields = [self._field(raw[number * size :][:size].ljust(140, b"\0")) for number in range(count)]
        header = self._record(b"OBS", b"OBSV8", b"LABELV8", b"LABELV9")
        if header[20:28].startswith(b"LABEL"):
            self._labels(int(header[48:58].split()[0]), longer=header[20:27] == b"LABELV9")
            header = self._record(b"OBS", b"OBSV8")
        told = header[48:63].strip() if header[20:25] == b"OBSV8" else b""
        self._told = int(told) if told.strip(b"0") else None
        self._width = sum(field.width for field in self._fields)

    def _field(self, raw: bytes) -> _Field:
        kind, _, width, _, name, label, form, length, decimals, *_rest, start, long_name, _ = _NAMESTR.unpack(raw)
        # Version 8 has a longer name beside the one of eight letters.
        named = self._text(long_name.rstrip(b"\0 ")) or self._text(name.rstrip(b"\0 "))
        shown = self._text(form.rstrip(b"\0 "))
        shown += (str(length) if length else "") + "." * bool(shown) + (str(decimals) if decimals else "")
        is_text = kind == 2
        if start < 0 or width <= 0 or (not is_text and not 2 <= width <= 8):
            raise BrokenFileError(_NOT_ONE)
        variable = Variable(
            named, self._text(label.rstrip(b"\0 ")), shown, is_text, kind=Kind.NUMBER if is_text else sas_kind(shown)
        )
        return _Field(variable, width, start)

    def _labels(self, count: int, *, longer: bool) -> None:
        """Take the names and labels that are longer than version 5 has room for."""
        used = 0

        def take(size: int) -> bytes:
            nonlocal used
            used += size
            found: bytes = self._stream.read(size)
            return found

        for _ in range(count):
            number, name, label, *more = struct.unpack(">hhhhh" if longer else ">hhh", take(10 if longer else 6))
            texts = [self._text(take(size)).rstrip() for size in (name, label, *more)]
            field = self._fields[number - 1]
            self._fields[number - 1] = replace(field, variable=replace(field.variable, name=texts[0], label=texts[1]))
        take(-used % RECORD)

    def pages(self) -> Iterator[pa.Table]:
        """The rows, page by page.

        Raises:
            BrokenFileError: when the file was cut, or its text is in another encoding.
        """
        if not self._fields:
            return
        read = pages = 0
        rest = b""
        size = max(PAGE_BYTES // self._width, 1) * self._width
        while block := self._stream.read(size):
            read += len(block)
            text = rest + block
            if _MEMBER.search(text):
                raise BrokenFileError("holds several data sets: save each by itself")
            # What may be the padding of the last record is looked at when its end is known.
            count = max(len(text) - RECORD, 0) // self._width
            rest = text[count * self._width :]
            if count:
                pages += count
                yield self._page(text[: count * self._width], count)
        if read % RECORD:
            raise BrokenFileError("is no whole SAS transport file: it is cut; bring it again")
        count = len(rest) // self._width
        if self._told is not None:
            if pages + count < self._told:
                raise BrokenFileError(f"says that it has {self._told:,} rows and has fewer: it is cut; bring it again")
            count = self._told - pages
        while self._told is None and count and not rest[(start := (count - 1) * self._width) :].strip(b" "):
            if len(rest) - start >= RECORD:
                break
            count -= 1
        if count:
            yield self._page(rest[: count * self._width], count)

    def _page(self, raw: bytes, count: int) -> pa.Table:
        rows = np.frombuffer(raw, np.uint8).reshape(count, self._width)
        columns: list[tuple[Variable, Any, list[str | None] | None]] = []
        for field in self._fields:
            cells = np.ascontiguousarray(rows[:, field.start : field.start + field.width])
            if field.variable.is_text:
                columns.append((field.variable, self._texts(cells, field.width), None))
            else:
                columns.append((field.variable, *_numbers(cells)))
        return page(columns, SAS)

    def _texts(self, cells: Any, width: int) -> list[str | None]:
        # numpy takes zeros at the end away, and blanks mean the same.
        values = cells.view(f"S{width}").ravel().tolist()
        known = {value: self._text(value.rstrip(b" ")) or None for value in set(values)}
        return [known[value] for value in values]

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode(self._encoding)
        except UnicodeDecodeError:
            pass
        raise BrokenFileError(
            f"holds text that is not {self._encoding}: set encoding to what it is written in, such as cp1252"
        )


def _numbers(cells: Any) -> tuple[Any, list[str | None] | None]:
    """Numbers of IBM's mainframes as doubles, NaN for missing ones, and which of those are special."""
    count, width = cells.shape
    whole = np.zeros((count, 8), np.uint8)
    whole[:, :width] = cells
    bits = whole.view(">u8").ravel().astype(np.uint64)
    first = whole[:, 0]
    mantissa = bits & np.uint64(0x00FFFFFFFFFFFFFF)
    sixteens = ((bits >> np.uint64(56)) & np.uint64(0x7F)).astype(np.int64)
    numbers = np.ldexp(mantissa.astype(np.float64), 4 * (sixteens - 64) - 56)
    numbers = np.where(bits >> np.uint64(63), -numbers, numbers)
    letters = ((first >= 65) & (first <= 90)) | (first == 95) | (first == 46)
    missing = (mantissa == 0) & letters
    numbers[missing] = np.nan
    special = missing & (first != 46)
    if not special.any():
        return numbers, None
    return numbers, [
        f".{chr(code)}" if odd else None for code, odd in zip(first.tolist(), special.tolist(), strict=True)
    ]
