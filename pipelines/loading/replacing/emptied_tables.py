"""Emptied tables: those of which a full refresh finds no row at the source. They keep their columns.

dlt forgets what it refreshes. A table that is empty for once would then begin as a new one: a column that a person has
not approved, or has refused, would land with the next row, and where the table itself stands (a view shows it, it is a
lake's) it would have columns that nobody knows. So the schema takes back the columns of before; the rows go, and with
them nothing that others have made of the table: views, grants, comments, keys of other tables.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy

from dlt import Pipeline
from dlt.common.schema.typing import TTableSchema


@contextmanager
def keeping_columns(pipeline: Pipeline, tables: Collection[str]) -> Iterator[None]:
    """Have the schema know those of these tables again, after the extract inside, of which there was no row.

    If the process dies here, or before the load is complete, the schema of before stands.
    """
    known: Mapping[str, TTableSchema] = pipeline.default_schema.tables if pipeline.default_schema_name else {}
    before = {name: deepcopy(known[name]) for name in tables if name in known and _has_columns(known[name])}
    yield
    for name, table in before.items():
        schema = pipeline.default_schema
        if name not in schema.tables or not _has_columns(schema.tables[name]):
            schema.update_table(table)


def _has_columns(table: TTableSchema) -> bool:
    return any("data_type" in column for column in table["columns"].values())
