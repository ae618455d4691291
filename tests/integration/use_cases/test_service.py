"""The use cases on a real PostgreSQL: what is saved, what is refused, and whom the controller hears of."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from connectors.connector import InvalidConnectorError
from connectors.errors import (
    ConstraintError,
    NameTakenError,
    NoSuchRunError,
    NotFoundError,
    NotRunnableError,
    PrefectUnavailableError,
    StaleError,
)
from connectors.freshness import Freshness
from connectors.judging.diagnosis import Obstacle
from connectors.runs import Held, Options, Pool
from connectors.status import Phase, Reason, Status
from database import audit, tables
from database.connection.address import dsn
from database.connectors import Filter
from database.runs import CHANNEL
from database.statuses import StatusRecord
from database.store import Store
from database.tables import connectors, lease
from tests.support.control_plane.last_loads import record_last_load
from tests.support.known_runs import DEPLOYMENT, NOW, RUN, KnownRuns
from use_cases.connectors import DEFAULTS, WHOSE, Service

VALUES: dict[str, Any] = {"name": "Labs", "source": {"type": "files", "url": "/data/labs"}, "schedule": "0 2 * * *"}


@pytest.fixture
def prefect() -> KnownRuns:
    """Prefect, which holds the deployment and has a worker."""
    return KnownRuns(Held(paused=False, pool=Pool("default", "default")))


@pytest.fixture
def service(store: Store, prefect: KnownRuns) -> Service:
    """What is tested."""
    return Service(store, prefect, instance="clinical-ai", clock=lambda: NOW)


@pytest.fixture
async def heard(database_url: str) -> AsyncIterator[list[str]]:
    """The ids that the controller hears of."""
    ids: list[str] = []
    listener = await asyncpg.connect(dsn(database_url))
    await listener.add_listener(CHANNEL, lambda *message: ids.append(message[-1]))
    yield ids
    await listener.close()


async def hears(ids: list[str], *expected: int) -> None:
    """Wait until the controller has heard of these, and forget them."""
    async with asyncio.timeout(10):
        while ids != [str(each) for each in expected]:
            await asyncio.sleep(0.01)
    ids.clear()


async def change(store: Store, connector_id: int, **values: Any) -> None:
    """Write columns as a back end does, whatever is in them."""
    async with store.engine.begin() as connection:
        await connection.execute(sa.update(connectors).where(connectors.c.id == connector_id).values(**values))


async def record(store: Store, status: Status) -> None:
    """Write a status as the controller does."""

    async def unfenced(_: Any) -> None:
        return None

    await store.record([StatusRecord(status.connector_id, status)], unfenced)


# --- saving ----------------------------------------------------------------------------------------------------------


async def test_what_is_saved_reaches_the_controller(service: Service, heard: list[str]) -> None:
    made = (await service.create(VALUES)).row.id
    await hears(heard, made)
    await service.update(made, {"schedule": "0 3 * * *"})
    await hears(heard, made)
    await service.set_active(made, False)
    await hears(heard, made)
    await service.delete(made)
    await hears(heard, made)


async def test_what_changes_nothing_wakes_the_controller_where_it_is_asked_for(
    service: Service, heard: list[str]
) -> None:
    made = (await service.create(VALUES)).row.id
    await hears(heard, made)
    assert (await service.update(made, VALUES)).row.generation == 1
    assert (await service.set_active(made, True)).row.generation == 1
    await hears(heard, made)  # the activation's: what was paused by hand in Prefect is resumed
    await service.retry(made)
    await hears(heard, made)


async def test_of_many_who_take_a_name_at_once_one_gets_it(service: Service, store: Store) -> None:
    answers = await asyncio.gather(*(service.create(VALUES) for _ in range(10)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Entry", *["NameTakenError"] * 9]
    assert len(await store.rows()) == 1


async def test_a_dataset_that_duckdb_would_take_for_its_file_is_refused(service: Service) -> None:
    values = VALUES | {"destination": {"type": "duckdb", "path": "/data/Labs.duckdb"}}
    with pytest.raises(InvalidConnectorError) as refused:
        await service.create(values | {"dataset_name": "labs"})
    (refusal,) = refused.value.refusals
    assert (refusal.pointer, "'Labs', the name of the DuckDB file" in refusal.message) == ("/dataset_name", True)
    assert (await service.create(values | {"dataset_name": "lab"})).row.dataset_name == "lab"


async def test_a_refused_change_changes_nothing(service: Service, store: Store) -> None:
    made = (await service.create(VALUES)).row
    other = (await service.create({**VALUES, "name": "Other"})).row
    for values, refusal in (
        ({"schedule": "61 * * * *", "description": "no"}, InvalidConnectorError),
        ({"name": "Labs", "description": "no"}, NameTakenError),
        ({"description": "\0"}, InvalidConnectorError),
    ):
        with pytest.raises(refusal):
            await service.update(other.id, values)
    with pytest.raises(StaleError, match="generation 1"):
        await service.update(other.id, {"description": "no"}, {"2"})
    assert await store.rows() == [made, other]


async def test_a_database_with_rules_of_its_own_is_no_taken_name(service: Service, store: Store) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE cai_connectors ADD CHECK (dataset_name <> 'forbidden')"))
    with pytest.raises(ConstraintError, match="cai_connectors_dataset_name_check"):
        await service.create({**VALUES, "dataset_name": "forbidden"})


# --- what a back end wrote badly -------------------------------------------------------------------------------------


async def test_an_invalid_row_can_be_stopped_and_deleted_but_not_activated(service: Service, store: Store) -> None:
    made = (await service.create(VALUES)).row.id
    await change(store, made, timezone="Mars")
    with pytest.raises(InvalidConnectorError):
        await service.set_active(made, True)
    with pytest.raises(InvalidConnectorError):
        await service.update(made, {"description": "x"})
    assert (await service.set_active(made, False)).row.is_active is False
    assert (await service.update(made, {"timezone": "UTC", "is_active": True})).row.is_active is True
    await change(store, made, timezone="Mars")
    await service.delete(made)


async def test_a_connector_that_is_not_there(service: Service) -> None:
    for use in (
        service.get(7),
        service.update(7, {}),
        service.replace(7, VALUES),
        service.set_active(7, True),
        service.delete(7),
        service.retry(7),
        service.run(7),
        service.last_runs(7, 1),
    ):
        with pytest.raises(NotFoundError, match="no connector 7"):
            await use


# --- runs ------------------------------------------------------------------------------------------------------------


async def test_a_run_is_started_on_the_recorded_deployment(service: Service, store: Store, prefect: KnownRuns) -> None:
    made = (await service.create(VALUES)).row.id
    await record(store, Status(made, Phase.SYNCED, deployment_id=DEPLOYMENT))
    assert await service.run(made) == RUN
    assert await service.run(made, "key") == RUN
    assert prefect.started == [(DEPLOYMENT, None), (DEPLOYMENT, "key")]
    assert await service.last_runs(made, 5) == [RUN]


async def test_a_run_of_a_part_is_asked_for_and_is_in_the_history(
    service: Service, store: Store, prefect: KnownRuns
) -> None:
    made = (await service.create(VALUES)).row.id
    await record(store, Status(made, Phase.SYNCED, deployment_id=DEPLOYMENT))
    asked = Options(tables=("visit",), row_limit=10)
    await service.run(made, options=asked)
    assert prefect.asked == [asked]
    async with store.engine.connect() as connection:
        newest, *_ = await audit.history(connection, made, limit=1)
    assert (newest.action, newest.after) == ("run", {"tables": ["visit"], "row_limit": 10})


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        (Options(row_limit=0), "/row_limit"),
        (Options(backfill_to=NOW), "/backfill_from"),
        (Options(backfill_from=NOW, backfill_to=NOW), "/backfill_from"),
        (Options(backfill_from=datetime(2999, 1, 1)), "/backfill_from"),  # noqa: DTZ001  # without a zone, as sent
    ],
)
async def test_what_no_run_can_do_is_refused_at_its_field(
    service: Service, store: Store, prefect: KnownRuns, options: Options, pointer: str
) -> None:
    made = (await service.create(VALUES)).row.id
    await record(store, Status(made, Phase.SYNCED, deployment_id=DEPLOYMENT))
    with pytest.raises(InvalidConnectorError) as refused:
        await service.run(made, options=options)
    assert [each.pointer for each in refused.value.refusals] == [pointer]
    assert prefect.started == []


async def test_a_run_is_ended_once_and_only_by_its_own_connector(
    service: Service, store: Store, prefect: KnownRuns
) -> None:
    made = (await service.create(VALUES)).row.id
    with pytest.raises(NoSuchRunError):
        await service.cancel(made, RUN.id)  # without a deployment there is no run
    await record(store, Status(made, Phase.SYNCED, deployment_id=DEPLOYMENT))
    with pytest.raises(NoSuchRunError):
        await service.cancel(made, UUID(int=99))
    assert await service.cancel(made, RUN.id) == RUN
    prefect.run = replace(RUN, state_type="COMPLETED")
    assert (await service.cancel(made, RUN.id)).has_ended
    assert prefect.cancelled == [RUN.id], "what has ended is left alone"
    async with store.engine.connect() as connection:
        newest, *others = await audit.history(connection, made, limit=9)
    assert (newest.action, newest.after) == ("cancel", {"run_id": str(RUN.id)})
    assert [each.action for each in others] == ["create"]


async def test_what_cannot_run_is_told_before_prefect_is_asked(
    service: Service, store: Store, prefect: KnownRuns, heard: list[str]
) -> None:
    made = (await service.create(VALUES)).row.id
    await hears(heard, made)
    with pytest.raises(NotRunnableError, match="does not hold"):
        await service.run(made)
    await hears(heard, made)  # the controller is asked for it
    await change(store, made, timezone="Mars")
    with pytest.raises(NotRunnableError, match="not valid"):
        await service.run(made)
    await service.set_active(made, False)
    with pytest.raises(NotRunnableError, match="deactivated"):
        await service.run(made)
    assert prefect.started == []


async def test_a_deployment_that_prefect_lost_is_made_again(
    service: Service, store: Store, prefect: KnownRuns, heard: list[str]
) -> None:
    made = (await service.create(VALUES)).row.id
    await change(store, made, prefect_deployment_id=DEPLOYMENT)
    await hears(heard, made)
    prefect.holds = None
    with pytest.raises(NotRunnableError):
        await service.run(made)
    await hears(heard, made)


async def test_prefect_down_is_told_where_it_is_needed_only(service: Service, store: Store, prefect: KnownRuns) -> None:
    made = (await service.create(VALUES)).row.id
    await change(store, made, prefect_deployment_id=DEPLOYMENT)
    prefect.down = True
    for use in (service.run(made), service.last_runs(made, 1)):
        with pytest.raises(PrefectUnavailableError):
            await use
    explained = await service.explain(await service.get(made))
    assert Obstacle.PREFECT_UNAVAILABLE in [why.obstacle for why in explained.obstacles]


async def test_the_explanation_joins_table_status_lease_and_prefect(
    service: Service, store: Store, prefect: KnownRuns
) -> None:
    made = (await service.create(VALUES)).row.id

    async def obstacles() -> list[Obstacle]:
        return [why.obstacle for why in (await service.explain(await service.get(made))).obstacles]

    assert await obstacles() == [Obstacle.NO_CONTROLLER]
    async with store.engine.begin() as connection:
        until = sa.func.now() + timedelta(minutes=1)
        await connection.execute(sa.insert(lease).values(name="clinical-ai", holder="x", expires_at=until))
    assert await obstacles() == [Obstacle.WAITING_FOR_CONTROLLER]
    synced = Status(made, Phase.SYNCED, Reason.IN_SYNC, deployment_id=DEPLOYMENT, observed_generation=1)
    await record(store, synced)
    assert await obstacles() == []
    prefect.holds = Held(paused=False, pool=Pool("default", "default", polled=False))
    assert await obstacles() == [Obstacle.NO_WORKER]
    prefect.holds = None
    assert await obstacles() == [Obstacle.DEPLOYMENT_MISSING]


# --- lists and previews ----------------------------------------------------------------------------------------------


async def test_a_page_of_nothing_and_a_last_page(service: Service) -> None:
    assert (await service.page(Filter(), limit=10)).entries == ()
    for number in range(2):
        await service.create({**VALUES, "name": f"Labs {number}"})
    page = await service.page(Filter(), limit=2)
    assert (len(page.entries), page.after) == (2, None), "a full page is the last one when nothing follows"


async def test_a_list_says_which_of_its_connectors_load(service: Service, store: Store) -> None:
    """What Prefect holds is one matter, whether it loads another; and the filter finds what the list shows."""
    yesterday = NOW - timedelta(hours=20)
    loaded, failed = {"last_success_at": yesterday}, {"last_success_at": yesterday, "failures": 3}
    made: dict[str, list[int]] = {}
    for freshness, loads, phase, columns in (
        ("on time", loaded, Phase.SYNCED, {}),
        ("on time", None, Phase.PENDING, {}),
        ("failing", failed, Phase.SYNCED, {}),
        ("failing", failed, Phase.SYNCED, {"schedule": None}),
        ("late", {"last_success_at": yesterday - timedelta(days=1)}, Phase.SYNCED, {}),
        ("overdue", {"last_success_at": yesterday - timedelta(days=9)}, Phase.RETRYING, {}),
        ("manual", loaded, Phase.SYNCED, {"schedule": None}),
        ("paused", failed, Phase.PAUSED, {"is_active": False}),
        ("paused", failed, Phase.PAUSED, {}),
        ("invalid", failed, Phase.INVALID, {}),
        ("invalid", None, None, {"schedule": "61 * * * *"}),
    ):
        number = (await service.create({**VALUES, "name": f"{freshness} {len(made.get(freshness, ()))}"})).row.id
        made.setdefault(freshness, []).append(number)
        if columns:
            await change(store, number, **columns)
        if phase is not None:
            await record(store, Status(number, phase))
        promise = {"connector_id": number, "promised_at": yesterday - timedelta(days=2)}
        async with store.engine.begin() as connection:
            if loads is not None:
                await record_last_load(connection, number, **loads)
                await connection.execute(sa.insert(tables.freshness).values(**promise))
    shown = (await service.page(Filter(), limit=20)).entries
    assert [f"{service.freshness(entry)}" for entry in shown] == [entry.row.name[:-2] for entry in shown]
    assert {entry.facts.failures for entry in shown if service.freshness(entry) == "failing"} == {3}
    for each in Freshness:
        page = await service.page(Filter(freshness=each), limit=20)
        assert [entry.row.id for entry in page.entries] == made[each], each
    first = await service.page(Filter(freshness=Freshness.FAILING), limit=1)
    assert first.after == made["failing"][0]
    rest = await service.page(Filter(freshness=Freshness.FAILING), limit=1, after=first.after or 0)
    assert ([entry.row.id for entry in rest.entries], rest.after) == (made["failing"][1:], None)


async def test_a_page_costs_as_many_queries_whatever_is_on_it(service: Service, store: Store) -> None:
    statements: list[str] = []
    sa.event.listen(store.engine.sync_engine, "before_cursor_execute", lambda *call: statements.append(call[2]))

    async def cost() -> int:
        statements.clear()
        await service.page(Filter(), limit=50)
        return len(statements)

    await service.create(VALUES)
    one = await cost()
    for number in range(20):
        await service.create({**VALUES, "name": f"Labs {number}"})
    assert await cost() == one


async def test_a_change_of_any_column_that_users_write_counts(service: Service, store: Store) -> None:
    """The trigger that counts has to name each of them."""
    made = (await service.create(VALUES)).row.id
    for generation, name in enumerate(("name", "source", *DEFAULTS, *WHOSE), 2):
        kind = connectors.c[name].type
        value: Any = {"x": 1} if isinstance(kind, JSONB) else "x" if isinstance(kind, sa.Text) else False
        value = ["x"] if isinstance(kind, sa.ARRAY) else value
        await change(store, made, **{name: value})
        row = await store.row(made)
        assert row is not None
        assert row.generation == generation, name


def test_every_column_that_users_write_is_required_or_has_a_default() -> None:
    """Without its entry in DEFAULTS, a new column makes every save fail."""
    ours = {"id", "prefect_deployment_id", "created_at", "updated_at", "generation"}
    assert set(connectors.c.keys()) - ours == {"name", "source", *DEFAULTS, *WHOSE}


async def test_a_preview_leaves_the_connector_itself_out_of_the_herd(service: Service) -> None:
    made = [(await service.create({**VALUES, "name": f"Labs {number}"})).row.id for number in range(5)]
    assert "5 connectors start at 02:00" in (await service.preview("0 2 * * *", "UTC")).warnings[-1]
    assert (await service.preview("0 2 * * *", "UTC", made[0])).warnings == ()


async def test_a_preview_of_an_h_is_an_example_until_the_id_is_known(service: Service) -> None:
    assert "an example" in (await service.preview("H 2 * * *", "UTC")).warnings[0]
    assert (await service.preview("H 2 * * *", "UTC", 3)).warnings == ()
    for plain in ("0 2 * * THU", "@hourly", "  0 2 * * *  "):
        assert (await service.preview(plain, "UTC")).warnings == ()
