"""Places that connectors may write, and connectors that would write one table."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from connectors.connector import Connector, ConnectorRow, validate
from connectors.destinations import Destination
from connectors.destinations.places import Places, is_below, outside
from connectors.shared_tables import Writer, clash, sharing, writer_of

PLACES = Places(Path("/data"), (Path("/mnt/lake"),), {"type": "duckdb", "path": "/data/warehouse.duckdb"})
SQL = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_X"}}
PG = {"type": "postgres", "credentials": {"secret": "warehouse"}}


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"type": "duckdb", "path": "labs.duckdb"}, True),
        ({"type": "duckdb", "path": "/data/deep/labs.duckdb"}, True),
        ({"type": "duckdb", "path": "/mnt/lake/labs.duckdb"}, True),
        ({"type": "duckdb", "path": "../outside/x.duckdb"}, False),
        ({"type": "duckdb", "path": "/data/../etc/x.duckdb"}, False),
        ({"type": "duckdb", "path": "/data2/x.duckdb"}, False),
        ({"type": "filesystem", "url": "/app/flows"}, False),
        ({"type": "filesystem", "url": "file:///app/flows"}, False),
        ({"type": "filesystem", "url": "file:///mnt/lake/%2e%2e/x"}, False),
        ({"type": "filesystem", "url": "/mnt/lake"}, True),
        ({"type": "filesystem", "url": "s3://lake/clinical"}, True),
        (PG, True),
    ],
)
def test_a_local_destination_is_held_below_its_directories(given: dict[str, Any], allowed: bool) -> None:
    destination: Any = TypeAdapter(Destination).validate_python(given)
    sentence = outside(destination, PLACES)
    assert (sentence is None) is allowed
    assert allowed or "CAI_LOCAL_DESTINATION_ROOTS" in str(sentence)


def test_a_directory_is_not_below_one_whose_name_begins_like_it() -> None:
    assert not is_below(Path("/database/x"), (Path("/data"),))


def writer(number: int, *tables: str, disposition: str = "merge", **columns: Any) -> Writer:
    names = [{"name": table, "primary_key": "id", "write_disposition": disposition} for table in tables]
    found = writer_of(connector(number, {**SQL, "tables": names}, **columns), PLACES)
    assert found is not None
    return found


def connector(number: int, source: dict[str, Any], **columns: Any) -> Connector:
    values: dict[str, Any] = {
        "description": None, "schedule": None, "timezone": "UTC", "is_active": True, "destination": None,
        "dataset_name": "shared", "run_policy": {}, "work_pool_name": None, "work_queue_name": None,
        "prefect_deployment_id": None, "generation": 1, **columns,
    }  # fmt: skip
    return validate(ConnectorRow(id=number, name=f"c{number}", source=source, **values))


SHARED = {**PG, "shared_tables": True}
FILE = {"type": "duckdb", "path": "x/../warehouse.duckdb"}


@pytest.mark.parametrize(
    ("mine", "other", "refused"),
    [
        (writer(1, "visit"), writer(2, "visit"), "also writes 'visit'"),
        (writer(1, "visit"), writer(2, "Visit"), "also writes 'visit'"),
        (writer(1, "visit"), writer(2, "person"), None),
        (writer(1, "visit", destination=FILE), writer(2, "visit"), "also writes"),
        (writer(1, "visit", destination=PG), writer(2, "visit"), None),
        (writer(1, "visit", destination=PG), writer(2, "visit", destination=PG), "shared_tables"),
        (writer(1, "visit", destination=SHARED), writer(2, "visit", destination=PG), "shared_tables"),
        (writer(1, "visit", destination=SHARED), writer(2, "visit", destination=SHARED), None),
        (writer(1, "visit", destination=SHARED), writer(2, "visit", destination=SHARED, disposition="replace"),
         "replaced table can't be shared"),
        (writer(1, "visit", dataset_name="connector_2"), writer(2, "visit", dataset_name=None), "also writes"),
        (writer(1, "visit", dataset_name="a"), writer(2, "visit", dataset_name="b"), None),
    ],
)  # fmt: skip
def test_two_connectors_write_one_table_only_on_purpose(mine: Writer, other: Writer, refused: str | None) -> None:
    found = clash(mine, [mine, other])
    assert (found is None) if refused is None else found is not None and refused in found.message


def test_tables_that_are_shared_on_purpose_are_known() -> None:
    mine, other = writer(1, "visit", "a", destination=SHARED), writer(2, "visit", "b", destination=SHARED)
    assert sharing(mine, [other]) == ["visit"]
