"""Origin of rows: the file that each came from, and its place there."""

from typing import Any

import pyarrow as pa

FILE, ROW, SHEET = "_file", "_row", "_sheet"


def with_origin(page: Any, name: str, before: int) -> Any:
    """A page of a file, with where each row came from.

    Args:
        page: an Arrow table, or a list of rows; what is no object in a list stays as it is.
        name: of the file, as it is shown.
        before: how many rows of the file came before.
    """
    if not isinstance(page, pa.Table):
        return [
            {FILE: name, ROW: number, **row} if isinstance(row, dict) else row
            for number, row in enumerate(page, start=before + 1)
        ]
    of_text = all(kind == pa.string() for kind in page.schema.types)
    numbers = pa.array(range(before + 1, before + 1 + len(page)), pa.int64())
    origin = {FILE: pa.array([name] * len(page), pa.string()), ROW: numbers.cast(pa.string()) if of_text else numbers}
    return pa.table({**origin, **{column: page[column] for column in page.column_names}})
