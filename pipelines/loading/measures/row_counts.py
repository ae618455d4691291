"""Rows counted on their way, table by table, so that a load in which some are missing is no load.

Counted where each thing happens and never as what is left over: rows as they come from the source's reader, those that
stand in the destination already, older versions of a key, rows that `schema_contract` leaves out, and rows in the load
files. Then `read = written + rejected` has to hold, and what does not is a fault of ours that lands nowhere.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa
from dlt.extract import DltResource
from dlt.extract.extractors import ArrowExtractor
from dlt.extract.items_transform import ItemTransform

from pipelines.errors import UnexpectedError
from pipelines.rows.to_arrow import END, ToArrow


@dataclass
class RowCounts:
    """The rows of one try of a load, by table."""

    came: Counter[str] = field(default_factory=Counter)
    """From the source's reader, as far as its cursor wanted them."""
    repeated: Counter[str] = field(default_factory=Counter)
    """Of these: rows that stand in the destination already, and versions of a row of which a newer one came too."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Of these: rows that `schema_contract` leaves out."""

    def read(self, table: str) -> int:
        """The rows that the load has to land, or to reject."""
        return self.came[table] - self.repeated[table]

    def leave_out(self, *repeated: Mapping[str, int], markers: Mapping[str, int]) -> None:
        """Count what was taken from the files: rows that came again, and `markers`, which are no rows of the source."""
        for rows in repeated:
            self.repeated.update(rows)
        self.came.subtract(markers)

    def check(self, written: Mapping[str, int]) -> None:
        """Compare what was read with what is in the load files, before anything is visible in the destination.

        Raises:
            UnexpectedError: when a table has fewer or more rows there than were read and not rejected.
        """
        for table in sorted({*self.came, *written}):
            due = self.read(table) - self.rejected[table]
            if due != written.get(table, 0):
                raise UnexpectedError(
                    f"Of table {table}, {self.read(table):,} rows were read and {self.rejected[table]:,} rejected, but "
                    f"{written.get(table, 0):,} would have been written. That is a fault of ours, so nothing was "
                    "loaded; operations must look."
                )


class RowsRead(ItemTransform[Any, dict[str, Any]]):
    """The step that counts rows as they come: pages of rows, Arrow tables and batches."""

    # After what makes whole files, of which only those count that are read to their end.
    placement_affinity: ClassVar[float] = 2.7

    def __init__(self, table: str, counts: RowCounts) -> None:
        super().__init__(lambda page: page)
        self._table = table
        self._counts = counts

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The item as it is."""
        if item is not END:
            rows = item.num_rows if isinstance(item, pa.Table | pa.RecordBatch) else len(_listed(item))
            self._counts.came[self._table] += rows
        return item


def _listed(item: Any) -> list[Any]:
    return item if isinstance(item, list) else [item]


def put_into(resource: DltResource, table: str, counts: RowCounts, *, of_files: bool) -> None:
    """Let a resource's pipe count its rows: before they become Arrow tables, or after files have become whole."""
    steps = resource._pipe.steps
    place = next((index for index, step in enumerate(steps) if isinstance(step, ToArrow)), None)
    resource.add_step(RowsRead(table, counts), insert_at=None if of_files else place)  # type: ignore[arg-type]


_COUNTS: ContextVar[RowCounts | None] = ContextVar("row_counts", default=None)
_original = ArrowExtractor._apply_contract_filters


@contextmanager
def counting_rejected(counts: RowCounts) -> Iterator[None]:
    """Count the rows that dlt leaves out by a contract while this lasts. dlt has no way to ask for that."""
    ArrowExtractor._apply_contract_filters = _counted_filters  # type: ignore[method-assign]
    token = _COUNTS.set(counts)
    try:
        yield
    finally:
        _COUNTS.reset(token)


def _counted_filters(self: ArrowExtractor, item: Any, resource: DltResource, static_table_name: str | None) -> Any:
    kept = _original(self, item, resource, static_table_name)
    counts = _COUNTS.get()
    if counts is not None and kept.num_rows != item.num_rows:
        table = static_table_name or self._get_dynamic_table_name(resource, item)
        counts.rejected[table] += item.num_rows - kept.num_rows
    return kept
