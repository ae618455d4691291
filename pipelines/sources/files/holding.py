"""Tables of one file, held back until the file is read to its end: it lands as a whole or not at all.

A fault in the last line of a file must not leave the lines before it in the table, where they would come twice once
the file is corrected. They are held as Arrow tables that have their types already, so that reading and converting go
hand in hand. Small files wait in memory, the rest of large ones in the run's own directory; if the process dies here,
that directory is removed by the next run.
"""

import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from dlt.extract.items_transform import ItemTransform

from pipelines.rows.to_arrow import END

MEMORY_BYTES = 64 * 1024 * 1024


class Held:
    """The tables of one file."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._file: Any = None
        self._schema: pa.Schema | None = None
        self.close()

    def close(self) -> None:
        """Forget what is held; more can be held then."""
        if self._file is not None:
            self._file.close()
        self._tables: deque[pa.Table] = deque()
        self._bytes = 0
        self._file = None
        self._writer: Any = None
        self._reader: Iterator[pa.RecordBatch] = iter(())
        self._written: deque[int] = deque()
        """The number of tables of each stream in the file."""

    def __len__(self) -> int:
        return len(self._tables) + sum(self._written)

    def add(self, table: pa.Table) -> None:
        """Hold one more."""
        self._bytes += table.nbytes
        if self._bytes <= MEMORY_BYTES or not self._tables:
            self._tables.append(table)
        else:
            self._write(table)

    def _write(self, table: pa.Table) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115  # closed by `close`
        if table.schema != self._schema or not self._written:
            # A column that came late: one stream after the other, in one file.
            if self._writer is not None:
                self._writer.close()
            self._writer, self._schema = pa.ipc.new_stream(self._file, table.schema), table.schema
            self._written.append(0)
        self._writer.write_batch(_in_one(table))
        self._written[-1] += 1

    def take(self) -> pa.Table:
        """The first of the tables that are held; when none is left, others can be held."""
        if self._tables:
            table = self._tables.popleft()
        else:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
                self._file.seek(0)
                self._reader = iter(pa.ipc.open_stream(self._file))
            table = pa.Table.from_batches([next(self._reader)])
            self._written[0] -= 1
            if not self._written[0]:
                # To the stream's very end, where the next one begins.
                next(self._reader, None)
                self._written.popleft()
                if self._written:
                    self._reader = iter(pa.ipc.open_stream(self._file))
        if not self:
            self.close()
        return table


def _in_one(table: pa.Table) -> pa.RecordBatch:
    """A table's rows as one batch."""
    (batch,) = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
    return batch


class WholeFiles(ItemTransform[Any, dict[str, Any]]):
    """The step of a resource's pipe that holds a file's tables until its reader says, by `END`, that it is whole.

    It gives one table for each `END`. dlt takes turns between a reader and what a step makes of its last page, so that
    tables given all at once would come among those of the next file.
    """

    # After the step that makes them, and before the one that fits them to the destination, which may change that.
    placement_affinity: ClassVar[float] = 2.5

    def __init__(self, directory: Path | None, *remember: Callable[[], Callable[[], None]]) -> None:
        """`remember` note what the steps before have learned, and give what takes them back to that."""
        super().__init__(lambda page: page)
        self._held = Held(directory)
        self._remember = remember
        self._forget: list[Callable[[], None]] = []
        self.rows = 0
        """Rows of the file at hand that have come by now."""

    @property
    def waiting(self) -> bool:
        """Whether tables are held."""
        return bool(self._held)

    def begin(self) -> None:
        """The next file's tables come."""
        self.rows = 0
        self._forget = [remember() for remember in self._remember]

    def drop(self) -> None:
        """The file is not whole: nothing of it lands, and no later file is read otherwise for it."""
        self._held.close()
        for forget in self._forget:
            forget()

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """Nothing for a table, and one for `END`."""
        if item is END:
            return self._held.take()
        self.rows += item.num_rows
        self._held.add(item)
        return None
