"""Controllers as processes: the leader, the others, survival of crashes, and the exit codes of the command."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from prefect.settings import PREFECT_API_URL, temporary_settings

from connectors.status import Phase
from database import tables
from database.connection.engine import open_engine
from database.control.cycle_requests import Requests
from database.store import Store
from deployments.leadership import instance_claim
from deployments.leadership.leader import Conclusion, Ending
from deployments.leadership.start_options import StartOptions, WhenLed
from flows import controller as command
from flows.controller import controller_of
from local.embedded_postgres import EmbeddedPostgres
from prefect_api.errors import WrongInstanceError
from prefect_api.names import deployment_name
from rigs.control_plane import insert
from rigs.migrated import migrate
from settings import ROOT, Settings
from tests.support.servers.prefect_server import PrefectServer, free_port
from tests.support.servers.webhook import Webhook

TTL = 3.0
PATIENCE = 60.0
"""Seconds that a loaded machine may take for what is not about time."""
STAND_BY, ASK, LEAVE = StartOptions(WhenLed.STAND_BY), StartOptions(WhenLed.ASK), StartOptions(WhenLed.LEAVE)


@pytest.fixture
def make_settings(prefect_server: PrefectServer, database_url: str, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a controller of this test's own; a poll comes late, so that what is quick is a notification."""

    def make(**values: Any) -> Settings:
        return Settings(
            **{
                "database_url": database_url,
                "data_dir": tmp_path,
                "lease_ttl_seconds": TTL,
                "poll_interval_seconds": 4 * PATIENCE,
                "retry_base_seconds": 1,
                **values,
            }
        )

    return make


@dataclass
class Running:
    """One controller, running."""

    task: "asyncio.Task[Conclusion]"
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def end(self) -> Conclusion:
        """Ask it to end, and wait."""
        self.stop.set()
        return await asyncio.wait_for(self.task, PATIENCE)


@asynccontextmanager
async def running(settings: Settings, start_options: StartOptions = STAND_BY) -> AsyncIterator[Running]:
    """A controller that is ended at the latest with the block."""
    stop = asyncio.Event()
    parts = Running(asyncio.create_task(controller_of(settings).run(start_options, stop)), stop)
    try:
        yield parts
    finally:
        stop.set()
        await asyncio.gather(parts.task, return_exceptions=True)


async def eventually(condition: Callable[[], Awaitable[Any]], seconds: float = PATIENCE) -> None:
    """Wait until the condition holds."""
    started = time.monotonic()
    while not await condition():
        assert time.monotonic() - started < seconds, "it never came true"
        await asyncio.sleep(0.02)


def in_phase(store: Store, connector_id: int, phase: Phase | None) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        status = (await store.statuses([connector_id])).get(connector_id)
        return (None if status is None else status.phase) is phase

    return holds


def led(store: Store, token: int) -> Callable[[], Awaitable[bool]]:
    """Whether a leader of this token, or a later one, leads."""

    async def holds() -> bool:
        query = sa.select(tables.lease.c.token).where(tables.lease.c.expires_at > sa.func.clock_timestamp())
        async with store.engine.connect() as connection:
            return int(await connection.scalar(query) or 0) >= token

    return holds


def held(api: httpx.Client) -> list[str]:
    """The names of all deployments."""
    return sorted(row["name"] for row in api.post("/deployments/filter", json={}).json())


async def test_one_of_two_leads_and_when_it_ends_the_other_goes_on_at_once(
    make_settings: Callable[..., Settings], store: Store, api: httpx.Client
) -> None:
    settings = make_settings(lease_ttl_seconds=4 * PATIENCE)  # neither its end nor a poll comes within the patience
    async with running(settings) as first:
        await eventually(led(store, 1))
        async with running(settings) as second:
            number = await insert(store)
            await eventually(in_phase(store, number, Phase.SYNCED))
            assert not second.task.done()
            assert (await first.end()).ending is Ending.STOPPED
            await eventually(led(store, 2))
            other = await insert(store)
            await eventually(in_phase(store, other, Phase.SYNCED))
            assert held(api) == sorted([deployment_name(number), deployment_name(other)])


async def test_who_asks_gets_the_leaders_report_long_before_a_poll(
    make_settings: Callable[..., Settings], store: Store, api: httpx.Client
) -> None:
    number = await insert(store)
    settings = make_settings(lease_ttl_seconds=4 * PATIENCE)  # the leader's own second look is as late
    async with running(settings):
        await eventually(in_phase(store, number, Phase.SYNCED))
        (row,) = api.post("/deployments/filter", json={}).json()
        api.patch(f"/deployments/{row['id']}", json={"description": "mine"}).raise_for_status()
        async with running(settings, ASK) as asking:
            conclusion = await asyncio.wait_for(asking.task, PATIENCE)
        assert conclusion.ending is Ending.ANSWERED
        assert conclusion.result is not None
        assert conclusion.result.ok
        assert conclusion.result.summary == "1 synced"
        assert any(line.startswith(f"connector {number}: description: 'mine' ->") for line in conclusion.result.lines)


async def test_who_may_leave_leaves_a_leader_that_lives_and_follows_one_that_is_dead(
    make_settings: Callable[..., Settings], store: Store
) -> None:
    async with running(make_settings()) as leader:
        await eventually(led(store, 1))
        async with running(make_settings(poll_interval_seconds=0.3), LEAVE) as leaving:
            assert (await asyncio.wait_for(leaving.task, PATIENCE)).ending is Ending.LEFT
        await leader.end()
    await claim_for_a_dead_one(store)
    async with running(make_settings(poll_interval_seconds=0.3), LEAVE) as follower:
        await eventually(led(store, 3))
        assert not follower.task.done()


async def test_a_flow_run_that_leads_gives_way_to_a_controller_in_the_foreground(
    make_settings: Callable[..., Settings], store: Store
) -> None:
    """No address of alerts and no scraper is where a flow run runs: operations would be blind as long as it leads."""
    settings = make_settings(poll_interval_seconds=0.3)
    async with running(settings, ASK) as flow_run:
        await eventually(led(store, 1))
        async with running(settings, StartOptions(WhenLed.STAND_BY, foreground=True)) as foreground:
            assert (await asyncio.wait_for(flow_run.task, PATIENCE)).ending is Ending.GAVE_WAY
            number = await insert(store)
            await eventually(in_phase(store, number, Phase.SYNCED))
            assert not foreground.task.done()


async def test_a_flow_run_that_gives_way_before_it_did_what_it_was_asked_asks_the_one_that_leads_then(
    make_settings: Callable[..., Settings], store: Store
) -> None:
    settings = make_settings(poll_interval_seconds=0.3)
    number = await insert(store)
    async with AsyncExitStack() as stack:
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
            asked = await stack.enter_async_context(running(settings, StartOptions(WhenLed.ASK)))
        await eventually(in_phase(store, number, Phase.RETRYING))
        await stack.enter_async_context(running(settings, StartOptions(WhenLed.STAND_BY, foreground=True)))
        conclusion = await asyncio.wait_for(asked.task, PATIENCE)
        assert conclusion.ending is Ending.ANSWERED
        assert conclusion.result is not None
        assert conclusion.result.summary == "1 synced"


async def test_what_was_told_to_the_feed_is_remembered_from_term_to_term(
    make_settings: Callable[..., Settings], store: Store
) -> None:
    """Without addresses there are no rows to remember it by."""
    settings = make_settings(controller_max_runtime_seconds=2, alert_after_seconds=0, poll_interval_seconds=0.1)
    controller = controller_of(settings)
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        for _ in range(2):
            conclusion = await controller.run(StartOptions(WhenLed.STAND_BY, foreground=True), asyncio.Event())
            assert conclusion.ending is Ending.EXPIRED
    names = [each["event"] for each in controller._events._waiting]
    assert (names.count("controller.started"), names.count("controller.degraded")) == (2, 1)


async def claim_for_a_dead_one(store: Store) -> None:
    """A leader took the lease and died."""
    expiry = sa.func.clock_timestamp() + timedelta(seconds=TTL)
    async with store.engine.begin() as connection:
        await connection.execute(sa.update(tables.lease).values(token=tables.lease.c.token + 1, expires_at=expiry))


async def test_a_row_is_in_prefect_long_before_a_poll(make_settings: Callable[..., Settings], store: Store) -> None:
    async with running(make_settings()):
        await eventually(led(store, 1))
        first = await insert(store)
        await eventually(in_phase(store, first, Phase.SYNCED))
        second = await insert(store)
        await eventually(in_phase(store, second, Phase.SYNCED))


async def test_a_lost_notification_costs_one_poll(make_settings: Callable[..., Settings], store: Store) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE cai_connectors DISABLE TRIGGER USER"))
    async with running(make_settings(poll_interval_seconds=1)):
        await eventually(led(store, 1))
        number = await insert(store)
        await eventually(in_phase(store, number, Phase.SYNCED))
        async with store.engine.begin() as connection:
            await connection.execute(sa.delete(tables.connectors))
        await eventually(in_phase(store, number, None))


async def test_a_request_whose_asker_is_gone_lends_its_permission_to_nobody(store: Store) -> None:
    requests = Requests(store.engine)
    abandoned = await requests.ask(allow_mass_prune=True)
    waiting = await requests.ask(allow_mass_prune=False)
    async with store.engine.begin() as connection:
        long_ago = datetime.now(UTC) - timedelta(minutes=2)
        await connection.execute(sa.update(tables.cycle_requests).values(requested_at=long_ago))
    await requests.remind(waiting)
    assert [request.id for request in await requests.pending()] == [waiting]
    await requests.withdraw(waiting)
    assert await requests.pending() == []
    assert await requests.answer_of(abandoned) is None


@pytest.fixture
def other_database(postgres: EmbeddedPostgres, database_url: str) -> str:
    """A second, empty database, which is not the rightful home of what Prefect holds."""
    url = postgres.create_database(f"{database_url.rsplit('/', 1)[1]}_other")
    migrate(url)
    return url


async def test_a_laptop_with_an_empty_table_deletes_nothing_until_it_takes_over(
    make_settings: Callable[..., Settings], store: Store, api: httpx.Client, other_database: str
) -> None:
    number = await insert(store)
    async with running(make_settings(), StartOptions(once=True)) as ours:
        assert (await ours.task).result is not None
    before = api.post("/deployments/filter", json={}).json()
    assert [row["name"] for row in before] == [deployment_name(number)]
    laptop = make_settings(database_url=other_database)
    for start_options in (STAND_BY, StartOptions(once=True), StartOptions(once=True, allow_mass_prune=True)):
        async with running(laptop, start_options) as wrong:
            with pytest.raises(WrongInstanceError, match="--take-over"):
                await asyncio.wait_for(wrong.task, PATIENCE)
    assert api.post("/deployments/filter", json={}).json() == before

    async with running(laptop, StartOptions(once=True, take_over=True)) as taking:
        conclusion = await asyncio.wait_for(taking.task, PATIENCE)
    assert conclusion.result is not None
    assert held(api) == []
    async with running(make_settings(), StartOptions(once=True)) as ours:
        with pytest.raises(WrongInstanceError):
            await asyncio.wait_for(ours.task, PATIENCE)


async def test_leave_to_take_over_is_good_for_one_claim_whatever_the_term(
    make_settings: Callable[..., Settings], other_database: str, store: Store
) -> None:
    async with running(make_settings(), StartOptions(once=True)) as ours:
        await ours.task
    start_options = StartOptions(once=True, take_over=True)
    async with running(make_settings(database_url=other_database), start_options) as first_term:
        await asyncio.wait_for(first_term.task, PATIENCE)
    async with running(make_settings(), StartOptions(once=True, take_over=True)) as back:
        await asyncio.wait_for(back.task, PATIENCE)
    async with running(make_settings(database_url=other_database), start_options) as second_term:
        with pytest.raises(WrongInstanceError):
            await asyncio.wait_for(second_term.task, PATIENCE)


async def test_in_the_foreground_another_databases_deployments_are_told_once_and_waited_for(
    make_settings: Callable[..., Settings],
    api: httpx.Client,
    store: Store,
    other_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ended, the process would be started again and again, and page people each time."""
    monkeypatch.setattr(instance_claim, "CLAIM_SECONDS", 0.2)
    async with running(make_settings(), StartOptions(once=True)) as ours:
        await ours.task
    elsewhere = Store(open_engine(other_database))
    number = await insert(elsewhere)
    alive = tmp_path / "controller.alive"
    with Webhook() as operations:
        settings = make_settings(database_url=other_database, alert_urls=[operations.url])
        async with running(settings, StartOptions(WhenLed.STAND_BY, foreground=True)) as wrong:

            async def told() -> bool:
                return len(operations.said) == 1

            async def led_by_nobody() -> bool:
                async with elsewhere.engine.connect() as connection:
                    return await connection.scalar(sa.select(tables.lease.c.expires_at)) is None

            async def touched() -> bool:
                return alive.exists()

            await eventually(told)
            assert "belong to another database" in operations.said[0]
            await eventually(led_by_nobody)
            alive.unlink(missing_ok=True)
            for _ in range(3):
                await eventually(touched)
                alive.unlink()
                assert await led_by_nobody()
            assert not wrong.task.done()
            assert held(api) == []
            assert len(operations.said) == 1

            api.delete(f"/variables/name/cai_instance_{settings.instance}").raise_for_status()
            await eventually(in_phase(elsewhere, number, Phase.SYNCED))
            await wrong.end()
        assert len(operations.said) == 2
        assert operations.said[1].startswith("[clinical-ai] Recovered: This instance's deployments")
    await elsewhere.engine.dispose()


@pytest.mark.slow
async def test_the_databases_restart_is_survived(prefect_server: PrefectServer, tmp_path: Path) -> None:
    cluster = EmbeddedPostgres(tmp_path / "postgres")
    cluster.start()
    try:
        url = cluster.create_database("cai")
        migrate(url)
        settings = Settings(
            database_url=url, data_dir=tmp_path, lease_ttl_seconds=TTL, poll_interval_seconds=1, retry_base_seconds=1
        )
        store = Store(open_engine(url))
        async with running(settings) as controller:
            first = await insert(store)
            await eventually(in_phase(store, first, Phase.SYNCED))
            cluster.stop()
            await asyncio.sleep(TTL + 0.5)  # longer than the lease lasts: the outage itself is what is tested
            assert not controller.task.done()
            cluster.start()
            await store.engine.dispose()
            second = await insert(store)
            await eventually(in_phase(store, second, Phase.SYNCED))
            assert not controller.task.done()
        await store.engine.dispose()
    finally:
        cluster.stop()


# The command, `python -m flows.controller`.


@pytest.fixture
def environment(
    database_url: str, prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """What the command finds in its environment, here and in a process of its own."""
    own = {
        "CAI_DATABASE_URL": database_url,
        "CAI_DATA_DIR": str(tmp_path),
        "CAI_LEASE_TTL_SECONDS": str(PATIENCE),  # a lease that is lost ends `--once` with 1 too
        "CAI_POLL_INTERVAL_SECONDS": "1",
        "PREFECT_API_URL": prefect_server.url,
        "PREFECT_HOME": str(prefect_server.home),
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **own}


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command's exit code."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["controller", *arguments])
        return command.main()

    return run


def sql(database_url: str, statement: str) -> list[Any]:
    async def execute() -> list[Any]:
        engine = open_engine(database_url)
        async with engine.begin() as connection:
            result = await connection.execute(sa.text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []
        await engine.dispose()
        return rows

    return asyncio.run(execute())


def add(database_url: str, name: str, **values: str) -> None:
    """Insert a connector; the values are SQL."""
    source = """'{"type": "files", "url": "/data/labs", "format": "csv", "table": "labs"}'"""
    columns = {"name": f"'{name}'", "source": source, "schedule": "'0 * * * *'", **values}
    sql(database_url, f"INSERT INTO cai_connectors ({', '.join(columns)}) VALUES ({', '.join(columns.values())})")


def test_once_ends_with_0_when_all_is_synced_paused_or_invalid(
    run: Callable[..., int], database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add(database_url, "Good")
    add(database_url, "Off", is_active="false")
    add(database_url, "Bad", schedule="'never'")
    assert run("--once") == 0
    assert "1 synced, 1 paused, 1 invalid." in capsys.readouterr().out
    assert run("--once") == 0


def test_once_ends_with_1_when_anything_fails_is_in_conflict_or_is_withheld(
    run: Callable[..., int], database_url: str, api: httpx.Client
) -> None:
    add(database_url, "No pool", work_pool_name="'nowhere'")
    assert run("--once") == 1
    sql(database_url, "DELETE FROM cai_connectors")
    assert run("--once") == 0
    for number in range(8):
        add(database_url, f"Connector {number}")
    (theirs,) = (row[0] for row in sql(database_url, "SELECT max(id) FROM cai_connectors"))
    flow = api.post("/flows/", json={"name": "run_connector_pipeline"}).json()["id"]
    body = {"name": deployment_name(theirs), "flow_id": flow, "tags": ["managed-by:other"]}
    api.post("/deployments/", json=body).raise_for_status()
    assert run("--once") == 1
    sql(database_url, f"DELETE FROM cai_connectors WHERE id = {theirs}")
    assert run("--once") == 0
    sql(database_url, "DELETE FROM cai_connectors")
    assert run("--once") == 1
    assert len(held(api)) == 8
    assert run("--once", "--allow-mass-prune") == 0
    assert held(api) == [deployment_name(theirs)]


async def test_a_flow_run_that_is_run_again_has_its_permission_no_more(
    environment: dict[str, str], store: Store, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flow_run() -> bool:
        return (await command.connector_controller(once=True, allow_mass_prune=True, return_state=True)).is_completed()

    for number in range(8):
        await insert(store, name=f"Connector {number}")
    assert await flow_run()
    async with store.engine.begin() as connection:
        await connection.execute(sa.delete(tables.connectors))
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", "2")  # as Prefect counts it after a drained node
    assert not await flow_run()
    assert len(held(api)) == 8
    monkeypatch.delenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT")
    assert await flow_run()
    assert held(api) == []


def test_once_ends_with_1_when_prefect_is_down_and_the_work_waits(run: Callable[..., int], database_url: str) -> None:
    add(database_url, "Good")
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        assert run("--once") == 1
        assert run("--dry-run") == 1
    assert sql(database_url, "SELECT phase, reason FROM cai_connector_status") == [("retrying", "ServerUnavailable")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CAI_LEASE_TTL_SECONDS", "soon"),
        ("CAI_INSTANCE", "Not a name"),
        ("CAI_DATABASE_URL", "mysql://user:s3cret@x/y"),
        ("CAI_DATABASE_URL", "postgresql://user:s3cret℀@x/y"),
    ],
)
def test_bad_configuration_ends_with_2_and_a_sentence_without_its_secret(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    for arguments in (["--once"], ["--dry-run"], []):
        assert run(*arguments) == 2
        said = capsys.readouterr().err
        assert name in said
        assert "s3cret" not in said


def test_a_fault_of_ours_is_no_bad_configuration(run: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    async def faulty(*_: Any) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(command, "foreground", faulty)
    with pytest.raises(ValueError, match="a fault of ours"):
        run("--once")


def test_without_a_prefect_server_it_ends_with_2_and_starts_none_of_its_own(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PREFECT_API_URL")
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert run("--once") == 2
    assert "PREFECT_API_URL" in capsys.readouterr().err


def test_the_wrong_instance_ends_with_2(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, other_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--once") == 0
    monkeypatch.setenv("CAI_DATABASE_URL", other_database)
    assert run("--once") == 2
    assert "--take-over" in capsys.readouterr().err
    assert run("--once", "--take-over") == 0


WRITTEN = (
    "SELECT 'status', count(*) FROM cai_connector_status UNION SELECT 'lease', count(*) FROM cai_controller_lease "
    "UNION SELECT 'asked', count(*) FROM cai_cycle_requests "
    "UNION SELECT 'ids', count(prefect_deployment_id) FROM cai_connectors"
)


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    run: Callable[..., int], database_url: str, api: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--dry-run") == 0
    assert capsys.readouterr().out == "Nothing to do.\n"
    add(database_url, "Good")
    rows, variables = sql(database_url, WRITTEN), api.post("/variables/filter", json={}).json()
    assert run("--dry-run") == 0
    assert "create connector-1-pipeline, runs every hour" in capsys.readouterr().out
    assert (sql(database_url, WRITTEN), api.post("/variables/filter", json={}).json(), held(api)) == (
        rows,
        variables,
        [],
    )
    assert run("--once") == 0
    sql(database_url, "UPDATE cai_connectors SET schedule = '5 * * * *'")
    rows, before = sql(database_url, WRITTEN), api.post("/deployments/filter", json={}).json()
    capsys.readouterr()
    assert run("--dry-run") == 0
    assert "schedules: '0 * * * *' UTC -> '5 * * * *' UTC" in capsys.readouterr().out
    assert (sql(database_url, WRITTEN), api.post("/deployments/filter", json={}).json()) == (rows, before)


@pytest.fixture
def leading_process(environment: dict[str, str], database_url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A leading controller in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.controller"],
        cwd=ROOT,
        env={**environment, "CAI_LEASE_TTL_SECONDS": str(TTL)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not sql(database_url, "SELECT 1 FROM cai_controller_lease WHERE expires_at > clock_timestamp()"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_leader_that_is_killed_is_followed_within_its_ttl_and_a_poll(
    leading_process: "subprocess.Popen[bytes]", make_settings: Callable[..., Settings], database_url: str
) -> None:
    async def scenario() -> None:
        store = Store(open_engine(database_url))
        async with running(make_settings(poll_interval_seconds=1)):
            number = await insert(store)
            await eventually(in_phase(store, number, Phase.SYNCED))
            leading_process.kill()
            await eventually(led(store, 2))
            other = await insert(store)
            await eventually(in_phase(store, other, Phase.SYNCED))
        await store.engine.dispose()

    asyncio.run(scenario())


@pytest.mark.parametrize("options", [("--once",), ("--dry-run",)])
def test_a_database_that_does_not_answer_ends_a_single_cycle_with_1_and_a_sentence(
    run: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
) -> None:
    monkeypatch.setenv("CAI_DATABASE_URL", f"postgresql://postgres:s3cret@127.0.0.1:{free_port()}/nowhere")
    assert run(*options) == 1
    said = capsys.readouterr().err
    assert "The database does not answer" in said
    assert "s3cret" not in said
