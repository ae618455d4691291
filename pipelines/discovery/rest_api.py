"""Discovery of a JSON API: the fields of the first rows of each resource that the source names."""

from typing import Any

from connectors.discovery import Column, Discovery, Item, ItemKind, cursor_order, may_identify
from connectors.sources.rest_api import RestApiSource
from pipelines.sources import Context

ROWS = 20
"""Rows whose fields are looked at."""


def discover(source: RestApiSource, context: Context, cursor: str | None) -> Discovery:
    """The resources of the source, in its order, with the fields that their first rows have. No value leaves it."""
    from pipelines.source_test import samples  # noqa: PLC0415  # dlt costs seconds

    items = []
    for sample in samples(source, context, ROWS):
        columns = tuple(
            Column(name, _type(row.get(name) for row in sample.rows), True, may_identify(name))
            for name in sample.columns
        )
        moments = [column.name for column in columns if column.type == "moment" and not column.identifying]
        keys = tuple(name for name in ("id", "uuid") if name in sample.columns)[:1]
        items.append(Item(sample.table, ItemKind.RESOURCE, columns, None, keys, cursor_order(moments)))
    return Discovery(tuple(items))


def _type(values: Any) -> str:
    found = next((value for value in values if value is not None), None)
    match found:
        case bool():
            return "true or false"
        case int() | float():
            return "number"
        case None:
            return "empty"
        case str():
            return "moment" if len(found) >= 10 and found[4:5] == found[7:8] == "-" and found[:4].isdigit() else "text"
        case _:
            return "moment" if hasattr(found, "year") else "json"
