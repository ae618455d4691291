"""Files of statistics programs: rows as Arrow tables, and the codebook that says what their variables mean.

Codes land in the table and labels in the codebook `{table}__codebook`: a row for each variable, and one for each value
that has a label.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from connectors.sources.file_formats import FileFormat
from connectors.sources.files import FileReading
from pipelines.sources.files.decoding import unpacked
from pipelines.sources.files.statistics.variables import Variable

CODEBOOK_KEY = ("file", "variable", "value")


def statistics_pages(reopen: Callable[[], Any], source: FileReading) -> Iterator[pa.Table]:
    """A file's rows, page by page.

    Raises:
        BrokenFileError: when it is none of its format.
    """
    yield from _opened(reopen, source).pages()


def codebook_pages(reopen: Callable[[], Any], source: FileReading, name: str) -> Iterator[list[dict[str, Any]]]:
    """The codebook of a file of that name, as one page."""
    rows = []
    for position, variable in enumerate(_opened(reopen, source).variables, start=1):
        rows += list(_codebook(variable, position, name))
    if rows:
        yield rows


def _codebook(variable: Variable, position: int, name: str) -> Iterator[dict[str, Any]]:
    row = {"file": name, "position": position, "variable": variable.name}
    missing = ", ".join(variable.missing) or None
    yield {
        **row, "value": "", "label": variable.label or None, "format": variable.form or None, "missing_values": missing
    }  # fmt: skip
    for value, label in variable.value_labels.items():
        yield {**row, "value": value, "label": label, "format": None, "missing_values": None}


def _opened(reopen: Callable[[], Any], source: FileReading) -> Any:
    stream = unpacked(reopen())
    if source.format is FileFormat.XPT:
        from pipelines.sources.files.statistics.xpt import Transport  # noqa: PLC0415  # numpy, which no other kind needs

        return Transport(stream, source.encoding)
    from pipelines.sources.files.statistics.by_readstat import Statistics  # noqa: PLC0415

    return Statistics(stream, source.format, source.encoding)
