"""Limits of sources in runs: who waits, what it says, who comes next, and that a killed run leaves its place."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import pytest

from connectors.runs import Options
from pipelines.connector_lock import name_key
from pipelines.host import Listeners, PlainHost
from pipelines.load_history import Told
from pipelines.loading.summary import Summary
from pipelines.run import Waiting, run_connector
from tests.support.data_plane.platform import Platform, Sql

EMR = {"env": "CAI_SECRET_EMR"}


@pytest.fixture
def visits(emr: Sql) -> dict[str, Any]:
    """A source."""
    emr("CREATE TABLE visit (id int PRIMARY KEY)")
    emr("INSERT INTO visit VALUES (1), (2)")
    return {"type": "sql_database", "credentials": EMR, "tables": [{"name": "visit", "primary_key": "id"}]}


def keep(platform: Platform, **values: Any) -> None:
    """A limit, as the API keeps it."""
    values = {"hosts": [], "credentials": [], "loads": None, "quiet_hours": []} | values
    with platform.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO cai_source_limits (name, hosts, credentials, loads, quiet_hours, changed_by) "
            "VALUES ('emr', %s, %s, %s, %s, 'x')",
            (values["hosts"], json.dumps(values["credentials"]), values["loads"], json.dumps(values["quiet_hours"])),
        )


def waits(platform: Platform, connector: int, **options: Any) -> Waiting:
    """Run a connector, which must wait."""
    outcome = run_connector(connector, Options(**options), platform.settings)
    assert isinstance(outcome, Waiting), outcome
    return outcome


def ask(platform: Platform, statement: str) -> list[tuple[Any, ...]]:
    with platform.connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def test_a_place_is_had_for_the_whole_load_and_falls_with_the_session(
    platform: Platform, visits: dict[str, Any]
) -> None:
    keep(platform, hosts=["127.0.0.1"], loads=2)
    first, second, third = (platform.add(visits) for _ in range(3))
    other = psycopg2.connect(platform.settings.resolved_database_url())
    other.cursor().execute("SELECT pg_advisory_lock(%s)", (name_key("source limit emr 0"),))
    found: list[Waiting] = []

    def tell(told: Told) -> None:
        # The first has a place until its end is told.
        if told.outcome == "completed" and not found:
            found.append(waits(platform, second))

    assert platform.run(first, tell=tell).total_rows == 2
    said = "Waits for the source emr: 2 of 2 loads are under way. Another run looks again by itself."
    assert [each.message for each in found] == [said]
    assert ask(platform, f"SELECT outcome, message FROM cai_loads WHERE is_last AND connector_id = {second}") == [
        ("waiting", said)
    ]
    # Who comes new leaves the free place to the one that waits.
    assert "1 of 2 loads are under way, and 1 other waits too." in waits(platform, third).message
    assert platform.run(second).total_rows == 2
    other.close()
    assert platform.run(third).total_rows == 2
    assert ask(platform, "SELECT count(*) FROM cai_source_waits") == [(0,)]


def test_runs_that_are_asked_for_the_same_wait_as_one(platform: Platform, visits: dict[str, Any]) -> None:
    keep(platform, credentials=[EMR], loads=1)
    connector = platform.add(visits)
    other = psycopg2.connect(platform.settings.resolved_database_url())
    other.cursor().execute("SELECT pg_advisory_lock(%s)", (name_key("source limit emr 0"),))
    first, again, refresh = (
        waits(platform, connector),
        waits(platform, connector),
        waits(platform, connector, full_refresh=True),
    )
    assert (first.at, first.key) == (again.at, again.key)
    assert refresh.key != first.key
    assert ask(platform, "SELECT count(*) FROM cai_source_waits") == [(2,)]
    # Of each, the last run that looked is a row of the history.
    assert ask(platform, "SELECT options ->> 'full_refresh' FROM cai_loads ORDER BY id") == [(None,), ("true",)]
    other.close()
    elsewhere = platform.add({**visits, "credentials": {"env": "CAI_SECRET_OTHER"}})
    with pytest.raises(Exception, match="CAI_SECRET_OTHER"):  # no limit holds for it
        platform.run(elsewhere)


@pytest.mark.parametrize("of_limit", [False, True])
def test_nothing_is_asked_in_quiet_hours_unless_somebody_says_so(
    platform: Platform, visits: dict[str, Any], *, of_limit: bool
) -> None:
    now = datetime.now(UTC)
    begin, end = now - timedelta(hours=1), (now + timedelta(hours=2)).replace(second=0, microsecond=0)
    window = {"start": f"{begin:%H:%M}", "end": f"{end:%H:%M}"}
    if of_limit:
        keep(platform, hosts=["127.0.0.1"], quiet_hours=[window])
        connector = platform.add(visits)
    else:
        connector = platform.add(visits, run_policy={"quiet_hours": [window]})
    outcome = waits(platform, connector)
    assert outcome.at == end
    whose = "the quiet hours of the source emr" if of_limit else "the connector's quiet hours"
    assert outcome.message == (
        f"Waits until {end:%Y-%m-%d %H:%M} (UTC): these are {whose}. Another run begins then by itself."
    )
    assert outcome.key == waits(platform, connector).key
    loaded = run_connector(connector, Options(ignore_quiet_hours=True), platform.settings, PlainHost(), Listeners())
    assert isinstance(loaded, Summary)
    assert loaded.total_rows == 2
