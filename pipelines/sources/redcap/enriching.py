"""Rows of REDCap's flat export with what people wish beside them: labels, lists of codes, missing-data codes. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.sources.write_rules import letters_and_digits
from pipelines.rows.json_values import dump
from pipelines.sources.redcap.dictionary import COMPLETE, Dictionary, box_code, checkbox_of
from pipelines.sources.redcap.keys import RECORD_KEYS

Row = dict[str, Any]

_TICKS = frozenset({"", "0", "1"})


@dataclass
class Enriching:
    """What is done to the rows of one project."""

    dictionary: Dictionary
    labels: bool = False
    as_codes: bool = False
    """The boxes of a field as one list of codes, and not a column for each choice."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Missing-data codes, which leave the columns that they stand in."""
    masked: Collection[str] = ()
    """Columns that are masked: nothing of theirs may stand beside them."""

    def __post_init__(self) -> None:
        self._by_name = self.dictionary.by_name()
        self._boxes = {name: each for name, each in self._by_name.items() if each.kind == "checkbox"}
        self._taken = set(self._by_name)
        self.owners: dict[str, str] = {}
        """The column beside which each new one stands."""
        self._beside: dict[tuple[str, str], str] = {}
        self.lists: set[str] = set()
        """The columns that hold lists. What lands of a hidden one is no list."""
        for name in self._boxes if self.as_codes else ():
            if self._is_masked(name):
                continue
            self.lists.add(name)
            if self.labels:
                self.lists.add(self._column(name, "label"))

    def rows(self, rows: list[Row]) -> list[Row]:
        """The rows, changed in place; all of them have the same columns."""
        if rows and self.missing:
            self._take_missing(rows)
        if rows and self.as_codes:
            self._take_boxes(rows)
        if rows and self.labels:
            self._add_labels(rows)
        return rows

    def _column(self, name: str, what: str) -> str:
        """The column beside another: `sex_label`, or the next such name that no field has."""
        if (name, what) not in self._beside:
            place = base = f"{name}_{what}"
            number = 1
            while place in self._taken:
                number += 1
                place = f"{base}_{number}"
            self._taken.add(place)
            self._beside[name, what] = place
            self.owners[place] = name
        return self._beside[name, what]

    def _take_missing(self, rows: list[Row]) -> None:
        left_alone = {self.dictionary.identity, *RECORD_KEYS}
        for name in [name for name in rows[0] if name not in left_alone and not self._is_masked(name)]:
            if any(row.get(name) in self.missing for row in rows):
                place = self._column(name, "missing")
                for row in rows:
                    is_missing = row.get(name) in self.missing
                    row[place] = row[name] if is_missing else ""
                    row[name] = "" if is_missing else row.get(name, "")

    def _take_boxes(self, rows: list[Row]) -> None:
        found: dict[str, dict[str, str]] = {}
        for column in rows[0]:
            if (box := checkbox_of(column, self._boxes)) is not None:
                found.setdefault(box.name, {})[column] = box_code(column, box)
        for name, columns in found.items():
            if any(row.get(column, "") not in _TICKS for column in columns for row in rows):
                continue  # nobody knows what those mean: the columns stay as they are
            label = self._beside.get((name, "label"))
            choices = self._boxes[name].choices
            for row in rows:
                cells = {code: row.pop(column, "") for column, code in columns.items()}
                ticked = [code for code, cell in cells.items() if cell == "1"]
                is_asked = any(cells.values())
                row[name] = _dumped(ticked) if is_asked else ""
                if label is not None:
                    row[label] = _dumped([choices.get(code, "") for code in ticked]) if is_asked else ""

    def _add_labels(self, rows: list[Row]) -> None:
        for name in list(rows[0]):
            known = self._by_name.get(name)
            form = name.removesuffix("_complete")
            choices = known.choices if known is not None and known.is_coded else {}
            if known is None and form != name and form in self.dictionary.forms:
                choices = COMPLETE
            if not choices or self._is_masked(name):
                continue
            place = self._column(name, "label")
            for row in rows:
                value = str(row.get(name) or "")
                row[place] = choices.get(value, self.missing.get(value, "")) if value else ""

    def _is_masked(self, name: str) -> bool:
        return letters_and_digits(name) in self.masked


def _dumped(values: list[str]) -> str:
    return dump(values).decode()
