"""A made-up REDCap project behind its API: any mix of field types, events in arms, what repeats, and what was logged.

It knows its cells one by one, and makes of them the flat export as REDCap does: a row an event and instance, a column a
field or choice, empty where the row has no such cell. It follows the API's help page: parameters, errors, and times by
the clock on its own wall.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from tests.support.servers.http_server import Answer, Asked
from tests.support.servers.redcap import TOKEN

Place = tuple[str, str, str, str]
"""Record, event, repeating instrument, instance."""

VALUES = {
    "text": ["", "fell\nout of bed", "O'Hara", "<5", "0042", "UNKNOWN"],
    "number": ["", "7.4", "7.40", "-0.5", "12345678901234567890.5"],
    "integer": ["", "7", "0042", "-1"],
    "date_dmy": ["", "2024-01-31", "1901-12-01"],
    "datetime_mdy": ["", "2024-01-31 08:00"],
    "time": ["", "08:00"],
    "notes": ["", "several\nlines"],
    "radio": ["", "1", "02", "-9"],
    "dropdown": ["", "1", "02", "-9"],
    "yesno": ["", "0", "1"],
    "truefalse": ["", "0", "1"],
    "calc": ["", "3", "3.5"],
    "slider": ["", "0", "100"],
    "file": ["", "[document]"],
    "sql": ["", "17"],
}
"""Values by field type or, of texts, by validation."""

CHOICES = "1, One | 02, Two, or more | -9, Won't say"
BOXES = {"1": "1", "02": "02", "-9": "_9"}
"""Codes, and how they are written in the names of columns."""
MISSING = "NASK, Not asked | UNK, Unknown"


@dataclass
class MadeProject:
    """A project; called with a request it answers."""

    fields: list[dict[str, str]]
    events: dict[str, set[str]] = field(default_factory=dict)
    """Forms by event; none in a classic project."""
    repeating: set[tuple[str, str]] = field(default_factory=set)
    """Event and form; the form is empty where the event repeats as a whole."""
    missing: str = ""
    cells: dict[Place, dict[str, str]] = field(default_factory=dict)
    """The cells of each row that the flat export has."""
    groups: dict[str, str] = field(default_factory=dict)
    """Data access group by record."""
    log: list[dict[str, str]] = field(default_factory=list)
    may_log: bool = True
    zone: timedelta = timedelta(0)
    forms: list[dict[str, str]] = field(default_factory=list)
    """What was asked."""

    @property
    def identity(self) -> str:
        return self.fields[0]["field_name"]

    @property
    def instruments(self) -> list[str]:
        return list(dict.fromkeys(each["form_name"] for each in self.fields))

    def columns(self, forms: Iterable[str]) -> list[str]:
        """The columns of these forms in the flat export, without the record's id."""
        found = []
        for form in forms:
            for each in self.fields[1:]:
                if each["form_name"] == form and each["field_type"] != "descriptive":
                    name = each["field_name"]
                    is_box = each["field_type"] == "checkbox"
                    found += [f"{name}___{code}" for code in BOXES.values()] if is_box else [name]
            found.append(f"{form}_complete")
        return found

    def forms_at(self, event: str, instrument: str) -> set[str]:
        """The forms of which a row holds cells."""
        if instrument:
            return {instrument}
        there = self.events[event] if self.events else set(self.instruments)
        return there - {form for where, form in self.repeating if where == event}

    def flat(self, *, columns: list[str] | None = None, records: set[str] | None = None) -> list[dict[str, str]]:
        """The flat export."""
        wanted = self.columns(self.instruments) if columns is None else columns
        return [
            {
                self.identity: record,
                **({"redcap_event_name": event} if self.events else {}),
                **({"redcap_repeat_instrument": form, "redcap_repeat_instance": number} if self.repeating else {}),
                **{name: cells.get(name, "") for name in wanted},
            }
            for (record, event, form, number), cells in self.cells.items()
            if records is None or record in records
        ]

    def note(self, record: str, kind: str = "Update", *, at: datetime | None = None) -> None:
        """Write into the log, by the clock on the wall."""
        wall = (at or datetime.now(UTC)) + self.zone
        self.log.append(
            {
                "timestamp": f"{wall:%Y-%m-%d %H:%M}", "username": "somebody", "action": f"{kind} record {record}",
                "details": "", "record": record, "_at": f"{wall:%Y-%m-%d %H:%M:%S}",
            }
        )  # fmt: skip

    def delete(self, record: str) -> None:
        """Delete a record with all its rows."""
        self.cells = {place: cells for place, cells in self.cells.items() if place[0] != record}
        self.note(record, "Delete")

    def rename(self, record: str, name: str) -> None:
        """Give a record another id, of which REDCap's log has the new one."""
        self.cells = {(name if place[0] == record else place[0], *place[1:]): c for place, c in self.cells.items()}
        self.note(name)

    def __call__(self, asked: Asked) -> Any:  # noqa: PLR0911  # a table of contents
        form = {key: values[0] for key, values in parse_qs(asked.body.decode()).items()}
        self.forms.append(form)
        if form.get("token") != TOKEN:
            return Answer({"error": "You do not have permissions to use the API"}, 403)
        match form["content"]:
            case "metadata":
                return self.fields
            case "project":
                return {
                    "project_id": 7, "is_longitudinal": int(bool(self.events)), "missing_data_codes": self.missing,
                    "has_repeating_instruments_or_events": int(bool(self.repeating)),
                }  # fmt: skip
            case "formEventMapping" if self.events:
                return [
                    {"arm_num": 1, "unique_event_name": event, "form": each}
                    for event, forms in self.events.items()
                    for each in sorted(forms)
                ]
            case "repeatingFormsEvents" if self.repeating:
                return [
                    {"event_name": event, "form_name": each, "custom_form_label": ""} for event, each in self.repeating
                ]
            case "record":
                return self._records(form)
            case "report":
                return self.flat(columns=self.columns(self.instruments[:1]))
            case "log":
                return self._log(form)
        return Answer({"error": f"The content {form['content']} is not valid for this project"}, 400)

    def _records(self, form: dict[str, str]) -> Any:
        chosen = {key: [v for name, v in form.items() if name.startswith(f"{key}[")] for key in ("forms", "fields")}
        columns = None
        if chosen["forms"] or chosen["fields"]:
            columns = self.columns(chosen["forms"])
            known = self.columns(self.instruments)
            columns += [c for c in known if c.partition("___")[0] in chosen["fields"] and c not in columns]
        begin, end = form.get("dateRangeBegin", ""), form.get("dateRangeEnd", "9")
        records = {place[0] for place in self.cells}
        if begin or "dateRangeEnd" in form:
            records &= {entry["record"] for entry in self.log if begin < entry["_at"] < end}
        if asked_for := {value for name, value in form.items() if name.startswith("records[")}:
            records &= asked_for
        rows = self.flat(columns=columns, records=records)
        if events := {value for name, value in form.items() if name.startswith("events[")}:
            rows = [row for row in rows if row["redcap_event_name"] in events]
        if form.get("filterLogic"):
            name, _, value = form["filterLogic"].partition(" = ")
            kept = {place for place, cells in self.cells.items() if cells.get(name.strip("[] ")) == value.strip("' ")}
            rows = [row for row in rows if any(place[0] == row[self.identity] for place in kept)]
        for row in rows:
            if form.get("exportDataAccessGroups") == "true":
                row["redcap_data_access_group"] = self.groups.get(row[self.identity], "")
            if form.get("exportSurveyFields") == "true" and columns != []:
                row["redcap_survey_identifier"] = ""
                there = self.forms_at(row.get("redcap_event_name", ""), row.get("redcap_repeat_instrument", ""))
                is_there = self.instruments[0] in there
                row[f"{self.instruments[0]}_timestamp"] = "2024-01-31 08:00:00" if is_there else ""
        return rows

    def _log(self, form: dict[str, str]) -> Any:
        if not self.may_log:
            return Answer({"error": "You do not have Logging privileges"}, 403)
        kinds = {"record": "", "record_delete": "Delete", "record_add": "Create", "record_edit": "Update"}
        return [
            {name: value for name, value in entry.items() if name != "_at"}
            for entry in reversed(self.log)
            if entry["timestamp"] >= form.get("beginTime", "")
            and entry["action"].startswith(kinds[form.get("logtype", "record")])
        ]


def made(seed: int, records: int = 4) -> MadeProject:
    """A project that a seed decides: classic or longitudinal, with and without repeats, of all types of fields."""
    chance = random.Random(seed)  # projects of tests
    instruments = [f"form_{letter}" for letter in "abcd"[: chance.randint(1, 4)]]
    if chance.random() < 0.2:
        instruments[-1] = chance.choice(["record", "metadata", "event", "form_a_complete"])
    fields = [{"field_name": "study_id", "form_name": instruments[0], "field_type": "text"}]
    kinds = [*VALUES, "checkbox", "descriptive"]
    for number, form in enumerate(instruments):
        for kind in chance.sample(kinds, chance.randint(1, len(kinds))):
            is_plain = kind in {"notes", "radio", "dropdown", "yesno", "truefalse", "calc", "slider", "file", "sql"}
            is_other = is_plain or kind in {"checkbox", "descriptive"}
            fields.append(
                {
                    "field_name": f"{kind}_{number}",
                    "form_name": form,
                    "field_type": kind if is_other else "text",
                    "text_validation_type_or_show_slider_number": "" if is_other or kind == "text" else kind,
                    "select_choices_or_calculations": CHOICES if kind in {"radio", "dropdown", "checkbox"} else "",
                    "identifier": "y" if chance.random() < 0.1 else "",
                }
            )
    if chance.random() < 0.3:
        fields.append({"field_name": "radio_0_label", "form_name": instruments[0], "field_type": "text"})
    project = MadeProject(fields, missing=MISSING if chance.random() < 0.5 else "")
    if chance.random() < 0.5:
        for event in chance.sample(["baseline_arm_1", "week_4_arm_1", "baseline_arm_2"], chance.randint(1, 3)):
            project.events[event] = set(chance.sample(instruments, chance.randint(1, len(instruments))))
    for event, forms in (project.events or {"": set(instruments)}).items():
        if project.events and chance.random() < 0.3:
            project.repeating.add((event, ""))
        else:
            project.repeating |= {(event, form) for form in sorted(forms) if chance.random() < 0.3}
    for number in range(1, records + 1):
        _fill(project, f"P-{number}", chance)
    return project


def _fill(project: MadeProject, record: str, chance: random.Random) -> None:
    project.groups[record] = chance.choice(["", "berlin", "graz"])
    for event in project.events or [""]:
        repeats = (event, "") in project.repeating
        for number in range(1, chance.randint(1, 3) + 1) if repeats else [""]:
            place = (record, event, "", str(number))
            project.cells[place] = _cells(project, project.forms_at(event, ""), chance)
        for form in sorted(form for where, form in project.repeating if where == event and form):
            for instance in range(1, chance.randint(0, 3) + 1):
                project.cells[record, event, form, str(instance)] = _cells(project, {form}, chance)


def _cells(project: MadeProject, forms: set[str], chance: random.Random) -> dict[str, str]:
    missing = ["NASK", "UNK"] if project.missing else []
    found = {}
    for form in sorted(forms):
        for column in project.columns([form]):
            kind = column.partition("___")[0].rpartition("_")[0]
            if column == f"{form}_complete":
                found[column] = chance.choice("012")
            elif "___" in column:
                found[column] = chance.choice("01")
            else:
                found[column] = chance.choice(VALUES.get(kind, VALUES["text"]) + missing)
    return found
