"""Discovery asks real servers what they have: keys as the catalogue has them, few questions, and no value of a row."""

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet
import pytest
import sqlalchemy as sa
from pydantic import TypeAdapter

from connectors.discovery import Discovery, Item, ItemKind
from connectors.sources import Source
from local.embedded_postgres import EmbeddedPostgres
from pipelines.discovery import discover, files
from pipelines.errors import RunError
from pipelines.sources.files.stores import Found, Store
from settings import Settings
from tests.support.servers.http_server import Answer, Asked, WebServer
from use_cases.sources import askable

Sql = Callable[[str], list[tuple[Any, ...]]]


def found(source: dict[str, Any], cursor: str | None = None) -> Discovery:
    adapter: TypeAdapter[Source] = TypeAdapter(Source)
    return discover(adapter.validate_python(askable(source).source), Settings(), cursor)


DATABASE = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}}


def by_name(page: Discovery) -> dict[str, Item]:
    return {item.name: item for item in page.items}


def test_tables_and_views_come_with_keys_of_constraints_and_cursors_of_types(emr: Sql) -> None:
    emr(
        """
        CREATE TABLE patient (id bigint PRIMARY KEY, last_name text, dob date, updated_at timestamptz NOT NULL);
        CREATE TABLE visit (site int NOT NULL, number int NOT NULL, seen timestamp, note text, UNIQUE (number, site));
        CREATE TABLE vitals (visit int, value numeric(6, 2));
        CREATE UNIQUE INDEX ON vitals (visit) WHERE value > 0;
        CREATE VIEW adults AS SELECT id, updated_at FROM patient;
        CREATE TABLE parted (day date, id int) PARTITION BY RANGE (day);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
        INSERT INTO patient SELECT n, 'Muster', '1970-01-01', now() FROM generate_series(1, 1000) n;
        ANALYZE patient;
        """
    )
    items = by_name(found(DATABASE))
    assert list(items) == ["adults", "parted", "patient", "visit", "vitals"]
    patient = items["patient"]
    assert (patient.kind, patient.rows, patient.primary_key) == (ItemKind.TABLE, 1000, ("id",))
    assert [(c.name, c.type, c.nullable, c.identifying) for c in patient.columns] == [
        ("id", "bigint", False, False),
        ("last_name", "text", True, True),
        ("dob", "date", True, True),
        ("updated_at", "timestamp with time zone", False, False),
    ]
    assert patient.cursor_candidates == ("updated_at", "id")
    assert patient.proposed_cursor == "updated_at"
    assert (items["visit"].primary_key, items["visit"].proposed_cursor) == (("number", "site"), None)
    assert items["vitals"].primary_key == ()  # a partial index is no key
    assert (items["adults"].kind, items["adults"].rows) == (ItemKind.VIEW, None)
    assert "Muster" not in repr(items)


def test_a_thousand_tables_are_pages_of_two_questions_each(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.create_database("discovered")
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    columns = ", ".join(f"c{number} text" for number in range(48))
    with engine.begin() as connection:
        for first in range(0, 1000, 100):
            tables = (
                f"CREATE TABLE t{n:04} (id int PRIMARY KEY, updated_at timestamp, {columns});"
                for n in range(first, first + 100)
            )
            connection.execute(sa.text("".join(tables)))
    engine.dispose()
    monkeypatch.setenv("CAI_SECRET_EMR", url)
    asked: list[str] = []
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *seen: asked.append(seen[2]))
    items: list[Item] = []
    cursor: str | None = None
    while True:
        page = found(DATABASE, cursor)
        items += page.items
        cursor = page.cursor
        if cursor is None:
            break
    assert len(items) == len({item.name for item in items}) == 1000
    assert all(item.primary_key == ("id",) and len(item.columns) == 50 for item in items)
    assert len([each for each in asked if "pg_attribute" in each]) == 4


def test_another_database_is_reflected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", str(tmp_path))
    monkeypatch.setenv("CAI_SECRET_EMR", f"sqlite:///{tmp_path / 'emr.db'}")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'emr.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE lab (id INTEGER PRIMARY KEY, email TEXT, changed_at TIMESTAMP)"))
        connection.execute(sa.text("CREATE VIEW labs AS SELECT id FROM lab"))
    engine.dispose()
    items = by_name(found(DATABASE))
    assert (items["lab"].primary_key, items["lab"].proposed_cursor) == (("id",), "changed_at")
    assert items["lab"].identifying == ("email",)
    assert items["labs"].kind is ItemKind.VIEW


def test_a_login_that_is_refused_is_a_sentence_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_EMR", "postgresql://reader:hunter2@127.0.0.1:1/emr")
    with pytest.raises(RunError) as refused:
        found(DATABASE)
    assert "hunter2" not in str(refused.value)


def test_a_fhir_server_is_asked_for_the_types_that_it_searches() -> None:
    statement = {
        "resourceType": "CapabilityStatement",
        "rest": [
            {
                "mode": "server",
                "resource": [
                    {"type": "Patient", "interaction": [{"code": "search-type"}], "searchParam": [{"name": "family"}]},
                    {
                        "type": "Observation",
                        "interaction": [{"code": "read"}, {"code": "search-type"}],
                        "searchParam": [{"name": "_lastUpdated"}],
                    },
                    {"type": "Binary", "interaction": [{"code": "read"}]},
                ],
            }
        ],
    }
    with WebServer(lambda asked: statement if asked.path == "/metadata" else Answer({}, 404)) as server:
        items = by_name(found({"type": "fhir", "base_url": server.url}))
    assert list(items) == ["Patient", "Observation"]
    assert items["Observation"].cursor_candidates == ("_lastUpdated",)
    assert items["Observation"].columns == ()
    assert {"identifier", "name", "telecom", "birthDate", "address", "contact"} < set(items["Patient"].identifying)
    assert not {"id", "meta", "gender", "managingOrganization"} & set(items["Patient"].identifying)
    with (
        WebServer(lambda _: {"resourceType": "Bundle"}) as server,
        pytest.raises(RunError, match="CapabilityStatement"),
    ):
        found({"type": "fhir", "base_url": server.url})


def test_a_redcap_project_is_asked_for_its_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_REDCAP", "0123456789ABCDEF")
    dictionary = [
        {"field_name": "record_id", "form_name": "baseline", "field_type": "text", "identifier": ""},
        {"field_name": "nick", "form_name": "baseline", "field_type": "text", "identifier": "y"},
        {"field_name": "weight", "form_name": "visit", "field_type": "text", "identifier": ""},
        {
            "field_name": "pain",
            "form_name": "visit",
            "field_type": "checkbox",
            "select_choices_or_calculations": "1, Head | -9, Elsewhere",
            "identifier": "",
        },
        {"field_name": "help", "form_name": "visit", "field_type": "descriptive", "identifier": ""},
    ]

    def answer(asked: Asked) -> Any:
        assert b"content=metadata" in asked.body
        return dictionary

    with WebServer(answer) as server:
        source = {"type": "redcap", "api_url": f"{server.url}/api/", "token": {"env": "CAI_SECRET_REDCAP"}}
        items = by_name(found(source))
        as_tables = by_name(found({**source, "layout": "by_instrument", "checkboxes": "codes"}))
    assert list(items) == ["baseline", "visit"]
    assert [column.name for column in items["visit"].columns] == ["weight", "pain___1", "pain____9"]
    assert [column.name for column in as_tables["visit"].columns] == ["weight", "pain"]
    assert as_tables["visit"].primary_key == (
        "record_id",
        "redcap_event_name",
        "redcap_repeat_instrument",
        "redcap_repeat_instance",
    )
    assert items["baseline"].identifying == ("nick",)
    assert items["visit"].primary_key == ("record_id",)


def test_sheets_of_workbooks_are_shown_with_their_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", str(tmp_path))
    book = openpyxl.Workbook()
    labs, visits, hidden = book.active, book.create_sheet("Visits"), book.create_sheet("Codes")
    labs.title, hidden.sheet_state = "Labs", "hidden"
    for sheet, rows in (
        (labs, [["MRN", "Value", "Taken"], [None, None, None], ["007", 7.5, date(2024, 2, 29)]]),
        (visits, [["Visit", "At", "Seen"], [1, datetime.fromisoformat("2024-02-29T10:30"), True]]),
    ):
        for row in rows:
            sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    (tmp_path / "b.xlsx").write_bytes(b"none")
    items = by_name(found({"type": "files", "url": str(tmp_path), "format": "xlsx"}))
    assert {name: item.kind.value for name, item in items.items()} == {
        "a.xlsx": "file", "a.xlsx/Labs": "sheet", "a.xlsx/Visits": "sheet", "b.xlsx": "file",
    }  # fmt: skip
    columns = [[(each.name, each.type) for each in items[name].columns] for name in ("a.xlsx/Labs", "a.xlsx/Visits")]
    assert columns == [
        [("MRN", "text"), ("Value", "number"), ("Taken", "date")],
        [("Visit", "number"), ("At", "timestamp"), ("Seen", "bool")],
    ]
    assert items["a.xlsx/Labs"].identifying == ("MRN",)
    assert "007" not in repr(items)


def test_files_are_shown_with_the_columns_that_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", str(tmp_path))
    (tmp_path / "labs.csv").write_text("MRN;value;taken;note\n007;7,5;2024-02-29;\n008;8,5;2024-03-01;Muster\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "broken.csv").write_text('id;note\n1;"open\n')
    labs = {"type": "files", "url": str(tmp_path), "format": "csv", "decimal": ","}
    page = found(labs)
    columns = {item.name: [(each.name, each.type) for each in item.columns] for item in page.items}
    assert columns == {
        "broken.csv": [],
        "empty.csv": [],
        "labs.csv": [("MRN", "text"), ("value", "number"), ("taken", "date"), ("note", "text")],
    }
    assert by_name(page)["labs.csv"].identifying == ("MRN",)
    assert "Muster" not in repr(page)
    table = pa.table({"id": pa.array([1], pa.int32()), "at": pa.array([None], pa.timestamp("us", "UTC"))})
    pyarrow.parquet.write_table(table, tmp_path / "visit.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "visit.parquet").read_bytes()[:-4])
    items = by_name(found({"type": "files", "url": str(tmp_path), "format": "parquet"}))
    assert items["cut.parquet"].columns == ()
    assert [(each.name, each.type) for each in items["visit.parquet"].columns] == [
        ("id", "int32"),
        ("at", "timestamp[us, tz=UTC]"),
    ]
    monkeypatch.setattr(files, "LOOKS_SECONDS", -1.0)
    assert [(item.name, item.columns) for item in found({**labs, "glob": "labs.csv"}).items] == [("labs.csv", ())]
    monkeypatch.setattr(files, "LOOKS_SECONDS", 600.0)
    (tmp_path / "e.jsonl").write_text('{"id": null, "code": {"a": 1}}\n{"id": 2, "seen": true}\n')
    (item,) = found({"type": "files", "url": str(tmp_path), "format": "jsonl"}).items
    assert [(each.name, each.type) for each in item.columns] == [("id", "number"), ("code", "json"), ("seen", "bool")]


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_a_file_that_is_gone_or_not_to_be_read_hides_no_other(
    error: type[OSError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", str(tmp_path))
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("id\n1\n")
    opened = Store.open

    def open_or_not(store: Store, file: Found) -> Any:
        if file.name == "a.csv":
            raise error
        return opened(store, file)

    monkeypatch.setattr(Store, "open", open_or_not)
    page = found({"type": "files", "url": str(tmp_path)})
    assert [(item.name, len(item.columns)) for item in page.items] == [("a.csv", 0), ("b.csv", 1)]


def test_where_nothing_was_said_of_formats_and_none_is_taken_for_granted_all_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", str(tmp_path))
    openpyxl.Workbook().save(tmp_path / "a.xlsx")
    (tmp_path / "b.jsonl").write_text('{"id": 1}\n')
    (tmp_path / "c.xml").write_text("<a/>")
    assert {"a.xlsx", "b.jsonl", "c.xml"} <= by_name(found({"type": "files", "url": str(tmp_path)})).keys()
    assert found({"type": "files", "url": str(tmp_path), "format": "csv"}).items == ()
    (tmp_path / "d.csv").write_text("id\n1\n")
    assert list(by_name(found({"type": "files", "url": str(tmp_path)}))) == ["d.csv"]


def test_files_and_fields_of_a_web_api_are_shown_without_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", str(tmp_path))
    monkeypatch.setenv("CAI_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "labs.csv").write_text("id\n1\n")
    (tmp_path / "labs.csv.part").write_text("id\n")
    assert list(by_name(found({"type": "files", "url": str(tmp_path), "format": "csv"}))) == ["labs.csv"]
    rows = [{"id": 1, "email": "muster@example.org", "updated_at": "2024-01-02T03:04:05Z", "ok": True}]
    with WebServer(lambda _: rows) as server:
        resource = {"name": "visits", "path": "visits"}
        (item,) = found({"type": "rest_api", "base_url": server.url, "resources": [resource]}).items
    assert (item.kind, item.primary_key, item.proposed_cursor) == (ItemKind.RESOURCE, ("id",), "updated_at")
    assert item.identifying == ("email",)
    assert "muster" not in repr(item)
