"""Destinations that are not saved: outside of the data directory, or a table of another connector."""

from pathlib import Path

import pytest

from connectors.connector import InvalidConnectorError
from connectors.destinations.places import Places
from database.store import Store
from tests.support.known_runs import KnownRuns
from use_cases.connectors import Service

PLACES = Places(Path("/data"), (Path("/mnt/lake"),), {"type": "duckdb", "path": "/data/warehouse.duckdb"})
SQL = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_X"}}


@pytest.fixture
def service(store: Store) -> Service:
    return Service(store, KnownRuns(), instance="clinical-ai", places=PLACES)


async def test_what_would_write_another_connectors_table_is_not_saved(service: Service) -> None:
    source = {**SQL, "tables": [{"name": "visit"}]}
    first = await service.create({"name": "a", "source": source, "dataset_name": "shared"})
    with pytest.raises(InvalidConnectorError, match="also writes 'visit'"):
        await service.create({"name": "b", "source": source, "dataset_name": "shared"})
    second = await service.create({"name": "b", "source": source})
    with pytest.raises(InvalidConnectorError, match=f"connector {first.row.id}"):
        await service.update(second.row.id, {"dataset_name": "shared"})
    assert (await service.get(second.row.id)).row.dataset_name is None
    await service.update(first.row.id, {"description": "its own table is no other's"})


async def test_a_destination_outside_of_the_data_directory_is_not_saved(service: Service) -> None:
    values = {"name": "a", "source": {**SQL, "tables": [{"name": "visit"}]}}
    with pytest.raises(InvalidConnectorError, match="CAI_LOCAL_DESTINATION_ROOTS") as caught:
        await service.create({**values, "destination": {"type": "duckdb", "path": "../outside/x.duckdb"}})
    assert caught.value.refusals[0].pointer == "/destination/path"
