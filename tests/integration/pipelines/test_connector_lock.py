"""The platform's database goes away under a run: it goes on if nobody ran meanwhile, and else no row lands twice."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import pytest

from connectors.connector import RunPolicy
from connectors.runs import Options
from local.embedded_postgres import EmbeddedPostgres
from pipelines import connector_lock as module
from pipelines.connector_lock import LockLostError, Locks, connector_key, name_key
from pipelines.errors import Step, TransientError
from pipelines.host import PlainHost
from pipelines.loading import unfinished_loads as exactness
from pipelines.loading.load_markers import ANNOUNCED
from pipelines.loading.summary import Summary
from pipelines.run import run_connector, working_directory
from tests.support.data_plane.platform import Platform, Sql
from tests.support.servers.http_server import Asked, WebServer

EMR = {"env": "CAI_SECRET_EMR"}
DESTINATIONS = {"duckdb": None, "postgres": {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}}

RUNS = "FROM pg_stat_activity WHERE application_name = 'clinical-ai-prefect run' AND datname = current_database()"


def cut(platform: Platform) -> None:
    """End the connections of all runs to the platform's database."""
    with platform.connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_terminate_backend(pid) {RUNS}")
        assert cursor.rowcount > 0


InStep = Callable[[Step, RunPolicy, Callable[[], None]], None]


def before(step: Step, happens: Callable[[], Any]) -> InStep:
    """Something happens just before a step."""

    def in_step(name: Step, _policy: RunPolicy, work: Callable[[], None]) -> None:
        if name == step:
            happens()
        work()

    return in_step


def after(step: Step, happens: Callable[[], Any]) -> InStep:
    """Something happens just after a step."""

    def in_step(name: Step, _policy: RunPolicy, work: Callable[[], None]) -> None:
        work()
        if name == step:
            happens()

    return in_step


def retried(step: Step, happens: Callable[[], Any], then: Callable[[], Any]) -> InStep:
    """Something happens before a step, which therefore fails for now; then something else, and it is tried again."""

    def in_step(name: Step, _policy: RunPolicy, work: Callable[[], None]) -> None:
        if name == step:
            happens()
            with pytest.raises(TransientError, match=r"^The platform's database at \S+ could not be reached"):
                work()
            then()
        work()

    return in_step


def run(platform: Platform, number: int, in_step: InStep, **options: Any) -> Summary:
    """Run a connector, which must load."""
    host = PlainHost()
    host.in_step = in_step  # type: ignore[method-assign, assignment]
    outcome = run_connector(number, Options(**options), platform.settings, host)
    assert isinstance(outcome, Summary)
    return outcome


def recorded(platform: Platform) -> list[tuple[Any, ...]]:
    """How the loads go."""
    with platform.connection.cursor() as cursor:
        cursor.execute("SELECT outcome, rows, failures, loads_completed, loads_failed FROM cai_connector_loads")
        return list(cursor.fetchall())


@pytest.fixture
def visits(emr: Sql) -> dict[str, Any]:
    """A source whose rows are appended, each once, as its cursor moves."""
    emr("CREATE TABLE visit (id int PRIMARY KEY, at timestamp)")
    emr("INSERT INTO visit SELECT i, timestamp '2024-01-01' + i * interval '1 s' FROM generate_series(1, 100) i")
    table = {"name": "visit", "primary_key": "id", "cursor_column": "at", "write_disposition": "append"}
    return {"type": "sql_database", "credentials": EMR, "tables": [table]}


def landed(platform: Platform, warehouse: Sql, destination: str, number: int) -> tuple[int, int]:
    """Rows, and different ones."""
    ask = platform.duck if destination == "duckdb" else warehouse
    ((rows, ids),) = ask(f"SELECT count(*), count(DISTINCT id) FROM connector_{number}.visit")
    return rows, ids


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("when", [before, after])
@pytest.mark.parametrize("step", [Step.EXTRACT, Step.LOAD])
def test_a_run_goes_on_when_the_platforms_database_was_away_for_a_moment(
    platform: Platform,
    warehouse: Sql,
    visits: dict[str, Any],
    destination: str,
    when: Callable[[Step, Callable[[], Any]], InStep],
    step: Step,
) -> None:
    number = platform.add(visits, destination=DESTINATIONS[destination])
    run(platform, number, when(step, lambda: cut(platform)))
    assert recorded(platform) == [("completed", 100, 0, 1, 0)], "and its end is written"
    platform.run(number)
    assert landed(platform, warehouse, destination, number) == (100, 100)
    assert recorded(platform) == [("completed", 0, 0, 2, 0)], "nobody takes it for dead"


def test_a_run_goes_on_when_the_database_goes_away_while_it_reads(platform: Platform) -> None:
    def answer(asked: Asked) -> Any:
        cut(platform)
        return [{"id": 1}]

    with WebServer(answer) as web:
        resource = {"name": "visits", "path": "v", "primary_key": "id"}
        single = {"type": "single_page"}
        source = {"type": "rest_api", "base_url": web.url, "paginator": single, "resources": [resource]}
        number = platform.add(source)
        assert platform.run(number).total_rows == 1
    assert recorded(platform) == [("completed", 1, 0, 1, 0)]


@pytest.mark.parametrize("step", [Step.EXTRACT, Step.LOAD])
def test_a_database_that_stays_away_is_blamed_and_the_next_try_goes_on(
    platform: Platform, visits: dict[str, Any], monkeypatch: pytest.MonkeyPatch, postgres: EmbeddedPostgres, step: Step
) -> None:
    monkeypatch.setattr(module, "CONNECT_WAITS_SECONDS", (0.1,))
    number = platform.add(visits)
    admin = psycopg2.connect(postgres.url("postgres"))
    admin.autocommit = True

    def allow(connections: bool) -> None:
        with admin.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {platform.connection.info.dbname} ALLOW_CONNECTIONS {connections}")
        if not connections:
            cut(platform)

    run(platform, number, retried(step, lambda: allow(False), lambda: allow(True)))
    admin.close()
    assert platform.duck(f"SELECT count(*) FROM connector_{number}.visit") == [(100,)]
    assert recorded(platform) == [("completed", 100, 0, 1, 0)]


@pytest.mark.parametrize("other", [{}, {"row_limit": 30}, {"tables": ("visit",)}], ids=["whole", "limited", "tables"])
@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_run_that_lost_its_lock_to_another_ends_and_no_row_lands_twice(
    platform: Platform, warehouse: Sql, visits: dict[str, Any], destination: str, other: dict[str, Any]
) -> None:
    number = platform.add(visits, destination=DESTINATIONS[destination])

    def taken_over() -> None:
        cut(platform)
        platform.run(number, **other)

    with pytest.raises(LockLostError, match="another run of this connector may have begun"):
        run(platform, number, before(Step.LOAD, taken_over))
    platform.run(number)
    assert landed(platform, warehouse, destination, number) == (100, 100)


def test_a_run_that_another_has_taken_the_turn_from_leaves_the_others_record_alone(
    platform: Platform, visits: dict[str, Any]
) -> None:
    number = platform.add(visits)

    def taken_over() -> None:
        cut(platform)
        platform.run(number)

    run(platform, number, after(Step.LOAD, taken_over))
    assert recorded(platform) == [("completed", 0, 0, 1, 1)], "counted as dead by the other, which found nothing new"


def test_a_run_that_lost_its_turn_leaves_the_directory_of_the_run_that_took_over(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with contextlib.ExitStack() as lost, contextlib.ExitStack() as taken_over:
        lost.enter_context(working_directory(runs))
        other = taken_over.enter_context(working_directory(runs))
        lost.close()
        assert list(runs.iterdir()) == [other]
    assert not runs.exists()


def test_a_run_that_another_still_has_the_turn_of_ends(platform: Platform, visits: dict[str, Any]) -> None:
    number = platform.add(visits)

    def refused(work: Callable[[], None]) -> None:
        with pytest.raises(LockLostError):
            work()

    def in_step(name: Step, _policy: RunPolicy, work: Callable[[], None]) -> None:
        if name is Step.LOAD:
            cut(platform)
            run(platform, number, before(Step.LOAD, lambda: refused(work)))
        work()

    with pytest.raises(LockLostError):
        run(platform, number, in_step)
    assert platform.duck(f"SELECT count(*), count(DISTINCT id) FROM connector_{number}.visit") == [(100, 100)]


def test_a_run_of_a_part_leaves_no_proof_and_so_ends(platform: Platform, visits: dict[str, Any]) -> None:
    number = platform.add(visits)
    with pytest.raises(LockLostError):
        run(platform, number, before(Step.LOAD, lambda: cut(platform)), row_limit=30)
    assert platform.run(number).total_rows == 100


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_lock_lost_while_rows_are_written_is_noticed_before_announcements_are_withdrawn(
    platform: Platform,
    warehouse: Sql,
    visits: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    destination: str,
    proven: bool,
) -> None:
    number = platform.add(visits, destination=DESTINATIONS[destination])
    announce = exactness.announce

    def announced_and_cut(*arguments: Any, **keywords: Any) -> None:
        announce(*arguments, **keywords)
        cut(platform)

    with monkeypatch.context() as patched:
        patched.setattr(exactness, "announce", announced_and_cut)
        if proven:
            assert platform.run(number).total_rows == 100
        else:  # a run of a part
            with pytest.raises(LockLostError, match="should appended ones be there twice, run it with full_refresh"):
                platform.run(number, row_limit=30)
    ask = platform.duck if destination == "duckdb" else warehouse
    statuses = f"SELECT DISTINCT status FROM connector_{number}._dlt_loads ORDER BY status"
    assert ask(statuses) == ([(0,)] if proven else [(0,), (ANNOUNCED,)])
    platform.run(number)
    assert landed(platform, warehouse, destination, number) == (100, 100)
    assert ask(statuses) == [(0,)]


def test_a_run_that_waits_for_its_turn_waits_on_over_a_new_connection(platform: Platform, database_url: str) -> None:
    with Locks.open(database_url) as first, Locks.open(database_url) as second:
        assert first.take(connector_key(7))

        def first_ends() -> None:
            cut(platform)

        second.wait(connector_key(7), first_ends)
        with pytest.raises(LockLostError):
            first.check()
        second.check()


@pytest.mark.parametrize("taken", ["turn", "file"])
def test_a_lock_that_is_held_for_a_moment_longer_is_waited_for(
    platform: Platform, database_url: str, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    """The turn by the server, which has not noticed yet that we lost our connection; a file by another connector."""
    keys = {"turn": connector_key(7), "file": name_key("duckdb:warehouse")}
    with Locks.open(database_url) as ours, Locks.open(database_url) as other:
        assert ours.take(keys["turn"])
        ours.prove_by("SELECT 1", {})
        with ours.hold(keys["file"], lambda: None):
            cut(platform)
            assert other.take(keys[taken])
            waited: list[float] = []

            def sleep(seconds: float) -> None:
                waited.append(seconds)
                other._connection.close()

            monkeypatch.setattr(time, "sleep", sleep)
            ours.check()
            assert waited
