"""The records of a REDCap project, batch by batch, so that no project is too large for its server or for our memory.

First the ids of all records are asked for, then the records by their ids: each id that was named has to come. A batch
that the server can't answer (its time or memory ends, its answer breaks off, it takes no such request) is asked for in
halves, down to one record. Nothing of it is kept: if the process dies, the next run begins anew.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import ConfigurationError, RunError, TransientError
from pipelines.remarks import Remarks
from pipelines.sources.redcap.asking import Project, RequestRefusedError

ANSWER_BYTES = 1_000_000
"""The size of an answer that is aimed at: read, it takes some three times as much memory."""

FIRST = 20
"""Records of the first batch, by which the size of a record becomes known."""

_GROWTH = 4
_PATIENCE = 8
"""Good answers after which a larger batch is tried again."""

Row = dict[str, Any]


@dataclass
class Sizes:
    """How many records are asked for at once. Pure."""

    most: int
    """As the connector says."""

    def __post_init__(self) -> None:
        self.next = min(self.most, FIRST)
        self._ceiling = self.most
        self._good = 0

    def answered(self, records: int, size: int) -> None:
        """So many records came in so many bytes."""
        self._good += 1
        if self._good >= _PATIENCE:
            self._good, self._ceiling = 0, min(self.most, 2 * self._ceiling)
        fitting = max(1, ANSWER_BYTES * records // max(size, 1))
        self.next = max(1, min(self._ceiling, fitting, _GROWTH * max(records, self.next)))

    def failed(self, records: int) -> None:
        """The server could not answer so many."""
        self._good = 0
        self._ceiling = max(1, records // 2)
        self.next = min(self.next, self._ceiling)


class Records:
    """The records of a project that match a form (of fields, events and so on), as rows of REDCap's flat export."""

    def __init__(self, project: Project, identity: str, form: Mapping[str, str], most: int, remarks: Remarks) -> None:
        """`identity` is the field that holds a record's id."""
        self._project = project
        self._identity = identity
        self._form = dict(form)
        self._filters = {
            name: value for name, value in form.items() if name.startswith("events") or name == "filterLogic"
        }
        self._sizes = Sizes(most)
        self._remarks = remarks
        self._has_come = False

    def ids(self, **chosen: str) -> list[str]:
        """The ids of all records, or of those that are named or changed at some time, in REDCap's order.

        Raises:
            RunError: when REDCap does not list them.
        """
        rows = self._project.ask("record", **{"fields[0]": self._identity}, **self._filters, **chosen)
        if rows and self._identity not in rows[0]:
            raise ConfigurationError(
                f"REDCap sends records without their id, the field '{self._identity}': check the rights to export that "
                "source.token has."
            )
        return list(dict.fromkeys(str(row[self._identity]) for row in rows))

    def existing(self, ids: Iterable[str]) -> list[str]:
        """Those of these ids that REDCap lists."""
        wanted, found = list(ids), []
        for start in range(0, len(wanted), self._sizes.most):
            part = wanted[start : start + self._sizes.most]
            named = {f"records[{number}]": each for number, each in enumerate(part)}
            found += [each for each in self.ids(**named) if each in set(part)]
        return found

    def read(self, ids: Iterable[str]) -> Iterator[list[Row]]:
        """All rows of these records, in batches of whole records.

        Raises:
            RunError: when one of them can't be had, though REDCap still lists it; it is named by its place in the list.
        """
        left = dict.fromkeys(ids)
        waiting: list[list[str]] = []
        while left:
            batch = waiting.pop() if waiting else _first(left, self._sizes.next)
            try:
                rows = self._batch(batch, left)
            except _TooLargeError:
                waiting += _halves(batch)
                continue
            if rows:
                self._has_come = True
                yield rows
            more = [each for each in batch if each in left]
            if more and not self._has_come:
                # Where a token's rights hash the ids, no record has the id by which it is listed.
                yield self._as_a_whole(left)
                return
            if more and len(batch) == 1:
                raise TransientError(f"REDCap lists {self._place(more[0])}, and sends no row of it.")
            waiting += _halves(more)

    def _batch(self, batch: list[str], left: dict[str, None]) -> list[Row]:
        """The rows of a batch. What came, or is gone meanwhile, is taken from what is left."""
        chosen = {f"records[{number}]": each for number, each in enumerate(batch)}
        try:
            found = self._project.answer("record", {**self._form, **chosen}, hurried=len(batch) > 1)
        except (TransientError, RequestRefusedError) as error:
            if len(batch) > 1:
                self._sizes.failed(len(batch))
                raise _TooLargeError from None
            if isinstance(error, RequestRefusedError) and not self._has_come:
                raise
            if isinstance(error, RequestRefusedError) and self._taken_if_gone(batch, left):
                return []
            raise self._at_one(batch[0], error) from None
        self._sizes.answered(len(batch), found.size)
        rows = [row for row in found.rows if str(row.get(self._identity)) in left]
        for row in rows:
            left.pop(str(row[self._identity]), None)
        if missing := [each for each in batch if each in left]:
            self._taken_if_gone(missing, left)
        return rows

    def _taken_if_gone(self, missing: Iterable[str], left: dict[str, None]) -> bool:
        """Take those of these records from what is left that REDCap does not list any more; whether there are any."""
        gone = set(missing) - set(self.ids())
        for each in gone:
            del left[each]
        if gone:
            self._remarks.add(
                "Records were deleted or renamed in REDCap, or stopped matching filter_logic, while the project was "
                "read: those did not come."
            )
        return bool(gone)

    def _as_a_whole(self, left: Mapping[str, None]) -> list[Row]:
        self._remarks.add(
            "REDCap sends this token no record by the id that it lists, as with rights that hash the ids: all were "
            "read in one request, which large projects don't stand. Give the token's user the right to export the "
            "record id."
        )
        rows = [row for row in self._project.ask("record", **self._form) if str(row.get(self._identity)) in left]
        if missing := left.keys() - {str(row[self._identity]) for row in rows}:
            raise TransientError(f"REDCap lists {self._place(min(missing))}, and sends no row of it.")
        return rows

    def _at_one(self, record: str, error: RunError) -> RunError:
        kind = ConfigurationError if isinstance(error, ConfigurationError) else TransientError
        return kind(f"REDCap can't send {self._place(record)}, though it was asked for alone. {error}")

    def _place(self, record: str) -> str:
        """Where a record stands: its id may be a patient's number, and is in no sentence."""
        ids = self.ids()
        place = ids.index(record) + 1 if record in ids else 0
        return f"one record, number {place:,} of the {len(ids):,} that its API lists" if place else "one record"


class _TooLargeError(Exception):
    """The server can't answer for so many records."""


def _first(ids: Mapping[str, None], count: int) -> list[str]:
    return [each for each, _ in zip(ids, range(count), strict=False)]


def _halves(batch: list[str]) -> list[list[str]]:
    """The second half and the first, which is taken from the end; of one record, itself."""
    middle = len(batch) // 2
    return [half for half in (batch[middle:], batch[:middle]) if half]
