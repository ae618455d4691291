"""Names and values of every kind of source as they stand in the destination: nothing is one that was two before."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipelines.errors import RunError
from pipelines.protection.masking import masking_key
from pipelines.protection.methods.hashing import hashed
from tests.support.data_plane.platform import Platform, Sql
from tests.support.servers.http_server import Answer, WebServer

DUCKDB: dict[str, Any] = {}
POSTGRES = {"destination": {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}}
BOTH = pytest.mark.parametrize("destination", [DUCKDB, POSTGRES], ids=["duckdb", "postgres"])


def rest(url: str, **resource: Any) -> dict[str, Any]:
    return {
        "type": "rest_api",
        "base_url": url + "/api",
        "paginator": {"type": "single_page"},
        "resources": [{"name": "visits", "path": "visits", "data_selector": "$", **resource}],
    }


def landed(
    platform: Platform, warehouse: Sql, connector: int, destination: dict[str, Any], table: str
) -> list[dict[str, Any]]:
    """The rows of a table as dicts, without dlt's own columns."""
    ask = warehouse if destination else platform.duck
    dataset = f"connector_{connector}"
    names = [
        name
        for (name,) in ask(
            "SELECT column_name FROM information_schema.columns "
            f"WHERE table_schema = '{dataset}' AND table_name = '{table}' ORDER BY ordinal_position"
        )
        if not name.startswith("_dlt")
    ]
    columns = ", ".join(f'CAST("{name}" AS VARCHAR)' for name in names)
    return [dict(zip(names, row, strict=True)) for row in ask(f"SELECT {columns} FROM {dataset}.{table} ORDER BY 1")]


@BOTH
def test_names_that_would_be_one_and_numbers_of_many_digits_land_as_they_are(
    platform: Platform, warehouse: Sql, destination: dict[str, Any]
) -> None:
    first = """[
        {"id": 123456789012345678901, "x___99": "0", "x____99": "1", "pain_1": "", "pain___1": "1",
         "CD4+": 1, "CD4-": 2},
        {"id": 123456789012345678902, "ID": "b", "CD4+": 3, "имя": "c", "in": {"dose": 1.00, "n": 1.50}}
    ]""".encode()
    second = """[{"CD4-": 5, "возраст": 44, "id": 123456789012345678902, "Id": "e"}]""".encode()
    answers = iter([first, second])
    with WebServer(lambda _: Answer(next(answers))) as web:
        connector = platform.add(rest(web.url, primary_key="id"), **destination)
        assert "lands as 'cd4x_" in platform.run(connector).sentence
        assert "lands as 'cd4x_" not in platform.run(connector).sentence
    one, two = landed(platform, warehouse, connector, destination, "visits")
    others = {name.rpartition("_")[0]: name for name in one if name[-7:-6] == "_" and name != "x_99"}
    assert [row["id"] for row in (one, two)] == ["123456789012345678901", "123456789012345678902"]
    assert (one["x_99"], one[others["x_99"]], one["pain_1"], one[others["pain_1"]]) == ("0", "1", "", "1")
    assert (one["cd4x"], one[others["cd4x"]], two[others["cd4x"]]) == ("1", "2", "5")
    assert (two["vozrast"], two["imya"]) == ("44", None)  # a merge replaces the whole row
    assert sum(name.startswith("id_") for name in one) == 2


@BOTH
def test_digits_stay_in_json_columns_and_fhir_keeps_those_of_each_value(
    platform: Platform, warehouse: Sql, destination: dict[str, Any]
) -> None:
    resource = b"""{"resourceType": "ChargeItem", "id": "a", "meta": {"lastUpdated": "2024-01-01T00:00:00Z"},
        "factorOverride": 7.40, "quantity": {"value": 1.50, "exact": 1.00, "big": 123456789012345678901}}"""
    bundle = b'{"resourceType": "Bundle", "type": "searchset", "total": 1, "entry": [{"resource": %s}]}' % resource
    with WebServer(lambda _: Answer(bundle)) as web:
        source = {"type": "fhir", "base_url": web.url, "resource_types": ["ChargeItem"]}
        connector = platform.add(source, **destination)
        platform.run(connector)
    (row,) = landed(platform, warehouse, connector, destination, "charge_item")
    for part in ('"value":1.50', '"exact":1.00', '"big":123456789012345678901'):
        assert part in row["quantity"].replace(" ", "")
    assert (row["factor_override"], row["factor_override__v_text"]) == ("7.4", "7.40")


@BOTH
def test_tables_and_parquet_files_keep_each_of_their_columns(
    platform: Platform, warehouse: Sql, destination: dict[str, Any], emr: Sql, inbox: Path
) -> None:
    emr('CREATE TABLE visits ("ID" int, id int, "имя" text, "пол" text, "CD4+" int, "CD4-" int)')
    emr("INSERT INTO visits VALUES (1, 2, 'a', 'b', 3, 4)")
    table = pa.table({"ID": [1], "id": [2], "имя": ["a"], "пол": ["b"], "CD4+": [3], "CD4-": [4]})
    pa.parquet.write_table(table, inbox / "visits.parquet")
    sql = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}}
    sources: list[dict[str, Any]] = [
        sql | {"tables": [{"name": "visits", "primary_key": "ID"}]},
        {"type": "files", "url": str(inbox), "format": "parquet", "table": "visits", "primary_key": "ID"},
    ]
    for source in sources:
        connector = platform.add(source, **destination)
        platform.run(connector)
        emr("UPDATE visits SET \"пол\" = 'c'")
        platform.run(connector)
        (row,) = landed(platform, warehouse, connector, destination, "visits")
        emr("UPDATE visits SET \"пол\" = 'b'")
        assert (row["id"], row["imya"], row["pol"], row["cd4x"]) == ("1", "a", row["pol"], "3")
        assert row["pol"] == ("c" if source["type"] == "sql_database" else "b")
        assert sorted(value for name, value in row.items() if name[-7:-6] == "_") == ["2", "4"]


def test_long_names_of_postgres_that_would_be_one_both_land(platform: Platform, warehouse: Sql) -> None:
    row = {"a" * 70 + "+": 1, "a" * 70 + "-": 2, "b" * 70: "x" * 3, "id": 1}
    rows = [row, {**row, "id": 2, "b" * 70: 5}]
    with WebServer(lambda _: rows) as web:
        connector = platform.add(rest(web.url, primary_key="id"), **POSTGRES)
        platform.run(connector)
        columns = landed(platform, warehouse, connector, POSTGRES, "visits")[0].keys()
        platform.run(connector)
    found = landed(platform, warehouse, connector, POSTGRES, "visits")
    assert len(found) == 2
    assert sorted(value for name, value in found[0].items() if name.startswith("aaa")) == ["1", "2"]
    assert found[0].keys() == columns


@BOTH
def test_codes_of_a_csv_are_keys_as_they_are_written(
    platform: Platform, warehouse: Sql, destination: dict[str, Any], inbox: Path
) -> None:
    (inbox / "codes.csv").write_text("code,value\n1.1,7.4\n1.10,8\n1E5,6\n100000,5\n")
    source = {"type": "files", "url": str(inbox), "table": "codes", "primary_key": "code"}
    connector = platform.add(source, **destination)
    platform.run(connector)
    (inbox / "more.csv").write_text("code,value\n1.10,7.40\n1.100,3\n")
    platform.run(connector)
    found = {row["code"]: row["value"] for row in landed(platform, warehouse, connector, destination, "codes")}
    assert found.keys() == {"1.1", "1.10", "1.100", "1E5", "100000"}
    assert float(found["1.10"]) == 7.4


@BOTH
def test_types_is_the_way_out_of_keys_that_are_numbers_today_and_texts_tomorrow(
    platform: Platform, warehouse: Sql, destination: dict[str, Any]
) -> None:
    pages: list[list[dict[str, Any]]] = [[{"id": 1}], [{"id": "a-3"}]]
    answers = iter(pages)
    with WebServer(lambda _: next(answers)) as web:
        connector = platform.add(rest(web.url, primary_key="id", types={"id": "text"}), **destination)
        platform.run(connector)
        platform.run(connector)
    assert [row["id"] for row in landed(platform, warehouse, connector, destination, "visits")] == ["1", "a-3"]


def test_a_masked_column_stays_masked_however_a_later_file_spells_it(platform: Platform, inbox: Path) -> None:
    source = {"type": "files", "url": str(inbox), "table": "visits", "mask": ["Patient ID"]}
    connector = platform.add(source)
    for number, name in enumerate(["Patient ID", "PATIENTID", "patient_id", "patientId"]):
        (inbox / f"{number}.csv").write_text(f"{name},v\ncanary-{number},{number}\n")
        platform.run(connector)
    rows = platform.duck(f"SELECT * FROM connector_{connector}.visits")
    key = masking_key(platform.settings.data_dir)
    assert "canary" not in str(rows)
    for number in range(4):
        assert str(hashed(f"canary-{number}", key)) in str(rows)


def test_a_key_stays_the_key_however_a_later_file_spells_it(platform: Platform, inbox: Path) -> None:
    (inbox / "a.csv").write_text("Patient ID,Größe\n1,180\n")
    connector = platform.add({"type": "files", "url": str(inbox), "table": "visits", "primary_key": "patient_id"})
    platform.run(connector)
    (inbox / "b.csv").write_text("PATIENT_ID,Größe\n1,181\n2,170\n")
    platform.run(connector)
    rows = platform.duck(f"SELECT patient_id, grosse FROM connector_{connector}.visits ORDER BY 1")
    assert rows == [(1, 181), (2, 170)]


def test_a_table_named_in_another_script_is_recognised(platform: Platform) -> None:
    with WebServer(lambda _: [{"id": 1}]) as web:
        connector = platform.add(rest(web.url, name="Пациенты", primary_key="id"))
        platform.run(connector)
        assert platform.run(connector, full_refresh=True).rows == {"patsienty": 1}
    assert platform.duck(f"SELECT id FROM connector_{connector}.patsienty") == [(1,)]


def test_two_tables_whose_names_would_be_one_are_refused(platform: Platform) -> None:
    source = rest("http://clinic.local")
    source["resources"] = [{"name": "Größe", "path": "a"}, {"name": "grosse", "path": "b"}]
    connector = platform.add(source)
    with pytest.raises(RunError, match="both would land as 'grosse'"):
        platform.run(connector)
