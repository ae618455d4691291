"""Canaries of the eighteen classes of the Safe Harbor, under the profile: whatever happens, they are nowhere."""

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from prefect.client.schemas.objects import State
from pydantic import TypeAdapter

from connectors.sources import Source
from flows.dlt_pipeline_flow import run_connector_pipeline
from pipelines.errors import RunError, Step
from pipelines.source_test import probe
from tests.support.data_plane.canaries import CANARIES, COLUMNS, ROW, SEEN, Rig, dumped, found_in, text_of
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR
from tests.support.servers.bulk import BulkServer
from tests.support.servers.fhir import FhirServer
from tests.support.servers.http_server import WebServer
from tests.support.servers.prefect_server import PrefectServer
from tests.support.servers.redcap import METADATA, TOKEN, Redcap
from tests.support.servers.redcap_project import MadeProject

Sql = Callable[[str], list[tuple[Any, ...]]]
POSTGRES = {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}


@pytest.fixture
def rig(platform: Platform, tmp_path: Path, caplog: Any, capfd: Any) -> Rig:
    return Rig(platform, tmp_path / "data", caplog, capfd)


def test_a_canary_of_digits_is_found_as_a_value_and_not_inside_an_id() -> None:
    for value in ("94563", "zip 94563.", '{"zip":"94563"}', "MRN-5550123", "mrn5550123", "2019-03-14T08", "(20190314)"):
        assert found_in(value), value
    for chance in ("4f94563c-9a1e", "1764571034.94563", "0.94563", "id 1945631"):
        assert found_in(chance) == [], chance


def a_patient() -> list[dict[str, Any]]:
    """FHIR resources with each class in the place that FHIR has for it, and in the free ones."""
    c = CANARIES
    identifiers = (
        "ssn",
        "mrn",
        "health_plan_number",
        "account_number",
        "license_number",
        "license_plate",
        "study_code_id",
    )
    meta = {"lastUpdated": "2019-03-15T00:00:00Z"}
    return [
        {
            "resourceType": "Patient", "id": c["mrn"], "meta": meta, "gender": "female",
            "identifier": [{"system": f"urn:{name}", "value": c[name]} for name in identifiers],
            "name": [{"family": c["patient_name"], "text": SEEN}], "birthDate": c["birth_date"],
            "telecom": [{"system": name, "value": c[name]} for name in ("phone", "fax", "email", "homepage")],
            "address": [{"line": [c["street_address"]], "city": c["city"], "postalCode": c["zip_code"], "text": SEEN}],
            "photo": [{"data": c["photo"]}], "text": {"div": SEEN}, "contact": [{"name": {"text": c["patient_name"]}}],
            "extension": [{"url": "urn:fingerprint", "valueString": c["fingerprint"]}],
            "maritalStatus": {"text": SEEN}, "newElement": SEEN,
        },
        {
            "resourceType": "Observation", "id": c["study_code_id"], "meta": meta, "status": "final",
            "subject": {"reference": f"Patient/{c['mrn']}", "display": c["patient_name"]},
            "effectivePeriod": {"start": f"{c['admitted']}T08:00:00+01:00"}, "issued": f"{c['admitted']}T08:00:00Z",
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": SEEN}, "valueString": SEEN,
            "device": {"display": c["device_serial"]}, "note": [{"text": SEEN}], "contained": [{"ip": c["ip_address"]}],
            "component": [{"valueString": SEEN, "valueQuantity": {"value": 1.50}}],
        },
    ]  # fmt: skip


def a_trial() -> str:
    """ODM with each class in an item named for it, in a subject's key, in what an audit says, and in a free text."""
    items = "".join(f'<ItemData ItemOID="IT.{name.upper()}" Value="{value}"/>' for name, value in ROW.items())
    return (
        '<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3" ODMVersion="1.3.2"><ClinicalData StudyOID="S" '
        f'MetaDataVersionOID="M"><SubjectData SubjectKey="{CANARIES["study_code_id"]}">'
        '<StudyEventData StudyEventOID="SE"><FormData FormOID="F"><ItemGroupData ItemGroupOID="IG.VISIT">'
        f'<AuditRecord><UserRef UserOID="{CANARIES["patient_name"]}"/><LocationRef LocationOID="{CANARIES["city"]}"/>'
        f"<DateTimeStamp>{CANARIES['admitted']}T08:00:00Z</DateTimeStamp>"
        f"<ReasonForChange>{SEEN}</ReasonForChange></AuditRecord>{items}"
        "</ItemGroupData></FormData></StudyEventData></SubjectData></ClinicalData></ODM>"
    )


def a_message() -> str:
    """An HL7 message with each class in the field that is for it, and in those that are for anything."""
    c = {name: value.replace("&", "\\T\\") for name, value in CANARIES.items()}
    born, admitted = (c[name].replace("-", "") for name in ("birth_date", "admitted"))
    name, place = f"{c['patient_name']}^Ann", f"{c['street_address']}^^{c['city']}^MO^{c['zip_code']}"
    return "\r".join(
        [
            f"MSH|^~\\&|{c['device_serial']}|{c['city']}|EMR|KH|{admitted}080000||ORU^R01|{c['account_number']}|P|2.5",
            f"PID|1|{c['mrn']}|{c['mrn']}^^^KH^MR~{c['ssn']}^^^SS|{c['study_code_id']}|{name}|{name}|{born}|F|{name}|2106-3|"
            f"{place}|{c['city']}|{c['phone']}^^^{c['email']}|{c['fax']}||M||{c['account_number']}|{c['ssn']}|"
            f"{c['license_number']}||||{c['city']}",
            f"NK1|1|{name}|SPO|{place}|{c['phone']}",
            f"PV1|1|I|W^{c['street_address']}||||{c['license_number']}^{name}||||MED||||||||||{c['health_plan_number']}"
            + "|" * 25 + admitted,
            f"OBR|1|{c['device_serial']}|{c['fingerprint']}|718-7^Hb^LN|||{admitted}0830|||{name}||||||{name}",
            f"OBX|1|NM|718-7^Hb^LN||13.50|g/dL|12-16|N|||F|||{admitted}||{name}",
            f"OBX|2|TX|8867-4^Pulse^LN||{SEEN}||||||F",
            f"OBX|3|ED|x||{c['photo']}~{c['fingerprint']}||||||F",
            f"NTE|1||{SEEN}",
            f"ZPI|{c['license_plate']}|{c['homepage']}|{c['ip_address']}|{SEEN}",
            "",
        ]
    )  # fmt: skip


@contextlib.contextmanager
def source(kind: str, emr: Sql, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A source of a kind with every canary in it, under the profile."""
    protect = {"protect": {"profile": "safe_harbor"}}
    match kind:
        case "sql_database":
            emr(f"CREATE TABLE visit (visit_id int primary key, birth_date date, admitted timestamp, {COLUMNS})")
            names, values = ", ".join(ROW), ", ".join(f"'{value}'" for value in ROW.values())
            emr(f"INSERT INTO visit ({names}) VALUES ({values})")
            table = {"name": "visit", "primary_key": "visit_id", "cursor_column": "admitted", "deletes": "remove"}
            yield {"type": kind, "credentials": EMR, "tables": [table], "verify": "sums", **protect}
        case "files":
            (inbox / "a.csv").write_text(",".join(ROW) + "\n" + ",".join(f'"{value}"' for value in ROW.values()) + "\n")
            yield {
                "type": kind,
                "url": str(inbox),
                "glob": "*.csv",
                "table": "visit",
                "primary_key": "visit_id",
                **protect,
            }
        case "redcap":
            monkeypatch.setenv("CAI_SECRET_REDCAP", TOKEN)
            fields = [{"field_name": name, "form_name": "f", "field_type": "text"} for name in CANARIES]
            monkeypatch.setattr("tests.support.servers.redcap.METADATA", [METADATA[0], *fields])
            redcap = Redcap()
            redcap.records = [{"study_id": "7", "redcap_event_name": "week_1", **CANARIES, "free_text": SEEN}]
            redcap.changed = {id(redcap.records[0]): datetime(2024, 1, 1, tzinfo=UTC)}
            with WebServer(redcap) as web:
                yield {
                    "type": "redcap",
                    "api_url": web.url + "/api/",
                    "token": {"env": "CAI_SECRET_REDCAP"},
                    **protect,
                }
        case "redcap by instrument":
            monkeypatch.setenv("CAI_SECRET_REDCAP", TOKEN)
            coded = {"field_type": "radio", "select_choices_or_calculations": "1, Quillfeather"}
            fields = [{"field_name": name, "form_name": "f", "field_type": "text"} for name in ("id", *CANARIES, "icd")]
            project = MadeProject([*fields, {"field_name": "name_of_nurse", "form_name": "f", **coded}])
            project.cells = {("7", "", "", ""): {**CANARIES, "icd": "I10", "name_of_nurse": "1"}}
            project.note("7", at=datetime(2024, 1, 1, tzinfo=UTC))
            with WebServer(project) as web:
                token = {"env": "CAI_SECRET_REDCAP"}
                more = {"layout": "by_instrument", "labels": True, "content": ["record"], **protect}
                yield {"type": "redcap", "api_url": web.url + "/api/", "token": token, **more}
        case "odm":
            (inbox / "a.xml").write_text(a_trial())
            parts, keys = ["IG.VISIT", "AuditRecord"], ["study_oid", "subject_key", "item_group_repeat_key"]
            yield {
                "type": "files", "url": str(inbox), "format": kind, "table": "trial", "parts": parts,
                "primary_key": keys, **protect,
            }  # fmt: skip
        case "hl7":
            (inbox / "a.hl7").write_text(a_message(), newline="")
            (inbox / "a.csv").write_text(",".join(ROW) + "\n" + ",".join(f'"{value}"' for value in ROW.values()) + "\n")
            messages = {"table": "lab", "format": "hl7", "glob": "*.hl7", "primary_key": ["message_id", "position"]}
            beside = {"table": "visit", "format": "csv", "glob": "*.csv", "primary_key": "visit_id", "history": True}
            messages["parts"] = ["MSH", "PID", "NK1", "PV1", "OBR", "OBX", "NTE", "ZPI"]
            yield {"type": "files", "url": str(inbox), "tables": [messages, beside], **protect}
        case "xlsx":
            book = openpyxl.Workbook()
            for row in (list(ROW), list(ROW.values())):
                book.active.append(row)
            book.save(inbox / "a.xlsx")
            yield {"type": "files", "url": str(inbox), "format": kind, "table": "visit", "origin": True, **protect}
        case "fhir export":
            with WebServer(BulkServer(a_patient())) as web:
                types = ["Patient", "Observation"]
                yield {
                    "type": "fhir",
                    "base_url": web.url + "/fhir",
                    "resource_types": types,
                    "mode": "bulk",
                    **protect,
                }
        case "fhir":
            with WebServer(FhirServer(*a_patient())) as web:
                yield {
                    "type": kind,
                    "base_url": web.url + "/fhir",
                    "resource_types": ["Patient", "Observation"],
                    **protect,
                }


@pytest.mark.parametrize(
    "kind", ["sql_database", "files", "redcap", "redcap by instrument", "fhir", "fhir export", "odm", "hl7", "xlsx"]
)
def test_no_canary_of_the_eighteen_classes_is_anywhere(
    rig: Rig, emr: Sql, inbox: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with source(kind, emr, inbox, monkeypatch) as said:
        assert found_in(json.dumps(ROW)) == list(CANARIES.values())
        adapter: TypeAdapter[Source] = TypeAdapter(Source)
        tested = probe(adapter.validate_python(said), rig.platform.settings)
        assert tested.ok, tested.message
        assert found_in(repr(tested)) == []
        for step in (Step.EXTRACT, Step.NORMALIZE, Step.LOAD):
            rig.run(rig.platform.add(said), step)
        if kind == "sql_database":
            for step in (Step.SWEEP, Step.VERIFY):
                rig.run(rig.platform.add(said), step)
        connector = rig.platform.add(said)
        rig.run(connector)
    # Not because nothing landed.
    landed = rig.warehouse()
    assert {"fhir": "8867-4", "fhir export": "8867-4", "redcap": "week_1", "hl7": "718-7"}.get(kind, "I10") in landed
    assert "1961" in landed
    assert "945" in landed


def test_a_destination_and_a_source_that_quote_rows_tell_no_canary(
    rig: Rig, emr: Sql, warehouse: Sql, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with source("sql_database", emr, inbox, monkeypatch) as said:
        connector = rig.platform.add(said, destination=POSTGRES)
        warehouse(f"CREATE SCHEMA connector_{connector}")
        warehouse(
            f"CREATE TABLE connector_{connector}.visit (visit_id varchar, icd varchar, birth_date varchar, "
            "_dlt_load_id varchar NOT NULL, _dlt_id varchar, CONSTRAINT never CHECK (icd <> 'I10'))"
        )
        with pytest.raises(RunError) as caught:
            rig.platform.run(connector)
        assert (
            found_in(f"{caught.value} {rig.caplog.text} {dumped(warehouse, 'LIKE ' + chr(39) + 'conn%' + chr(39))}")
            == []
        )
        emr(
            "CREATE FUNCTION complain(n text) RETURNS text LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION 'bad %', n USING DETAIL = n; END$$"
        )
        emr("CREATE VIEW broken AS SELECT visit_id, complain(free_text) AS free_text FROM visit")
        broken = {**said, "tables": [{"name": "visit"}, {"name": "broken"}], "verify": None}
        with pytest.raises(RunError) as caught:
            rig.platform.run(rig.platform.add(broken))
        assert found_in(f"{caught.value!r} {rig.caplog.text} {rig.warehouse()}") == []


@pytest.mark.slow
def test_no_canary_is_in_prefect(
    rig: Rig, prefect_server: PrefectServer, emr: Sql, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with source("files", emr, inbox, monkeypatch) as said:
        good = rig.platform.add(said, run_policy={"retries": 0})
        bad = rig.platform.add({**said, "primary_key": "phone"}, run_policy={"retries": 0})
        for connector, completes in ((good, True), (bad, False)):
            state: State[Any] = run_connector_pipeline(connector, return_state=True)
            assert state.is_completed() == completes, state
            assert found_in(str(state.message)) == []
    assert found_in(rig.warehouse()) == []
    found = [path for path in prefect_server.home.rglob("*") if path.is_file() and found_in(text_of(path))]
    assert found == []
