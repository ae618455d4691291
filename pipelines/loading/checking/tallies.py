"""Tallies: what checks count of a load's rows as they pass by, column by column in Arrow, with no database.

Each takes the rows piece by piece and gives its number at the end. Not every type and every size can be counted so: who
makes a tally gets None for those, and asks DuckDB (`rows_of_load`), whose answers these are the same as.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

MOST_BYTES = 32_000_000
"""Of the values that are compared in memory."""

A_DAY = 86_400
"""A moment that lies further ahead than this says nothing of how old the data is."""

Types = Mapping[str, pa.DataType | None]
"""The type of each column that a load's files have; None: it has several."""


class Tally(Protocol):
    """One check's count of the rows that passed by."""

    @property
    def columns(self) -> Sequence[str]:
        """Those that it looks at."""

    def take(self, rows: pa.Table) -> None:
        """Count some rows."""


class Empty:
    """Rows in which none of these columns has a value."""

    def __init__(self, places: Sequence[str]) -> None:
        """`places`: one at least."""
        self.columns = places
        self.count = 0

    def take(self, rows: pa.Table) -> None:
        if len(self.columns) == 1:
            self.count += rows[self.columns[0]].null_count
        else:
            self.count += rows.num_rows - _true(_any_valid(rows, self.columns))


class Others:
    """Rows in which one of these columns has a value that is none of the accepted ones."""

    def __init__(self, accepted: Mapping[str, pa.Array]) -> None:
        self.columns = tuple(accepted)
        self._accepted = accepted
        self.count = 0

    def take(self, rows: pa.Table) -> None:
        found = None
        for name, values in self._accepted.items():
            column = rows[name]
            other = pc.and_(pc.is_valid(column), pc.invert(pc.is_in(column, value_set=values)))
            found = other if found is None else pc.or_(found, other)
        self.count += 0 if found is None else _true(found)


class Newest:
    """The newest moment of a column, of those not far ahead."""

    def __init__(self, column: str, kind: pa.DataType, now: float) -> None:
        self.columns = (column,)
        self._unit = A_DAY if pa.types.is_date32(kind) else 1 / _PARTS[kind.unit]
        """Seconds."""
        self._kind = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        self._latest = int((now + A_DAY) / self._unit)
        self._found: int | None = None

    @property
    def seconds(self) -> float | None:
        """It, since 1970; None: there is none."""
        return None if self._found is None else self._found * self._unit

    def take(self, rows: pa.Table) -> None:
        numbers = rows[self.columns[0]].cast(self._kind)
        found = pc.max(numbers).as_py()
        if found is not None and found > self._latest:
            found = pc.max(numbers.filter(pc.less_equal(numbers, pa.scalar(self._latest, self._kind)))).as_py()
        if found is not None and (self._found is None or found > self._found):
            self._found = found


@dataclass
class Room:
    """The memory that values of a table may take which are compared with each other."""

    left: int = MOST_BYTES


class Doubled:
    """Rows whose values of some columns another row has too. It keeps these columns, of all rows, in memory.

    Args:
        places: by column that is named, where its values stand: a row without any is of no interest.
        room: what it may take for that.
    """

    def __init__(self, places: Sequence[Sequence[str]], room: Room) -> None:
        self._places = places
        self.columns = tuple(name for names in places for name in names)
        self._room = room
        self._kept: list[pa.Table] | None = []

    def take(self, rows: pa.Table) -> None:
        if self._kept is None:
            return
        rows = rows.select(list(self.columns))
        if any(rows[name].null_count for name in self.columns):
            for names in self._places:
                rows = rows.filter(_any_valid(rows, names))
        self._room.left -= rows.nbytes
        if self._room.left < 0:
            self._kept = None
        else:
            self._kept.append(rows)

    @property
    def count(self) -> int | None:
        """How many; None: the values are too many to be kept."""
        if self._kept is None:
            return None
        if not self._kept:
            return 0
        rows = pa.concat_tables(self._kept)
        names = list(self.columns)
        if len(names) == 1 and (_ascends(rows[names[0]]) or len(pc.unique(rows[names[0]])) == rows.num_rows):
            return 0
        of_each = rows.group_by(names, use_threads=False).aggregate([([], "count_all")])["count_all"]
        return int(pc.sum(of_each.filter(pc.greater(of_each, 1))).as_py() or 0)


_PARTS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def newest(column: str, types: Types, now: float) -> Newest | None:
    """What finds the newest moment of a column before a day after `now`, in seconds since 1970."""
    kind = types.get(column)
    return Newest(column, kind, now) if kind and (pa.types.is_timestamp(kind) or pa.types.is_date32(kind)) else None


def others(places: Sequence[str], types: Types, values: Sequence[Any]) -> Others | None:
    """What counts the rows with values that are none of these."""
    accepted = {name: _accepted(types[name], values) for name in places}
    found = {name: each for name, each in accepted.items() if each is not None}
    return Others(found) if len(found) == len(accepted) else None


def doubled(places: Sequence[Sequence[str]], types: Types, room: Room) -> Doubled | None:
    """What counts the rows whose values of these columns come several times."""
    kinds = [types[name] for names in places for name in names]
    # Of floating point numbers two zeros are one value, and several kinds of NaN are.
    return Doubled(places, room) if all(kind and _is_plain(kind) for kind in kinds) else None


def _is_plain(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or _is_text(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_temporal(kind)
        or pa.types.is_decimal128(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _accepted(kind: pa.DataType | None, values: Sequence[Any]) -> pa.Array | None:
    """The accepted values as this type has them; None for a type whose values are compared by what they look like."""
    if kind is None:
        return None
    if _is_text(kind):
        return pa.array([shown(value) for value in values], kind)
    if pa.types.is_boolean(kind):
        return pa.array([word == "true" for word in map(shown, values) if word in {"true", "false"}], kind)
    numbers = [found for found in map(number, values) if found is not None]
    if pa.types.is_integer(kind):
        return pa.array([int(each) for each in numbers if _fits(each, kind)], kind)
    if pa.types.is_float64(kind):
        known = [float(each) for each in numbers]
        zeros = [-0.0] if 0 in known else []  # one value, by two patterns of bits
        return pa.array([*filter(isfinite, known), *zeros], kind)
    return None


def _fits(value: Decimal, kind: pa.DataType) -> bool:
    bits = kind.bit_width - (1 if pa.types.is_signed_integer(kind) else 0)
    least = -(2**bits) if pa.types.is_signed_integer(kind) else 0
    return least <= value < 2**bits and value == int(value)


def shown(value: Any) -> str:
    """An accepted value as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def number(value: Any) -> Decimal | None:
    """An accepted value as a number; None for one that is none."""
    if isinstance(value, bool):
        return None
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _ascends(column: pa.ChunkedArray) -> bool:
    """Whether each value is greater than the one before, as numbers of rows mostly are: that costs next to nothing."""
    if not pa.types.is_integer(column.type) or len(column) < 2:
        return False
    return bool(pc.all(pc.greater(column.slice(1), column.slice(0, len(column) - 1))).as_py())


def _any_valid(rows: pa.Table, names: Sequence[str]) -> Any:
    found = pc.is_valid(rows[names[0]])
    for name in names[1:]:
        found = pc.or_(found, pc.is_valid(rows[name]))
    return found


def _true(mask: Any) -> int:
    return int(pc.sum(mask).as_py() or 0)
