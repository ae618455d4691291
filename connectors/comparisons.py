"""Comparisons of a connector's tables with their source, as the last run that compared them has left them.

Rows of `cai_comparisons`: numbers of both sides, by ranges of the key too, and keys that differ, as they land. No other
value of a row is among them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from connectors.sources.write_rules import Comparison

MOST_KEYS = 100
"""Keys of one table that a comparison holds; all of them stand in the dataset."""

RANGES = 8
"""Ranges of the key by which the rows of a table are counted."""


class DifferenceKind(StrEnum):
    """The closed set of what differs about a key."""

    MISSING = "missing"
    """Only the source has it: lost."""
    EXTRA = "extra"
    """Only the destination has it: a surplus."""
    DIFFERENT = "different"
    """Both have it, with other values."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """A range of the first column of a table's key, and the rows of both sides in it."""

    first: str
    last: str
    """The least and the greatest value that either side has there, as text."""
    at_source: int
    in_destination: int
    differ: int = 0
    """Keys of the range that differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that differs."""

    key: Mapping[str, Any]
    kind: DifferenceKind
    columns: tuple[str, ...] = ()
    """Of a row that both sides have: the columns whose values differ."""


@dataclass(frozen=True, slots=True)
class TableComparison:
    """One table, compared: what a row of `cai_comparisons` has of it."""

    table_name: str
    by: Comparison
    """`sums`: all values by the key; `counts`: numbers of rows alone."""
    at_source: int
    in_destination: int
    missing: int | None = None
    """Keys that only the source has; None: only counted, as are the two below."""
    extra: int | None = None
    different: int | None = None
    ranges: tuple[KeyRange, ...] = ()
    differences: tuple[Difference, ...] = ()
    """Some of the keys that differ."""
    compared_at: datetime | None = None
    """Aware; None: it has just been compared."""
    run_id: UUID | None = None
    """Prefect's, of the run that compared it."""

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs, as far as it was looked at."""
        return self.at_source == self.in_destination and not (self.missing or self.extra or self.different)
