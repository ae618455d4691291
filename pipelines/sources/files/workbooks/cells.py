"""Sheets of a workbook as their readers give them, whatever program wrote it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Unknown:
    """A cell whose value the file does not have: an error such as `#N/A`, or a formula that was never calculated."""

    what: str


@dataclass(frozen=True, slots=True)
class Merged:
    """Cells shown as one, by rows and columns from 1, both ends included."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet."""

    name: str
    hidden: bool
    rows: Callable[[], Iterator[tuple[int, list[Any]]]]
    """Its rows that have cells: each with its number, from 1, and its values from column A on."""
    merged: Callable[[], list[Merged]]


def duration(span: timedelta) -> str:
    """A span of time, such as `[h]:mm` shows, as text in ISO 8601: it is no time of a day."""
    micros = span // timedelta(microseconds=1)
    whole, part = divmod(abs(micros), 1_000_000)
    digits = f".{part:06}".rstrip("0").rstrip(".")
    return f"{'-' * (micros < 0)}PT{whole}{digits}S"
