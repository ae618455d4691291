"""Trust in rows, and its bounds."""

from typing import Any

import pytest

from connectors.connector import ConnectorRow, InvalidConnectorError, validate, validate_for_load

SOURCE = {"type": "files", "url": "/data", "format": "csv", "table": "labs"}
EMR = {"env": "CAI_SECRET_EMR"}
POSTGRES = {"type": "postgres", "credentials": {"secret": "warehouse"}}
SSH = {"host": "bastion", "user": "u", "private_key": {"secret": "k"}}


def row(**values: Any) -> ConnectorRow:
    """A row of the table: valid, but for what is given."""
    columns: dict[str, Any] = dict.fromkeys(ConnectorRow.__slots__)
    valid = {"id": 7, "name": "Labs", "timezone": "UTC", "is_active": True, "source": SOURCE, "run_policy": {}}
    return ConnectorRow(**{**columns, **valid, "generation": 1, **values})


@pytest.mark.parametrize("name", ["connector_7_staging", "connector_12_staging"])
def test_no_dataset_is_the_staging_of_a_connector(name: str) -> None:
    with pytest.raises(InvalidConnectorError, match="dataset_name must not be that of a connector's staging") as caught:
        validate(row(dataset_name=name))
    assert [refusal.pointer for refusal in caught.value.refusals] == ["/dataset_name"]


@pytest.mark.parametrize("name", ["connector_8", "connector_7_staging_2", "lab_staging", "connector_x_staging"])
def test_other_names_are_datasets(name: str) -> None:
    assert validate(row(dataset_name=name)).dataset == name


def test_a_load_trusts_a_row_whose_schedule_is_wrong_and_takes_it_for_none() -> None:
    wrong = row(schedule="never", timezone="Mars/Olympus", name="", work_pool_name=" ", work_queue_name=" ")
    with pytest.raises(InvalidConnectorError):
        validate(wrong)
    assert validate_for_load(wrong).schedule is None
    assert validate_for_load(row(schedule="0 1 * * *")) == validate(row(schedule="0 1 * * *"))


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"source": {**SOURCE, "url": 7}}, "/source/url"),
        ({"destination": {"type": "postgres"}}, "/destination/credentials"),
        ({"destination": {**POSTGRES, "ssh": {**SSH, "host": "bastion:22"}}}, "/destination/ssh/host"),
        ({"destination": {**POSTGRES, "ssh": {**SSH, "private_key": "-----BEGIN"}}}, "/destination/ssh/private_key"),
        ({"destination": {"type": "duckdb", "path": "x.duckdb", "ssh": SSH}}, "/destination/ssh"),
        ({"destination": {"type": "redshift", "credentials": {"secret": "x"}, "ssh": SSH}}, "/destination/ssh"),
        ({"dataset_name": "Labs!"}, "/dataset_name"),
        ({"run_policy": {"retries": -1}}, "/run_policy/retries"),
    ],
)
def test_what_a_load_needs_is_refused_and_only_that_is_said(values: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidConnectorError) as caught:
        validate_for_load(row(schedule="never", **values))
    assert [refusal.pointer for refusal in caught.value.refusals] == [pointer]


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        ({"type": "filesystem", "url": "/data/lake", "format": "delta"}, "in DuckDB and PostgreSQL only: set"),
        ({"type": "duckdb", "path": "x.duckdb", "shared_tables": True}, "can't be used with shared_tables"),
    ],
)
def test_what_goes_by_key_is_refused_where_keys_find_no_row(destination: dict[str, Any], said: str) -> None:
    table = {"name": "visit", "primary_key": "id"}

    def source(**asked: Any) -> dict[str, Any]:
        return {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [{**table, **asked}]}

    for asked in ({"deletes": "mark"}, {"history": True}):
        with pytest.raises(InvalidConnectorError, match=said) as caught:
            validate(row(source=source(**asked), destination=destination))
        assert [refusal.pointer for refusal in caught.value.refusals] == ["/source"]
        duckdb = {"type": "duckdb", "path": "x.duckdb"}
        validate(row(source=source(**asked), destination=duckdb))
        validate(row(source=source(**asked)))
    validate(row(source=source(), destination=destination))


@pytest.mark.parametrize(
    ("destination", "more", "said"),
    [
        ({"type": "duckdb", "path": "x.duckdb"}, {}, "split can't be used with DuckDB, which has one writer at a time"),
        ({"type": "filesystem", "url": "/data/lake", "format": "delta"}, {}, "from PostgreSQL into PostgreSQL only"),
        ({"type": "postgres", "credentials": EMR}, {"protect": {"profile": "safe_harbor"}}, "with protect or checks"),
    ],
)
def test_split_is_refused_where_one_run_alone_can_load(
    destination: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    def source(**asked: Any) -> dict[str, Any]:
        return {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", **asked}], **more}

    with pytest.raises(InvalidConnectorError, match=said) as caught:
        validate(row(source=source(split=4), destination=destination))
    assert [refusal.pointer for refusal in caught.value.refusals] == ["/source"]
    validate(row(source=source(), destination=destination))
    with pytest.raises(InvalidConnectorError, match="split"):
        validate(row(source=source(split=1), destination={"type": "postgres", "credentials": EMR}))
    if not more:
        validate(row(source=source(split=4), destination={"type": "postgres", "credentials": EMR}))


def test_a_history_needs_a_key() -> None:
    with pytest.raises(InvalidConnectorError, match=r"source.history tells the versions of a row by its key"):
        validate(row(source={**SOURCE, "history": True}))
