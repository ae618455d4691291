"""Rows that are counted while they are written to load files, so that checks need not read the files again.

What was counted holds for the very files that were written: where one was written anew later without some of its rows,
or where a table's files have not all the same columns, the files are read.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from connectors.sources.checks import Checks
from pipelines.loading.checking.counts import Counts, counts_of


@dataclass
class _Written:
    """What was written of one table."""

    schema: pa.Schema
    counts: Counts
    rows: dict[str, int] = field(default_factory=dict)
    """By the name of the file."""


class Passing:
    """The counts of one try of a run."""

    def __init__(self, checks: Mapping[str, Checks], clock: Callable[[], float] = time.time) -> None:
        self._checks = checks
        self._clock = clock
        self._keys: dict[str, Sequence[str]] = {}
        self._written: dict[str, _Written | None] = {}
        """None: its files are to be read."""

    def expect(self, table: str, key: Sequence[str]) -> None:
        """Count the rows of a table. `key`: what no two of them have the same values of, once they are all there."""
        if table in self._checks:
            self._keys[table] = key

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is written while this lasts."""
        token = _PASSING.set(self if self._keys else None)
        try:
            yield
        finally:
            _PASSING.reset(token)

    def watched(self, path: str, writer: Any) -> Any:
        """A writer of Parquet whose rows are counted, where those of its table are."""
        table = Path(path).name.partition(".")[0]
        if table in self._keys:
            write = writer.write_table

            def write_table(rows: pa.Table, *arguments: Any, **keywords: Any) -> None:
                write(rows, *arguments, **keywords)
                self.take(table, Path(path).name, rows)

            writer.write_table = write_table
        return writer

    def take(self, table: str, file: str, rows: pa.Table) -> None:
        """Count rows of a file."""
        if table not in self._written:
            types = {column.name: column.type for column in rows.schema}
            counts = counts_of(self._checks[table], types, self._keys[table], self._clock())
            self._written[table] = _Written(rows.schema, counts)
        written = self._written[table]
        if written is not None and not rows.schema.equals(written.schema):
            written = self._written[table] = None
        if written is not None:
            written.counts.take(rows)
            written.rows[file] = written.rows.get(file, 0) + rows.num_rows

    def counts(self, table: str, key: Sequence[str], footers: Mapping[str, pyarrow.parquet.FileMetaData]) -> Any:
        """What was counted of a table, if it holds for the files that are there now, by their names; else None."""
        written = self._written.get(table)
        if written is None or {*self._keys[table]} != {*key}:
            return None
        if written.rows != {name: footer.num_rows for name, footer in footers.items()}:
            return None
        looked_at = written.counts.columns
        same = all(_same(written.schema, footer.schema.to_arrow_schema(), looked_at) for footer in footers.values())
        return written.counts if same else None


def _same(written: pa.Schema, there: pa.Schema, columns: Collection[str]) -> bool:
    """Whether a file has the columns that were written, and those that were counted as they were."""
    return written.names == there.names and all(written.field(name).type == there.field(name).type for name in columns)


_PASSING: ContextVar[Passing | None] = ContextVar("passing", default=None)


def watched(path: str, writer: Any) -> Any:
    """A writer of a load file, whose rows are counted where a run wants that."""
    passing = _PASSING.get()
    return writer if passing is None else passing.watched(path, writer)
