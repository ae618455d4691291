"""The flat export of a REDCap project taken apart: a table an instrument, each cell in one of them, once. Pure.

The flat export has a column for each field of all instruments, and in each row the cells of most of them are empty, for
the row is one of another instrument or event. Which cells a row really has is said by the project's setup, and not by
what they hold: so a table has the same rows whether they are filled in or not. What a row holds against the setup (of a
form that its event does not have any more) gets a row all the same. The table `record` has a row for each of the
export's, with what belongs to no instrument.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from connectors.sources.write_rules import normalised
from pipelines.sources.redcap.dictionary import GROUP, Dictionary, Field, Setup, checkbox_of
from pipelines.sources.redcap.keys import RECORD_KEYS

Row = dict[str, Any]
Cells = Sequence[Any]

_TEXTS = frozenset({str, type(None)})

RECORD = "record"
"""The table of the export's rows themselves."""

OTHERS = ("metadata", "event", "arm", "instrument", "form_event_mapping")
"""Tables of a connector that are none of an instrument."""

_OF_FORMS = ("_complete", "_timestamp", "_return_code")
"""What REDCap puts behind a form's name, for a column of its own."""


class Instruments:
    """The tables of one project's instruments."""

    def __init__(self, dictionary: Dictionary, setup: Setup, owners: Mapping[str, str]) -> None:
        """`owners`: of columns that no field has, the column beside which each stands."""
        self._dictionary = dictionary
        self._setup = setup
        self._owners = owners
        self._by_name = dictionary.by_name()
        self._boxes = {name: each for name, each in self._by_name.items() if each.kind == "checkbox"}
        self.tables = _table_names(dictionary.forms)
        """The table of each form."""
        self.key = (dictionary.identity, *RECORD_KEYS)
        self._shared = (*self.key, GROUP)

    def field_of(self, column: str) -> Field | None:
        """The field that a column belongs to; None of one that is REDCap's own."""
        column = self._owners.get(column, column)
        return self._by_name.get(column) or checkbox_of(column, self._boxes)

    def form_of(self, column: str) -> str:
        """The form that a column belongs to; empty of one that belongs to none."""
        column = self._owners.get(column, column)
        if (known := self.field_of(column)) is not None:
            return known.form
        stems = (column.removesuffix(end) for end in _OF_FORMS if column.endswith(end))
        return next((stem for stem in stems if stem in self.tables), "")

    def types(self) -> dict[str, str]:
        """The type of each column that is none of texts: what REDCap lets in."""
        stamps = {f"{form}_timestamp": "timestamp" for form in self.tables}
        fields = {each.name: each.type for each in self._dictionary.fields if each.name != self._dictionary.identity}
        return stamps | fields

    def taken_apart(self, rows: list[Row]) -> dict[str, pa.Table]:
        """The rows by their tables, as columns of texts; an empty text is none, but in a key."""
        columns: dict[str, list[str]] = {form: [] for form in self.tables}
        columns[""] = []
        there = list(dict.fromkeys(name for row in rows[:1] for name in row))
        if any(len(row) != len(there) for row in rows):
            there = list(dict.fromkeys(name for row in rows for name in row))
        for name in there:
            if name not in self._shared:
                columns[self.form_of(name)].append(name)
        shared = [name for name in self._shared if name in there or name in RECORD_KEYS]
        every = _columns(rows, there)
        found = {RECORD: self._table(every, len(rows), shared, columns[""])}
        places = [self._setup.forms_at(_text(row, RECORD_KEYS[0]), _text(row, RECORD_KEYS[1])) for row in rows]
        for form, table in self.tables.items():
            chosen = [
                row for row, forms in zip(rows, places, strict=True) if form in forms or self._holds(row, columns[form])
            ]
            of_form = every if len(chosen) == len(rows) else _columns(chosen, [*shared, *columns[form]])
            found[table] = self._table(of_form, len(chosen), shared, columns[form])
        return found

    def _holds(self, row: Row, columns: list[str]) -> bool:
        """Whether a row holds anything of a form that it should have nothing of. A box without a tick is nothing."""
        return any(
            value != "[]" and not (value == "0" and (name.endswith("_complete") or "___" in name))
            for name in columns
            if (value := row.get(name))
        )

    def _table(self, cells: Mapping[str, Cells], rows: int, shared: list[str], columns: list[str]) -> pa.Table:
        nothing = ("",) * rows
        arrays = {name: pa.array([cell or "" for cell in cells.get(name, nothing)], pa.string()) for name in shared}
        for name in columns:
            arrays[name] = pa.array([cell or None for cell in cells[name]], pa.string())
        return pa.table(arrays)


def _columns(rows: list[Row], names: list[str]) -> dict[str, Cells]:
    """The cells of these columns as texts, from the first row to the last."""
    if rows and all(list(row) == names for row in rows):
        # As REDCap answers: the same names in the same order, so that no cell is looked up.
        found: Iterable[Cells] = zip(*map(dict.values, rows), strict=True)
    else:
        found = ([row.get(name) for row in rows] for name in names)
    return {
        name: cells if _TEXTS.issuperset(map(type, cells)) else [None if cell is None else str(cell) for cell in cells]
        for name, cells in zip(names, found, strict=True)
    }


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if value is None else value if type(value) is str else str(value)


def _table_names(forms: tuple[str, ...]) -> dict[str, str]:
    """The table of each form: of its name, unless another table of the connector has that."""
    taken = {RECORD, *OTHERS}
    found = {}
    for form in forms:
        name = form
        while normalised(name) in taken or re.fullmatch(r"report_\d+", name):
            name += "_form"
        taken.add(normalised(name))
        found[form] = name
    return found
