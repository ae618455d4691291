"""Exports of trials, Dataset-JSON, XML and files of fixed width as rows, and those that are refused."""

import io
import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa
import pytest

from pipelines.rows.csv_to_arrow import PART_OF_DAY
from pipelines.sources.files.documents.dataset_json import dataset_codebook, dataset_tables
from pipelines.sources.files.documents.odm import odm_codebook, odm_tables
from pipelines.sources.files.documents.xml_rows import xml_tables
from pipelines.sources.files.faults import BrokenFileError
from pipelines.sources.files.text.fixed_rows import fixed_tables
from tests.support.data_plane.documents import DATASET, ODM_13, VALUES, XML
from tests.support.data_plane.samples import files_source

Row = dict[str, Any]


def rows(tables: Iterator[pa.Table]) -> list[Row]:
    """The rows of tables, without what has no value."""
    return [{name: v for name, v in row.items() if v is not None} for table in tables for row in table.to_pylist()]


def of(content: str | bytes) -> Any:
    return lambda: io.BytesIO(content.encode() if isinstance(content, str) else content)


ODM_20 = """<ODM xmlns="http://www.cdisc.org/ns/odm/v2.0" ODMVersion="2.0">
  <ClinicalData StudyOID="ST.2"><SubjectData SubjectKey="9"><StudyEventData StudyEventOID="SE.1">
    <ItemGroupData ItemGroupOID="IG.FORM" ItemGroupRepeatKey="3">
      <ItemGroupData ItemGroupOID="IG.MED" ItemGroupRepeatKey="1">
        <ItemData ItemOID="IT.DRUG"><Value SeqNum="1">aspirin</Value><Value SeqNum="2">ibuprofen</Value></ItemData>
      </ItemGroupData>
    </ItemGroupData>
  </StudyEventData></SubjectData></ClinicalData></ODM>"""


def test_an_item_group_is_a_row_with_where_it_stands() -> None:
    declared: dict[str, str] = {}
    found = rows(odm_tables(of(ODM_13), "IG.DM", declared.update))
    place = {"study_oid": "ST.1", "subject_key": "001", "study_event_oid": "SE.1", "study_event_repeat_key": "1"}
    form = {"form_oid": "F.1", "form_repeat_key": "1"}
    assert found == [
        {**place, **form, "item_group_repeat_key": "1", "transaction_type": "Insert", "IT.SEX": "1", "IT.AGE": "42",
         "IT.AGE_unit": "MU.Y"},
        {**place, **form, "item_group_repeat_key": "2", "IT.AGE": "43", "null_items": "IT.SEX"},
        {**place, **form, "subject_key": "002", "study_event_repeat_key": "", "form_repeat_key": "",
         "item_group_repeat_key": "", "transaction_type": "Remove"},
    ]  # fmt: skip
    assert declared == {"IT.SEX": "text"}, "a code of digits stays text"


def test_groups_within_groups_and_items_of_several_values_land() -> None:
    (row,) = rows(odm_tables(of(ODM_20), "IG.MED"))
    assert (row["form_oid"], row["form_repeat_key"], row["item_group_repeat_key"]) == ("IG.FORM", "3", "1")
    assert (row["IT.DRUG"], row["IT.DRUG_all"]) == ("aspirin", '["aspirin","ibuprofen"]')


def test_an_item_that_stands_twice_in_its_group_lands_with_both_values() -> None:
    unit = '<MeasurementUnitRef MeasurementUnitOID="{}"/>'
    items = (
        f'<ItemData ItemOID="WT" Value="71">{unit.format("kg")}</ItemData>'
        f'<ItemData ItemOID="WT" Value="156">{unit.format("lb")}</ItemData>'
        '<ItemData ItemOID="SEX" Value="F"/><ItemData ItemOID="SEX" IsNull="Yes"/>'
    )
    group = f'<ItemGroupData ItemGroupOID="G">{items}</ItemGroupData>'
    data = f'<ClinicalData StudyOID="S"><SubjectData SubjectKey="1">{group}</SubjectData></ClinicalData>'
    (row,) = rows(odm_tables(of(f'<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3">{data}</ODM>'), "G"))
    assert (row["WT"], row["WT_all"]) == ("71", '["71","156"]')
    assert (row["WT_unit"], row["WT_unit_all"]) == ("kg", '["kg","lb"]')
    assert (row["SEX"], row["null_items"]) == ("F", "SEX")


def test_audit_records_and_codes_are_tables_of_their_own() -> None:
    (audit,) = rows(odm_tables(of(ODM_13), "AuditRecord"))
    assert {name: audit[name] for name in ("subject_key", "item_group_oid", "user_oid", "recorded_at", "reason")} == {
        "subject_key": "001", "item_group_oid": "IG.DM", "user_oid": "U.1",
        "recorded_at": "2024-02-29T10:00:00+01:00", "reason": "typed wrong",
    }  # fmt: skip
    (page,) = odm_codebook(of(ODM_13), "a.xml")
    assert [(row["variable"], row["value"], row["label"], row["format"]) for row in page] == [
        ("IT.SEX", "", "Sex at birth", "text"),
        ("IT.SEX", "1", "male", None),
        ("IT.SEX", "2", "female", None),
        ("IT.AGE", "", "Age", "integer"),
    ]


def test_every_value_of_an_export_is_there_once() -> None:
    groups = "".join(
        f'<SubjectData SubjectKey="{subject}">' + "".join(
            f'<StudyEventData StudyEventOID="E{event}"><FormData FormOID="F"><ItemGroupData ItemGroupOID="G">'
            + "".join(f'<ItemData ItemOID="I{item}" Value="{subject}.{event}.{item}"/>' for item in range(5))
            + "</ItemGroupData></FormData></StudyEventData>" for event in range(4)
        ) + "</SubjectData>" for subject in range(50)
    )  # fmt: skip
    text = f'<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3"><ClinicalData StudyOID="S">{groups}</ClinicalData></ODM>'
    # By another parser, which holds all of it.
    expected = sorted(each.get("Value", "") for each in ET.fromstring(text).iter() if each.tag.endswith("}ItemData"))
    found = rows(odm_tables(of(text), "G"))
    assert len(found) == 200
    assert sorted(row[f"I{item}"] for row in found for item in range(5)) == expected


@pytest.mark.parametrize("lines", [False, True])
def test_dataset_json_is_read_as_an_object_and_as_lines(lines: bool) -> None:
    text = json.dumps({**DATASET, "rows": VALUES})
    if lines:
        text = "\n".join([json.dumps(DATASET), *map(json.dumps, VALUES), ""])
    declared: dict[str, str] = {}
    assert rows(dataset_tables(of(text), declared.update)) == [
        {"USUBJID": "01-701", "LBSEQ": "1", "LBSTRESN": "7.40", "LBDTC": "2024-03"},
        {"USUBJID": "01-702", "LBSEQ": "2"},
    ]
    assert declared == {"USUBJID": "text", "LBSEQ": "bigint", "LBSTRESN": "decimal", "LBDTC": PART_OF_DAY}
    (page,) = dataset_codebook(of(text), "lb.json")
    assert [(row["variable"], row["label"], row["format"]) for row in page][2:] == [
        ("LBSTRESN", "Result", "decimal"),
        ("LBDTC", "Date", "datetime"),
    ]


def test_numbers_of_dataset_json_keep_their_digits() -> None:
    text = json.dumps({**DATASET, "rows": [["a", 1, 0, None]], "records": 1}).replace('[["a", 1, 0', '[["a", 1, 1.500')
    assert rows(dataset_tables(of(text)))[0]["LBSTRESN"] == "1.500"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps({**DATASET, "rows": VALUES, "records": 3}), "says that it has 3 records, and has 2"),
        (json.dumps({**DATASET, "rows": [["01-701", 1]]}), "other values in row 1 than it describes columns"),
        (json.dumps({**DATASET, "rows": VALUES})[:-30], "is cut or damaged"),
        (json.dumps({"rows": VALUES, **DATASET}), "not described before its rows"),
        (f'{{"columns": [{{"name": "a"}}], "rows": [[{"[" * 9_000}{"]" * 9_000}]]}}', "nested more than 200 deep"),
        ("[]", "does not begin with an object"),
        ("", "is cut or damaged"),
    ],
)
def test_dataset_json_that_is_not_whole_is_refused(text: str, words: str) -> None:
    with pytest.raises(BrokenFileError, match=words):
        rows(dataset_tables(of(text)))


def test_xml_rows_stand_at_their_path() -> None:
    source = files_source(format="xml", row_path="/export/patient")
    assert rows(xml_tables(of(XML), source)) == [
        {
            "id": "7", "name_use": "official", "name_family": "Müller", "name_given": "Jörg",
            "name_given_all": '["Jörg","Karl"]', "birth": "1961-05-04", "b": "b", "text": "  ac",
        },
        {"id": "9", "id_2": "x"},
    ]  # fmt: skip
    assert rows(xml_tables(of(XML), files_source(format="xml", row_path="export/other/patient"))) == [{"id": "8"}]
    with pytest.raises(BrokenFileError, match="name the path from 'export' on"):
        rows(xml_tables(of(XML), files_source(format="xml", row_path="/exports/patient")))


def test_a_way_that_leads_to_no_row_is_told() -> None:
    told: list[str] = []
    source = files_source(format="xml", row_path="/export/patiens")
    assert rows(xml_tables(of(XML), source, told.append)) == []
    assert told == ["has no element at row_path: look whether it is written as in the file"]


def test_an_element_of_the_rows_name_within_a_row_stays_in_it() -> None:
    text = "<a><item n='1'><part><item>inner</item></part></item><b><item>none</item></b><item n='2'/></a>"
    source = files_source(format="xml", row_path="/a/item")
    assert rows(xml_tables(of(text), source)) == [{"n": "1", "part_item": "inner"}, {"n": "2"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (XML[:-20], "no whole XML in line 3"),
        ('<!DOCTYPE export [<!ENTITY a "b">]><export><patient>&a;</patient></export>', "declares a document type"),
    ],
)
def test_xml_that_is_not_whole_or_declares_entities_is_refused(text: str, words: str) -> None:
    with pytest.raises(BrokenFileError, match=words):
        rows(xml_tables(of(text), files_source(format="xml", row_path="/export/patient")))


def test_fixed_width_is_cut_by_characters() -> None:
    told: list[str] = []
    fields = [{"name": "id", "first": 1, "last": 4}, {"name": "name", "first": 5, "last": 10}]
    source = files_source(format="fixed", fields=fields, skip=1, comment="#", null_values=["", "."])
    text = "head\n0007Jörg  \n#no\n  8 .     \n\n9\n0010Karl  rest\n\x1a"
    assert rows(fixed_tables(of(text), source, told.append)) == [
        {"id": "0007", "name": "Jörg"},
        {"id": "8"},
        {"id": "9"},
        {"id": "0010", "name": "Karl"},
    ]
    assert told == [
        "has text behind the last of its fields, from line 7 on, which was not read: name it in fields",
    ]
