"""Text of files as UTF-8, whatever they are written in, with the line of the first byte that can't be read.

What a file is written in: its byte order mark says it; else the connector's `encoding`; else it is UTF-8; else, where
its first bytes that aren't ASCII are no UTF-8, Windows-1252, which older clinical systems write. A file that holds
bytes of both kinds is refused: read as one of them, it would land as other letters without a word.
"""

import codecs
import io
import re
from collections.abc import Iterator
from typing import Any

from pipelines.sources.files import packing
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.packing import ZIP

BLOCK_BYTES = 1024 * 1024
LONGEST_LINE_BYTES = 64 * 1024 * 1024
"""A longer one is no line of a table, and nobody could hold it: it may be a small file that unpacks to one."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHERS = (
    (ZIP, "a zip archive, or a workbook"),
    (b"\xd0\xcf\x11\xe0", "a workbook"),
    (b"\xfd7zXZ\0", "packed by xz"),
    (b"7z\xbc\xaf", "packed by 7-Zip"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3\0", "a database"),
    (b"-----BEGIN PGP MESSAGE", "encrypted by PGP (name the key as pgp_key)"),
)
"""What a file is that begins so."""

_OTHER = "cp1252"
_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]")
_WAY_OUT = "correct the file, or set encoding to what it is written in"


def unpacked(raw: Any, *, is_xml: bool = False) -> Any:
    """A file's own bytes: unpacked when they begin as gzip, bzip2 or zstd does, whatever the file's name is.

    `is_xml`: XML is what is expected.

    Raises:
        BrokenFileError: when they begin as something else does that is none of our formats.
    """
    start = raw.read(64)
    raw.seek(0)
    for magic, what in _OTHERS:
        if start.startswith(magic):
            raise BrokenFileError(f"is {what}: unpack it, or save it in the format that the source names")
    others = (b"<!doctype html", b"<html") if is_xml else (b"<!doctype", b"<html", b"<?xml")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(others):
        raise BrokenFileError("is a web page or XML: see what its sender was given, and correct or remove it")
    return packing.stream(raw, start)


class Utf8(io.RawIOBase):
    """A file's text as UTF-8 without a byte order mark. Reading it raises BrokenFileError where it can't be."""

    def __init__(self, raw: Any, encoding: str | None = None) -> None:
        self._raw = raw
        self._encoding = encoding
        self._text: codecs.IncrementalDecoder | None = None
        self._ready = memoryview(b"")
        self._rest = b""
        self._lines = 0
        self._open_bytes = 0
        """Of the line that has not ended yet."""
        self._sequences = False
        """Whether a file without a mark has had characters of UTF-8."""
        self._begun = self._ended = False

    def blocks(self) -> Iterator[bytes]:
        """The text in blocks, each as it was read."""
        while not self._ended:
            if block := self._next():
                yield block

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill a buffer, or a part of it."""
        while not self._ready:
            if self._ended:
                return 0
            self._ready = memoryview(self._next())
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _next(self) -> bytes:
        block = self._raw.read(BLOCK_BYTES)
        self._ended = not block
        if not self._begun:
            self._begun = True
            block = self._begin(block)
        out = self._plain(self._rest + block) if self._text is None else self._decoded(self._text, block)
        self._lines += out.count(b"\n") or out.count(b"\r")
        end = max(out.rfind(b"\n"), out.rfind(b"\r"))
        self._open_bytes = len(out) - end - 1 + (self._open_bytes if end < 0 else 0)
        if self._open_bytes > LONGEST_LINE_BYTES:
            raise BrokenFileError(
                f"has a line of more than {LONGEST_LINE_BYTES // 1024**2} MB, line {self._lines + 1}, as no table has: "
                "correct or remove it"
            )
        return out

    def _begin(self, block: bytes) -> bytes:
        """Decide by the beginning of the file, and take its mark away."""
        mark, encoding = next((pair for pair in _MARKS if block.startswith(pair[0])), (b"", self._encoding))
        encoding = encoding or _unmarked_utf16(block[:4096])
        if encoding is not None:
            self._text = codecs.getincrementaldecoder(encoding)()
        return block[len(mark) :]

    def _decoded(self, decoder: codecs.IncrementalDecoder, block: bytes) -> bytes:
        try:
            return decoder.decode(block, final=self._ended).encode()
        except UnicodeError as error:
            place = getattr(error, "object", b""), getattr(error, "start", 0)
        # Not from Python's error, which holds the block.
        raise self._unreadable(*place)

    def _plain(self, block: bytes) -> bytes:
        """A block of a file without a mark: UTF-8 so far, or nothing but ASCII."""
        if block.isascii():
            self._rest = b""
            return block
        try:
            _, used = codecs.utf_8_decode(block, "strict", self._ended)
        except UnicodeDecodeError as error:
            start = error.start
        else:
            self._rest = block[used:]
            self._sequences |= not block[:used].isascii()
            return block[:used]
        if self._sequences:
            raise self._unreadable(block, start)
        self._text = _Windows(self._line(block, start))
        return self._decoded(self._text, block)

    def _unreadable(self, block: bytes, start: int) -> BrokenFileError:
        return BrokenFileError(f"holds a byte in line {self._line(block, start)} that can't be read: {_WAY_OUT}")

    def _line(self, block: bytes, start: int) -> int:
        """The number of the line that a place in the next block is in."""
        return self._lines + 1 + (block.count(b"\n", 0, start) or block.count(b"\r", 0, start))


class _Windows(codecs.IncrementalDecoder):
    """Windows-1252, as long as the bytes are not those of UTF-8 with a few that are damaged."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self._line = line
        self._sequences = self._others = 0

    def decode(self, block: Any, final: bool = False) -> str:
        """The text of a block.

        Raises:
            BrokenFileError: at the end of a file that has more characters of UTF-8 than other bytes.
        """
        found = _SEQUENCE.findall(block)
        self._sequences += len(found)
        self._others += len(_HIGH.findall(block)) - sum(map(len, found))
        if final and self._sequences >= self._others:
            raise BrokenFileError(f"holds UTF-8, and bytes that are none, the first in line {self._line}: {_WAY_OUT}")
        return bytes(block).decode(_OTHER)


def _unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 without a mark, which every second byte tells: it is 0 in Latin text."""
    zeros = (head[0::2].count(0), head[1::2].count(0))
    if not len(head) // 4 < max(zeros) or min(zeros):
        return None
    return "utf-16-be" if zeros[0] else "utf-16-le"
