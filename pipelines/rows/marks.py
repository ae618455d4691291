"""Marks of columns that a reader itself puts beside others: a source may have columns of such names of its own.

A mark is metadata of the Arrow field. It says what a name can't: `x__v_text` holds values of `x` that did not fit, or
is a column of a table that this program has loaded once, whose values are told of no more. Where both stand in one
column, a column of the run alone goes with the table until its rows are counted, and says which is which.
"""

from collections.abc import Collection, Mapping

import pyarrow as pa

_MISFITS = "_dlt_misfits_"
"""Before the name of a column: whether a value of another stands in it. dlt keeps the beginning of it to itself, so no
source has one, and it counts for nothing where rows are compared."""

_BESIDE, _OWN = {b"column": b"beside"}, {b"column": b"own"}


def with_beside(table: pa.Table, names: Collection[str]) -> pa.Table:
    """A reader's table, in which the named columns stand beside others."""
    return _marked(table, names, _BESIDE)


def with_own(table: pa.Table, names: Collection[str]) -> pa.Table:
    """A table in which the named columns are the source's own, though they are called like those beside others."""
    return _marked(table, names, _OWN)


def is_beside(field: pa.Field) -> bool:
    """Whether a reader has put the column beside another."""
    return bool(field.metadata == _BESIDE)


def is_own(field: pa.Field) -> bool:
    """Whether the column is the source's own."""
    return bool(field.metadata == _OWN)


def with_misfits(table: pa.Table, misfits: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """A table that says of columns of the source's own in which rows a value of another column stands there."""
    for name, rows in misfits.items():
        table = table.append_column(f"{_MISFITS}{name}", rows)
    return table


def without_misfits(table: pa.Table) -> tuple[pa.Table, dict[str, pa.ChunkedArray]]:
    """The table without that, and that by column."""
    found = {name: table.column(name) for name in table.column_names if name.startswith(_MISFITS)}
    return table.drop_columns([*found]) if found else table, {
        name.removeprefix(_MISFITS): rows for name, rows in found.items()
    }


def _marked(table: pa.Table, names: Collection[str], mark: dict[bytes, bytes]) -> pa.Table:
    if not names:
        return table
    fields = [field.with_metadata(mark) if field.name in names else field for field in table.schema]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields))
