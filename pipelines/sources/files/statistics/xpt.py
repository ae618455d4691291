"""SAS transport files (XPT), versions 5 and 8, decoded by numpy.

pyreadstat reads each chunk from the beginning of the file, and makes one missing value of `.`, `._` and `.A` to `.Z`.
The format has no number of rows: a file that was cut is told by its length alone, which is a multiple of 80.
"""

import codecs
import contextlib
import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.statistics.variables import SAS, Kind, Variable, page, sas_kind

RECORD = 80
PAGE_BYTES = 8 * 1024 * 1024
MOST_VARIABLES = 100_000
_NAMESTR = struct.Struct(">hhhh8s40s8shhh2s8shhl32sh18x")
_MEMBER = re.compile(rb"HEADER RECORD\*{7}(MEMBER  |MEMBV8  )HEADER RECORD!{7}")
_ANY_MEMBER = b"HEADER RECORD*******MEMB"
"""How each of these begins; looking for it alone is much faster."""
_EIGHT = np.dtype(">u8")
_FACTORS = np.ldexp(np.repeat([1.0, -1.0], 128), np.tile(4 * (np.arange(128) - 64) - 56, 2))
"""By what the 56 bits of a number are multiplied, by its first byte: the sign, and a power of 16. All are powers of 2,
so no digit is lost."""
_NOT_ONE = "is no SAS transport file that can be read: it is cut or damaged, or made by PROC CPORT; bring it again"


@dataclass(frozen=True, slots=True)
class _Field:
    variable: Variable
    width: int
    start: int


def _is_full(field: _Field) -> bool:
    """Whether a number has all of its eight bytes."""
    return not field.variable.is_text and field.width == 8


class Transport:
    """One transport file, open at its first row.

    Raises:
        BrokenFileError: when it is none.
    """

    def __init__(self, stream: Any, encoding: str | None) -> None:
        self._stream = io.BufferedReader(stream, 1024 * 1024) if isinstance(stream, io.RawIOBase) else stream
        self._encoding = encoding or "utf-8"
        self._is_utf8 = codecs.lookup(self._encoding).name == "utf-8"
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
        if any(field.start + field.width > self._width for field in self._fields):
            raise BrokenFileError(_NOT_ONE)
        self._forms = [_EIGHT if _is_full(field) else np.dtype(f"V{field.width}") for field in self._fields]

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
            if _ANY_MEMBER in text and _MEMBER.search(text):
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
        columns: list[tuple[Variable, Any, list[str | None] | None]] = []
        for place, field in enumerate(self._fields):
            cells = np.ndarray(count, self._forms[place], raw, field.start, (self._width,))
            if field.variable.is_text:
                columns.append((field.variable, self._texts(cells, field.width), None))
            else:
                columns.append((field.variable, *_numbers(cells)))
        return page(columns, SAS)

    def _texts(self, cells: Any, width: int) -> pa.Array:
        """Texts of a width. Each distinct one is decoded once."""
        raw = pa.py_buffer(np.ascontiguousarray(cells))
        found = pa.Array.from_buffers(pa.binary(width), len(cells), [None, raw]).dictionary_encode()
        return self._decoded(found.dictionary).take(found.indices)

    def _decoded(self, cells: pa.Array) -> pa.Array:
        """Without zeros, and then blanks, at their end: they mean nothing, and a text of nothing else is none."""
        if self._is_utf8:
            with contextlib.suppress(pa.ArrowInvalid):
                texts = pc.ascii_rtrim(pc.ascii_rtrim(cells.cast(pa.binary()).cast(pa.string()), "\0"), " ")
                return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
        return pa.array(
            [self._text(cell.rstrip(b"\0").rstrip(b" ")) or None for cell in cells.to_pylist()], pa.string()
        )

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
    if cells.dtype == _EIGHT:
        bits = cells.astype(np.uint64)
    else:
        whole = np.zeros((len(cells), 8), np.uint8)
        whole[:, : cells.dtype.itemsize] = np.ascontiguousarray(cells).view(np.uint8).reshape(len(cells), -1)
        bits = whole.view(_EIGHT).ravel().astype(np.uint64)
    first = (bits >> np.uint64(56)).astype(np.uint8)
    mantissa = (bits & np.uint64(0x00FFFFFFFFFFFFFF)).view(np.int64)
    numbers = mantissa.astype(np.float64)
    numbers *= _FACTORS[first]
    none = mantissa == 0
    if not none.any():
        return numbers, None
    missing = none & (((first >= 65) & (first <= 90)) | (first == 95) | (first == 46))
    numbers[missing] = np.nan
    special = missing & (first != 46)
    if not special.any():
        return numbers, None
    return numbers, [
        f".{chr(code)}" if odd else None for code, odd in zip(first.tolist(), special.tolist(), strict=True)
    ]
