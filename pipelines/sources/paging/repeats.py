"""Pages that were there before: what tells that a server turns in a circle, with as little memory as it takes.

Everything here is pure.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

_SAMPLE = 8
"""Rows of a page that it is known by, with how many it has. A page of fewer is known by all of its rows."""

_KEPT = 10_000
"""Marks that are kept. A longer circle is found by the anchor, which moves on at each power of two."""


def mark_of(*parts: Any) -> bytes:
    """A short mark of what tells one request from another. Nothing can be read from it."""
    return blake2b(repr(parts).encode(), digest_size=12).digest()


def mark_of_rows(rows: list[Any]) -> bytes:
    """A short mark of a page: equal pages have equal ones, and different pages nearly never."""
    step = max(1, len(rows) // _SAMPLE)
    return mark_of(len(rows), rows[-1:], rows[::step])


def marks_of_each(rows: Iterable[Any]) -> frozenset[bytes]:
    """The marks of rows, one by one."""
    return frozenset(mark_of(row) for row in rows)


class Seen:
    """The marks of what has been there. Its memory does not grow with the pages."""

    def __init__(self) -> None:
        self._marks: dict[bytes, None] = {}
        self._anchor: bytes | None = None
        self._count = 0
        self.last: bytes | None = None

    def __contains__(self, mark: bytes) -> bool:
        return mark in self._marks or mark == self._anchor

    def add(self, mark: bytes) -> None:
        """Remember a mark."""
        self._count += 1
        self.last = mark
        if self._count & (self._count - 1) == 0:
            self._anchor = mark
        self._marks[mark] = None
        if len(self._marks) > _KEPT:
            del self._marks[next(iter(self._marks))]
