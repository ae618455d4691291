"""Files and sheets as tables to be chosen among, and how a source of files says the choice. Pure.

Files whose names differ in their numbers alone and that have the same columns are one table, whose pattern takes in the
files that are yet to come; every other file, and every sheet, is a table of its own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from connectors.discovery import Item, ItemKind
from connectors.sources.file_formats import ENDINGS, PACKED, WORKBOOKS
from connectors.sources.files import FileReading
from connectors.sources.write_rules import normalised

_NUMBER = "[0-9]*"
_OWN = frozenset({"table", "glob", "sheet", "primary_key"})
"""What each table says for itself, beside what is said of all."""

_OF_BOOKS = "|".join(ending for kind in WORKBOOKS for ending in ENDINGS[kind])
_SHEET = re.compile(rf"(.+?\.(?:{_OF_BOOKS}){PACKED.removesuffix('$')})/(.+)", re.IGNORECASE | re.DOTALL)
_ENDING = re.compile(rf"\.({'|'.join(ending for each in ENDINGS.values() for ending in each)}){PACKED}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileTable:
    """A table to be: its item, under the name that `file_tables` takes, and what it is called for people."""

    item: Item
    label: str


def offered(items: Iterable[Item]) -> list[FileTable]:
    """The tables that files and sheets may become, in their order. A workbook is what its sheets are."""
    found = list(items)
    books = {_parts(item.name)[0] for item in found if item.kind is ItemKind.SHEET}
    alike: dict[tuple[str, str, tuple[str, ...]], list[Item]] = {}
    for item in found:
        file, sheet = _parts(item.name)
        if item.kind is ItemKind.SHEET or file not in books:
            alike.setdefault((_shape(file), sheet, tuple(each.name for each in item.columns)), []).append(item)
    return [_table(same, shape, sheet) for (shape, sheet, _), same in alike.items()]


def file_tables(source: Mapping[str, Any], picked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The source with a table for each item that is picked, by the names that `offered` gives them.

    The one file that the address names is the source's only table; where nothing is picked, all files are.
    """
    bare = {key: value for key, value in source.items() if key != "tables"}
    only = named_file(source)
    if not picked:
        return bare
    if only is not None and [_parts(each["name"]) for each in picked] == [(only, "")]:
        key = list(picked[0].get("primary_key") or ())
        return {**{name: value for name, value in bare.items() if name != "primary_key"}, **_said(primary_key=key)}
    before = {name_of(each, source): each for each in source.get("tables") or () if isinstance(each, Mapping)}
    tables: list[dict[str, Any]] = []
    for each in picked:
        file, sheet = _parts(each["name"])
        said = dict(before.get(each["name"], {}))
        said.setdefault("table", _distinct(file, sheet, {str(table["table"]) for table in tables}))
        said.pop("primary_key", None)
        tables.append({**said, **_said(glob=file, sheet=sheet, primary_key=each.get("primary_key"))})
    return {**bare, "tables": tables}


def name_of(table: Mapping[str, Any], source: Mapping[str, Any]) -> str:
    """The name of the item that a table of a source is."""
    file = str(table.get("glob") or named_file(source) or "")
    return f"{file}/{table['sheet']}" if table.get("sheet") else file


def named_file(source: Mapping[str, Any]) -> str | None:
    """The file that the address of a source names; None for a directory."""
    name = PurePosixPath(str(source.get("url", "")).partition("?")[0]).name
    return name if _ENDING.search(name) else None


def gathered(source: Mapping[str, Any]) -> dict[str, Any]:
    """A source whose tables say alike how files are read, with that said once: as a form asks for it."""
    tables = [each for each in source.get("tables") or () if isinstance(each, Mapping)]
    if source.get("type") != "files" or not tables:
        return dict(source)
    shared = {
        key: value
        for key, value in tables[0].items()
        if key not in _OWN and all(key in each and each[key] == value for each in tables)
    }
    own = [{key: value for key, value in each.items() if key not in shared} for each in tables]
    return {**source, **shared, "tables": own}


def spread(source: Mapping[str, Any]) -> dict[str, Any]:
    """The source as a run takes it: what was said once of all its tables is said by each."""
    tables = [each for each in source.get("tables") or () if isinstance(each, Mapping)]
    if source.get("type") != "files" or not tables:
        return dict(source)
    of_one = FileReading.model_fields.keys()
    shared = {key: value for key, value in source.items() if key in of_one - _OWN}
    rest = {key: value for key, value in source.items() if key not in of_one}
    return {**rest, "tables": [{**shared, **each} for each in tables]}


def _said(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _parts(name: str) -> tuple[str, str]:
    """The file and the sheet of an item's name; no sheet for a file."""
    found = _SHEET.fullmatch(name)
    return (name, "") if found is None else (found[1], found[found.re.groups])


def _shape(file: str) -> str:
    return file if re.search(r"[\[\]*?]", file) else re.sub(r"\d+", _NUMBER, file)


def _table(same: Sequence[Item], shape: str, sheet: str) -> FileTable:
    item, file = same[-1], _parts(same[-1].name)[0]
    label = f"{sheet} in {file}" if sheet else file
    if len(same) == 1:
        return FileTable(item, label)
    more = "another file like it" if len(same) == 2 else f"{len(same) - 1} files like it"
    return FileTable(replace(item, name=f"{shape}/{sheet}" if sheet else shape), f"{label} and {more}")


def _distinct(file: str, sheet: str, taken: set[str]) -> str:
    """A table's name that is none of those that are taken."""
    stem = _ENDING.sub("", PurePosixPath(file).name.replace(_NUMBER, ""))
    names = [
        normalised(re.sub(r"^\W+|[\W_]+$", "", each))
        for each in ((sheet, f"{stem} {sheet}") if sheet else (stem, file))
    ]
    names = [name for name in names if re.search("[a-z0-9]", name)] or ["files"]
    for name in names:
        if name not in taken:
            return name
    return next(name for number in range(2, len(taken) + 3) if (name := f"{names[-1]}_{number}") not in taken)
