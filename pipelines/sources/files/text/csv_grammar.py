"""The grammar of CSV: where rows and cells begin and end, what a file's first lines say, and which lines are wrong.

Arrow reads CSV quickly and forgives: after a quote that is never closed it goes on in the next lines, and gives rows
that nobody wrote. So each block is compared with the grammar, by one pattern; only a file that doesn't
follow it is read a second time, slowly, to say which lines are wrong. Everything here is pure.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.sources.cursors.values import comparable, order_of
from pipelines.sources.files.faults import BrokenFileError

LONGEST_CELL_BYTES = 64 * 1024 * 1024
"""A quote that is open for longer is taken for one that is never closed."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_SEPARATOR = re.compile(rb'"?sep=([^\r\n])"?[ \t]*', re.IGNORECASE)
_SNIFFED_ROWS = 20
_SNIFFED_BYTES = 64 * 1024
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Dialect:
    """The way one file is written: single characters, where no character means that there is none."""

    delimiter: str
    quote: str = '"'
    escape: str = ""

    def cell(self) -> re.Pattern[bytes]:
        """A cell up to its end: group 1 in quotes, group 2 without, group 3 the delimiter or the line's end."""
        d, q, e = (re.escape(sign.encode()) for sign in (self.delimiter, self.quote, self.escape))
        escaped = rb"|%s(?:[\s\S]|\Z)" % e if e else b""
        blanks = b"[%s]*+" % b" \t".replace(self.delimiter.encode(), b"")
        bare = rb"((?:[^%s\r\n%s]++%s)*+)" % (d, e, escaped)
        if q:
            bare = rb"(?:%s((?:[^%s%s]++|%s%s%s)*+)%s%s|(?!%s)%s)" % (q, q, e, q, q, escaped, q, blanks, q, bare)
        else:
            bare = rb"(?:(?!)()|%s)" % bare
        return re.compile(rb"%s(%s|\r\n|\r|\n|\Z)" % (bare, d))

    def right(self, width: int) -> re.Pattern[bytes]:
        """Rows of so many cells, each to its end, as many as there are."""
        d, q, e = (re.escape(sign.encode()) for sign in (self.delimiter, self.quote, self.escape))
        escaped = rb"|%s[\s\S]" % e if e else b""
        cell = rb"(?:[^%s\r\n%s]++%s)*+" % (d, e, escaped)
        if q:
            cell = rb"(?:%s(?:[^%s%s]++|%s%s%s)*+%s|(?!%s)%s)" % (q, q, e, q, q, escaped, q, q, cell)
        # A return at the end may be half of a line's end.
        return re.compile(rb"(?:(?:%s%s){%d}%s(?:\r\n|\n|\r(?!\Z)))*+" % (cell, d, width - 1, cell))

    def opened(self) -> re.Pattern[bytes]:
        """A cell in quotes, whatever follows it."""
        if not self.quote:
            return re.compile(rb"(?!)")
        q, e = (re.escape(sign.encode()) for sign in (self.quote, self.escape))
        escaped = rb"|%s[\s\S]" % e if e else b""
        return re.compile(rb"%s(?:[^%s%s]++|%s%s%s)*+%s" % (q, q, e, q, q, escaped, q))

    def value(self, match: re.Match[bytes]) -> str:
        """What a matched cell says."""
        quoted, bare = match.group(1), match.group(2)
        cell = (bare if quoted is None else quoted).decode(errors="replace")
        if quoted is not None and self.quote:
            cell = cell.replace(self.quote * 2, self.quote)
        if self.escape:
            signs = re.escape("".join((self.escape, self.quote, self.delimiter)))
            cell = re.sub(rf"{re.escape(self.escape)}([{signs}\r\n])", r"\1", cell)
        return cell


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first lines of a file, understood."""

    dialect: Dialect
    names: tuple[str, ...]
    """Of the columns, as the file or the connector names them; two may be equal."""
    offset: int
    """Where the first row begins."""
    line: int
    """The number of that row's first line."""


@dataclass(frozen=True, slots=True)
class CsvSettings:
    """A connector's settings of how its files are written; they go before what is found."""

    delimiter: str | None = None
    quote: str = '"'
    escape: str = ""
    header: bool | tuple[str, ...] = True
    skip: int = 0
    comment: str | None = None


@dataclass(slots=True)
class Diagnosis:
    """The faults of a file, by line."""

    problem: str | None = None
    """The first of the problems, which may well be the reason of the others."""
    count: int = 0
    lines: list[int] = field(default_factory=list)
    rows: int = 0
    longest: int = 0
    """Bytes of the longest row."""

    def sentence(self) -> str:
        """What is wrong, to go on after the file's name; lines and counts only."""
        return _said(self.problem or "", self.count, self.lines)


def _said(problem: str, count: int, lines: list[int]) -> str:
    shown = ", ".join(map(str, lines))
    if count == 1:
        return f"has {problem} in line {shown}"
    more = f" and {count - len(lines)} more" if count > len(lines) else ""
    return f"has {count} lines that can't be read (line {shown}{more}), the first for {problem}"


class FirstRowError(BrokenFileError):
    """The first row of a file never ends, or can't be read."""

    def __init__(self, found: Diagnosis) -> None:
        super().__init__(found.sentence())
        self.found = found


def beginning(head: bytes, asked: CsvSettings, *, whole: bool) -> Beginning | None:
    """What a file's beginning says; None when it ends within the first row. `whole`: nothing follows `head`.

    Raises:
        FirstRowError: when the first row can't be read.
    """
    position, line, delimiter = 0, 1, asked.delimiter
    while position < len(head):
        end = found.start() if (found := _LINE_END.search(head, position)) is not None else len(head)
        following = len(head) if found is None else found.end()
        if following == len(head) and not whole:
            return None
        text = head[position:end]
        separator = _SEPARATOR.fullmatch(text) if line in (1, asked.skip + 1) else None
        if separator is not None:
            delimiter = delimiter or separator.group(1).decode(errors="replace")
        elif line > asked.skip and text.strip() and not (asked.comment and text.startswith(asked.comment.encode())):
            break
        position, line = following, line + 1
    if position >= len(head):
        return Beginning(Dialect(delimiter or ",", asked.quote, asked.escape), (), position, line) if whole else None
    delimiter = delimiter or sniffed(head[position:], asked, whole=whole)
    if delimiter is None:
        return None
    dialect = Dialect(delimiter, asked.quote, asked.escape)
    row = next(rows([head[position:]], dialect, line, whole=whole), None)
    if row is None:
        return None
    if row.problem is not None:
        raise FirstRowError(Diagnosis(row.problem, 1, [row.line]))
    end = position + row.length
    if asked.header is True:
        if b"\0" in head[position:end]:
            raise FirstRowError(Diagnosis("bytes that are no text", 1, [row.line]))
        following_row = next(rows([head[end:]], dialect, line, whole=whole), None)
        if following_row is not None and is_no_header(row.cells, following_row.cells):
            raise FirstRowError(Diagnosis("numbers or dates where the names of the columns should be", 1, [row.line]))
        lines = len(_LINE_END.findall(head[position:end]))
        return Beginning(dialect, tuple(cell.strip() or "column" for cell in row.cells), end, line + lines)
    names = asked.header or tuple(f"column_{number}" for number in range(1, len(row.cells) + 1))
    return Beginning(dialect, names, position, line)


_NUMBER = re.compile(r"\s*[+-]?\d[\d ]*([.,]\d+)*\s*", re.ASCII)
_DATE = re.compile(r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ][\d:.,]+(Z| ?[+-][\d:]+)?)?\s*", re.ASCII)


def is_no_header(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """Whether a file's first row is one like the second, and no names of columns: they would be a patient's values.

    It is when numbers or dates stand over such, and no name does. Rising ones are names, such as years or days.
    """
    kinds = [(_kind(one), _kind(other)) for one, other in zip(first, second, strict=False)]
    if any(other and not one for one, other in kinds):
        return False
    same = [cell for cell, (one, other) in zip(first, kinds, strict=False) if one and one == other]
    if len(same) < 2:
        return bool(same)
    order = [order_of(cell.strip()) for cell in same]
    return not all(comparable(one, other) and one < other for one, other in itertools.pairwise(order))


def _kind(cell: str) -> str:
    return "date" if _DATE.fullmatch(cell) else "number" if _NUMBER.fullmatch(cell) else ""


def sniffed(head: bytes, asked: CsvSettings, *, whole: bool) -> str | None:
    """The delimiter of a file's first rows: what cuts them all into equally many cells, and into most.

    None when `head` ends within the first of them.
    """
    # Where numbers are written with a comma, rows without a header may have as many of these as of the delimiter.
    candidates = [sign for sign in (",;\t|" if asked.header is True else ";\t|,") if sign not in asked.quote]
    part = head[:_SNIFFED_BYTES]
    part = part if len(_LINE_END.findall(part)) > 1 else head
    counts: dict[str, list[int]] = {}
    for sign in candidates:
        dialect = Dialect(sign, asked.quote, asked.escape)
        found = rows([part], dialect, 1, whole=whole and len(part) == len(head))
        counts[sign] = [len(row.cells) for row, _ in zip(found, range(_SNIFFED_ROWS), strict=False)]
    if not any(counts.values()):
        return None
    agreed = [sign for sign in candidates if len(set(counts[sign])) == 1 and counts[sign][0] > 1]
    return max(agreed or candidates, key=lambda sign: counts[sign][0] if counts[sign] else 0)


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the grammar has it."""

    line: int
    length: int
    cells: tuple[str, ...]
    problem: str | None = None


_NEVER_CLOSED = "a quote that is never closed"
_AFTER_A_QUOTE = "text after a closing quote"


def rows(
    blocks: Iterable[bytes], dialect: Dialect, line: int, *, whole: bool = True, width: int | None = None
) -> Iterator[Row]:
    """The rows of some text, without blank lines. `whole`: the last one ends where the blocks end.

    With a `width`, which is much faster, rows come without values, and many right ones of as many cells come as one.
    """
    right = None if width is None else dialect.right(width)
    cell, opened = dialect.cell(), dialect.opened()
    bare = Dialect(dialect.delimiter, "", dialect.escape).cell()
    quote = dialect.quote.encode()
    cells: list[str] = []
    problem: str | None = None
    buffer, start, position = b"", 0, 0
    left = iter(blocks)
    ended = False
    while True:
        if right is not None and not cells and (run := right.match(buffer, position)) and run.end() > position:
            yield Row(line, run.end() - position, ("",) * (width or 0))
            line += len(_LINE_END.findall(buffer, position, run.end()))
            position = start = run.end()
        match = cell.match(buffer, position)
        if match is None and (said := opened.match(buffer, position)) is not None and said.end() < len(buffer):
            # Go on behind the text, as if it had no quotes: the next lines may be right.
            problem, match = problem or _AFTER_A_QUOTE, bare.match(buffer, said.end())
        if match is None or (match.end() == len(buffer) and not ended):
            if match is None and (ended or len(buffer) - position > LONGEST_CELL_BYTES):
                yield Row(line, len(buffer) - start, tuple(cells), _NEVER_CLOSED)
                return
            block = next(left, b"")
            ended = not block
            if ended and not whole:
                return
            buffer, position, start = buffer[start:] + block, position - start, 0
            continue
        cells.append(dialect.value(match))
        position = match.end()
        if match.group(3) != dialect.delimiter.encode():
            text = buffer[start:position]
            if problem or len(cells) > 1 or (cells[0] or (quote and text.startswith(quote))):
                yield Row(line, len(text), tuple(cells), problem)
            line += max(1, len(_LINE_END.findall(text)))
            cells, problem, start = [], None, position
            if ended and position == len(buffer):
                return


# --- is it right, and if not, where -----------------------------------------------------------------------------------


_PIECE_BYTES = 256 * 1024
"""What is looked at in one go: it and what is made of it stay in a processor's cache."""
_ONE, _LAST = np.uint64(1), np.uint64(63)


def _bits(found: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """A bit for each byte that was looked at, in words of 64: an eighth of what must be gone through."""
    packed = np.packbits(found, bitorder="little")
    return np.pad(packed, (0, -len(packed) % 8)).view("<u8").astype(np.uint64, copy=False)


def _parity(bits: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Of each bit, whether up to it, with it, an odd number of bits are set."""
    odd = bits.copy()
    for step in (1, 2, 4, 8, 16, 32):
        odd ^= odd << np.uint64(step)
    carried = np.bitwise_xor.accumulate(odd >> _LAST)
    odd[1:] ^= np.uint64(0) - carried[:-1]
    return odd


class Check:
    """Compares a file with the grammar, block by block and quickly: finds that something may be wrong, and not what."""

    def __init__(self, dialect: Dialect) -> None:
        self._quote = dialect.quote.encode()
        self._ends = (dialect.delimiter + "\r\n").encode()
        self._escape = dialect.escape.encode()
        self._escaped = re.compile(rb"%s[\s\S]" % re.escape(self._escape))
        self._before = b"\n"
        """Stands for all blocks before: a row's end, a bare cell, an open quote, or a quote that may be closed."""
        self._open_bytes = 0
        self._rest = b""
        self.doubtful = False

    def __call__(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks."""
        for block in blocks:
            for start in range(0, len(block) if self._quote else 0, _PIECE_BYTES):
                if not self.doubtful:
                    self._look(block[start : start + _PIECE_BYTES])
            yield block
        if self._quote and not self.doubtful:
            self._look(b"\n")
            self.doubtful |= self._before == self._quote

    def _look(self, block: bytes) -> None:
        block = self._without_escapes(block) if self._escape else block
        if self._quote not in block and not self._before.endswith(self._quote):
            if block:
                self._before = b"\n" if block[-1] in self._ends else b"x"
            return
        text = self._before + block
        quotes, at_ends = self._quotes(text)
        if quotes and not (quotes == 1 and text.startswith(self._quote)):
            self.doubtful = not at_ends
            self._open_bytes = 0
        if quotes % 2:
            self._open_bytes += len(text)
            self.doubtful |= self._open_bytes > LONGEST_CELL_BYTES
            self._before = self._quote
        elif text.endswith(self._quote):
            self._before = self._quote * 2
        else:
            self._before = b"\n" if text[-1] in self._ends else b"x"

    def _quotes(self, text: bytes) -> tuple[int, bool]:
        """How many quotes there are, and whether they stand only where cells begin and end: they open and close in
        turns, and two within a cell are one that closes and one that opens."""
        signs = np.frombuffer(text, np.uint8)
        found = signs == self._quote[0]
        quotes = _bits(found)
        for end in self._ends:
            if end in text:
                found |= signs == end
        beside = _bits(found)
        opens = quotes & _parity(quotes)
        closes = quotes ^ opens
        # What is before the first byte is none of this block's, and what follows the last stands in the next.
        before, after = beside << _ONE, beside >> _ONE
        before[1:] |= beside[:-1] >> _LAST
        after[:-1] |= beside[1:] << _LAST
        before[0] |= _ONE
        last = len(signs) - 1
        after[last // 64] |= _ONE << np.uint64(last % 64)
        at_ends = not (opens & ~before).any() and not (closes & ~after).any()
        return int(np.bitwise_count(quotes).sum()), at_ends

    def _without_escapes(self, block: bytes) -> bytes:
        text = self._rest + block
        # What the last one belongs to stands in the next block.
        odd = (len(text) - len(text.rstrip(self._escape))) % 2
        self._rest, text = text[len(text) - odd :], text[: len(text) - odd]
        return self._escaped.sub(b"xx", text)


def diagnosis(found: Iterable[Row], width: int) -> Diagnosis:
    """Look at all rows of a file that has `width` columns."""
    result = Diagnosis()
    for row in found:
        result.rows += 1
        result.longest = max(result.longest, row.length)
        ragged = None if len(row.cells) == width else f"another number of cells than the {width} columns"
        problem = row.problem or ragged
        if problem is not None:
            result.problem = result.problem or problem
            result.count += 1
            if len(result.lines) < _SHOWN:
                result.lines.append(row.line)
    return result
