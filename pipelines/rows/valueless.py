"""Arrow tables of rows that have no value in any column, which are rows all the same: counted, and landed.

A column without a value yet has no type, so it lands when it has one. A page of nothing but such rows has no column at
all then; Arrow keeps its number of rows, dlt gives each row the id of its load, and by that it lands.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa


def table_of(columns: Mapping[str, Any], rows: int) -> pa.Table:
    """A table of the columns; of so many rows, where there is no column."""
    return pa.table(columns) if columns else pa.table({"none": pa.nulls(rows)}).select([])
