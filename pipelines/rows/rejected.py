"""Rejected rows: those that a run could not land, kept with the reason in a table beside the one that they were for.

They go with the rows of the same load, in one package: if the process dies, neither is there, and the next run rejects
the same again. A row is kept as it would have landed, masked and protected; a line that could not be read is kept as it
is only where nothing is to be hidden, for nobody can tell what stands where in it.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipelines.wording import counted, quoted

if TYPE_CHECKING:
    import pyarrow as pa

REJECTED = "__rejected"
"""After the name of a table: that of the one with its rejected rows."""

MOST_KEPT = 10_000
"""Rejected rows of a table that one run keeps; of more, only the number is known."""

LONGEST_ROW = 100_000
"""Characters of a row that is kept."""

COLUMNS: dict[str, Any] = {
    "reason": {"name": "reason", "data_type": "text"},
    "file": {"name": "file", "data_type": "text"},
    "line": {"name": "line", "data_type": "bigint"},
    "row": {"name": "row", "data_type": "json"},
    "rejected_at": {"name": "rejected_at", "data_type": "timestamp"},
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file that is no row."""

    reason: str
    file: str
    line: int
    row: Any
    """What stands there; None where that must not be shown."""


@dataclass
class Rejected:
    """The rejected rows of one table in one try of a run."""

    table: str
    count: Callable[[int, bool], None] = lambda _rows, _came: None
    """Told how many rows were rejected, and whether they were not yet counted as having come."""
    reasons: Counter[str] = field(default_factory=Counter)
    """All rejected rows, by reason."""
    landed: int = 0
    """Rows that landed without some of their values."""
    cut: int = 0
    """Those that are not kept, for there are too many."""
    _kept: int = 0
    _waiting: list[dict[str, Any]] = field(default_factory=list)
    _lines: list[Line] = field(default_factory=list)
    """Of the file at hand, of which nobody knows yet whether it lands."""

    def add(self, rows: "pa.Table", reason: str, *, landed: bool = False) -> None:
        """Take rows that do not land, as they would have; or, with `landed`, the values that rows landed without."""
        if not rows.num_rows:
            return
        if landed:
            self.landed += rows.num_rows
        else:
            self.reasons[reason] += rows.num_rows
            self.count(rows.num_rows, False)
        for row in rows.slice(0, self._room(rows.num_rows)).to_pylist():
            self._keep(reason, None, None, {name: value for name, value in row.items() if value is not None})

    def note(self, line: Line) -> None:
        """Take a line of the file at hand."""
        self._lines.append(line)

    def forget(self) -> None:
        """The file at hand does not land, or begins anew."""
        self._lines = []

    def settle(self) -> None:
        """The file at hand lands, without these lines."""
        for line in self._lines:
            self.reasons[line.reason] += 1
            if self._room(1):
                self._keep(line.reason, line.file, line.line, line.row)
        if self._lines:
            self.count(len(self._lines), True)
        self._lines = []

    def take(self) -> "pa.Table | None":
        """What was kept since the last time, as it lands in the table beside."""
        if not self._waiting:
            return None
        waiting, self._waiting = self._waiting, []
        import pyarrow as pa  # noqa: PLC0415  # a run that loads nothing does without

        return pa.Table.from_pylist(waiting, schema=_schema())

    @property
    def sentences(self) -> Sequence[str]:
        """What people must know of them."""
        total = sum(self.reasons.values())
        said = []
        if total:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.reasons.items()))
            said.append(
                f"{counted(total, 'row')} of table {self.table} {'was' if total == 1 else 'were'} rejected and "
                f"{'stands' if total == 1 else 'stand'} in {quoted([self.table + REJECTED])}: {reasons}."
            )
        if self.landed:
            said.append(
                f"{quoted([self.table + REJECTED])} has the values that {counted(self.landed, 'row')} landed without."
            )
        if self.cut:
            said.append(
                f"{counted(self.cut, 'row')} of those of table {self.table} are not kept there: one run keeps "
                f"{MOST_KEPT:,}."
            )
        return said

    def _room(self, wanted: int) -> int:
        """How many more may be kept; the others are counted."""
        room = min(wanted, MOST_KEPT - self._kept)
        self.cut += wanted - room
        self._kept += room
        return room

    def _keep(self, reason: str, file: str | None, line: int | None, row: Any) -> None:
        text = None if row is None else json.dumps(row, default=str, ensure_ascii=False)
        text = text if text is None or len(text) <= LONGEST_ROW else None
        self._waiting.append(
            {"reason": reason, "file": file, "line": line, "row": text, "rejected_at": datetime.now(UTC)}
        )


@dataclass
class RejectedRows:
    """The rejected rows of all tables in one try of a run, by the resource that reads them."""

    found: dict[str, Rejected] = field(default_factory=dict)

    def of(self, resource: str) -> Rejected:
        """Those of one resource."""
        return self.found.setdefault(resource, Rejected(resource))


def _schema() -> "pa.Schema":
    """The columns of rejected rows, as Arrow has them."""
    import pyarrow as pa  # noqa: PLC0415  # as above

    return pa.schema(
        [
            ("reason", pa.string()),
            ("file", pa.string()),
            ("line", pa.int64()),
            ("row", pa.string()),
            ("rejected_at", pa.timestamp("us", "UTC")),
        ]
    )
