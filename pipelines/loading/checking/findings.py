"""Findings of checks: what is wrong with the rows of a load, in words that hold no value of any row. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from connectors.refusals import plain
from connectors.sources.checks import Checks
from pipelines.wording import counted, quoted

EARLIER_LOADS = 14
"""Loads of a table whose median a load is compared with."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one table that failed."""

    table: str
    check: str
    """The setting's name."""
    columns: tuple[str, ...]
    words: str
    """What is wrong, as a part of a sentence about the table."""

    @property
    def mark(self) -> str:
        """Which check it is, whatever its numbers are: whoever lets it through lets this check through."""
        return f"{self.check}({','.join(self.columns)})"


def marks(findings: Iterable[Finding]) -> str:
    """Which checks of a table failed."""
    return " ".join(sorted(finding.mark for finding in findings))


def sentence_of(findings: Iterable[Finding]) -> str:
    """All findings, by table, without a full stop."""
    by_table: dict[str, list[str]] = {}
    for finding in findings:
        by_table.setdefault(finding.table, []).append(finding.words)
    return "; ".join(f"table {quoted([table])}: {', '.join(words)}" for table, words in by_table.items())


def of_counts(table: str, checks: Checks, rows: int, earlier: Sequence[int]) -> Iterator[Finding]:
    """What the number of a load's rows says.

    Args:
        table: as it lands.
        checks: of the table.
        rows: that would land.
        earlier: the rows of the table's last loads that this one can be compared with.
    """
    if checks.min_rows is not None and rows < checks.min_rows:
        words = f"{counted(rows, 'row')}, fewer than min_rows ({checks.min_rows:,})"
        yield Finding(table, "min_rows", (), words)
    if checks.max_drop_percent is None or not earlier:
        return
    usual = median(earlier[:EARLIER_LOADS])
    if rows < usual * (1 - checks.max_drop_percent / 100):
        drop = 100 * (usual - rows) / usual
        words = (
            f"{counted(rows, 'row')}, {drop:.3g}% fewer than the {plain(float(usual)):,} of its loads before "
            f"(max_drop_percent {plain(checks.max_drop_percent)})"
        )
        yield Finding(table, "max_drop_percent", (), words)


def of_age(table: str, checks: Checks, newest: float | None, now: float) -> Iterator[Finding]:
    """What the newest moment says, in seconds since 1970; None: there is none."""
    if checks.freshness is None:
        return
    column, limit = checks.freshness.column, checks.freshness.max_age
    if newest is not None and now - newest <= limit:
        return
    words = (
        f"{quoted([column])} holds no moment"
        if newest is None
        else f"the newest {quoted([column])} is {span(now - newest)} old, and max_age is {span(limit)}"
    )
    yield Finding(table, "freshness", (column,), words)


def span(seconds: float) -> str:
    """A time in the largest unit of which there are two at least."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
