"""The border of a table: rows that come again there are known, and land no second time.

A cursor reads what lies at its last value, and up to its lag behind it, once more: rows may have been committed late,
or have come after the last run within the same day or second. A merge replaces them; appended they would double. So
they are compared with the rows that stand in the destination, whole rows with whole rows and each as often as it
stands there: a second, equal row of the source lands as a second row.

Columns that a row could not have when it was loaded (they were added, or asked for, later) count for nothing in it, and
one whose mask has changed since is compared as the hash it would be now. The state notes from when on the table has had
which columns and masks. It travels with the rows: if the process dies, both are as they were.

Where rows merge, the same comparison only saves the work of writing what is there already, and a run in which nothing
is new says so. There a row counts as known when all its columns are the same.
"""

import contextlib
import functools
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pyarrow as pa
from dlt.extract.items_transform import ItemTransform
from dlt.extract.state import resource_state

from connectors.sources.write_rules import BESIDE, letters_and_digits, normalised
from pipelines.loading.deduplication.standing_rows import Batch, Place
from pipelines.sources.cursors.arrow import not_after
from pipelines.sources.cursors.incremental import STATE, Cursor, Increment

LAYOUTS = "layouts"
"""Where a cursor's state notes the columns and masks that a table has had."""

LONGEST_WHOLE = 400
"""Digits of a number that is told in full; longer ones are told with their exponent."""

Read = Callable[[], Iterator[Batch]]


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns and masks that rows loaded from a moment on have had."""

    since: float
    columns: frozenset[str]
    masked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Landing:
    """The way in which rows of a table land in this run, as far as it matters to comparing them."""

    columns: frozenset[str] = frozenset()
    """Those that the table has from all loads before."""
    nested: frozenset[str] = frozenset()
    """Those that hold JSON."""
    masked: frozenset[str] = frozenset()
    """Those that are hashed, by their letters and digits."""
    hashed: Callable[[Any], str | None] = str
    """What a masked value lands as."""
    optional: bool = False
    """Rows leave out what is empty."""
    merges: bool = False
    """Rows replace those of their key: what is not known for certain to be the same is written again."""


class NewRows(ItemTransform[Any, dict[str, Any]]):
    """The last step of a pipe with a cursor: takes out the rows that stand in the destination already."""

    # After rows became tables with the columns of their table.
    placement_affinity: ClassVar[float] = 4

    def __init__(
        self,
        increment: Increment,
        table: str,
        cursor: Place,
        read: Read,
        landing: Landing,
        *,
        note: Callable[[pa.Table], None] = lambda _: None,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`read`: reads the rows of the table from the cursor's start on. `note`: is given the rows that are known, and
        `count` how many they are."""
        super().__init__(lambda table: table)
        self._increment = increment
        self._table = table
        self._cursor = cursor.column
        self._read = read
        self._landing = landing
        self._note = note
        self._count = count
        self._began = time.time()
        self._standing: Standing | None = None

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The rows of a table that are new; nothing when none is."""
        if not isinstance(item, pa.Table):
            return item
        last = self._increment.last
        layouts = [] if self._landing.merges else self._noted(item.column_names)
        if last is None or not (candidates := self._candidates(item, last)):
            return item
        if self._standing is None:
            columns = frozenset(item.column_names)
            self._standing = Standing(self._rows(), self._landing, layouts, columns)
        known = self._standing.known(item.take(pa.array(candidates)))
        if not known:
            return item
        gone = {candidates[index] for index in known}
        self._count(len(gone))
        self._note(item.take(pa.array(sorted(gone))))
        kept = item.filter(pa.array([index not in gone for index in range(item.num_rows)]))
        # What is said of new columns goes with the table, also when none of its rows is left.
        return kept if kept.num_rows or meta is not None else None

    def _rows(self) -> Iterator[Batch]:
        """The rows that stand in the destination from where the cursor reads again."""
        increment = self._increment
        start = increment.order(increment.start)
        for batch in self._read():
            at = batch.columns.index(self._cursor) if self._cursor in batch.columns else None
            rows = batch.rows
            if at is not None:
                orders = [increment.order(increment.inside(row[at])) for row in rows]
                # What has no value there has it beside, where it did not fit: such a row may be meant.
                rows = [
                    row
                    for row, order in zip(rows, orders, strict=True)
                    if order.kind is not start.kind or order >= start
                ]
            yield Batch(batch.columns, rows)

    def _candidates(self, item: pa.Table, last: Any) -> list[int]:
        """The rows that may have been there before: those no newer than the newest of all loads before."""
        if self._cursor not in item.column_names:
            return list(range(item.num_rows))
        column = item.column(self._cursor)
        if (mask := not_after(column, last)) is not None:
            return [index for index, old in enumerate(mask.to_pylist()) if old]
        increment = self._increment
        newest = increment.order(last)
        orders = [increment.order(increment.inside(value)) for value in column.to_pylist()]
        return [index for index, order in enumerate(orders) if order.kind is not newest.kind or order <= newest]

    def _noted(self, columns: Iterable[str]) -> list[Layout]:
        """The layouts of the table, today's noted with them."""
        state = resource_state(self._table).setdefault(STATE, {})
        noted = state.setdefault(LAYOUTS, [])
        landing = self._landing
        if not noted and landing.columns:
            # A version before noted none: what stands there has the columns that the table has.
            noted.append({"since": 0.0, "columns": sorted(landing.columns), "masked": sorted(landing.masked)})
        now = {base for name, base in bases_of(columns).items() if not name.startswith("_dlt")}
        last = noted[-1] if noted else {"columns": [], "masked": []}
        if landing.optional:
            now |= set(last["columns"])
        if set(last["columns"]) != now or set(last["masked"]) != landing.masked:
            noted[:] = [layout for layout in noted if layout["since"] != self._began]
            noted.append({"since": self._began, "columns": sorted(now), "masked": sorted(landing.masked)})
        return [Layout(layout["since"], frozenset(layout["columns"]), frozenset(layout["masked"])) for layout in noted]


def place_of(cursor: Cursor) -> Place:
    """Where a cursor's values land."""
    top, *inner = cursor.path.removeprefix("$.").split(".")
    return Place(normalised(top), tuple(inner))


def bases_of(names: Iterable[str]) -> dict[str, str]:
    """Of each column, the one that it stands beside, or itself."""
    known = set(names)
    return {name: base if (base := name.partition(BESIDE)[0]) in known else name for name in known}


class Standing:
    """The rows at the border, counted: each of them makes one row that comes again known.

    A value that moved beside its column, since the source has declared another type, is the same value.
    """

    def __init__(
        self, batches: Iterable[Batch], landing: Landing, layouts: list[Layout], columns: frozenset[str] | None
    ) -> None:
        """`columns`: those that come again, which are compared; all that stand there where rows leave some out."""
        self._landing = landing
        self._names: tuple[str, ...] = ()
        self._bases: dict[str, str] = {}
        self._moves = any(BESIDE in name for name in columns or ())
        self._unmasked: frozenset[str] = frozenset()
        self._counted: dict[frozenset[str], Counter[bytes]] = {}
        """By the columns that count for nothing, how often each row stands there."""
        self._moved: dict[tuple[frozenset[str], bytes], list[tuple[bytes, frozenset[str]]]] = {}
        """The same rows by their values alone: the digest that counts them, and where their values stand."""
        for batch in batches:
            self._count(batch, columns, layouts)

    def _count(self, batch: Batch, columns: frozenset[str] | None, layouts: list[Layout]) -> None:
        masked = self._landing.masked
        bases = bases_of(name for name in batch.columns if not name.startswith("_dlt"))
        every = columns is None or self._landing.optional
        # What did not fit its column stands beside it, in a column that other rows need not have.
        self._bases = {name: base for name, base in bases.items() if every or {name, base} & (columns or set())}
        self._names = tuple(sorted(self._bases))
        self._moves = self._moves or any(name != base for name, base in self._bases.items())
        of_load = batch.columns.index("_dlt_load_id") if "_dlt_load_id" in batch.columns else None
        at = {name: batch.columns.index(name) for name in self._names}
        in_force: dict[Any, Layout | None] = {}
        for row in batch.rows:
            load = row[of_load] if of_load is not None else None
            if load not in in_force:
                in_force[load] = _in_force(layouts, load)
            layout = in_force[load]
            cells, ignored, filled = {}, [], set()
            for name, base in self._bases.items():
                value = row[at[name]]
                if value is not None:
                    filled.add(base)
                elif layout is not None and base not in layout.columns:
                    ignored.append(base)
                if layout is not None and _hidden(name, masked) and not _hidden(name, layout.masked):
                    value = self._landing.hashed(value)
                cells[name] = value
            if layout is not None and (were := layout.masked - masked):
                self._unmasked |= were
            self._add({name: cells[name] for name in self._names}, frozenset(ignored) - filled)

    def _add(self, cells: Mapping[str, Any], without: frozenset[str]) -> None:
        digest = self._digest(cells, without)
        self._counted.setdefault(without, Counter())[digest] += 1
        if self._moves:
            self._moved.setdefault((without, self._digest_of_values(cells, without)), []).append(
                (digest, _places(cells))
            )

    def known(self, candidates: pa.Table) -> list[int]:
        """The positions of the rows that stand in the destination, each of which is used up by that."""
        if not self._counted:
            return []
        if self._landing.merges and not _landed(candidates.column_names) <= set(self._names):
            return []  # a column that nothing stands in yet
        arriving = bases_of(candidates.column_names)
        present = [name for name in arriving if arriving[name] in self._bases]
        self._bases |= {name: arriving[name] for name in present}
        lists = [candidates.column(name).to_pylist() for name in present]
        ways = sorted(self._counted, key=len)
        found = []
        for index, values in enumerate(zip(*lists, strict=True) if lists else ()):
            cells = dict.fromkeys(self._names) | dict(zip(present, values, strict=True))
            if self._use_up(cells, ways):
                found.append(index)
        return found

    def _use_up(self, cells: Mapping[str, Any], ways: list[frozenset[str]]) -> bool:
        versions = [cells]
        if self._unmasked:
            # It stands there hashed, from when it was masked.
            versions.append(
                {name: self._landing.hashed(v) if _hidden(name, self._unmasked) else v for name, v in cells.items()}
            )
        for find in (self._as_it_stands, self._moved_from) if self._moves else (self._as_it_stands,):
            for version in versions:
                for without in ways:
                    counted = self._counted[without]
                    if (digest := find(version, without)) is not None and counted[digest] > 0:
                        counted[digest] -= 1
                        return True
        return False

    def _as_it_stands(self, cells: Mapping[str, Any], without: frozenset[str]) -> bytes:
        return self._digest(cells, without)

    def _moved_from(self, cells: Mapping[str, Any], without: frozenset[str]) -> bytes | None:
        """What counts a row of the same values, of which some stand beside their columns there, or here."""
        rows = self._moved.get((without, self._digest_of_values(cells, without)), ())
        counted, places = self._counted[without], _places(cells)
        return next((digest for digest, other in rows if other != places and counted[digest] > 0), None)

    def _digest(self, cells: Mapping[str, Any], without: frozenset[str]) -> bytes:
        nested, bases = self._landing.nested, self._bases
        told = [
            # As `_told` tells them: there are millions of cells, and nearly all are such.
            (cell if type(cell) is str else str(cell) if type(cell) is int else _told(cell, nested=False))
            if name not in nested
            else _told(cell, nested=True)
            for name, cell in cells.items()
            # A column beside another that came to be later is as good as empty.
            if bases[name] not in without and (cell is not None or name in nested or bases[name] == name)
        ]
        return _digest_of(told)

    def _digest_of_values(self, cells: Mapping[str, Any], without: frozenset[str]) -> bytes:
        bases, values = self._bases, dict[str, Any]()
        for name, cell in cells.items():
            if bases[name] not in without and cell is not None:
                values[bases[name]] = _loosely_told(cell)
        return _digest_of(sorted(values.items()))


def _digest_of(told: Any) -> bytes:
    return hashlib.blake2b(repr(told).encode(errors="surrogatepass"), digest_size=16).digest()


def _places(cells: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name, cell in cells.items() if cell is not None and BESIDE in name)


@functools.cache
def _hidden(column: str, masked: frozenset[str]) -> bool:
    """Whether a mask hides a column, or the one that it stands beside."""
    return bool({letters_and_digits(column), letters_and_digits(column.partition(BESIDE)[0])} & masked)


def _landed(columns: Iterable[str]) -> set[str]:
    return {name for name in columns if not name.startswith("_dlt")}


def _in_force(layouts: list[Layout], load_id: Any) -> Layout | None:
    """The layout of a row, by the load that brought it: load ids are the moments at which they began."""
    try:
        loaded = float(load_id)
    except (TypeError, ValueError):
        return None
    return next((layout for layout in reversed(layouts) if layout.since <= loaded), None)


def _told(value: Any, *, nested: bool) -> Any:
    """A value as each side tells it: by a driver, out of a file, or on its way into one."""
    if nested and isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    told: Any
    match value:
        case None | bool():
            told = value
        case int() | float() | Decimal():
            told = _number(value)
        case date():
            told = _moment(value)
        case timedelta():
            told = value // timedelta(microseconds=1)
        case bytes() | bytearray() | memoryview():
            told = bytes(value).hex()
        case dict() | list():
            told = json.dumps(value, sort_keys=True, default=str)
        case _:
            told = str(value)
    return told


@functools.lru_cache(10_000)
def _moment(value: date) -> str:
    """A moment in UTC, or the first one of a day."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def _loosely_told(value: Any) -> Any:
    """A value as it is told in whatever type it stands: `1.00` as one, `2024-01-01` as its first moment."""
    if isinstance(value, bool):
        return _number(int(value))
    if not isinstance(value, str):
        return _told(value, nested=False)
    with contextlib.suppress(ValueError, ArithmeticError):
        return _number(Decimal(value))
    with contextlib.suppress(ValueError):
        return _moment(datetime.fromisoformat(value))
    return {"true": "1", "false": "0"}.get(value, value)


def _number(value: float | Decimal) -> str:
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        return str(exact)
    # Zeros at the end, and a sign of zero, make no other number.
    whole = exact.adjusted() < LONGEST_WHOLE and exact == exact.to_integral_value()
    return str(int(exact)) if whole else str(exact.normalize())
