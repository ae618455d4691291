"""Parts of a stream: each is copied in one transaction, in which the destination notes that it is in.

That note is what makes a part exact: its number is a primary key, so whoever copies it a second time, because the first
one died or because nobody heard of its end, waits for the other's transaction and then finds it there. And the table of
notes takes those of one try of a load alone: what a dead run's helper still wants to write is refused.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from pipelines.errors import UnexpectedError
from pipelines.loading.streaming.pump import pump
from pipelines.sources.sql.streams.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Part:
    """What copies one part."""

    number: int
    select: str
    """At the source, at the moment that `shared` names."""
    copy: str
    """At the destination, into a table that nobody reads."""
    notes: str
    """The table of notes there."""
    token: str
    """Of the try of the load."""
    shared: str

    @classmethod
    def of(cls, number: int, how: Mapping[str, Any]) -> Self:
        """As the platform's database has it."""
        return cls(number=number, **how)

    @property
    def how(self) -> dict[str, Any]:
        """All but its number, as JSON has it."""
        return {name: value for name, value in asdict(self).items() if name != "number"}


def make_notes(cursor: Any, notes: str, token: str) -> None:
    """Make the table of notes of one try, in the place of any other: waits for whoever still writes there."""
    cursor.execute(f"DROP TABLE IF EXISTS {notes}")
    # Text that is ours: hexadecimal digits.
    cursor.execute(
        f"CREATE TABLE {notes} (part integer PRIMARY KEY, rows bigint, token text CHECK (token = '{token}'))"
    )


def copy_part(part: Part, snapshot: Snapshot, cursor: Any) -> tuple[int, int]:
    """Copy a part, unless it is in, and note it; rows and bytes (0 of one that is in). The caller commits.

    Args:
        part: the part.
        snapshot: of its moment, held by this thread.
        cursor: of the destination, in a transaction.

    Raises:
        SourceError: the source failed; what was written must be rolled back.
        TransientError: the rows have no end.
        Exception: what the destination's driver raises.
    """
    cursor.execute(
        f"INSERT INTO {part.notes} (part, rows, token) VALUES (%s, 0, %s) ON CONFLICT DO NOTHING",  # noqa: S608
        (part.number, part.token),
    )
    if not cursor.rowcount:
        cursor.execute(f"SELECT rows FROM {part.notes} WHERE part = %s", (part.number,))  # noqa: S608
        return int(cursor.fetchone()[0]), 0
    pumped = pump(snapshot, part.select, cursor, part.copy)
    if pumped.read != pumped.written:
        raise UnexpectedError(
            f"Of a part of a table, {pumped.read:,} rows were read and {pumped.written:,} written, so nothing of it "
            "was loaded. That is a fault of ours; operations must look."
        )
    cursor.execute(f"UPDATE {part.notes} SET rows = %s WHERE part = %s", (pumped.read, part.number))  # noqa: S608
    return pumped.read, pumped.size
