"""A connector's definition has one list of columns, whichever door shows it."""

from api.bodies import ConnectorInput, ConnectorPatch
from connectors.connector import USER_COLUMNS


def test_the_api_takes_the_columns_that_people_write() -> None:
    assert tuple(ConnectorInput.model_fields) == tuple(ConnectorPatch.model_fields) == USER_COLUMNS
