"""CDISC Dataset-JSON 1.1: a table with its columns described, as one JSON object or as lines of JSON.

Read as a stream of values, so that memory does not grow with the rows. Numbers keep the digits that they were written
with. Source: the specification of Dataset-JSON 1.1, www.cdisc.org.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ijson
import pyarrow as pa

from pipelines.rows.csv_to_arrow import PART_OF_DAY
from pipelines.sources.files.decoding import unpacked
from pipelines.sources.files.documents.text_pages import TextRow, as_json, text_pages
from pipelines.sources.files.documents.trees import Watched
from pipelines.sources.files.faults import BrokenFileError

TYPES = {
    "string": "text", "URI": "text", "integer": "bigint", "decimal": "decimal", "float": "double", "double": "double",
    "boolean": "bool", **dict.fromkeys(("date", "datetime", "time"), PART_OF_DAY),
}  # fmt: skip
"""Types of columns by those of the format. A date may be a part of one, so what it is shows in the values."""

DEEPEST = 200
"""Levels of a value; nobody could write one of many more."""


@dataclass(slots=True)
class _Dataset:
    """What a file says of itself before its rows."""

    said: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Its columns are known now, or it has none.

        Raises:
            BrokenFileError: rows come before the columns are described.
        """
        columns = self.said.get("columns")
        if not isinstance(columns, list) or not all(isinstance(each, dict) and each.get("name") for each in columns):
            raise BrokenFileError("is no Dataset-JSON: its columns are not described before its rows")
        self.names = [str(each["name"]) for each in columns]

    def types(self) -> dict[str, str]:
        """The types of its columns, as far as it says them."""
        return {
            str(each["name"]): TYPES[each["dataType"]] for each in self.said["columns"] if each.get("dataType") in TYPES
        }


def dataset_tables(
    reopen: Callable[[], Any], declare: Callable[[dict[str, str]], None] = lambda _: None
) -> Iterator[pa.Table]:
    """The rows of a file. `declare` is given the types of its columns.

    Raises:
        BrokenFileError: it is no Dataset-JSON, is cut, or holds other numbers of rows or values than it says.
    """
    yield from text_pages(_rows(reopen, declare))


def dataset_codebook(reopen: Callable[[], Any], name: str) -> Iterator[list[dict[str, Any]]]:
    """What the columns of a file of that name mean, as one page."""
    dataset = _Dataset()
    for _ in _values(reopen, dataset):
        break
    if not dataset.names:
        dataset.begin()
    yield [
        {
            "file": name,
            "position": position,
            "variable": column["name"],
            "value": "",
            "label": column.get("label"),
            "format": column.get("displayFormat") or column.get("dataType"),
            "missing_values": None,
        }
        for position, column in enumerate(dataset.said["columns"], start=1)
    ]


def _rows(reopen: Callable[[], Any], declare: Callable[[dict[str, str]], None]) -> Iterator[TextRow]:
    dataset, count = _Dataset(), 0
    for values in _values(reopen, dataset):
        if not count:
            declare(dataset.types())
        count += 1
        if not isinstance(values, list) or len(values) != len(dataset.names):
            raise BrokenFileError(f"has other values in row {count} than it describes columns: correct it")
        yield {name: _text(value) for name, value in zip(dataset.names, values, strict=True)}
    records = dataset.said.get("records")
    if isinstance(records, int) and records != count:
        raise BrokenFileError(f"says that it has {records} records, and has {count}: bring it again")


def _values(reopen: Callable[[], Any], dataset: _Dataset) -> Iterator[Any]:
    """The rows as they stand. What the file says of itself is noted on the way."""
    watched = Watched(unpacked(reopen()), b",")
    events = ijson.basic_parse(watched, multiple_values=True)
    try:
        event, _ = next(events)
        if event != "start_map":
            raise BrokenFileError("is no Dataset-JSON: it does not begin with an object")
        for event, key in events:
            if event == "end_map":
                break
            event, value = next(events)  # noqa: PLW2901  # of the key's value
            if (key, event) != ("rows", "start_array"):
                dataset.said[key] = _built(event, value, events)
                continue
            dataset.begin()
            for event, value in events:  # noqa: PLW2901  # of the rows
                if event == "end_array":
                    break
                yield _built(event, value, events)
                watched.let_go()
        if not dataset.names:
            dataset.begin()
        # As lines, the rows come after the object.
        for event, value in events:
            yield _built(event, value, events)
            watched.let_go()
    except ijson.JSONError:
        pass
    else:
        return
    # Not from the parser's own error, which holds a part of the file.
    raise BrokenFileError("is no whole Dataset-JSON: it is cut or damaged; bring it again")


def _built(event: str, value: Any, events: Iterator[tuple[str, Any]]) -> Any:
    """The value that begins with this event; those of what is in it are taken."""
    builder, depth = ijson.ObjectBuilder(), 0
    while True:
        builder.event(event, value)
        depth += (event in {"start_map", "start_array"}) - (event in {"end_map", "end_array"})
        if not depth:
            return builder.value
        if depth > DEEPEST:
            raise BrokenFileError(f"holds a value that is nested more than {DEEPEST} deep: correct or remove it")
        event, value = next(events)


def _text(value: Any) -> str | None:
    """A value as it is written."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return as_json(value) if isinstance(value, list | dict) else str(value)
