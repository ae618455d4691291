"""Protection of rows on their way: by every kind of source, in later loads, and what of it is told."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet
import pytest
from pydantic import TypeAdapter

from connectors.sources import Source
from pipelines.errors import ConfigurationError
from pipelines.protection.masking import masking_key
from pipelines.protection.methods.hashing import hashed
from pipelines.protection.methods.values import offset
from pipelines.source_test import probe
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import EMR
from tests.support.servers.fhir import FhirServer, patient
from tests.support.servers.http_server import WebServer

Sql = Callable[[str], list[tuple[Any, ...]]]
ROW = {"id": 1, "ssn": "123", "born": "1970-01-31", "who": {"family": "canary", "zip": "03601"}, "note": "canary"}
RULES = [
    {"path": "ssn", "method": "hash"},
    {"path": "born", "method": "year"},
    {"path": "who.family", "method": "drop"},
    {"path": "who.zip", "method": "zip3"},
    {"path": "note", "method": "drop"},
]


def rest(url: str, **keys: Any) -> dict[str, Any]:
    resource = {"name": "visit", "path": "v", "primary_key": "id", "paginator": {"type": "single_page"}}
    return {"type": "rest_api", "base_url": url, "resources": [resource], **keys}


def replace(platform: Platform, connector: int, source: dict[str, Any]) -> None:
    with platform.connection.cursor() as cursor:
        cursor.execute("UPDATE cai_connectors SET source = %s WHERE id = %s", (json.dumps(source), connector))


@pytest.mark.parametrize("kind", ["rest_api", "jsonl", "parquet", "sql_database"])
def test_nested_values_land_as_their_rules_have_it(platform: Platform, inbox: Path, emr: Sql, kind: str) -> None:
    (inbox / "a.jsonl").write_text(json.dumps(ROW))
    pyarrow.parquet.write_table(pa.Table.from_pylist([ROW]), inbox / "a.parquet")
    emr("CREATE TABLE visit (id int primary key, ssn text, born date, who jsonb, note text)")
    emr(f"INSERT INTO visit VALUES (1, '123', '1970-01-31', '{json.dumps(ROW['who'])}', 'canary')")
    with WebServer(lambda asked: [ROW]) as web:
        source: dict[str, Any] = {"type": "files", "url": str(inbox), "format": kind, "table": "visit"}
        if kind == "rest_api":
            source = rest(web.url)
        if kind == "sql_database":
            source = {"type": kind, "credentials": EMR, "tables": [{"name": "visit", "primary_key": "id"}]}
        connector = platform.add(source | {"protect": {"rules": RULES}})
        summary = platform.run(connector)
    key = masking_key(platform.settings.data_dir)
    found = platform.duck(f"SELECT id, ssn, born, who FROM connector_{connector}.visit")
    assert [(*row[:3], json.loads(row[3])) for row in found] == [(1, hashed("123", key), "1970", {"zip": "000"})]
    assert "note" not in str(platform.duck(f"DESCRIBE connector_{connector}.visit"))
    assert b"canary" not in (platform.settings.data_dir / "warehouse.duckdb").read_bytes()
    assert set(summary.protected) >= {"ssn (hash)", "born (year)", "who (in part)", "note (drop)"}
    assert "Protected before they landed: `ssn (hash)`" in summary.markdown


def test_columns_of_csv_stay_text_where_a_code_looks_like_a_number(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("id,zip,born,age\n1,10115,1970-01-31,70\n")
    rules = [
        {"path": "zip", "method": "zip3"},
        {"path": "born", "method": "year"},
        {"path": "age", "method": "age_cap"},
    ]
    connector = platform.add({"type": "files", "url": str(inbox), "table": "visit", "protect": {"rules": rules}})
    platform.run(connector)
    (inbox / "b.csv").write_text("id,zip,born,age\n2,02134,never,104\n")
    summary = platform.run(connector)
    found = platform.duck(f"SELECT * EXCLUDE (_dlt_load_id) FROM connector_{connector}.visit ORDER BY id")
    assert found == [(1, "101", "1970", 70), (2, "021", None, 90)]
    assert summary.remarks == (
        "1 value of visit landed as nothing: what can't be treated by year (born) never lands as it is.",
    )
    assert "never" not in str(platform.duck(f"SELECT * FROM connector_{connector}.visit"))


def test_dates_of_one_patient_move_alike_in_all_tables(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE patient (id int primary key, born date)")
    emr("CREATE TABLE visit (id int primary key, patient_id int, at timestamptz, told text)")
    emr("INSERT INTO patient VALUES (7, '1970-01-31'), (8, '1980-01-31')")
    emr("INSERT INTO visit VALUES (1, 7, '2024-02-01 08:00+00', '2024-02'), (2, 8, '2024-02-01 08:00+00', 'soon')")
    emr("INSERT INTO visit VALUES (3, null, now(), null)")
    tables = [{"name": name, "primary_key": "id"} for name in ("patient", "visit")]
    protect = {
        "rules": [
            *({"path": path, "method": "shift_dates"} for path in ("born", "at", "told")),
            {"path": "patient_id", "method": "hash"}, {"path": "id", "method": "hash", "tables": ["patient"]},
        ],
        "patient": {"patient": "id", "visit": "patient_id"},
    }  # fmt: skip
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": tables, "protect": protect})
    summary = platform.run(connector)
    key = masking_key(platform.settings.data_dir)
    shift = {number: offset(key, number, 180) for number in (7, 8)}
    born = dict(
        platform.duck(f"SELECT id, date_diff('day', DATE '1970-01-31', born) FROM connector_{connector}.patient")
    )
    assert born[hashed(7, key)] == shift[7]
    found = platform.duck(
        f"SELECT v.id, date_diff('day', TIMESTAMPTZ '2024-02-01 08:00+00', v.at), p.id IS NOT NULL FROM "
        f"connector_{connector}.visit v LEFT JOIN connector_{connector}.patient p ON v.patient_id = p.id ORDER BY v.id"
    )
    assert found == [(1, shift[7], True), (2, shift[8], True), (3, None, False)]
    assert "1 value of visit landed as nothing: what can't be treated by shift_dates (at)" in summary.sentence
    assert "1 value of visit landed as nothing: what can't be treated by shift_dates (told)" in summary.sentence


def test_only_rows_that_may_leave_land_and_those_that_no_longer_may_are_swept(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int primary key, consent boolean, note text)")
    emr("INSERT INTO visit SELECT i, i <> 2, 'canary' || i FROM generate_series(1, 9) i")
    table = {"name": "visit", "primary_key": "id", "deletes": "remove"}
    protect = {"where": [{"path": "consent", "op": "==", "value": True}], "keep": ["id", "note"]}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table], "protect": protect, "verify": "counts"}
    connector = platform.add(source)
    summary = platform.run(connector)
    assert summary.rows == {"visit": 8}
    assert "1 row of visit may not leave the source, by source.protect.where, and did not." in summary.remarks
    assert not [remark for remark in summary.remarks if "differ" in remark or "missing" in remark]
    emr("UPDATE visit SET consent = false WHERE id = 3")
    platform.run(connector)
    assert platform.duck(f"SELECT id FROM connector_{connector}.visit ORDER BY id") == [
        (i,) for i in (1, 4, 5, 6, 7, 8, 9)
    ]
    assert b"canary2" not in (platform.settings.data_dir / "warehouse.duckdb").read_bytes()


def test_a_new_column_lands_only_when_it_is_kept(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int primary key, code text)")
    emr("INSERT INTO visit VALUES (1, 'x')")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", "primary_key": "id"}]}
    connector = platform.add(source | {"protect": {"keep": ["id", "code"]}})
    platform.run(connector)
    emr("ALTER TABLE visit ADD COLUMN name text DEFAULT 'canary'")
    platform.run(connector)
    names = [row[0] for row in platform.duck(f"DESCRIBE connector_{connector}.visit")]
    assert names == ["id", "code", "_dlt_load_id"]


def test_a_misspelt_column_is_refused_and_a_path_that_finds_nothing_is_told(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int primary key, ssn text, who jsonb)")
    emr("INSERT INTO visit VALUES (1, '1', '{}')")
    sql = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", "primary_key": "id"}]}
    wrong = {"rules": [{"path": "snn", "method": "hash"}]}
    with pytest.raises(ConfigurationError, match=r"source\.protect names 'snn', which no table .* Nothing was loaded"):
        platform.run(platform.add(sql | {"protect": wrong}))
    with WebServer(lambda asked: [{"id": 1, "ssn": "canary"}]) as web:
        connector = platform.add(rest(web.url, protect=wrong))
        with pytest.raises(ConfigurationError, match=r"source\.protect names 'snn', which no table"):
            platform.run(connector)
    warehouse = platform.settings.data_dir / "warehouse.duckdb"
    assert not warehouse.exists() or b"canary" not in warehouse.read_bytes()
    summary = platform.run(platform.add(sql | {"protect": {"rules": [{"path": "who.name", "method": "drop"}]}}))
    assert "source.protect names 'who.name', which no row of this run had" in summary.sentence


def test_rows_that_landed_otherwise_are_told_and_appended_ones_refused(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int primary key, ssn text, at timestamptz)")
    emr("INSERT INTO visit VALUES (1, 'x', '2024-01-01')")
    for disposition in ("merge", "append"):
        table = {"name": "visit", "cursor_column": "at", "write_disposition": disposition}
        table |= {"primary_key": "id"} if disposition == "merge" else {}
        source = {"type": "sql_database", "credentials": EMR, "tables": [table]}
        connector = platform.add(source)
        platform.run(connector)
        replace(platform, connector, source | {"protect": {"rules": [{"path": "ssn", "method": "hash"}]}})
        if disposition == "append":
            with pytest.raises(ConfigurationError, match="appends: run a full refresh"):
                platform.run(connector)
        else:
            assert "How visit is protected is not what it was" in platform.run(connector).sentence
        platform.run(connector, full_refresh=True)
        assert platform.run(connector).remarks == ()
        key = masking_key(platform.settings.data_dir)
        assert platform.duck(f"SELECT ssn FROM connector_{connector}.visit") == [(hashed("x", key),)]


def test_a_cursor_goes_on_by_its_own_values_and_lands_as_its_rule_has_it(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int primary key, ssn text, at timestamptz)")
    emr("INSERT INTO visit VALUES (1, 'x', '2024-01-01'), (2, 'y', '2024-05-01'), (3, 'w', '2024-02-01')")
    table = {"name": "visit", "cursor_column": "at", "primary_key": "id"}
    protect = {"rules": [{"path": "at", "method": "year"}]}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [table], "protect": protect})
    assert platform.run(connector).rows == {"visit": 3}
    emr("UPDATE visit SET ssn = 'z', at = '2024-06-01' WHERE id = 1")
    again = platform.run(connector)
    assert again.rows == {"visit": 2}, "the one that changed and the one at the border"
    assert again.since == {"visit": "a value (not shown)"}
    found = platform.duck(f'SELECT id, ssn, "at" FROM connector_{connector}.visit ORDER BY id')
    assert found == [(1, "z", "2024"), (2, "y", "2024"), (3, "w", "2024")]
    appends = {"name": "visit", "cursor_column": "at"}
    connector = platform.add({"type": "sql_database", "credentials": EMR, "tables": [appends], "protect": protect})
    with pytest.raises(ConfigurationError, match="treats the cursor of visit, which appends"):
        platform.run(connector)


def test_a_key_is_compared_as_it_landed(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (mrn int primary key, born date, weight numeric(6, 2))")
    emr("INSERT INTO visit SELECT i, '1970-01-31', i FROM generate_series(1, 9) i")
    table = {"name": "visit", "primary_key": "mrn", "deletes": "remove"}
    rules = [{"path": "mrn", "method": "hash"}, {"path": "born", "method": "year"}]
    source = {
        "type": "sql_database",
        "credentials": EMR,
        "tables": [table],
        "verify": "sums",
        "protect": {"rules": rules},
    }
    connector = platform.add(source)
    assert platform.run(connector).remarks == ()
    emr("DELETE FROM visit WHERE mrn = 3")
    assert platform.run(connector).remarks == ()
    key = masking_key(platform.settings.data_dir)
    found = {row[0] for row in platform.duck(f"SELECT mrn FROM connector_{connector}.visit")}
    assert found == {hashed(number, key) for number in (1, 2, 4, 5, 6, 7, 8, 9)}


def test_a_test_shows_rows_as_they_would_land(platform: Platform) -> None:
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    with WebServer(lambda asked: [ROW]) as web:
        found = probe(adapter.validate_python(rest(web.url, protect={"rules": RULES})), platform.settings)
    assert found.ok, found.message
    assert "canary" not in repr(found)
    assert "Protected: 'ssn (hash)', 'born (year)', 'who (in part)', 'note (drop)'." in found.message


@pytest.mark.parametrize("profile", ["safe_harbor", "limited_data_set"])
def test_fhir_resources_land_by_a_profile_and_still_join(platform: Platform, profile: str) -> None:
    person = patient(1, "2024-01-01T00:00:00Z") | {
        "birthDate": "1970-01-31", "telecom": [{"value": "canary"}], "text": {"div": "canary"},
        "extension": [{"url": "x", "valueString": "canary"}],
        "address": [{"line": ["canary"], "city": "Ulm", "postalCode": "10115", "state": "NY"}],
    }  # fmt: skip
    seen = {
        "resourceType": "Observation", "id": "o1", "meta": {"lastUpdated": "2024-01-01T00:00:00Z"}, "status": "final",
        "subject": {"reference": "Patient/p1", "display": "canary"}, "note": [{"text": "canary"}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}], "text": "canary"},
        "effectiveDateTime": "2024-01-01T08:00:00+01:00", "valueQuantity": {"value": 72.5, "unit": "kg"},
        "component": [{"code": {"coding": [{"code": "x"}]}, "valueString": "canary"}],
    }  # fmt: skip
    source = {"type": "fhir", "resource_types": ["Patient", "Observation"], "protect": {"profile": profile}}
    with WebServer(FhirServer(person, seen)) as web:
        connector = platform.add(source | {"base_url": web.url + "/fhir"})
        assert platform.run(connector).rows == {"patient": 1, "observation": 1}
        assert platform.run(connector).total_rows <= 2
    assert b"canary" not in (platform.settings.data_dir / "warehouse.duckdb").read_bytes()
    key = masking_key(platform.settings.data_dir)
    ((who, born, address),) = platform.duck(f"SELECT id, birth_date, address FROM connector_{connector}.patient")
    safe = profile == "safe_harbor"
    assert (who, str(born)) == (hashed("p1", key), "1970" if safe else "1970-01-31")
    assert json.loads(address) == [
        {"postalCode": "101" if safe else "10115", "state": "NY", **({} if safe else {"city": "Ulm"})}
    ]
    ((joined, value),) = platform.duck(
        f"SELECT o.subject->>'reference' = 'Patient/' || p.id, o.value_quantity->>'value' FROM "
        f"connector_{connector}.observation o, connector_{connector}.patient p"
    )
    assert (joined, value) == (True, "72.5")


def test_a_resource_type_of_which_a_profile_keeps_nothing_is_refused(platform: Platform) -> None:
    source = {"type": "fhir", "resource_types": ["Questionnaire"], "protect": {"profile": "safe_harbor"}}
    with WebServer(FhirServer(patient(1, "2024-01-01T00:00:00Z"))) as web:
        with pytest.raises(ConfigurationError, match="keeps nothing of Questionnaire: add what may land"):
            platform.run(platform.add(source | {"base_url": web.url + "/fhir"}))
        with pytest.raises(ConfigurationError, match="names 'safe_harbour', and there is no such profile"):
            platform.run(platform.add(source | {"base_url": web.url + "/fhir", "protect": {"profile": "safe_harbour"}}))


def test_the_safe_harbor_treats_columns_by_their_names_and_values(platform: Platform, emr: Sql) -> None:
    emr(
        "CREATE TABLE visit (visit_id int primary key, patient_name text, birth_date date, zip text, age int, "
        "admitted timestamptz, code text, weight numeric(6, 2), free_text text, reached_by text, remark_code text, "
        "seen text, onset text)"
    )
    emr(
        "INSERT INTO visit VALUES (1, 'canary', '1970-01-31', '10115', 95, '2024-01-31 08:00+00', 'I10', 72.5, "
        "'canary', 'canary@a.org', 'canary', '03/14/2019', '2019-03')"
    )
    table = {"name": "visit", "primary_key": "visit_id", "cursor_column": "admitted"}
    source = {"type": "sql_database", "credentials": EMR, "tables": [table], "protect": {"profile": "safe_harbor"}}
    connector = platform.add(source)
    platform.run(connector)
    found = platform.duck(f"SELECT * EXCLUDE (visit_id, _dlt_load_id) FROM connector_{connector}.visit")
    names = [row[0] for row in platform.duck(f"DESCRIBE connector_{connector}.visit")][:-1]
    assert dict(zip(names[1:], found[0], strict=False)) == {
        "birth_date": "1970", "zip": "101", "age": 90, "admitted": "2024", "code": "I10", "weight": 72.5,
        "reached_by": None, "seen": "2019", "onset": "2019",
    }  # fmt: skip
    assert date(1970, 1, 31) not in found[0]


@pytest.mark.parametrize("form", ["csv", "xml", "xlsx"])
def test_a_second_column_of_a_protected_name_does_not_land_in_clear(platform: Platform, inbox: Path, form: str) -> None:
    if form == "csv":
        (inbox / "a.csv").write_text("id,ssn,ssn\n1,canary,canary\n")
        (inbox / "b.csv").write_text("id,ssn\n2,canary\n")
    elif form == "xml":
        (inbox / "a.xml").write_text('<e><p id="1" ssn="canary"><ssn>canary</ssn></p></e>')
        (inbox / "b.xml").write_text('<e><p id="2" ssn="canary"/></e>')
    for name, merged in (("a", "B1:C1"), ("b", None)) if form == "xlsx" else ():
        book = openpyxl.Workbook()
        book.active.append(["id", "ssn", None if merged else "other"])
        book.active.append([1 if merged else 2, "canary", "canary" if merged else "x"])
        if merged:
            book.active.merge_cells(merged)
        book.save(inbox / f"{name}.xlsx")
    source = {"type": "files", "url": str(inbox), "format": form, "table": "t", "glob": f"*.{form}"}
    source |= {"row_path": "/e/p"} if form == "xml" else {}
    connector = platform.add({**source, "protect": {"rules": [{"path": "ssn", "method": "redact"}]}})
    sentence = platform.run(connector).sentence
    assert f"a.{form} has several columns called ssn" in sentence
    assert "say what becomes of ssn_2 as well" in sentence
    assert platform.duck(f"SELECT id FROM connector_{connector}.t") == [(2,)]
    assert "canary" not in str(platform.duck(f"FROM connector_{connector}.t"))
