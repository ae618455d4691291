"""The data dictionary of a REDCap project and its setup: fields, choices, forms, events, what of it repeats. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pipelines.errors import ConfigurationError

GROUP = "redcap_data_access_group"
"""The column of a record's data access group, where it is asked for."""

COMPLETE = {"0": "Incomplete", "1": "Unverified", "2": "Complete"}
"""What the codes of a form's status mean."""

_TRUTHS = {"yesno": {"1": "Yes", "0": "No"}, "truefalse": {"1": "True", "0": "False"}}
_NUMBERS = {"calc": "double", "slider": "bigint"}
_VALIDATED = (("datetime", "timestamp"), ("date", "date"), ("number", "double"), ("integer", "bigint"))
"""Beginnings of the names of validations, and the type of a value that passes."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the dictionary."""

    name: str
    form: str
    kind: str
    """REDCap's type, such as `radio`."""
    validation: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    """What each code means; none of a field that has no codes."""
    identifier: bool = False
    """The project says that it tells who a person is."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """A field as REDCap's metadata has it."""
        kind = str(row.get("field_type") or "text")
        listed = str(row.get("select_choices_or_calculations") or "")
        choices = choices_in(listed) if kind in {"radio", "dropdown", "checkbox"} else _TRUTHS.get(kind, {})
        return cls(
            str(row["field_name"]),
            str(row.get("form_name") or ""),
            kind,
            str(row.get("text_validation_type_or_show_slider_number") or ""),
            choices,
            str(row.get("identifier") or "").lower() == "y",
        )

    @property
    def has_column(self) -> bool:
        """Whether a record has a column of this name, and not one for each choice, or none."""
        return self.kind not in {"checkbox", "descriptive"}

    @property
    def is_coded(self) -> bool:
        """Whether its column holds one of the codes of its choices."""
        return bool(self.choices) and self.kind != "checkbox"

    @property
    def type(self) -> str:
        """The type of its values: what REDCap itself lets in. A code is a text, whatever it looks like."""
        if self.kind != "text":
            return _NUMBERS.get(self.kind, "text")
        if "comma" in self.validation:
            return "text"  # 7,4 is no number that another program reads
        return next((kind for start, kind in _VALIDATED if self.validation.startswith(start)), "text")


def choices_in(listed: str) -> dict[str, str]:
    """Codes and labels, as REDCap writes them: `1, One | 2, Two`."""
    pairs = (choice.partition(",") for choice in listed.split("|"))
    return {code.strip(): label.strip() for code, _, label in pairs if code.strip()}


@dataclass(frozen=True, slots=True)
class Dictionary:
    """All fields of a project, in its order. The first one holds a record's id."""

    fields: tuple[Field, ...]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        """The dictionary as REDCap's metadata has it.

        Raises:
            ConfigurationError: when there is no field, or one without a name.
        """
        found = list(rows)
        if not found:
            raise ConfigurationError("The REDCap project has no fields: check that source.token belongs to it.")
        if not all(row.get("field_name") for row in found):
            raise ConfigurationError(
                "REDCap answered metadata with fields that have no field_name: check source.api_url."
            )
        return cls(tuple(map(Field.of, found)))

    @property
    def identity(self) -> str:
        """The field that holds a record's id."""
        return self.fields[0].name

    @property
    def forms(self) -> tuple[str, ...]:
        """The instruments, in the project's order."""
        return tuple(dict.fromkeys(each.form for each in self.fields if each.form))

    def by_name(self) -> dict[str, Field]:
        """The fields by their names."""
        return {each.name: each for each in self.fields}


def checkbox_of(column: str, boxes: Mapping[str, Field]) -> Field | None:
    """The field of checkboxes to which a column of one choice belongs: `symptoms___1` to `symptoms`."""
    for found in re.finditer("___", column):
        if column[: found.start()] in boxes:
            return boxes[column[: found.start()]]
    return None


def box_columns(box: Field) -> list[str]:
    """The columns of a field of checkboxes, one for each choice."""
    return [f"{box.name}___{_as_written(code)}" for code in box.choices]


def box_code(column: str, box: Field) -> str:
    """The code of a checkbox's column, which REDCap writes in small letters, and with `_` for what no name has."""
    written = column[len(box.name) + 3 :]
    return next((code for code in box.choices if _as_written(code) == written), written)


def _as_written(code: str) -> str:
    return re.sub("[^a-z0-9]", "_", code.lower())


@dataclass(frozen=True, slots=True)
class Setup:
    """How a project is set up: which forms an event has, and what repeats."""

    forms: tuple[str, ...]
    """All of the project."""
    by_event: Mapping[str, frozenset[str]] | None = None
    """The forms of each event; None in a project without events."""
    repeating: frozenset[tuple[str, str]] = frozenset()
    """Event and form of each form that repeats; the event is empty in a project without events."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Codes that mean that a value is missing, and why."""

    @classmethod
    def of(
        cls,
        forms: tuple[str, ...],
        project: Mapping[str, Any],
        mapping: Iterable[Mapping[str, Any]],
        repeats: Iterable[Mapping[str, Any]],
    ) -> Self:
        """The setup as REDCap answers `project`, `formEventMapping` and `repeatingFormsEvents`."""
        by_event: dict[str, set[str]] = {}
        for row in mapping:
            by_event.setdefault(str(row.get("unique_event_name") or ""), set()).add(str(row.get("form") or ""))
        return cls(
            forms,
            {event: frozenset(found) for event, found in by_event.items()}
            if is_set(project, "is_longitudinal")
            else None,
            frozenset(
                (str(row.get("event_name") or ""), str(row["form_name"])) for row in repeats if row.get("form_name")
            ),
            choices_in(str(project.get("missing_data_codes") or "")),
        )

    def forms_at(self, event: str, instrument: str) -> frozenset[str]:
        """The forms of which a row of the flat export holds the cells."""
        if instrument:
            return frozenset({instrument})
        there = frozenset(self.forms) if self.by_event is None else self.by_event.get(event, frozenset())
        return there - {form for where, form in self.repeating if where == event}


def is_set(project: Mapping[str, Any], name: str) -> bool:
    """Whether REDCap says that a project has something: as 1 or "1"."""
    return str(project.get(name) or "0") == "1"
