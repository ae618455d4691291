"""Zip archives, opened with limits: one that unpacks to much more than any table does is refused beforehand."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from pipelines.sources.files.faults import BrokenFileError

MOST_MEMBERS = 10_000
MOST_TIMES = 250
"""How many times its packed size a member may have. Tables have 5 to 100 times; a member of nothing but zeros 1,030."""
SMALL_BYTES = 64 * 1024 * 1024
"""A member up to this size harms nobody, whatever it was packed to."""
_CUT = "is no whole zip file or workbook: it is cut or damaged; bring it again"


@contextlib.contextmanager
def opened(stream: Any) -> Iterator[zipfile.ZipFile]:
    """An archive, closed at the end.

    Raises:
        BrokenFileError: when it is none, is damaged where it is read, needs a password, or unpacks to too much.
    """
    damaged = locked = False
    try:
        with zipfile.ZipFile(stream) as archive:
            _check(archive)
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error):
        damaged = True
    except RuntimeError as error:
        # zipfile has no class of its own for it.
        if "password" not in str(error) and "encrypted" not in str(error):
            raise
        locked = True
    if locked:
        raise BrokenFileError("is protected by a password: save it without one")
    if damaged:
        raise BrokenFileError(_CUT)


def _check(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise BrokenFileError(f"holds {len(members):,} members, more than the {MOST_MEMBERS:,} that are unpacked")
    for member in members:
        # zipfile reads no more of a member than this size, so that one which lies about it is cut.
        if member.file_size > max(SMALL_BYTES, MOST_TIMES * member.compress_size):
            raise BrokenFileError(
                f"unpacks to more than {MOST_TIMES} times its size, as no table does: correct or remove it"
            )
