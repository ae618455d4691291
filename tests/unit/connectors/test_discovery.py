"""Guesses from a column's name, and ticked items as a source's JSON."""

import pytest

from connectors.discovery import cursor_order, may_identify
from connectors.discovery.choosing import chosen


@pytest.mark.parametrize(
    "name",
    ["last_name", "LastName", "PATIENT NAME", "dob", "BirthDate", "e-mail", "zip", "phone_2", "mrn", "ip_address"],
)
def test_names_of_the_safe_harbor_classes_may_identify(name: str) -> None:
    assert may_identify(name)


@pytest.mark.parametrize("name", ["id", "visit_id", "dose", "username_count", "filename_hash", "result", "unit"])
def test_other_names_do_not(name: str) -> None:
    assert not may_identify(name)


def test_a_cursor_that_says_so_comes_first() -> None:
    assert cursor_order(["id", "created_at", "LastUpdated", "seen"]) == ("LastUpdated", "created_at", "id", "seen")


def test_a_ticked_table_keeps_what_it_had_and_others_go() -> None:
    source = {
        "type": "sql_database",
        "tables": [{"name": "visit", "lag": 5, "primary_key": ["id"]}, {"name": "gone"}],
    }
    ticked: list[dict[str, object]] = [
        {"name": "visit", "primary_key": ["visit_id"], "columns": []},
        {"name": "patient", "cursor_column": "at"},
    ]
    assert chosen(source, ticked)["tables"] == [
        {"name": "visit", "lag": 5, "primary_key": ["visit_id"]},
        {"name": "patient", "cursor_column": "at"},
    ]
    assert chosen({"type": "fhir"}, [{"name": "Patient"}]) == {"type": "fhir", "resource_types": ["Patient"]}
    assert chosen({"type": "redcap"}, [{"name": "visit"}]) == {"type": "redcap", "forms": ["visit"]}
