"""Pages of rows whose values are texts, as Arrow tables: the shape in which a document's rows go on."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipelines.sources.files.faults import check_width

PAGE_ROWS = 20_000

TextRow = dict[str, str | None]
"""Values by column; a column that is not there has none."""


def text_pages(rows: Iterator[TextRow]) -> Iterator[pa.Table]:
    """Rows page by page, each with the columns that its rows have, in the order in which they came.

    Raises:
        BrokenFileError: they have more columns than any table.
    """
    page: list[TextRow] = []
    names: dict[str, None] = {}
    for row in rows:
        page.append(row)
        names.update(dict.fromkeys(row))
        # Before a page is made of them: one row may have so many that all others have no value there.
        check_width(len(names))
        if len(page) >= PAGE_ROWS:
            yield _table(page, names)
            page, names = [], {}
    if page:
        yield _table(page, names)


def _table(page: list[TextRow], names: dict[str, None]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in page], pa.string()) for name in names})


def as_json(value: Any) -> str:
    """A part of a document that is no single text, as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
