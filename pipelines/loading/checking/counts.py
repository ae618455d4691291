"""Counts of the checks of one table, as its rows pass by: while they are written, or from the files afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from connectors.sources.checks import Checks
from connectors.sources.write_rules import BESIDE, normalised
from pipelines.loading.checking import tallies
from pipelines.loading.checking.tallies import Doubled, Empty, Newest, Others, Room, Tally, Types


@dataclass
class Counts:
    """The tallies of a table's checks; None: only DuckDB can count that."""

    empty: dict[str, Empty] = field(default_factory=dict)
    others: dict[str, Others | None] = field(default_factory=dict)
    doubled: dict[tuple[str, ...], Doubled | None] = field(default_factory=dict)
    newest: Newest | None = None

    @property
    def all(self) -> list[Tally]:
        """All of them."""
        found: tuple[Tally | None, ...] = (
            *self.empty.values(),
            *self.others.values(),
            *self.doubled.values(),
            self.newest,
        )
        return [each for each in found if each is not None]

    @property
    def columns(self) -> list[str]:
        """Those that are looked at."""
        return list(dict.fromkeys(name for tally in self.all for name in tally.columns))

    def take(self, rows: pa.Table) -> None:
        """Count some rows, which have all these columns."""
        for tally in self.all:
            tally.take(rows)


def counts_of(checks: Checks, types: Types, key: Sequence[str], now: float) -> Counts:
    """What counts the checks of a table.

    Args:
        checks: of the table.
        types: of its columns.
        key: what no two rows of the load have the same values of.
        now: in seconds since 1970.
    """
    counts, room = Counts(), Room()
    for name in checks.not_null:
        if of_name := places_of(name, types):
            counts.empty[name] = Empty(of_name)
    for name, values in checks.accepted.items():
        counts.others[name] = tallies.others(places_of(name, types), types, values)
    for names in checks.unique:
        has_all = all(normalised(name) in types for name in names)
        if has_all and not (key and set(key) <= set(map(normalised, names))):
            counts.doubled[names] = tallies.doubled([places_of(name, types) for name in names], types, room)
    if checks.freshness is not None:
        counts.newest = tallies.newest(normalised(checks.freshness.column), types, now)
    return counts


def places_of(name: str, types: Mapping[str, Any]) -> list[str]:
    """The columns that hold a column's values: itself, and those beside it."""
    column = normalised(name)
    return [found for found in types if found == column or found.startswith(f"{column}{BESIDE}")]
