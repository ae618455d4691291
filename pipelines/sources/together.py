"""Tables that one reading fills together: who asks for the first of them has all read, and what came waits on disk.

So each table goes on in large pages, however many tables there are and however few rows of each come at once: dlt's
work is by page and column, and what a load file knows of each such piece is in memory until it is closed. What waits
stands in the run's own directory: if the process dies, it goes with that.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.ipc
from dlt.extract import DltResource
from dlt.extract.items_transform import ItemTransform

PAGE_BYTES = 1_000_000
"""The size of the pages in which a table goes on."""


_IN_THIS_THREAD = pa.ipc.IpcReadOptions(use_threads=False)
"""Pieces are small, and what other threads have used is not given back."""


class Spool:
    """The pages of one reading, by table. It begins when the first table is asked for."""

    def __init__(self, read: Callable[[], Iterator[Mapping[str, pa.Table]]], directory: Path | None) -> None:
        """`directory`: the run's own; None for the system's."""
        self._read = read
        self._directory = directory
        self._kept: dict[str, _Kept] | None = None
        self._place: tempfile.TemporaryDirectory[str] | None = None

    def pages(self, table: str) -> Iterator[pa.Table]:
        """The rows of one table, once; a table without rows where there are none but its columns."""
        if self._kept is None:
            self._kept = {}
            # It goes with the spool, also where not all is asked for.
            self._place = tempfile.TemporaryDirectory(dir=self._directory)
            self._fill(self._kept, Path(self._place.name))
        if (kept := self._kept.pop(table, None)) is not None:
            yield from kept.pages()

    def _fill(self, kept: "dict[str, _Kept]", directory: Path) -> None:
        for page in self._read():
            for name, rows in page.items():
                if name not in kept:
                    kept[name] = _Kept(directory / str(len(kept)))
                kept[name].add(rows)


class _Kept:
    """The rows of one table on disk: a file for each set of columns that came, in turn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[Path] = []
        self._schema = pa.schema([])
        self._writer: Any = None

    def add(self, rows: pa.Table) -> None:
        """Write rows behind those that have come."""
        if self._writer is None or rows.schema != self._schema:
            self._close()
            self._schema = rows.schema
            self._files.append(self._path.with_suffix(f".{len(self._files)}"))
            self._writer = pa.ipc.new_stream(str(self._files[-1]), rows.schema)
        if rows.num_rows:
            self._writer.write_table(rows)

    def pages(self) -> Iterator[pa.Table]:
        """All rows, once."""
        self._close()
        gathered: list[pa.Table] = []
        size, is_empty = 0, True
        for part in self._parts():
            gathered.append(part)
            size += part.nbytes
            del part
            if size >= PAGE_BYTES:
                size, is_empty = 0, False
                yield _joined(gathered)
        if gathered or is_empty:
            yield _joined(gathered) if gathered else self._schema.empty_table()

    def _parts(self) -> Iterator[pa.Table]:
        for path in self._files:
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file, options=_IN_THIS_THREAD) as reader:
                yield from (pa.Table.from_batches([batch]) for batch in reader)
            path.unlink()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _joined(parts: list[pa.Table]) -> pa.Table:
    """One table of these, which are given up: a reader that waits for its turn must hold none of its rows."""
    found = pa.concat_tables(parts, promote_options="default").combine_chunks()
    parts.clear()
    return found


class _Together(ItemTransform[Any, dict[str, Any]]):
    """A step that does nothing: it says with which other tables a resource is read."""

    placement_affinity: ClassVar[float] = 0.5

    def __init__(self, group: str) -> None:
        super().__init__(lambda page: page)
        self.group = group

    def __call__(self, item: Any, meta: Any = None) -> Any:
        return item


def read_together(resources: Iterable[DltResource], group: str) -> None:
    """Say that these resources are read together."""
    for resource in resources:
        resource.add_step(_Together(group))


class _MadeOfOthers(ItemTransform[Any, dict[str, Any]]):
    """A step that does nothing: it says that a resource is made of rows that another one has masked and protected."""

    placement_affinity: ClassVar[float] = 0.5

    def __init__(self) -> None:
        super().__init__(lambda page: page)

    def __call__(self, item: Any, meta: Any = None) -> Any:
        return item


def made_of_others(resource: DltResource) -> None:
    """Say that a resource is made of rows that have been masked and protected as what they are."""
    resource.add_step(_MadeOfOthers())


def is_made_of_others(resource: DltResource) -> bool:
    """Whether a resource's rows have been masked and protected before."""
    return any(isinstance(step, _MadeOfOthers) for step in resource._pipe.steps)


def with_others(chosen: Iterable[DltResource], resources: Iterable[DltResource]) -> list[DltResource]:
    """The chosen ones of these resources, and those that are read together with one of them."""
    names = {resource.name for resource in chosen}
    known = list(resources)
    groups = {_group(resource) for resource in known if resource.name in names} - {None}
    return [resource for resource in known if resource.name in names or _group(resource) in groups]


def _group(resource: DltResource) -> str | None:
    return next((step.group for step in resource._pipe.steps if isinstance(step, _Together)), None)
