"""Reading of the files of one table: what is new is read, in its order, each file as a whole or not at all.

Which files were read is kept in the state that dlt stores with the rows, by name, size and time of change; a bare
"newer than" would miss a file that arrives late with an old date. One that can't be read is named and left, and the
others land; one that is still written is left for the next run.
"""

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import dlt

from connectors.sources.deletes import Deletes
from connectors.sources.file_formats import (
    CSV_SETTINGS,
    LABELLED,
    LATER_SETTINGS,
    STATISTICS,
    WORKBOOKS,
    FileFormat,
)
from connectors.sources.files import FilesSource
from connectors.sources.write_rules import CODEBOOK, BadRows, WriteDisposition
from pipelines.errors import ConfigurationError, TransientError
from pipelines.protection.elsewhere import Elsewhere
from pipelines.rows.rejected import Line, Rejected
from pipelines.rows.to_arrow import END
from pipelines.sources import Context
from pipelines.sources.files.documents.dataset_json import dataset_codebook, dataset_tables
from pipelines.sources.files.documents.hl7 import segment_tables
from pipelines.sources.files.documents.odm import odm_codebook, odm_tables
from pipelines.sources.files.documents.parts import Parts
from pipelines.sources.files.documents.xml_rows import xml_tables
from pipelines.sources.files.emptied import Emptied
from pipelines.sources.files.faults import BrokenFileError, UnsettledFileError, check_width
from pipelines.sources.files.finding import Choice, waiting_sentence
from pipelines.sources.files.holding import WholeFiles
from pipelines.sources.files.origin import with_origin
from pipelines.sources.files.packing import members
from pipelines.sources.files.parquet_rows import parquet_tables
from pipelines.sources.files.statistics import codebook_pages, statistics_pages
from pipelines.sources.files.stores import Found, Store
from pipelines.sources.files.text.csv_rows import AnotherWayError, Way, csv_tables
from pipelines.sources.files.text.fixed_rows import fixed_tables
from pipelines.sources.files.text.json_rows import first_half_told, json_pages
from pipelines.sources.files.workbooks import workbook_pages
from pipelines.sources.http.answers import LAST_LANDS

YOUNG_SECONDS = 2.0
"""A file that changed less than this ago may be written at this moment: it is looked at twice."""

NO_JSON = "that are no JSON"
RAGGED = "with another number of cells than there are columns"
"""Why a line is no row."""

LOOK_SECONDS = 0.5
"""Time between the two looks, once a run."""


@dataclass(slots=True)
class Reading:
    """One run's reading of the files of a source."""

    source: FilesSource
    context: Context
    store: Store
    choice: Choice
    whole_files: WholeFiles
    part: str | None = None
    """The part of the files that is read, where they have several."""
    of_codebook: bool = False
    declare: Callable[[dict[str, str]], None] = lambda _: None
    """Is given the types of columns that a file says itself."""
    looked: float = field(default_factory=time.monotonic)
    """When the files were listed."""
    whole: int = 0
    """Files that were read to their end."""
    repeats: int = 0
    """The first line of the file at hand in which an object gives a name several values; 0 for none."""
    parts: Parts = field(default_factory=Parts)
    notes: list[str] = field(default_factory=list)
    """Sentences about the file at hand, without its name and the full stop."""
    broken: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    def pages(self) -> Iterator[Any]:
        """The rows of what is new: Arrow tables, whose columns are text for csv, or lists of rows for jsonl.

        After those of a file that is whole, `END` comes as often as there are tables of it.
        """
        # `replace` means all files each time, and so does a limit, which leaves a file half read.
        partial = self.source.write_disposition is WriteDisposition.REPLACE or self.context.row_limit is not None
        state = {} if partial else dlt.current.resource_state()
        seen = state.setdefault("files", {})
        for sentence in self.choice.remarks:
            self.context.remarks.add(sentence)
        self._compare_settings(state)
        if waiting := [file for file in self.choice.waiting if seen.get(file.known_by) != file.mark]:
            self.unsettled.append(f"{waiting_sentence(waiting, self.source)}.")
        left, emptied = self.context.row_limit, Emptied(state)
        if self.source.deletes is Deletes.REMOVE:
            # The rows of a file that is gone go after this load, so one that comes again is read again.
            there = {file.known_by for file in self.choice.there}
            for key in seen.keys() - there:
                del seen[key]
        for file in self.choice.files:
            key = file.known_by
            if seen.get(key) == file.mark:
                continue
            count = yield from self._tried(file, left)
            if count is None:
                continue
            self.whole += 1
            emptied.note(key, self.whole_files.rows)
            if left is not None and (left := left - count) <= 0:
                break
            # Reaches the destination with the rows, in the same load: if the process dies, neither does.
            seen[key] = file.mark
        if not self.of_codebook:
            emptied.leave_out(self.context, self.source, self.part, self.choice)
        for sentence in self.parts.sentences(self.source, self.part, state):
            self.context.remarks.add(sentence)
        self._conclude()

    def _tried(self, file: Found, left: int | None) -> Generator[Any, None, int | None]:
        """The pages of one file, of which it gives how many rows; None when it is left alone, and why is noted."""
        self.whole_files.begin()
        self.rejected.forget()
        self.parts.begin()
        self.repeats = 0
        self.notes = []
        try:
            self._settle(file)
            count = yield from self._read(file, left)
            if left is None:
                self._compare(file, "changed while it was read")
        except BrokenFileError as error:
            now = self.store.again(file)
            if now is not None and now.version == file.version:
                self.broken.append(f"{file.shown} {error}.")
            else:
                self.unsettled.append(f"{file.shown} changed while it was read: the next run reads it.")
        except UnsettledFileError as error:
            self.unsettled.append(f"{file.shown} {error}.")
        except FileNotFoundError:
            self.unsettled.append(f"{file.shown} was gone when the run came to it.")
        except PermissionError:
            if self.store.files is not None:
                # Of all files, very likely: the login's matter.
                raise
            self.broken.append(f"{file.shown} may not be read by the worker: give it the right to.")
        else:
            self.rejected.settle()
            self.parts.keep()
            while self.whole_files.waiting:
                yield END
            if self.repeats:
                self.context.remarks.add(
                    f"An object in line {self.repeats} of {file.shown} gives one name several values: {LAST_LANDS}"
                )
            for note in self.notes:
                self.context.remarks.add(f"{file.shown} {note}.")
            return count
        self.whole_files.drop()
        return None

    def _read(self, file: Found, left: int | None) -> Generator[Any, None, int]:
        way = Way(escape=self.source.escape or "")
        while True:
            count = 0
            try:
                with contextlib.ExitStack() as opened:
                    for page in self._rows(file, opened, way):
                        check_width(_width(page))
                        rows = page if left is None else page[: left - count]
                        if self.source.origin and not self.of_codebook:
                            rows = with_origin(rows, file.shown, count)
                        count += len(rows)
                        yield rows
                        if left is not None and count >= left:
                            # A limit does not read all of a file.
                            break
            except AnotherWayError as other:
                way = other.way
                self.notes = []
                self.rejected.forget()
                self.whole_files.drop()
                self.whole_files.begin()
            else:
                return count

    def first_page(self, file: Found) -> Any:
        """The first page of a file, of which nothing is remembered; None where it has no rows."""
        way = Way(escape=self.source.escape or "")
        while True:
            try:
                with contextlib.ExitStack() as opened:
                    return next(iter(self._rows(file, opened, way)), None)
            except AnotherWayError as other:
                way = other.way

    def _settle(self, file: Found) -> None:
        """Leave a file that grows. One that has just changed is looked at again, after a moment."""
        if self.store.atomic or file.changed <= time.time() - YOUNG_SECONDS:
            return
        time.sleep(max(0.0, self.looked + LOOK_SECONDS - time.monotonic()))
        self._compare(file, "is still being written")

    def _compare(self, file: Found, what: str) -> None:
        now = self.store.again(file)
        if now is None:
            raise UnsettledFileError("was gone when the run came to it")
        if now.version != file.version:
            raise UnsettledFileError(f"{what}: the next run reads it")

    def _rows(self, file: Found, opened: contextlib.ExitStack, way: Way) -> Iterator[Any]:
        def reopen() -> Any:
            return opened.enter_context(self.store.open(file))

        if self.of_codebook:
            return _codebook(reopen, self.source, self.context, file.shown)
        source, part, tell = self.source, str(self.part), self.notes.append

        def once(pages: Iterator[Any]) -> Iterator[Any]:
            return elsewhere.without_repetitions(pages, tell)

        elsewhere = _elsewhere(source, self.context, self.part)
        twin = functools.partial(_refuse_twin, elsewhere)
        no_json, ragged = self._reject(file, NO_JSON), self._reject(file, RAGGED)
        each: dict[FileFormat, Callable[[Callable[[], Any]], Iterator[Any]]] = {
            FileFormat.JSONL: lambda one: json_pages(one, source, self._note_repeats, no_json, first_half_told(tell)),
            FileFormat.CSV: lambda one: _told_apart(csv_tables(one, source, way, ragged), elsewhere),
            FileFormat.FIXED: lambda one: fixed_tables(one, source, tell),
            FileFormat.XML: lambda one: once(xml_tables(one, source, tell, twin)),
            FileFormat.HL7: lambda one: once(segment_tables(one, source, part, self.parts)),
            FileFormat.ODM: lambda one: once(odm_tables(one, part, self.declare, self.parts)),
            FileFormat.DATASET_JSON: lambda one: dataset_tables(one, self.declare),
        }
        if source.format in each:
            return self._each(reopen, opened, each[source.format])
        if source.format in WORKBOOKS:
            return workbook_pages(reopen, source, tell, twin)
        return (
            statistics_pages(reopen, source)
            if source.format in STATISTICS
            else _told_apart(parquet_tables(reopen), elsewhere)
        )

    def _each(
        self,
        reopen: Callable[[], Any],
        opened: contextlib.ExitStack,
        read: Callable[[Callable[[], Any]], Iterator[Any]],
    ) -> Iterator[Any]:
        """The pages of a text file, or of each in a zip archive."""
        for one in members(reopen, self.source, opened, self.notes.append):
            yield from read(one)

    def _reject(self, file: Found, reason: str) -> Callable[[int, Any], None] | None:
        """What takes the lines of a file that are no rows; None where they break it."""
        if self.source.bad_rows is not BadRows.REJECT or self.context.row_limit is not None:
            return None
        # Nobody can tell which cell of such a line is which, so where something is hidden, all of it is.
        hides = bool(self.source.mask or self.source.protect)

        def reject(line: int, row: Any) -> None:
            self.rejected.note(Line(reason, file.shown, line, None if hides else row))

        return reject

    @property
    def rejected(self) -> Rejected:
        """What takes the lines that are no rows."""
        return self.context.rejected.of(self.source.table)

    def _note_repeats(self, line: int) -> None:
        self.repeats = self.repeats or line

    def _compare_settings(self, state: dict[str, Any]) -> None:
        """Say that files of loads before are not read anew when the source says of them something else now."""
        read_as = _read_as(self.source)
        before = state.get("read_as", _read_as(None))
        if state.get("files") and before != read_as:
            self.context.remarks.add(
                f"How the files of {self.source.table} are read was changed: those of loads before stay as they "
                "landed until a full refresh."
            )
        if read_as != before:
            state["read_as"] = read_as

    def _conclude(self) -> None:
        """Say what was left alone.

        Raises:
            ConfigurationError: when a table would lack rows, or nothing but broken files is new.
            TransientError: when all files are to be read, and one is not whole yet.
        """
        everything = self.source.write_disposition is WriteDisposition.REPLACE or self.context.full_refresh
        if self.broken and (everything or not self.whole):
            more = f" {len(self.broken) - 1} more files can't be read either." if len(self.broken) > 1 else ""
            raise ConfigurationError(f"{self.broken[0]}{more}")
        if self.unsettled and everything:
            raise TransientError(self.unsettled[0])
        for sentence in self.broken:
            self.context.remarks.add(f"Not loaded: {sentence}")
        for sentence in self.unsettled:
            self.context.remarks.add(f"Not loaded yet: {sentence}")


def _width(page: Any) -> int:
    """The columns of a page, or of the row that has most of them."""
    if hasattr(page, "num_columns"):
        return int(page.num_columns)
    return max((len(row) for row in page if isinstance(row, dict)), default=0)


def _read_as(source: FilesSource | None) -> str:
    """A mark of the settings that say how a file is read; None for those of versions that had none."""
    fields = FilesSource.model_fields
    values = [
        getattr(source, name) if source is not None else fields[name].default for name in ("encoding", *CSV_SETTINGS)
    ]
    # Only what is set: the marks of versions that had no such settings stay what they are.
    later = [(name, getattr(source, name)) for name in LATER_SETTINGS if source is not None]
    values += [pair for pair in later if pair[1] != fields[pair[0]].default]
    return hashlib.blake2b(repr(values).encode(), digest_size=9).hexdigest()


def _codebook(
    reopen: Callable[[], Any], source: FilesSource, context: Context, name: str
) -> Iterator[list[dict[str, Any]]]:
    """The codebook of a file of that name, without values of columns that are hidden."""
    match source.format:
        case FileFormat.ODM:
            pages = odm_codebook(reopen, name)
        case FileFormat.DATASET_JSON:
            pages = dataset_codebook(reopen, name)
        case _:
            pages = codebook_pages(reopen, source, name)
    elsewhere, labels = _elsewhere(source, context), _labels_may_leave(source, context)
    return (
        lines for page in pages if (lines := elsewhere.of_codebook(row for row in page if labels or not row["value"]))
    )


def _labels_may_leave(source: FilesSource, context: Context) -> bool:
    """Whether labels of values land: of some programs they may be made of rows that may not leave the source."""
    protection, codebook = context.protection, f"{source.table}{CODEBOOK}"
    if source.format not in LABELLED or not protection.chooses(source.table) or protection.chooses(codebook):
        return True
    context.remarks.add(
        f"Labels of values don't land in {codebook}: they may be made of rows that source.protect.where keeps back. To "
        f"have them, give it a condition of that table's own: `tables`: `{codebook}`, `path`: `variable`, `op`: "
        "`exists`."
    )
    return False


def _elsewhere(source: FilesSource, context: Context, own: str | None = None) -> Elsewhere:
    """What of the columns may stand elsewhere: of those of one part of the files, or of all of them."""
    tables = [name for name, part in source.tables_of_parts().items() if own is None or part == own]
    return Elsewhere(source.mask, map(context.protection.matcher, tables))


def _told_apart(pages: Iterator[Any], elsewhere: Elsewhere) -> Iterator[Any]:
    """Pages whose reader gives each column the name in the file, by which the mask knows all of one name."""
    rules = elsewhere.without_mask()
    for page in pages:
        names = page.column_names
        if len(set(names)) < len(names):
            for name in {name for name in names if names.count(name) > 1}:
                _refuse_twin(rules, name, f"{name}_2")
        yield page


def _refuse_twin(elsewhere: Elsewhere, name: str, twin: str) -> None:
    if elsewhere.misses(name, twin):
        raise BrokenFileError(
            f"has several columns called {name}, and source.protect or source.mask treats {name} alone: say what "
            f"becomes of {twin} as well"
        )
