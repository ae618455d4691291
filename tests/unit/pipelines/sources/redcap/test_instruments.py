"""The flat export taken apart: every cell of it is found exactly once in the tables of the instruments."""

import copy
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.redcap.dictionary import Dictionary, Setup, box_code, choices_in
from pipelines.sources.redcap.enriching import Enriching
from pipelines.sources.redcap.instruments import RECORD, Instruments
from tests.support.servers.redcap_project import MISSING, MadeProject, made

KEY = ("study_id", "redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance")


def setup_of(project: MadeProject) -> Setup:
    return Setup.of(
        tuple(project.instruments),
        {"is_longitudinal": int(bool(project.events)), "missing_data_codes": project.missing},
        [{"unique_event_name": event, "form": form} for event, forms in project.events.items() for form in forms],
        [{"event_name": event, "form_name": form} for event, form in project.repeating],
    )


def taken_apart(project: MadeProject, rows: list[Any], **wishes: Any) -> tuple[dict[str, list[Any]], Enriching, Any]:
    dictionary = Dictionary.of(project.fields)
    setup = setup_of(project)
    enriching = Enriching(dictionary, missing=setup.missing, **wishes)
    instruments = Instruments(dictionary, setup, enriching.owners)
    found = instruments.taken_apart(enriching.rows(copy.deepcopy(rows)))
    return {table: rows.to_pylist() for table, rows in found.items()}, enriching, instruments


def cells_of(rows: list[Any]) -> Counter[tuple[Any, ...]]:
    """Each cell that holds something, by its row's key and its column."""
    return Counter(
        (*(str(row.get(name) or "") for name in KEY), name, value)
        for row in rows
        for name, value in row.items()
        if name not in KEY and value not in {"", None}
    )


def as_exported(tables: dict[str, list[Any]], enriching: Enriching, project: MadeProject) -> list[Any]:
    """The rows of all tables with REDCap's columns: no labels, missing codes where they were, boxes apart."""
    labels = {place for (_, what), place in enriching._beside.items() if what == "label"}
    missing = {place: name for (name, what), place in enriching._beside.items() if what == "missing"}
    boxes = {each["field_name"] for each in project.fields if each["field_type"] == "checkbox"}
    written = {"1": "1", "02": "02", "-9": "_9"}
    found = []
    for rows in tables.values():
        for row in rows:
            plain: dict[str, Any] = {}
            for name, value in row.items():
                if name in labels or value is None:
                    continue
                if name in missing:
                    assert row.get(missing[name]) is None
                    plain[missing[name]] = value
                elif name in boxes:
                    ticked = json.loads(value)
                    plain |= {f"{name}___{column}": str(int(code in ticked)) for code, column in written.items()}
                else:
                    plain[name] = value
            found.append(plain)
    return found


@given(st.integers(0, 10**6), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_cell_of_the_flat_export_is_found_exactly_once(seed: int, labels: bool, as_codes: bool) -> None:
    project = made(seed)
    flat = project.flat()
    tables, enriching, instruments = taken_apart(project, flat, labels=labels, as_codes=as_codes)
    assert cells_of(as_exported(tables, enriching, project)) == cells_of(flat)
    assert len(tables[RECORD]) == len(flat)
    for form, table in instruments.tables.items():
        # A table has the rows that the setup says, filled in or not, and each of them once.
        due = sorted(place for place in project.cells if form in project.forms_at(place[1], place[2]))
        assert sorted(tuple(row[name] for name in KEY) for row in tables[table]) == due


@given(st.integers(0, 10**6), st.data())
@settings(max_examples=60, deadline=None)
def test_cells_against_the_setup_are_kept(seed: int, data: Any) -> None:
    project = made(seed)
    flat = project.flat()
    row = data.draw(st.sampled_from(flat))
    column = data.draw(st.sampled_from(project.columns(project.instruments)))
    row[column] = "2" if column.endswith("_complete") else "kept"
    row["nobody_knows"] = "this"
    tables, enriching, _ = taken_apart(project, flat)
    assert cells_of(as_exported(tables, enriching, project)) == cells_of(flat)
    assert [row["nobody_knows"] for row in tables[RECORD] if row["nobody_knows"]] == ["this"]


def test_labels_stand_beside_codes_and_missing_codes_apart() -> None:
    project = MadeProject(
        [
            {"field_name": "study_id", "form_name": "base", "field_type": "text"},
            {"field_name": "sex", "form_name": "base", "field_type": "radio",
             "select_choices_or_calculations": "1, Female | 2, Male, mostly"},
            {"field_name": "pain", "form_name": "base", "field_type": "checkbox",
             "select_choices_or_calculations": "1, Head | -9, Elsewhere"},
            {"field_name": "weight", "form_name": "base", "field_type": "text",
             "text_validation_type_or_show_slider_number": "number"},
        ],
        missing=MISSING,
    )  # fmt: skip
    rows = [
        {"study_id": "1", "sex": "2", "pain___1": "0", "pain____9": "1", "weight": "UNK", "base_complete": "2"},
        {"study_id": "2", "sex": "NASK", "pain___1": "0", "pain____9": "0", "weight": "7.4", "base_complete": "0"},
    ]
    tables, _, _ = taken_apart(project, rows, labels=True, as_codes=True)
    first, second = tables["base"]
    assert (first["sex"], first["sex_label"], first["weight"], first["weight_missing"]) == (
        "2",
        "Male, mostly",
        None,
        "UNK",
    )
    assert (first["pain"], first["pain_label"]) == ('["-9"]', '["Elsewhere"]')
    assert (second["sex"], second["sex_missing"], second["pain"], second["weight"]) == (None, "NASK", "[]", "7.4")
    assert (first["base_complete_label"], second["base_complete_label"]) == ("Complete", "Incomplete")
    tables, _, _ = taken_apart(project, rows, labels=True, masked=("sex", "weight"))
    assert "sex_label" not in tables["base"][0]
    assert tables["base"][0]["weight"] == "UNK"


@pytest.mark.parametrize(
    ("listed", "choices"),
    [
        ("1, One | 2, Two, or more", {"1": "One", "2": "Two, or more"}),
        ("a,A|b,", {"a": "A", "b": ""}),
        ("", {}),
    ],
)
def test_choices_are_read_as_redcap_writes_them(listed: str, choices: dict[str, str]) -> None:
    assert choices_in(listed) == choices


def test_a_code_is_found_by_what_redcap_makes_of_it() -> None:
    dictionary = Dictionary.of(
        [{"field_name": "x", "field_type": "checkbox", "select_choices_or_calculations": "-1, A | B.2, B | 99, C"}]
    )
    box = dictionary.fields[0]
    assert [box_code(f"x___{name}", box) for name in ("_1", "b_2", "99", "unk")] == ["-1", "B.2", "99", "unk"]
