"""Entries that runs leave in the ledger, and events that tell of them."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg2  # type: ignore[import-untyped]
import pytest

from connectors.connector import ConnectorRow, RunPolicy
from connectors.loads import Load, Outcome, auto_pause
from database import runs
from pipelines import connector_lock as module_of_locks
from pipelines.connector_lock import Locks
from pipelines.errors import ConfigurationError, TransientError
from pipelines.load_events import teller
from pipelines.load_history import DIED, LoadRecord, Started, Told, count_the_dead, recorded
from pipelines.loading.summary import Summary
from prefect_api.names import ALERT, connector_resource_id
from tests.support.data_plane.platform import Platform, Sql
from tests.support.servers.prefect_server import PrefectServer

COLUMNS = "outcome, rows, failures, configuration_failures, loads_completed, loads_failed, rows_loaded"
EMR = {"env": "CAI_SECRET_EMR"}


def loads(platform: Platform) -> list[tuple[Any, ...]]:
    with platform.connection.cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM cai_connector_loads")
        return list(cursor.fetchall())


FILES = {"type": "files", "url": "/data", "format": "csv", "table": "labs"}


@pytest.fixture
def locks(database_url: str) -> Iterator[Locks]:
    """What a run stands on."""
    with Locks.open(database_url) as locks:
        yield locks


def row_of(locks: Locks, number: int) -> ConnectorRow:
    row = runs.connector(locks.query, number)
    assert row is not None
    return row


def die(locks: Locks, row: ConnectorRow, tell: Any) -> None:
    """Begin a load as a run does, and never end it."""
    count_the_dead(locks, row, tell)
    LoadRecord(locks, row, RunPolicy(), tell).started(Started())


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


def test_a_run_that_died_is_counted_by_the_next_one_and_never_as_the_users_fault(
    platform: Platform, locks: Locks
) -> None:
    row = row_of(locks, platform.add(FILES))
    told: list[Told] = []
    with pytest.raises(ConfigurationError), recorded(locks, row, RunPolicy(), Started(), told.append):
        raise ConfigurationError("No.")
    with pytest.raises(KeyboardInterrupt), recorded(locks, row, RunPolicy(), Started(), told.append):
        raise KeyboardInterrupt
    assert loads(platform) == [("cancelled", 0, 1, 1, 0, 1, 0)]

    for _ in range(2):
        die(locks, row, told.append)
    assert loads(platform) == [("running", 0, 2, 0, 0, 2, 0)]
    with platform.connection.cursor() as cursor:
        cursor.execute("SELECT message FROM cai_connector_loads")
        assert cursor.fetchone() == (DIED,)
    assert [(each.outcome, each.message, each.kind, each.failures) for each in told[1:]] == [
        ("failed", DIED, "died", 2)
    ]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_deaths_alone_are_told_to_people_once_when_they_are_too_many(
    platform: Platform, locks: Locks, prefect_server: PrefectServer, limit: int
) -> None:
    row, instance = row_of(locks, platform.add(FILES)), f"deaths-{limit}"
    tell = teller(instance, limit)
    for _ in range(5):  # the last of them is not known yet
        die(locks, row, tell)
    body = {
        "filter": {
            "event": {"name": ["connector.load.failed"]},
            "resource": {"id": [connector_resource_id(instance, row.id)]},
            "order": "ASC",
        }
    }
    deadline = time.monotonic() + 60
    while True:  # they are sent by a thread of the client's own
        answer = httpx.post(f"{prefect_server.url}/events/filter", json=body, timeout=60)
        events = sorted(answer.json()["events"], key=lambda event: event["payload"]["failures"])
        if len(events) == 4 or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert [(event["payload"]["failures"], event["resource"].get(ALERT)) for event in events] == [
        (count, "begin" if count == limit else None) for count in range(1, 5)
    ]
    assert {event["payload"]["message"] for event in events} == {DIED}


def test_who_only_tries_a_part_counts_and_tells_the_dead_all_the_same(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (id int)")
    source = {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit"}]}
    number = platform.add(source)
    told: list[Told] = []
    with Locks.open(platform.settings.resolved_database_url()) as dead:
        die(dead, row_of(dead, number), told.append)
    platform.run(number, row_limit=1, tell=told.append)
    assert loads(platform) == [("failed", 0, 1, 0, 0, 1, 0)]
    assert [(each.outcome, each.kind) for each in told] == [("failed", "died")]


@pytest.mark.parametrize("end", ["success", "failure", "cancel"])
def test_a_run_whose_mark_was_ended_by_another_writes_no_end(platform: Platform, locks: Locks, end: str) -> None:
    row = row_of(locks, platform.add(FILES))
    record = LoadRecord(locks, row, RunPolicy(), lambda _: None)
    record.started(Started())
    die(locks, row, lambda _: None)  # another one took it for dead, and goes on
    match end:
        case "success":
            record.succeeded(Summary(row.id, "duckdb", "d", rows={"labs": 3}))
        case "failure":
            record.failed(TransientError("Not now."))
        case "cancel":
            record.cancelled()
    assert loads(platform) == [("running", 0, 1, 0, 0, 1, 0)]


def test_another_generation_and_another_kind_of_error_end_the_count(platform: Platform, locks: Locks) -> None:
    number = platform.add(FILES)

    def fail(error: Exception) -> None:
        row = row_of(locks, number)
        with pytest.raises(type(error)), recorded(locks, row, RunPolicy(), Started(), lambda _: None):
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


def test_a_load_whose_record_cannot_be_written_is_a_load_all_the_same(platform: Platform, locks: Locks) -> None:
    row = row_of(locks, platform.add(FILES))
    with platform.connection.cursor() as cursor:
        cursor.execute("DROP TABLE cai_loads CASCADE")
    told: list[Told] = []
    count_the_dead(locks, row, told.append)
    with recorded(locks, row, RunPolicy(), Started(), told.append) as record:
        record.succeeded(Summary(row.id, "duckdb", "d", rows={"labs": 3}))
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


def test_a_load_goes_on_past_a_row_that_somebody_holds_and_writes_its_end_once_it_is_free(
    platform: Platform, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_of_locks, "ROW_WAIT_MILLISECONDS", 100)
    number = platform.add(FILES)
    told: list[Told] = []
    holder = psycopg2.connect(database_url)
    with Locks.open(database_url) as locks, holder.cursor() as held:
        row = row_of(locks, number)
        record = LoadRecord(locks, row, RunPolicy(), told.append)
        record.started(Started())
        held.execute("SELECT * FROM cai_connector_loads FOR UPDATE")
        began = time.monotonic()
        count_the_dead(locks, row, told.append)
        assert time.monotonic() - began < 5, "a run does not wait without a limit as it starts"
        release = threading.Timer(0.5, holder.rollback)
        release.start()
        record.succeeded(Summary(number, "duckdb", "labs", rows={"visit": 3}))
        release.join()
    holder.close()
    assert loads(platform) == [("completed", 3, 0, 0, 1, 0, 3)]
    assert [each.outcome for each in told] == ["completed"]
