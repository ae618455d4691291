"""Columns of text, as CSV has them, given types: whole numbers, numbers, booleans, dates, moments, else text.

Arrow's own inference looks at a first block and fails on a later value that does not fit. Here a column keeps the type
under which its table is known, and a value that doesn't fit lands beside it in `column__v_text`, as dlt does with rows.
A number with a leading zero is text: `00123` is a patient's number and not 123.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from connectors.landing import normalised
from pipelines.errors import ConfigurationError

_PATTERNS = {
    "bigint": r"^-?(0|[1-9][0-9]{0,17})$",
    "double": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$",
    "bool": r"^(true|false|True|False|TRUE|FALSE)$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "timestamp": r"^[0-9]{4}(-[0-9]{2}){2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[-+][0-9]{2}:?[0-9]{2})?$",
}
_TYPES = {
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "text": pa.string(),
}


def typed(table: pa.Table, known: dict[str, str]) -> pa.Table:
    """A table of text columns with types. `known` is dlt's type by column, and learns what is new.

    Raises:
        ConfigurationError: when two columns of the header would land in one.
    """
    arrays: dict[str, pa.ChunkedArray] = {}
    for name, values in zip(table.column_names, table.columns, strict=True):
        for landed, array, kind in _columns(normalised(name or "column"), values, known):
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
    if pc.all(fits).as_py():
        yield name, _cast(values, kind), kind
        return
    nothing = pa.scalar(None, pa.string())
    yield name, _cast(pc.if_else(fits, values, nothing), kind), kind
    yield f"{name}__v_text", pc.if_else(pc.invert(fits), values, nothing), "text"


def _all(values: pa.ChunkedArray, kind: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, _PATTERNS[kind])).as_py())


def _cast(values: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    if kind == "bool":
        return pc.equal(pc.utf8_lower(values), "true")
    if kind == "timestamp":
        zoned = pc.match_substring_regex(values, r"(Z|[-+][0-9]{2}:?[0-9]{2})$")
        # Without a zone it is UTC, as dlt reads it.
        values = pc.if_else(zoned, values, pc.binary_join_element_wise(values, pa.scalar("Z"), ""))
    return values.cast(_TYPES[kind])
