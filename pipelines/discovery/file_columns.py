"""Columns of a file, by its first rows or by what it says of itself. No value of a row leaves it."""

import contextlib
from collections.abc import Iterator, Mapping, Set
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from connectors.discovery import Column, may_identify
from connectors.sources.file_formats import PARTED, DecimalMark, FileFormat
from connectors.sources.files import FilesSource
from pipelines.rows.csv_to_arrow import PART_OF_DAY, typed
from pipelines.rows.table import Table
from pipelines.sources import Context
from pipelines.sources.files import OF_TEXT
from pipelines.sources.files.finding import Choice
from pipelines.sources.files.holding import WholeFiles
from pipelines.sources.files.parquet_rows import parquet_schema
from pipelines.sources.files.reading import Reading
from pipelines.sources.files.stores import Found, Store

LOOKED_AT = 50
"""Rows that tell what a column holds."""

_OF_COLUMNS = {"bigint": "number", "double": "number", "decimal": "number", "binary": "text"}
_OF_VALUES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "bool"),
    ((int, float, Decimal), "number"),
    (datetime, "timestamp"),
    (date, "date"),
    (time, "time"),
    ((dict, list), "json"),
)


def columns_of(source: FilesSource, context: Context, store: Store, file: Found) -> tuple[Column, ...]:
    """The columns of a file by the names that it gives them; none where nobody has said which of its parts are rows.

    Raises:
        BrokenFileError: when it can't be read.
    """
    if source.format in PARTED or (source.format is FileFormat.XML and source.row_path is None):
        return ()
    if source.format is FileFormat.PARQUET:
        with store.open(file) as opened:
            schema = parquet_schema(opened)
        kinds = {field.name: str(field.type) for field in schema}
    else:
        kinds = dict(_kinds(source, context, store, file))
    return tuple(Column(name, kind, identifying=may_identify(name)) for name, kind in kinds.items())


def _kinds(source: FilesSource, context: Context, store: Store, file: Found) -> Iterator[tuple[str, str]]:
    declared: dict[str, str] = {}
    # What is no row is a run's matter, and would be noted for one.
    asked = source.model_copy(update={"bad_rows": type(source).model_fields["bad_rows"].default, "origin": False})
    reading = Reading(asked, context, store, Choice(), WholeFiles(None), declare=declared.update)
    page = reading.first_page(file)
    if page is None:
        return
    if not isinstance(page, pa.Table):
        yield from _of_rows(page[:LOOKED_AT])
        return
    days = {name for name, kind in declared.items() if kind == PART_OF_DAY}
    said = {name: kind for name, kind in declared.items() if name not in days} | source.types
    for name, values in zip(page.column_names, page.slice(0, LOOKED_AT).columns, strict=True):
        kind = said.get(name) or (
            _of_text(name, values, source, days) if source.format in OF_TEXT else str(values.type)
        )
        yield name, _OF_COLUMNS.get(kind, kind)


def _of_text(name: str, values: pa.ChunkedArray, source: FilesSource, days: Set[str]) -> str:
    """The type that a column of text would land with."""
    table = Table(comma=source.decimal is DecimalMark.COMMA, days=days)
    with contextlib.suppress(pa.ArrowInvalid):
        typed(pa.table({name: values}), table)
    return next(iter(table.known.values()), "text")


def _of_rows(rows: list[Any]) -> Iterator[tuple[str, str]]:
    found: dict[str, str | None] = {}
    for row in rows:
        for name, value in row.items() if isinstance(row, Mapping) else ():
            if found.get(name) is None:
                found[str(name)] = _of_value(value)
    yield from ((name, kind or "text") for name, kind in found.items())


def _of_value(value: Any) -> str | None:
    if value is None:
        return None
    return next((kind for types, kind in _OF_VALUES if isinstance(value, types)), "text")
