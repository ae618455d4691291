"""Columns of text, as CSV has them, given types: whole numbers, numbers, booleans, dates, moments, else text.

Arrow's own inference looks at a first block and fails on a later value that does not fit. Here a column keeps the type
under which its table is known, and a value that doesn't fit lands beside it in `column__v_text`, as dlt does with rows.

A number type is given only where the number gives the text back: `00123` is a patient's number and not 123, 1.10 and
1E5 are codes and not 1.1 and 100000, and a number of more digits than a double holds stays text. In a column that is
one of doubles by then, 7.40 is 7.4, and its digits stand beside it. Keys are never doubles: two texts would be one key.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from connectors.sources.write_rules import BESIDE
from pipelines.rows.table import Table
from pipelines.rows.types.declared_types import ARROW, as_declared, is_held
from pipelines.rows.valueless import table_of

# Year 0000 is none: systems write `0000-00-00` for no date at all.
_DAY = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
_PATTERNS = {
    "bigint": r"^(0|-?[1-9][0-9]{0,17})$",
    "double": r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$",
    "bool": r"^(true|false|True|False|TRUE|FALSE)$",
    "date": rf"^{_DAY}$",
    "timestamp": rf"^{_DAY}[T ]{_CLOCK}(:[0-5][0-9](\.[0-9]{{1,6}})?)?(Z|[-+]([01][0-9]|2[0-3]):?[0-5][0-9])?$",
}
PART_OF_DAY = "part of a day or moment"
"""What a reader declares of a column whose texts are days or moments, or what is known of one: `2024`, `2024-05`."""
_NUMBERS = frozenset({"bigint", "double"})
_WRITTEN = {
    "bigint": (pa.int64(), 1 - 10**18, 10**18 - 1),
    "date": (pa.date32(), date(1, 1, 1), date(9999, 12, 31)),
    "timestamp": (pa.timestamp("s"), datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)),  # noqa: DTZ001
}
"""Types that Arrow writes in a way that their pattern has, and the least and greatest value of that."""
_PLAIN = (1e-90, 1e15)
"""What Arrow writes of a double is a number by the pattern when it is 0, or from the first to below the second."""
_LOOKED_AT = 200
"""Values that tell at little cost that a column is of another type."""

Part = tuple[str, pa.ChunkedArray, str]
"""A column's name, its values, and dlt's type for it."""


def typed(texts: pa.Table, table: Table) -> pa.Table:
    """A table of text columns with types, under the names that they land by."""
    arrays: dict[str, pa.ChunkedArray] = {}
    names = texts.column_names
    for name, landed, values in zip(names, table.columns(names), texts.columns, strict=True):
        for column, array, kind in _columns(name, landed, values, table):
            arrays[column] = array
            table.known[column] = kind
    return table_of(arrays, texts.num_rows)


def _columns(  # noqa: PLR0911  # a way for each kind of column
    name: str, landed: str, values: pa.ChunkedArray, table: Table
) -> list[Part]:
    if values.null_count == len(values):
        # No value yet tells no type: a column that is empty everywhere lands when it isn't any more.
        if landed not in table.known:
            return []
        kind = table.known[landed]
        return [(landed, pa.chunked_array([pa.nulls(len(values), ARROW.get(kind, pa.string()))]), kind)]
    written = values
    if table.comma:
        values = _with_points(values)
    if (declared := table.declared(name, landed)) not in {None, "text"}:
        parts = as_declared(landed, values.to_pylist(), str(declared))
        return [(column, pa.chunked_array([array]), kind) for column, array, kind in parts]
    is_key = landed in table.keys
    known = declared or table.known.get(landed) or table.presumption(name)
    kind, doubles = (known, None) if known is not None else _inferred(values, is_key=is_key, is_day=name in table.days)
    if kind not in _PATTERNS:
        return [(landed, written, "text")]
    if kind == "double":
        read = doubles or Doubles.of(values)
        return [*_doubles(landed, values, read, is_key=is_key), *_beside(landed, pc.invert(read.kept), written)]
    if kind in _WRITTEN and (found := _as_written(values, kind)) is not None:
        return [(landed, found, kind)]
    fits = pc.match_substring_regex(values, _PATTERNS[kind])
    try:
        found = _cast(_where(fits, values), kind)
    except pa.ArrowInvalid:
        # The pattern has it and the calendar does not: the 30th of February.
        fits = _each(values, lambda value: _is(value, kind))
        found = _cast(_where(fits, values), kind)
    return [(landed, found, kind), *_beside(landed, pc.invert(fits), written)]


def _with_points(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers with a point where they are written with a comma; whatever else stands as it is."""
    return pc.replace_substring_regex(values, r"^(-?[0-9]+),([0-9]+)$", r"\1.\2")


def _inferred(values: pa.ChunkedArray, *, is_key: bool, is_day: bool = False) -> tuple[str, "Doubles | None"]:
    """The type of a new column by its first values, which are read already when they are doubles."""
    first = values.slice(0, _LOOKED_AT)
    for kind, pattern in _PATTERNS.items():
        if (
            (kind == "double" and is_key)
            or (is_day and kind in _NUMBERS)
            or not _all(pc.match_substring_regex(first, pattern))
        ):
            continue
        if kind == "double":
            doubles = Doubles.of(values)
            if _all(doubles.are_numbers) and _all(doubles.given_back) and not _in_two_ways(values):
                return kind, doubles
        elif _all(pc.match_substring_regex(values, pattern)):
            return kind, None
    return "text", None


def _as_written(values: pa.ChunkedArray, kind: str) -> pa.ChunkedArray | None:
    """The values of a type, when all are written as it is; nearly all are, and this is faster than a pattern."""
    form, *bounds = _WRITTEN[kind]
    try:
        found = values.cast(form)
    except pa.ArrowInvalid:
        return None
    low, high = (pa.scalar(bound, form) for bound in bounds)
    ends = pc.min_max(found)
    if pc.less(ends["min"], low).as_py() or pc.greater(ends["max"], high).as_py():
        return None
    if not _all(pc.equal(found.cast(pa.string()), values)):
        return None
    # A moment without a zone is UTC.
    return found if form == ARROW[kind] else found.cast(ARROW[kind])


def _in_two_ways(values: pa.ChunkedArray) -> bool:
    """Whether of whole numbers some are written as 5 and others as 5.0, which one number can't give back."""
    with_zero = pc.any(pc.ends_with(values, ".0")).as_py()
    return bool(with_zero and pc.any(pc.match_substring_regex(values, r"^-?[0-9]+$")).as_py())


@dataclass(frozen=True, slots=True)
class Doubles:
    """Texts read as doubles: which are numbers, the numbers, and which of their texts the numbers give back."""

    are_numbers: pa.ChunkedArray
    numbers: pa.ChunkedArray
    given_back: pa.ChunkedArray

    @property
    def kept(self) -> pa.ChunkedArray:
        """Whether the digits of each text are those of its number."""
        return pc.fill_null(self.given_back, False)

    @classmethod
    def of(cls, values: pa.ChunkedArray) -> "Doubles":
        """The texts read. Programs write doubles as 5 and 7.5, or as 5.0 and 7.5."""
        if (plain := cls._plain(values)) is not None:
            return plain
        are_numbers = pc.match_substring_regex(values, _PATTERNS["double"])
        texts = _where(are_numbers, values)
        numbers = texts.cast(pa.float64())
        shortest = numbers.cast(pa.string())
        given_back = pc.and_(pc.equal(shortest, texts), pc.not_equal(texts, "-0"))
        if not _all(given_back):
            with_point = pc.binary_join_element_wise(shortest, pa.scalar(".0"), "")
            given_back = pc.or_(given_back, pc.equal(with_point, texts))
        if not _all(given_back):
            # As Python writes them, whose exponents begin elsewhere.
            rest = _each(_where(pc.invert(given_back), texts), lambda text: repr(float(text)) == text)
            given_back = pc.or_(given_back, pc.fill_null(rest, False))
        return cls(are_numbers, numbers, given_back)

    @classmethod
    def _plain(cls, values: pa.ChunkedArray) -> "Doubles | None":
        """The texts read when all are what Arrow itself writes: most are, and this is faster than the pattern."""
        try:
            numbers = values.cast(pa.float64())
        except pa.ArrowInvalid:
            return None
        sizes = pc.abs(numbers)
        fits = pc.or_(pc.equal(sizes, 0.0), pc.and_(pc.greater_equal(sizes, _PLAIN[0]), pc.less(sizes, _PLAIN[1])))
        if not _all(fits):
            return None
        given_back = pc.and_(pc.equal(numbers.cast(pa.string()), values), pc.not_equal(values, "-0"))
        return cls(given_back, numbers, given_back) if _all(given_back) else None


def _doubles(name: str, values: pa.ChunkedArray, read: Doubles, *, is_key: bool) -> list[Part]:
    """A column of doubles: each number that a double holds, though its digits may be others."""
    held = read.kept
    if _all(pc.or_(held, pc.is_null(values))):
        return [(name, read.numbers, "double")]
    if not is_key:
        odd = _where(pc.and_(read.are_numbers, pc.invert(held)), values)
        held = pc.or_(held, pc.fill_null(_each(odd, lambda text: is_held(float(text), text)), False))
    numbers = pc.if_else(held, read.numbers, pa.scalar(None, pa.float64()))
    return [(name, numbers, "double")]


def _beside(name: str, misfits: pa.ChunkedArray, values: pa.ChunkedArray) -> list[Part]:
    """The column of texts that their column does not give back, when there are any."""
    found = _where(misfits, values)
    return [(f"{name}{BESIDE}text", found, "text")] if found.null_count < len(found) else []


def _where(fits: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values that fit, and none in the place of the others."""
    return values if _all(fits) else pc.if_else(fits, values, pa.scalar(None, pa.string()))


def _all(fits: pa.ChunkedArray) -> bool:
    return bool(pc.all(fits, min_count=0).as_py())


def _each(values: pa.ChunkedArray, check: Callable[[str], bool]) -> pa.ChunkedArray:
    """What a check says of each value; None of none. Asked once for those that are there many times."""
    said = {value: None if value is None else check(value) for value in values.unique().to_pylist()}
    return pa.chunked_array([[said[value] for value in values.to_pylist()]], pa.bool_())


def _is(value: str, kind: str) -> bool:
    """Whether a text is a value of a type."""
    one = pa.chunked_array([[value]], pa.string())
    with contextlib.suppress(pa.ArrowInvalid):
        return _all(pc.match_substring_regex(one, _PATTERNS[kind])) and _cast(one, kind) is not None
    return False


def _cast(values: pa.ChunkedArray, kind: str) -> Any:
    if kind == "bool":
        return pc.equal(pc.utf8_lower(values), "true")
    if kind == "timestamp":
        zoned = pc.match_substring_regex(values, r"(Z|[-+][0-9]{2}:?[0-9]{2})$")
        # Without a zone it is UTC, as dlt reads it.
        if _all(zoned):
            return values.cast(ARROW[kind])
        values = pc.if_else(zoned, values, pc.binary_join_element_wise(values, pa.scalar("Z"), ""))
    return values.cast(ARROW[kind])
