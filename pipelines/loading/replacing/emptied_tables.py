"""Emptied tables: those of which a full refresh finds no row at the source. They keep their columns.

dlt forgets what it refreshes. A table that is empty for once would then begin as a new one: a column that a person has
not approved, or has refused, would land with the next row, and where the table itself stands (a view shows it, it is a
lake's) it would have columns that nobody knows. So the schema takes back the columns of before; the rows go, and with
them nothing that others have made of the table: views, grants, comments, keys of other tables.
"""

from collections.abc import Collection
from copy import deepcopy

from dlt import Pipeline
from dlt.common.schema.typing import TTableSchema


def columns_before(pipeline: Pipeline, tables: Collection[str], *, full_refresh: bool) -> dict[str, TTableSchema]:
    """The tables of a pipeline that a full refresh is about to forget."""
    if not full_refresh or not pipeline.default_schema_name:
        return {}
    known = pipeline.default_schema.tables
    return {name: deepcopy(known[name]) for name in tables if name in known and _has_columns(known[name])}


def take_back(pipeline: Pipeline, before: dict[str, TTableSchema]) -> None:
    """Have the schema know those of them again of which there is no row. Comes right after the extract.

    If the process dies here, or before the load is complete, the schema of before stands.
    """
    if not before:
        return
    schema = pipeline.default_schema
    for name, table in before.items():
        if name not in schema.tables or not _has_columns(schema.tables[name]):
            schema.update_table(table)


def _has_columns(table: TTableSchema) -> bool:
    return any("data_type" in column for column in table["columns"].values())
