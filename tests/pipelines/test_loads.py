"""What runs leave in `cai_connector_loads`, and whom they tell."""

from typing import Any

import pytest

from connectors.loads import Load, Outcome, auto_pause
from connectors.models import Connector, RunPolicy, validate
from pipelines.errors import ConfigurationError, TransientError
from pipelines.load import read_row
from pipelines.loads import DIED, Told, recorded
from pipelines.locks import Locks
from pipelines.summary import Summary
from tests.pipelines.conftest import Platform, Sql

COLUMNS = "outcome, rows, failures, configuration_failures, loads_completed, loads_failed, rows_loaded"
EMR = {"env": "CAI_SECRET_EMR"}


def loads(platform: Platform) -> list[tuple[Any, ...]]:
    with platform.connection.cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM cai_connector_loads")
        return list(cursor.fetchall())


def trusted(platform: Platform, number: int) -> Connector:
    row = read_row(Locks(platform.connection), number)
    assert row is not None
    return validate(row)


def test_each_run_is_counted_once_and_told_with_the_failures_before_it(platform: Platform, emr: Sql) -> None:
    told: list[Told] = []
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", "primary_key": "id"}]}
    number = platform.add(source)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no table"):
            platform.run(number, tell=told.append)
    assert loads(platform) == [("failed", 0, 2, 2, 0, 2, 0)]
    emr("CREATE TABLE visit (id int)")
    emr("INSERT INTO visit VALUES (1), (2)")
    platform.run(number, tell=told.append)
    assert loads(platform) == [("completed", 2, 0, 0, 1, 2, 2)]
    assert [(each.outcome, each.kind, each.failures) for each in told] == [
        ("failed", "configuration", 1),
        ("failed", "configuration", 2),
        ("completed", None, 2),
    ]


def test_a_try_of_a_part_says_nothing_of_the_connector(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]}
    platform.run(platform.add(source), row_limit=1)
    assert loads(platform) == []


def test_a_run_that_died_is_counted_by_the_next_one_and_never_as_the_users_fault(platform: Platform) -> None:
    connector = trusted(platform, platform.add({"type": "files", "url": "/data", "format": "csv", "table": "labs"}))
    told: list[Told] = []
    with pytest.raises(ConfigurationError), recorded(platform.connection, connector, None, told.append):
        raise ConfigurationError("No.")
    with pytest.raises(KeyboardInterrupt), recorded(platform.connection, connector, None, told.append):
        raise KeyboardInterrupt
    assert loads(platform) == [("cancelled", 0, 1, 1, 0, 1, 0)]

    dying = [recorded(platform.connection, connector, None, told.append) for _ in range(2)]
    for run in dying:
        run.__enter__()
    assert loads(platform) == [("running", 0, 2, 0, 0, 2, 0)]
    with platform.connection.cursor() as cursor:
        cursor.execute("SELECT message FROM cai_connector_loads")
        assert cursor.fetchone() == (DIED,)


def test_another_generation_and_another_kind_of_error_end_the_count(platform: Platform) -> None:
    number = platform.add({"type": "files", "url": "/data", "format": "csv", "table": "labs"})

    def fail(error: Exception) -> None:
        connector = trusted(platform, number)
        with pytest.raises(type(error)), recorded(platform.connection, connector, None, lambda _: None):
            raise error

    fail(ConfigurationError("No."))
    fail(ConfigurationError("No."))
    assert loads(platform)[0][3] == 2
    fail(TransientError("Not now."))
    assert loads(platform)[0][3] == 0
    fail(ConfigurationError("No."))
    with platform.connection.cursor() as cursor:
        cursor.execute("UPDATE cai_connectors SET description = 'changed'")
    fail(ConfigurationError("No."))
    assert loads(platform)[0][2:4] == (5, 1)


def test_a_load_whose_record_cannot_be_written_is_a_load_all_the_same(platform: Platform) -> None:
    connector = trusted(platform, platform.add({"type": "files", "url": "/data", "format": "csv", "table": "labs"}))
    with platform.connection.cursor() as cursor:
        cursor.execute("DROP TABLE cai_connector_loads")
    told: list[Told] = []
    with recorded(platform.connection, connector, None, told.append) as record:
        record.succeeded(Summary(connector.id, "duckdb", "d", rows={"labs": 3}))
    assert [each.outcome for each in told] == ["completed"]


@pytest.mark.parametrize(
    ("load", "limit", "paused"),
    [
        (None, 1, False),
        (Load(1, 4, outcome=Outcome.FAILED, configuration_failures=2), 3, False),
        (Load(1, 4, outcome=Outcome.FAILED, configuration_failures=3), 3, True),
        (Load(1, 4, outcome=Outcome.FAILED, configuration_failures=3), None, False),
        (Load(1, 4, outcome=Outcome.FAILED, configuration_failures=3), 0, False),
        (Load(1, 3, outcome=Outcome.FAILED, configuration_failures=3), 3, False),
    ],
)
def test_auto_pause_holds_for_the_generation_that_failed(load: Load | None, limit: int | None, paused: bool) -> None:
    assert (auto_pause(load, 4, limit) is not None) is paused
    assert RunPolicy().auto_pause_after is None
