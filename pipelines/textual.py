"""Columns of text, as CSV has them, given types: whole numbers, numbers, booleans, dates, moments, else text.

Arrow's own inference looks at a first block and fails on a later value that does not fit. Here a column keeps the type
under which its table is known, and a value that doesn't fit lands beside it in `column__v_text`, as dlt does with rows.
Only what loses nothing gets a type: `00123` is a patient's number and not 123, and a number of more digits than a
double holds stays text.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from dlt.extract.items_transform import ItemTransform

from connectors.landing import normalised
from pipelines.errors import ConfigurationError
from pipelines.tabular import known_types

# Year 0000 is none: systems write `0000-00-00` for no date at all.
_DAY = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
_PATTERNS = {
    "bigint": r"^-?(0|[1-9][0-9]{0,17})$",
    "double": r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$",
    "bool": r"^(true|false|True|False|TRUE|FALSE)$",
    "date": rf"^{_DAY}$",
    "timestamp": rf"^{_DAY}[T ]{_CLOCK}(:[0-5][0-9](\.[0-9]{{1,6}})?)?(Z|[-+]([01][0-9]|2[0-3]):?[0-5][0-9])?$",
}
_TYPES = {
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "text": pa.string(),
}


class Textual(ItemTransform[Any, dict[str, Any]]):
    """A step of a resource's pipe: takes Arrow tables of text, gives them with types that stay the same."""

    # After the mask, which sees every column of the header and every value as it was written.
    placement_affinity: ClassVar[float] = 2

    def __init__(self, table: str) -> None:
        super().__init__(lambda page: page)
        self._table = table
        self._known: dict[str, str] | None = None

    def __call__(self, item: Any, meta: Any = None) -> pa.Table:
        """The table with types."""
        if self._known is None:
            self._known = known_types(self._table)
        return typed(item, self._known)


def typed(table: pa.Table, known: dict[str, str]) -> pa.Table:
    """A table of text columns with types. `known` is dlt's type by column, and learns what is new.

    Raises:
        ConfigurationError: when two columns of the header would land in one.
    """
    arrays: dict[str, pa.ChunkedArray] = {}
    for name, values in zip(table.column_names, table.columns, strict=True):
        for landed, array, kind in _columns(normalised(name), values, known):
            if landed in arrays:
                raise ConfigurationError(f"Two columns of the file would land as '{landed}': rename one in the file.")
            arrays[landed] = array
            known[landed] = kind
    return pa.table(arrays)


def _columns(name: str, values: pa.ChunkedArray, known: dict[str, str]) -> Iterator[tuple[str, pa.ChunkedArray, str]]:
    if values.null_count == len(values):
        # No value yet tells no type: a column that is empty everywhere lands when it isn't any more.
        if name in known:
            yield name, pa.chunked_array([pa.nulls(len(values), _TYPES.get(known[name], pa.string()))]), known[name]
        return
    kind = known.get(name) or next((kind for kind in _PATTERNS if _all(values, kind)), "text")
    if kind not in _TYPES or kind == "text":
        yield name, values, "text"
        return
    fits = pc.match_substring_regex(values, _PATTERNS[kind])
    try:
        landed = _cast(_where(fits, values), kind)
    except pa.ArrowInvalid:
        # The pattern has it and the calendar does not: the 30th of February.
        is_one = {value: _is(value, kind) for value in values.unique().to_pylist()}
        fits = pa.chunked_array([[is_one[value] for value in values.to_pylist()]], pa.bool_())
        landed = _cast(_where(fits, values), kind)
    yield name, landed, kind
    if not pc.all(fits).as_py():
        yield f"{name}__v_text", _where(pc.invert(fits), values), "text"


def _where(fits: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values that fit, and none in the place of the others."""
    return values if pc.all(fits).as_py() else pc.if_else(fits, values, pa.scalar(None, pa.string()))


def _all(values: pa.ChunkedArray, kind: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, _PATTERNS[kind])).as_py())


def _is(value: str | None, kind: str) -> bool | None:
    """Whether a text is a value of a type; None for no value."""
    if value is None:
        return None
    one = pa.chunked_array([[value]], pa.string())
    with contextlib.suppress(pa.ArrowInvalid):
        return _all(one, kind) and _cast(one, kind) is not None
    return False


def _cast(values: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    if kind == "bool":
        return pc.equal(pc.utf8_lower(values), "true")
    if kind == "timestamp":
        zoned = pc.match_substring_regex(values, r"(Z|[-+][0-9]{2}:?[0-9]{2})$")
        # Without a zone it is UTC, as dlt reads it.
        values = pc.if_else(zoned, values, pc.binary_join_element_wise(values, pa.scalar("Z"), ""))
    return values.cast(_TYPES[kind])
