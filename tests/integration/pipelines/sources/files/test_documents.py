"""Documents in a load: several tables of one file, codebooks, types that the file says, and files that came later."""

import json
from pathlib import Path
from typing import Any

from tests.support.data_plane.documents import DATASET, ODM_13, ORU, VALUES, XML
from tests.support.data_plane.platform import Platform


def run(platform: Platform, inbox: Path, **keys: Any) -> tuple[int, str]:
    connector = platform.add({"type": "files", "url": str(inbox), **keys})
    return connector, platform.run(connector).sentence


def test_the_parts_of_a_trial_are_tables_and_what_they_mean_a_codebook(platform: Platform, inbox: Path) -> None:
    (inbox / "a.xml").write_text(ODM_13)
    keys = ["study_oid", "subject_key", "study_event_oid", "study_event_repeat_key", "form_oid", "form_repeat_key"]
    connector, _ = run(
        platform, inbox, format="odm", table="trial", parts=["IG.DM"], primary_key=[*keys, "item_group_repeat_key"],
        mask=["subject_key"],
    )  # fmt: skip
    table = f"connector_{connector}.trial_ig_dm"
    assert platform.duck(f"SELECT it_sex, it_age, null_items, length(subject_key) FROM {table} ORDER BY it_age") == [
        ("1", 42, None, 64),
        (None, 43, "IT.SEX", 64),
        (None, None, None, 64),
    ]
    codes = f"SELECT label FROM connector_{connector}.trial__codebook WHERE variable = 'IT.SEX' ORDER BY \"value\""
    assert platform.duck(codes) == [("Sex at birth",), ("male",), ("female",)]
    # A later export of the same rows, with a change, replaces them.
    (inbox / "b.xml").write_text(ODM_13.replace('Value="42"', 'Value="44"'))
    platform.run(connector)
    assert platform.duck(f"SELECT count(*), max(it_age) FROM {table}") == [(3, 44)]


def test_segments_are_tables_whose_codes_stay_text(platform: Platform, inbox: Path) -> None:
    (inbox / "a.hl7").write_text(ORU, newline="")
    connector, sentence = run(
        platform, inbox, format="hl7", table="lab", parts=["PID", "obx"], primary_key=["message_id", "position"],
        protect={"rules": [{"path": "pid_3", "method": "redact"}]},
    )  # fmt: skip
    schema = f"connector_{connector}"
    assert platform.duck(f"SELECT pid_3_4, pid_7, pid_5_2 FROM {schema}.lab_pid") == [("KH", "19610504", "Jörg")]
    # The number stands in no list of repetitions either.
    assert "pid_3_all does not land" in sentence
    assert "4711" not in str(platform.duck(f"FROM {schema}.lab_pid"))
    assert platform.duck(f"SELECT obx_5, obr_position FROM {schema}.lab_obx ORDER BY position") == [
        ("13.50", "3"),
        ('""', "6"),
    ]
    (inbox / "b.hl7").write_text(ORU.replace("m-1", "m-2").replace("PID|", "P|D"), newline="")
    (inbox / "c.hl7").write_text(ORU.replace("m-1", "m-3"), newline="")
    sentence = platform.run(connector).sentence
    assert "b.hl7 has no segment in line 2" in sentence
    assert platform.duck(f"SELECT message_id FROM {schema}.lab_pid ORDER BY 1") == [("m-1",), ("m-3",)]


def test_dataset_json_xml_and_fixed_width_land_with_their_types(platform: Platform, inbox: Path) -> None:
    (inbox / "lb.json").write_text(json.dumps({**DATASET, "rows": VALUES}))
    connector, _ = run(platform, inbox, format="dataset_json", table="lb")
    assert platform.duck(
        f"SELECT usubjid, lbseq, lbstresn::varchar, lbdtc FROM connector_{connector}.lb ORDER BY 2"
    ) == [
        ("01-701", 1, "7.400000000", "2024-03"),
        ("01-702", 2, None, None),
    ]
    assert platform.duck(f"SELECT count(*) FROM connector_{connector}.lb__codebook") == [(4,)]

    (inbox / "p.xml").write_text(XML)
    connector, _ = run(platform, inbox, glob="*.xml", row_path="/export/patient", table="patient", primary_key="id")
    assert platform.duck(f"SELECT id, name_family, birth::varchar FROM connector_{connector}.patient ORDER BY id") == [
        (7, "Müller", "1961-05-04"),
        (9, None, None),
    ]

    (inbox / "f.txt").write_text("0007  12\n0008   3\n")
    fields = [{"name": "id", "first": 1, "last": 4}, {"name": "n", "first": 5, "last": 8}]
    connector, _ = run(platform, inbox, format="fixed", fields=fields, table="counts")
    assert platform.duck(f"SELECT id, n FROM connector_{connector}.counts ORDER BY id") == [("0007", 12), ("0008", 3)]


def test_several_tables_of_one_connector_say_where_their_rows_came_from(platform: Platform, inbox: Path) -> None:
    (inbox / "labs_1.csv").write_text("id;value;note\n1;7,5;a\n2;0,25;b\n")
    (inbox / "labs_2.csv").write_text("id;value;note\n3;x;1,5\n4;7,40;c\n")
    (inbox / "visits.jsonl").write_text('{"id": 1, "day": "2024-02-29"}\n')
    connector, sentence = run(
        platform, inbox, mask=["note"],
        tables=[
            {"table": "labs", "glob": "labs_*.csv", "decimal": ",", "origin": True, "primary_key": "id"},
            {"table": "visits", "glob": "*.jsonl", "origin": True},
        ],
    )  # fmt: skip
    schema = f"connector_{connector}"
    labs = f"SELECT id, value, value__v_text, length(note), _file, _row FROM {schema}.labs ORDER BY id"
    assert platform.duck(labs) == [
        (1, 7.5, None, 64, "labs_1.csv", 1),
        (2, 0.25, None, 64, "labs_1.csv", 2),
        (3, None, "x", 64, "labs_2.csv", 1),
        (4, 7.4, "7,40", 64, "labs_2.csv", 2),
    ], sentence
    assert platform.duck(f"SELECT id, day::varchar, _file, _row FROM {schema}.visits") == [
        (1, "2024-02-29", "visits.jsonl", 1)
    ]


def test_a_text_with_a_comma_is_no_number_in_a_column_of_texts(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id;codes\n1;1,2\n2;a,b\n")
    connector, _ = run(platform, inbox, table="t", decimal=",", primary_key="id")
    (inbox / "b.csv").write_text("id;codes\n3;1,2\n")
    platform.run(connector)
    assert platform.duck(f"SELECT codes FROM connector_{connector}.t ORDER BY id") == [("1,2",), ("a,b",), ("1,2",)]


def test_segments_that_are_asked_for_in_vain_or_left_out_are_told(platform: Platform, inbox: Path) -> None:
    (inbox / "a.hl7").write_text(ORU, newline="")
    parts = ["pid", "OBX", "OXB"]
    connector, sentence = run(platform, inbox, format="hl7", table="lab", parts=parts)
    assert "No file of lab that was read has the segment 'OXB' of parts: they have OBR, MSH, NTE, ZPI." in sentence
    left = "Left out of lab, for parts does not name them: segments OBR (2), MSH (1), NTE (1), ZPI (1)."
    assert sentence.count(left) == 1
    # What was told of the rest is not told again; what is new there is.
    (inbox / "b.hl7").write_text(ORU.replace("m-1", "m-2") + "DG1|1\r", newline="")
    sentence = platform.run(connector).sentence
    assert "No file of lab that was read has the segment 'OXB' of parts" in sentence
    assert "for parts does not name them: segments DG1 (1)." in sentence
    # A segment that other files have had is not missing, and a file that is left says nothing.
    (inbox / "c.hl7").write_text("MSH|^~\\&|L|K|E|K|2024||ORU^R01|m-3|P|2.5\rPID|1\rOXB|1\r", newline="")
    (inbox / "d.hl7").write_text("MSH|^~\\&|L|K|E|K|2024||ORU^R01|m-4|P|2.5\rZZZ|1\rno segment\r", newline="")
    sentence = platform.run(connector).sentence
    assert "of parts" not in sentence
    assert "parts does not name" not in sentence


def test_parts_of_a_trial_that_are_not_read_are_told(platform: Platform, inbox: Path) -> None:
    signed = '<Signature ID="S.1"><DateTimeStamp>2024-02-29T10:00:00</DateTimeStamp></Signature></FormData>'
    (inbox / "a.xml").write_text(ODM_13.replace("</FormData>", signed))
    _, sentence = run(platform, inbox, format="odm", table="trial", parts=["IG.DM", "IG.LB"])
    assert (
        "No file of trial that was read has the item group 'IG.LB' of parts: they have AuditRecord, IG.VS." in sentence
    )
    assert "Left out of trial, for parts does not name them: item groups AuditRecord (1), IG.VS (1)." in sentence
    assert "Not read of the files of trial: Signature (2)." in sentence


def test_audit_records_that_stand_together_are_read(platform: Platform, inbox: Path) -> None:
    together = (
        '<AuditRecords><AuditRecord ID="A.7" EditPoint="Monitoring"><UserRef UserOID="U.2"/><LocationRef '
        'LocationOID="L.1"/><DateTimeStamp>2024-03-01T10:00:00Z</DateTimeStamp></AuditRecord></AuditRecords>'
    )
    (inbox / "a.xml").write_text(ODM_13.replace("</ClinicalData>", f"{together}</ClinicalData>"))
    connector, _ = run(platform, inbox, format="odm", table="trial", parts=["AuditRecord"])
    found = platform.duck(
        f"SELECT study_oid, subject_key, audit_record_id, user_oid FROM connector_{connector}.trial_audit_record "
        "ORDER BY user_oid"
    )
    assert found == [("ST.1", "001", None, "U.1"), ("ST.1", "", "A.7", "U.2")]
