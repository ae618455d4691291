"""Packed text: gzip, bzip2 and zstd as one stream, zip as its members. Nothing of them is written to a disk.

What a file is packed by is told by its first bytes, whatever it is called. Streams are unpacked as they are read, so
that one which unpacks to very much takes time and no memory; a zip archive says beforehand how large its members are.
"""

import bz2
import contextlib
import functools
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from connectors.sources.file_formats import ENDINGS
from connectors.sources.files import FileReading
from pipelines.sources.files import archives
from pipelines.sources.files.faults import BrokenFileError

ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_Packing = tuple[str, Callable[[Any], Any]]
_ZSTD: _Packing = ("zstd", lambda raw: pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
_STREAMS: dict[bytes, _Packing] = {
    b"\x1f\x8b": ("gzip", lambda raw: gzip.GzipFile(fileobj=raw)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\x28\xb5\x2f\xfd": _ZSTD,
}
_SKIPPED = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
"""How a frame of zstd begins that has no text: programs that pack in parts (pzstd) put one before each."""


class _Unpacked(io.RawIOBase):
    """A packed file's own bytes; a damaged one is a broken file."""

    def __init__(self, raw: Any, name: str, opened: Callable[[Any], Any]) -> None:
        self._raw, self._name, self._open = raw, name, opened
        self._stream = opened(raw)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, by reading it once more."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, at the cost of unpacking all before it."""
        if self._name != "zstd":
            return int(self._stream.seek(offset, whence))
        if (offset, whence) != (0, io.SEEK_SET):
            raise BrokenFileError("is packed by zstd, in which no place can be looked up: unpack it")
        self._raw.seek(0)
        self._stream = self._open(self._raw)
        return 0

    def tell(self) -> int:
        """The place among the unpacked bytes."""
        return int(self._stream.tell())

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            BrokenFileError: when the file is cut or damaged.
        """
        try:
            return bytes(self._stream.read(size) if size >= 0 else self._stream.read())
        except (EOFError, gzip.BadGzipFile, zlib.error):
            pass
        except OSError as error:
            # Theirs have neither a number nor a class of their own; a network's or a disk's is another matter.
            if type(error) is not OSError or error.errno is not None:
                raise
        raise BrokenFileError(f"is no whole {self._name} file: it is cut or damaged; bring it again")

    def readinto(self, target: Any) -> int:
        """Fill a buffer, or a part of it."""
        found = self.read(len(target))
        target[: len(found)] = found
        return len(found)


def stream(raw: Any, start: bytes) -> Any:
    """A file's own bytes, unpacked when they begin as one of the packings does."""
    for magic, (name, opened) in _STREAMS.items():
        if start.startswith(magic):
            return _Unpacked(raw, name, opened)
    return _Unpacked(raw, *_ZSTD) if _SKIPPED.match(start) else raw


def members(
    reopen: Callable[[], Any], source: FileReading, opened: contextlib.ExitStack, tell: Callable[[str], None]
) -> Iterator[Callable[[], Any]]:
    """What opens each file of a zip archive, one after the other by name; of any other file, what opens that.

    Raises:
        BrokenFileError: for an archive that is damaged, locked or too large, or holds no file of the source's format or
            a name that goes out of it.
    """
    raw = reopen()
    start = raw.read(len(ZIP))
    raw.seek(0)
    if start not in {ZIP, _EMPTY_ZIP}:
        yield reopen
        return
    archive = opened.enter_context(archives.opened(raw))
    # By the entries and not by their names, of which an archive may have one twice.
    entries = sorted((entry for entry in archive.infolist() if not entry.is_dir()), key=lambda entry: entry.filename)
    for name in (entry.filename for entry in entries):
        if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts or ":" in name[:3]:
            raise BrokenFileError("is a zip archive with a member whose name goes out of it: correct or remove it")
    files = [entry for entry in entries if not _is_hidden(entry.filename)]
    ends = tuple(f".{ending}{more}" for ending in ENDINGS[source.format] for more in ("", ".gz", ".bz2", ".zst"))
    chosen = files if len(files) == 1 else [entry for entry in files if entry.filename.lower().endswith(ends)]
    if not chosen:
        raise BrokenFileError(f"is a zip archive without a file that ends as .{ENDINGS[source.format][0]}")
    if others := len(files) - len(chosen):
        tell(f"is a zip archive of which {others} of {len(files)} files were left alone, for their names end otherwise")
    for entry in chosen:
        yield functools.partial(_opened, archive, entry, opened)


def _is_hidden(name: str) -> bool:
    """Whether a member is one that a system puts beside others, or that nobody is shown."""
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith(".")


def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, opened: contextlib.ExitStack) -> Any:
    return opened.enter_context(archive.open(entry))
