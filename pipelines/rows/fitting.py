"""Arrow tables fitted to the columns of their table: each value lands in its column as it is, or beside it.

The last step of a resource's pipe. dlt casts what arrives to the column that is there without a word (1.5 becomes 2 in
a column of whole numbers, and other bits by PostgreSQL's binary COPY). Here a value that is not the same in its
column's type is put into `column__v_type`, and into `column__v_text` when it doesn't fit that either.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from connectors.sources.write_rules import BESIDE
from pipelines.errors import ConfigurationError
from pipelines.rows.marks import is_own, with_misfits, without_misfits
from pipelines.rows.types.arrivals import plain
from pipelines.rows.types.columns import JSON, TEXT, Column, as_signed, new_column, wider
from pipelines.rows.types.conversions import as_text, converted
from pipelines.rows.valueless import table_of
from pipelines.wording import counted, quoted

_NUL = re.compile(b"\0")

Widen = Callable[[str, Column], bool]
"""Makes a column of the destination wider; False when it stays as it is."""


def never(_name: str, _column: Column) -> bool:
    """No column is widened."""
    return False


@dataclass
class Fitter:
    """Fits the tables of one resource to one table's columns, which it learns as they come."""

    known: dict[str, Column] = field(default_factory=dict)
    json: frozenset[str] = frozenset()
    """Columns of text that hold JSON, as the source declares them."""
    widen: Widen = never
    without_nul: bool = False
    """The destination's texts can't hold the character NUL."""
    finite: bool = False
    """The destination's numbers can't be infinite or NaN, as those of JSON."""
    beside: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many values stand beside, by column and the column beside it."""
    nul: Counter[str] = field(default_factory=Counter)
    """How many texts have lost NULs, by column."""
    rows: int = 0
    """How many rows are written."""
    new: Counter[str] = field(default_factory=Counter)
    """How many values the columns have that a table of loads before did not have."""
    new_rows: Counter[frozenset[str]] = field(default_factory=Counter)
    """How many rows have values of such columns, by the columns that a page has of them."""
    landed_name: Callable[[str], str] = str
    """What a destination calls a column beside another: names of its own may be shorter than those."""
    came: set[str] = field(default_factory=set)
    """Columns that the source has named, with values or without."""
    valued: set[str] = field(default_factory=set)
    """Those with values in rows that are written."""
    widened: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Columns that were made wider, with their type before and since."""
    standing: frozenset[str] = frozenset()
    """The columns that a person need not approve, for the table has them; none where nobody is asked."""
    approved: frozenset[tuple[str, str]] = frozenset()
    """The columns whose changes a person has approved, each with the type that was approved."""
    anew: bool = False
    """The table is made anew, so that a column takes a type that was approved as it is."""
    _bases: dict[str, str] = field(default_factory=dict)
    """Of each column that stands beside another, that one."""
    _arrived: set[str] = field(default_factory=set)
    _misfits: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    """Of the last table, by column of the source's own that is called like one beside another: whether what stands
    there is a value that did not fit."""

    def __post_init__(self) -> None:
        self._before = frozenset(self.known)

    def fit(self, table: pa.Table) -> pa.Table:
        """The table with the types of the destination's columns. Columns without any type are left out."""
        landed: dict[str, pa.ChunkedArray] = {}
        own: set[str] = set()
        self._misfits = {}
        for source, values in zip(table.schema, table.columns, strict=True):
            name = source.name
            self.came.add(name)
            found, is_json = plain(values)
            if pa.types.is_null(found.type):
                continue
            if (base := name.partition(BESIDE)[0]) != name and base in {*table.column_names, *self.known}:
                name = self._place(base, name[len(base) + len(BESIDE) :])
                own |= {name} if is_own(source) else set()
            for place, part in self._placed(name, found, is_json or self._is_json(name, found)):
                if place in own:
                    self._meet(place, landed.get(place), part, of_source=place == name)
                landed[place] = part if place not in landed else pc.coalesce(landed[place], part)
        self._arrived.update(landed)
        if self.without_nul:
            landed = {name: self._cleaned(name, values) for name, values in landed.items()}
        return table_of(landed, table.num_rows)

    def countable(self, fitted: pa.Table) -> pa.Table:
        """The last table with what `count` must know of its rows, whichever of them are left until then."""
        return with_misfits(fitted, self._misfits)

    def count(self, table: pa.Table, *, by_row: bool) -> pa.Table:
        """Count what is told of a table that is written: values beside, and those of columns that are new.

        `by_row`: rows with values of new columns may be left out, so they are counted too. Gives the table as it is to
        be written.
        """
        table, misfits = without_misfits(table)
        self.rows += table.num_rows
        new = {}
        for name, values in zip(table.column_names, table.columns, strict=True):
            if not (count := len(values) - values.null_count):
                continue
            self.valued.add(name)
            base, is_beside = self._base(name)
            of_others = pc.sum(misfits[name], min_count=0).as_py() if name in misfits else count
            if is_beside and of_others:
                self.beside[base, name] += of_others
            if self._before and name not in self._before:
                new[name] = count
        self.new.update(new)
        if new and by_row:
            has_any = functools.reduce(pc.or_, (pc.is_valid(table.column(name)) for name in new))
            self.new_rows[frozenset(new)] += pc.sum(has_any).as_py()
        return table

    @property
    def before(self) -> frozenset[str]:
        """The columns of loads before; none of a table that is new or made anew."""
        return self._before

    def base_of(self, name: str) -> str:
        """The column that one stands beside; itself for any other."""
        return self._base(name)[0]

    def is_held(self, name: str) -> bool:
        """Whether a column waits for a person's approval, so that nothing of it may land."""
        if not self.standing or name in self.standing:
            return False
        base = self.base_of(name)
        if base == name and name not in self.known:  # nobody knows its type yet
            return all(name != column for column, _ in self.approved)
        kind = self.known[name].kind if name in self.known else name.rpartition(BESIDE)[2]
        return not {(name, kind), (base, name.rpartition(BESIDE)[2])} & self.approved

    def hold(self, table: pa.Table) -> pa.Table:
        """A table without the columns that wait for approval."""
        names = [name for name in table.column_names if self.is_held(name)]
        return table.drop_columns(names) if names else table

    def is_new(self, name: str) -> bool:
        """Whether a table of loads before did not have this column."""
        return bool(self._before) and name not in self._before

    def _meet(self, place: str, before: pa.ChunkedArray | None, part: pa.ChunkedArray, *, of_source: bool) -> None:
        """Values come to a column of the source's own: those of it, or such as did not fit theirs."""
        there = pc.is_valid(before if before is not None else pa.chunked_array([pa.nulls(len(part))]))
        come = pc.is_valid(part)
        if pc.any(pc.and_(there, come), min_count=0).as_py():
            raise ConfigurationError(
                f"Column '{place}' of the source has the name of the place where values stand that do not fit "
                f"'{place.partition(BESIDE)[0]}', and there are some, so nothing was loaded: rename it at the source, "
                "or leave one of them out."
            )
        misfits = there if of_source else come
        self._misfits[place] = pc.or_(self._misfits[place], misfits) if place in self._misfits else misfits

    def _is_json(self, name: str, values: pa.ChunkedArray) -> bool:
        return name in self.json and bool(pa.types.is_string(values.type))

    def _placed(self, name: str, values: pa.ChunkedArray, is_json: bool) -> Iterator[tuple[str, pa.ChunkedArray]]:
        arriving = JSON if is_json else new_column(values)
        column = self._column(name, arriving)
        landed = self._converted(values, column, is_json=is_json)
        misfits = landed.null_count > values.null_count
        # An unsigned number is no wider type until it has a value that only an unsigned one has.
        if (misfits or not pa.types.is_uint64(values.type)) and (wide := self._widened(name, column, arriving, values)):
            self.widened[name] = (
                (column.kind, wide.kind) if column.kind != wide.kind else (_shown(column), _shown(wide))
            )
            column = self.known[name] = wide
            landed = self._converted(values, column, is_json=is_json)
            misfits = landed.null_count > values.null_count
        if column.arrow is not None:
            yield name, landed
        if misfits:
            rest = pc.if_else(pc.is_null(landed), values, pa.scalar(None, values.type))
            yield from self._beside(name, rest, arriving, is_json)

    def _converted(self, values: pa.ChunkedArray, column: Column, *, is_json: bool) -> pa.ChunkedArray:
        landed = converted(values, column, is_json=is_json)
        if self.finite and pa.types.is_floating(landed.type):
            landed = pc.if_else(pc.is_finite(landed), landed, pa.scalar(None, landed.type))
        return landed

    def _column(self, name: str, arriving: Column) -> Column:
        column = self.known.setdefault(name, arriving)
        if self.anew and name not in self._arrived and (name, arriving.kind) in self.approved:
            column = (wider(column, arriving) or column) if column.kind == arriving.kind else arriving
            self.known[name] = column
        return column

    def _widened(self, name: str, column: Column, arriving: Column, values: pa.ChunkedArray) -> Column | None:
        # Load files of this run have the type already. And a source whose numbers are no wider than the column is fine.
        narrow = arriving.kind == column.kind == "bigint" and as_signed(values.type).bit_width <= _bits(column)
        if name in self._arrived or narrow or (wide := wider(column, arriving)) is None:
            return None
        if name in self.standing and (name, arriving.kind) not in self.approved:
            return None
        return wide if self.widen(name, wide) else None

    def _beside(
        self, name: str, rest: pa.ChunkedArray, arriving: Column, is_json: bool
    ) -> Iterator[tuple[str, pa.ChunkedArray]]:
        base, already = self._base(name)
        place = self._place(base, arriving.kind)
        if not already and (place in self.known or _any(self._converted(rest, arriving, is_json=is_json))):
            yield from self._placed(place, rest, is_json)
            return
        place = self._place(base, "text")
        if self.known.setdefault(place, TEXT) != TEXT or place == name:
            raise ConfigurationError(
                f"Column '{place}' is no text in the destination, so nothing can stand there: rename it, or run a "
                "full refresh."
            )
        yield place, rest if is_json else as_text(rest)

    def _place(self, base: str, kind: str) -> str:
        """The column beside one for the values of a type."""
        place = self.landed_name(f"{base}{BESIDE}{kind}")
        self._bases[place] = base
        return place

    def _base(self, name: str) -> tuple[str, bool]:
        """The column that one stands beside, and whether it does; else itself."""
        base, is_beside, _ = name.partition(BESIDE)
        return self._bases.get(name, base), bool(is_beside)

    def _cleaned(self, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        if not pa.types.is_string(values.type) or not any(map(_may_hold_nul, values.chunks)):
            return values
        if count := pc.sum(pc.match_substring(values, "\0")).as_py():
            self.nul[name] += count
            return pc.replace_substring(values, "\0", "")
        return values


def _shown(column: Column) -> str:
    return column.kind if column.arrow is None else str(column.arrow)


def _bits(column: Column) -> int:
    return 0 if column.arrow is None else int(column.arrow.bit_width)


def _any(values: pa.ChunkedArray) -> bool:
    return bool(values.null_count < len(values))


def _may_hold_nul(chunk: pa.Array) -> bool:
    texts = chunk.buffers()[2]
    return texts is not None and _NUL.search(texts) is not None


def rows_left_out(fitter: Fitter, columns: Collection[str]) -> int:
    """How many rows a contract kept out, for the table has no column for them. `columns`: those that it has."""
    missing = fitter.new.keys() - columns
    return sum(count for names, count in fitter.new_rows.items() if names & missing)


def remarks_of(table: str, fitter: Fitter, columns: Collection[str], *, by_row: bool) -> Iterator[str]:
    """What people must know of the values that are not in their column, not whole, or left out by a contract.

    `columns`: those that the table has after the source was read. `by_row`: whole rows are left out.
    """
    if not fitter.rows:
        return
    for (name, place), count in sorted(fitter.beside.items()):
        if place in columns:
            do = "stands" if count == 1 else "stand"
            where = f"{do} in {quoted([place])}"
        elif by_row:
            continue
        else:
            where = f"{'was' if count == 1 else 'were'} left out, as schema_contract says"
        kind = column.kind if (column := fitter.known.get(name)) else "of before"
        values = f"{counted(count, 'value')} of {quoted([name])} of table {table}"
        yield f"{values} did not fit its type {kind} and {where}."
    yield from _left_out(table, fitter, columns, by_row=by_row)
    for name, count in sorted(fitter.nul.items()):
        yield (
            f"{counted(count, 'text')} of {quoted([name])} of table {table} landed without the character NUL, "
            "which PostgreSQL can't hold."
        )


def _left_out(table: str, fitter: Fitter, columns: Collection[str], *, by_row: bool) -> Iterator[str]:
    """What a contract left out, for the table has no column for it."""
    missing = fitter.new.keys() - columns
    if by_row:
        if rows := rows_left_out(fitter, columns):
            yield (
                f"{counted(rows, 'row')} of table {table} {'was' if rows == 1 else 'were'} left out, as "
                f"schema_contract says, for the table has no column {quoted(sorted(missing))}."
            )
        return
    for name in sorted(missing - {place for _, place in fitter.beside}):
        count = fitter.new[name]
        yield (
            f"{counted(count, 'value')} of {quoted([name])} of table {table} {'was' if count == 1 else 'were'} left "
            "out, as schema_contract says, for the table has no such column."
        )
