"""Rows of XML: each element at a path is one, with what is in it as columns.

An attribute and an element with text are a column of their name; what is deeper has the names on the way before it, as
in `address_city`. Of an element that is there several times in a row, the first one is in the columns, and all of them
are in `..._all`, as JSON.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from connectors.sources.files import FileReading
from pipelines.sources.files.documents.text_pages import TextRow, as_json, text_pages
from pipelines.sources.files.documents.trees import elements, local_name
from pipelines.sources.files.faults import BrokenFileError

TEXT = "text"
"""The column of an element's own text, where it has attributes or elements as well."""


def xml_tables(
    reopen: Callable[[], Any],
    source: FileReading,
    tell: Callable[[str], None] = lambda _: None,
    twin: Callable[[str, str], None] = lambda *_: None,
) -> Iterator[pa.Table]:
    """The rows of a file. `source.row_path` says which elements they are; `tell` is given sentences about the file, and
    `twin` a name that two things have, with the one under which the second lands.

    Raises:
        BrokenFileError: the file is no whole XML, or has no element at the path's beginning.
    """
    path = tuple(step for step in str(source.row_path).split("/") if step)
    found = False
    for page in text_pages(_rows(reopen, path, twin)):
        found = True
        yield page
    if not found:
        tell("has no element at row_path: look whether it is written as in the file")


def _rows(reopen: Callable[[], Any], path: tuple[str, ...], twin: Callable[[str, str], None]) -> Iterator[TextRow]:
    root = None
    for element in elements(reopen, (path[-1],), lambda found: _way(found)[: len(path)] == path):
        way = _way(element)
        root = way[0] if way else path[-1]
        if way == path[:-1]:
            yield row_of(element, twin)
    if root is not None and root != path[0]:
        raise BrokenFileError(f"begins with another element than row_path does: name the path from '{root}' on")


def _way(element: Any) -> tuple[str, ...]:
    """The names of the elements around one, the outermost first."""
    return tuple(local_name(each) for each in reversed(list(element.iterancestors())))


class _Row(dict[str, str | None]):
    """The columns of one element."""

    def __init__(self, twin: Callable[[str, str], None]) -> None:
        super().__init__()
        self.twin = twin


def row_of(element: Any, twin: Callable[[str, str], None] = lambda *_: None) -> TextRow:
    """The columns of one element."""
    row = _Row(twin)
    _fill(row, "", element)
    return row


def _fill(row: _Row, prefix: str, element: Any) -> None:
    children = [child for child in element if isinstance(child.tag, str)]
    text = _text(element)
    for name, value in element.attrib.items():
        _put(row, prefix + local_name(name), value)
    if text and (children or element.attrib or not prefix):
        _put(row, prefix + TEXT, text)
    by_name: dict[str, list[Any]] = {}
    for child in children:
        by_name.setdefault(local_name(child), []).append(child)
    for name, found in by_name.items():
        first = found[0]
        if len(first) or first.attrib:
            _fill(row, f"{prefix}{name}_", first)
        else:
            _put(row, prefix + name, _text(first))
        if len(found) > 1:
            _put(row, f"{prefix}{name}_all", as_json([_said(each) for each in found]))


def _put(row: _Row, name: str, value: str | None) -> None:
    """Set a column. Two things of one name, such as an attribute and an element, are told apart by a number."""
    number, free = 1, name
    while free in row:
        number += 1
        free = f"{name}_{number}"
    if number > 1:
        row.twin(name, free)
    row[free] = value


def _text(element: Any) -> str | None:
    """An element's own text, that between its elements included; None: there is none but space."""
    texts = [element.text, *(child.tail for child in element)]
    found = "".join(text for text in texts if text)
    return found if found.strip() else None


def _said(element: Any) -> Any:
    """What an element says, as JSON has it."""
    children = [child for child in element if isinstance(child.tag, str)]
    if not children and not element.attrib:
        return _text(element)
    said: dict[str, Any] = {f"@{local_name(name)}": value for name, value in element.attrib.items()}
    if text := _text(element):
        said[TEXT] = text
    for child in children:
        said.setdefault(local_name(child), []).append(_said(child))
    return said
