"""CSV files as Arrow tables of text. A file is read as a whole or refused: no row of it is left out without a word.

Arrow does the reading; `csv_grammar` watches over it, and says which lines are wrong.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.csv

from connectors.sources.files import FilesSource
from pipelines.sources.files.decoding import Utf8, unpacked
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.text.csv_grammar import (
    Beginning,
    Check,
    CsvSettings,
    Diagnosis,
    Dialect,
    FirstRowError,
    beginning,
    diagnosis,
    rows,
)

LONGEST_HEADER_BYTES = 16 * 1024 * 1024
CSV_BLOCK_BYTES = 8 * 1024 * 1024
LONGEST_ROW_BYTES = 512 * 1024 * 1024
_BACKSLASH = "\\"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to read one file: the first one is right for nearly all."""

    escape: str = ""
    block_bytes: int = CSV_BLOCK_BYTES
    trusted: bool = False
    """The grammar has been looked at row by row, and is followed."""


class AnotherWayError(Exception):
    """The file is right, and has to be read in another way, from its beginning."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self.way = way


class _Stream(io.RawIOBase):
    """Blocks of bytes as a stream, for a reader that takes what it is given."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        found: list[bytes] = []
        left = size
        while left > 0 and (block := self._rest or next(self._blocks, b"")):
            self._rest = b""
            if len(block) > left:
                if found:
                    self._rest = block
                    break
                block, self._rest = block[:left], block[left:]
            found.append(block)
            left -= len(block)
        return found[0] if len(found) == 1 else b"".join(found)


Reject = Callable[[int, tuple[str, ...]], None]
"""Takes a line with another number of cells than there are columns: its number and its cells."""


def csv_tables(
    reopen: Callable[[], Any], source: FilesSource, way: Way, reject: Reject | None = None
) -> Iterator[pa.Table]:
    """A file's rows, every cell as text. `reopen` opens the file at its beginning.

    `reject` takes lines with another number of cells; None: such a line breaks the file.

    Raises:
        BrokenFileError: when rows can't be told apart, with the lines.
        AnotherWayError: when the file must be read in another way than `way`.
    """
    blocks = _blocks(reopen(), source)
    found = _begun(blocks, source, way)
    if isinstance(found, Diagnosis):
        _explain(reopen, source, way)
        return
    start, head = found
    if not start.names:
        return
    check = Check(start.dialect)
    body = _chained(head[start.offset :], blocks)
    stream = _Stream(_unescaped(check(body), start.dialect))
    ragged: list[None] = []

    def note(_row: Any) -> str:
        # It holds the row's text: nothing of it is kept.
        ragged.append(None)
        return "skip"

    failed, good = False, 0
    try:
        with _opened(stream, start, source, way, note) as reader:
            for batch in reader:
                if (ragged and reject is None) or (check.doubtful and not way.trusted):
                    break
                if batch.num_rows:
                    good += batch.num_rows
                    yield pa.Table.from_batches([batch]).rename_columns(list(start.names))
    except pa.ArrowInvalid:
        # Arrow's message quotes the line, and with it a patient's data: nothing may be raised from here.
        failed = True
    if ragged and reject is not None and not failed:
        _reject(reopen, source, way, reject, (good, len(ragged), check.doubtful))
    elif failed or ragged:
        _explain(reopen, source, way)
    elif check.doubtful and not way.trusted:
        if _diagnosed(reopen, source, way).problem is not None:
            _explain(reopen, source, way)
        # Quotes within a cell, say, which stand for themselves.
        raise AnotherWayError(replace(way, trusted=True))


def _blocks(raw: Any, source: FilesSource) -> Iterator[bytes]:
    return Utf8(unpacked(raw), source.encoding).blocks()


def _chained(head: bytes, blocks: Iterable[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from blocks


def _begun(blocks: Iterator[bytes], source: FilesSource, way: Way) -> tuple[Beginning, bytes] | Diagnosis:
    """What the file's beginning says, with the bytes that were read for it; or what is wrong with it."""
    asked = CsvSettings(source.delimiter, source.quote, way.escape, source.header, source.skip, source.comment)
    head = next(blocks, b"")
    while len(head) <= LONGEST_HEADER_BYTES:
        block = next(blocks, b"")
        head += block
        try:
            found = beginning(head, asked, whole=not block)
        except FirstRowError as error:
            return error.found
        if found is not None:
            return found, head
    return Diagnosis("no end", 1, [1])


def _opened(
    stream: Any, start: Beginning, source: FilesSource, way: Way, note: Callable[[Any], str]
) -> pyarrow.csv.CSVStreamingReader:
    # By number: names may be there twice.
    columns = [str(number) for number in range(len(start.names))]
    dialect = start.dialect
    return pyarrow.csv.open_csv(
        stream,
        read_options=pyarrow.csv.ReadOptions(block_size=way.block_bytes, column_names=columns),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            escape_char=dialect.escape or False,
            newlines_in_values=bool(dialect.quote or dialect.escape),
            invalid_row_handler=note,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=source.quoted_nulls,
            null_values=list(source.null_values),
        ),
    )


def _unescaped(blocks: Iterable[bytes], dialect: Dialect) -> Iterator[bytes]:
    """Text in which the escape stands only where it means something: Arrow drops it everywhere, as in `C:\\dir`."""
    if not dialect.escape:
        yield from blocks
        return
    signs = "".join((dialect.escape, dialect.quote, dialect.delimiter)).encode()
    escape = re.escape(dialect.escape.encode())
    plain = re.compile(rb"(%s[%s\r\n])|%s" % (escape, re.escape(signs), escape))
    double = dialect.escape.encode() * 2
    rest = b""
    for block in blocks:
        text = rest + block
        # What the last one belongs to stands in the next block.
        odd = (len(text) - len(text.rstrip(dialect.escape.encode()))) % 2
        rest, text = text[len(text) - odd :], text[: len(text) - odd]
        yield plain.sub(lambda match: match.group(1) or double, text)
    if rest:
        yield double


def _explain(reopen: Callable[[], Any], source: FilesSource, way: Way) -> None:
    """Read a file that Arrow did not read once more, slowly, to say what is wrong. Returns when it has no rows at all.

    Raises:
        BrokenFileError: when something is wrong.
        AnotherWayError: when the file is right if it is read in another way.
    """
    found = _diagnosed(reopen, source, way)
    if found.problem is None and found.rows == 0:
        return
    if found.problem is None and way.block_bytes < found.longest * 2 <= LONGEST_ROW_BYTES:
        raise AnotherWayError(replace(way, block_bytes=found.longest * 4))
    if found.problem is None:
        raise BrokenFileError("is no csv that can be read: correct or remove it")
    other = replace(way, escape=_BACKSLASH)
    if source.escape is None and source.quote and not way.escape and _diagnosed(reopen, source, other).problem is None:
        raise AnotherWayError(other)
    raise BrokenFileError(
        f"{found.sentence()}: correct or remove it, or set delimiter, quote, escape, header or skip as it is written"
    )


def _reject(
    reopen: Callable[[], Any], source: FilesSource, way: Way, reject: Reject, met: tuple[int, int, bool]
) -> None:
    """Look for the lines that Arrow has skipped, row by row, and reject them.

    `met`: the rows that were read, the lines that were skipped, and whether the grammar doubts the file.

    Raises:
        BrokenFileError: something else is wrong too, or such lines are more than the rows.
        AnotherWayError: when the file must be read in another way.
    """
    good, skipped, doubtful = met
    found = _ragged(reopen, source, way)
    other = replace(way, escape=_BACKSLASH)
    if source.escape is None and source.quote and not way.escape and _diagnosed(reopen, source, other).problem is None:
        raise AnotherWayError(other)
    if found is not None and doubtful and not way.trusted:
        raise AnotherWayError(replace(way, trusted=True))
    if found is None or len(found) != skipped or skipped > good:
        _explain(reopen, source, way)
        raise BrokenFileError("is no csv that can be read: correct or remove it")
    for line, cells in found:
        reject(line, cells)


def _ragged(reopen: Callable[[], Any], source: FilesSource, way: Way) -> list[tuple[int, tuple[str, ...]]] | None:
    """The lines with another number of cells, by number; None when something else is wrong too."""
    blocks = _blocks(reopen(), source)
    begun = _begun(blocks, source, way)
    if isinstance(begun, Diagnosis):
        return None
    start, head = begun
    width = len(start.names)
    found = []
    for row in rows(_chained(head[start.offset :], blocks), start.dialect, start.line, width=width):
        if row.problem is not None:
            return None
        if len(row.cells) != width:
            found.append((row.line, row.cells))
    return found


def _diagnosed(reopen: Callable[[], Any], source: FilesSource, way: Way) -> Diagnosis:
    blocks = _blocks(reopen(), source)
    found = _begun(blocks, source, way)
    if isinstance(found, Diagnosis):
        return found
    start, head = found
    body = _chained(head[start.offset :], blocks)
    width = len(start.names)
    return diagnosis(rows(body, start.dialect, start.line, width=width), width)
