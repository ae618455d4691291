"""Columns of text, as CSV has them, given types: whole numbers, numbers, booleans, dates, moments, else text.

Arrow's own inference looks at a first block and fails on a later value that does not fit. Here a column keeps the type
under which its table is known, and a value that doesn't fit lands beside it in `column__v_text`, as dlt does with rows.

A number type is given only where the number gives the text back: `00123` is a patient's number and not 123, 1.10 and
1E5 are codes and not 1.1 and 100000, and a number of more digits than a double holds stays text. In a column that is
one of doubles by then, 7.40 is 7.4, and its digits stand beside it. Keys are never doubles: two texts would be one key.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.rows.declared_types import ARROW, as_declared, is_held
from pipelines.rows.table import Table

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
_SHORTEST = r"^-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$"
_WITH_POINT = r"^-?(0|[1-9][0-9]*)\.([0-9]|[0-9]*[1-9])$"
"""The two ways in which programs write doubles: 5 and 7.5, or 5.0 and 7.5."""
_SURELY_HELD = 16
"""Characters of a number of up to fifteen digits and a point, which each double gives back."""

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
    return pa.table(arrays)


def _columns(name: str, landed: str, values: pa.ChunkedArray, table: Table) -> list[Part]:
    if values.null_count == len(values):
        # No value yet tells no type: a column that is empty everywhere lands when it isn't any more.
        if landed not in table.known:
            return []
        kind = table.known[landed]
        return [(landed, pa.chunked_array([pa.nulls(len(values), ARROW.get(kind, pa.string()))]), kind)]
    if (declared := table.declared(name, landed)) not in {None, "text"}:
        parts = as_declared(landed, values.to_pylist(), str(declared))
        return [(column, pa.chunked_array([array]), kind) for column, array, kind in parts]
    is_key = landed in table.keys
    kind = declared or table.known.get(landed) or _inferred(values, is_key=is_key)
    if kind not in _PATTERNS:
        return [(landed, values, "text")]
    if kind == "double":
        return _doubles(landed, values, is_key=is_key)
    fits = pc.match_substring_regex(values, _PATTERNS[kind])
    try:
        found = _cast(_where(fits, values), kind)
    except pa.ArrowInvalid:
        # The pattern has it and the calendar does not: the 30th of February.
        fits = _each(values, lambda value: _is(value, kind))
        found = _cast(_where(fits, values), kind)
    return [(landed, found, kind), *_beside(landed, pc.invert(fits), values)]


def _inferred(values: pa.ChunkedArray, *, is_key: bool) -> str:
    """The type of a new column by its first values."""
    for kind, pattern in _PATTERNS.items():
        if kind == "double" and (is_key or not _are_doubles(values)):
            continue
        if _all(pc.match_substring_regex(values, pattern)):
            return kind
    return "text"


def _are_doubles(values: pa.ChunkedArray) -> bool:
    """Whether all texts are numbers that a double gives back, in one way of writing them."""
    if not _all(pc.match_substring_regex(values, _PATTERNS["double"])) or not _all(_given_back(values)):
        return False
    without_point = pc.match_substring_regex(values, r"^-?[0-9]+$")
    with_zero = pc.match_substring_regex(values, r"\.0$")
    return not (pc.any(without_point).as_py() and pc.any(with_zero).as_py())


def _given_back(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of each number, whether a double is written like that."""
    plain = pc.or_(pc.match_substring_regex(values, _SHORTEST), pc.match_substring_regex(values, _WITH_POINT))
    sure = pc.and_(pc.and_(plain, pc.less_equal(pc.utf8_length(values), _SURELY_HELD)), pc.not_equal(values, "-0"))
    if _all(sure):
        return sure
    rest = _each(_where(pc.invert(sure), values), lambda text: repr(float(text)) == text)
    return pc.or_(sure, pc.fill_null(rest, False))


def _doubles(name: str, values: pa.ChunkedArray, *, is_key: bool) -> list[Part]:
    """A column of doubles: each number that a double holds, and its digits beside it where a double has others."""
    numbers = pc.match_substring_regex(values, _PATTERNS["double"])
    given_back = _given_back(_where(numbers, values))
    same = pc.and_(numbers, pc.fill_null(given_back, False))
    if is_key or _all(same):
        held = same
    else:
        rest = _each(_where(pc.and_(numbers, pc.invert(same)), values), lambda text: is_held(float(text), text))
        held = pc.or_(same, pc.fill_null(rest, False))
    return [(name, _cast(_where(held, values), "double"), "double"), *_beside(name, pc.invert(same), values)]


def _beside(name: str, misfits: pa.ChunkedArray, values: pa.ChunkedArray) -> list[Part]:
    """The column of texts that their column does not give back, when there are any."""
    found = _where(misfits, values)
    return [(f"{name}__v_text", found, "text")] if found.null_count < len(found) else []


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
        values = pc.if_else(zoned, values, pc.binary_join_element_wise(values, pa.scalar("Z"), ""))
    return values.cast(ARROW[kind])
