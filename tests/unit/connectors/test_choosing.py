"""Ticked items as a source's JSON: files and sheets as tables, and columns that are left out of rows."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from connectors.discovery import Column, Item, ItemKind
from connectors.discovery.choosing import chosen, left_out
from connectors.discovery.files import gathered, name_of, offered, spread
from connectors.sources import Source
from connectors.sources.files import FilesSource


def file(name: str, *columns: str) -> Item:
    return Item(name, ItemKind.FILE, tuple(Column(each, "text") for each in columns))


def sheet(name: str, *columns: str) -> Item:
    return Item(name, ItemKind.SHEET, tuple(Column(each, "text") for each in columns))


def valid(source: dict[str, Any]) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(Source)
    return adapter.validate_python(source)


def test_files_that_differ_in_numbers_alone_are_one_table_that_takes_in_those_to_come() -> None:
    items = [
        file("in/labs_2024_01.csv", "id", "value"),
        file("in/labs_2024_02.csv", "id", "value"),
        file("in/labs_2023_12.csv", "other"),
        file("site1.csv", "id"),
        file("odd [1].csv", "id"),
        file("odd [2].csv", "id"),
    ]
    assert [(each.item.name, each.label) for each in offered(items)] == [
        ("in/labs_[0-9]*_[0-9]*.csv", "in/labs_2024_02.csv and another file like it"),
        ("in/labs_2023_12.csv", "in/labs_2023_12.csv"),
        ("site1.csv", "site1.csv"),
        ("odd [1].csv", "odd [1].csv"),
        ("odd [2].csv", "odd [2].csv"),
    ]


def test_a_workbook_is_its_sheets_and_a_broken_one_itself() -> None:
    items = [
        file("a_1.xlsx"),
        sheet("a_1.xlsx/Labs/2", "id"),
        sheet("a_1.xlsx/Visits", "id"),
        file("a_2.xlsx"),
        sheet("a_2.xlsx/Visits", "id"),
        file("b.xlsx"),
    ]
    assert [(each.item.name, each.label) for each in offered(items)] == [
        ("a_1.xlsx/Labs/2", "Labs/2 in a_1.xlsx"),
        ("a_[0-9]*.xlsx/Visits", "Visits in a_2.xlsx and another file like it"),
        ("b.xlsx", "b.xlsx"),
    ]


def test_ticked_files_and_sheets_are_tables_that_a_run_takes() -> None:
    source = {"type": "files", "url": "/in", "null_values": ["NA"]}
    picked = [
        {"name": "labs_[0-9]*.csv", "primary_key": ["id"], "columns": []},
        {"name": "labs_7.csv", "primary_key": []},
        {"name": "a.xlsx/Labs", "primary_key": []},
        {"name": "b.xlsx/Visits", "primary_key": []},
    ]
    found = chosen(source, picked)
    assert found["tables"] == [
        {"table": "labs", "glob": "labs_[0-9]*.csv", "primary_key": ["id"]},
        {"table": "labs_7", "glob": "labs_7.csv"},
        {"table": "a_labs", "glob": "a.xlsx", "sheet": "Labs"},
        {"table": "visits", "glob": "b.xlsx", "sheet": "Visits"},
    ]
    read: FilesSource = valid(spread(found))
    assert [(each.table, each.format.value, each.null_values) for each in read.each()] == [
        ("labs", "csv", ("NA",)),
        ("labs_7", "csv", ("NA",)),
        ("a_labs", "xlsx", ("NA",)),
        ("visits", "xlsx", ("NA",)),
    ]
    assert gathered(spread(found)) == found
    assert [name_of(each, found) for each in found["tables"]] == [each["name"] for each in picked]
    again = chosen(found, picked[:1])
    assert again["tables"] == found["tables"][:1]
    assert chosen(found, []) == source


def test_the_one_file_of_an_address_is_its_only_table_and_of_its_sheets_each() -> None:
    csv = {"type": "files", "url": "/in/labs.csv"}
    assert chosen(csv, [{"name": "labs.csv", "primary_key": ["id"]}]) == {**csv, "primary_key": ["id"]}
    assert chosen({**csv, "primary_key": ["id"]}, [{"name": "labs.csv", "primary_key": []}]) == csv
    book = {"type": "files", "url": "/in/book.xlsx"}
    found = chosen(book, [{"name": "book.xlsx/Visits", "primary_key": []}])
    assert found == {**book, "tables": [{"table": "visits", "glob": "book.xlsx", "sheet": "Visits"}]}
    assert [(each.table, each.sheet) for each in valid(spread(found)).each()] == [("visits", "Visits")]
    assert name_of(found["tables"][0], found) == "book.xlsx/Visits"


@pytest.mark.parametrize(
    "source",
    [
        {"type": "redcap", "api_url": "https://x", "token": {"secret": "x"}},
        {"type": "files", "url": "/in/labs.csv"},
    ],
)
def test_a_column_that_is_left_out_is_dropped_and_comes_back_when_it_is_ticked(source: dict[str, Any]) -> None:
    kept = {"path": "dob", "method": "year"}
    source = {**source, "protect": {"rules": [kept]}}
    has = ["record_id", "nick", "a.b"]
    name = "labs.csv"
    found = chosen(source, [{"name": name, "has": has, "left_out": ["nick", "a.b"], "columns": ["record_id"]}])
    assert found["protect"]["rules"] == [
        kept,
        {"path": "nick", "method": "drop"},
        {"path": "['a.b']", "method": "drop"},
    ]
    valid(found)
    assert left_out(found) == {"nick", "a.b"}
    again = chosen(found, [{"name": name, "has": has, "left_out": [], "columns": []}])
    assert again["protect"] == {"rules": [kept]}
    assert "protect" not in chosen({**source, "protect": {"rules": []}}, [{"name": name, "has": has}])


def test_a_column_of_two_forms_is_dropped_only_where_neither_is_to_load_it() -> None:
    source = {"type": "redcap", "api_url": "https://x", "token": {"secret": "x"}}
    forms = [
        {"name": "a", "has": ["record_id", "x"], "left_out": ["record_id"]},
        {"name": "b", "has": ["record_id"], "left_out": []},
    ]
    assert "protect" not in chosen(source, forms)
