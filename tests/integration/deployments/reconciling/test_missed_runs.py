"""Runs that Prefect never scheduled are made for who wants them all, once, and for nobody else."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from connectors.schedules.cron import Schedule
from connectors.status import Phase
from database.store import Store
from database.tables import status as status_table
from deployments.reconciling.missed_runs import MOST_RUNS, missed_dates
from prefect_api.deployment_calls import PrefectGateway
from prefect_api.errors import RefusedError
from prefect_api.names import deployment_name
from rigs.control_plane import Clock, Rig, rig
from tests.support.control_plane.failing_prefect import Mortal

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_only_dates_without_a_run_are_missed() -> None:
    hourly = Schedule("0 * * * *", "UTC")
    dates = missed_dates(hourly, NOON - timedelta(hours=4), NOON, {NOON - timedelta(hours=2)})
    assert dates == [NOON - timedelta(hours=hours) for hours in (3, 1, 0)]


def test_of_very_many_the_newest_are_made() -> None:
    dates = missed_dates(Schedule("* * * * *", "UTC"), NOON - timedelta(days=1), NOON, set())
    assert len(dates) == MOST_RUNS
    assert dates[-1] == NOON


async def test_after_an_outage_all_gets_each_run_once_and_latest_none(controller: Rig, gateway: PrefectGateway) -> None:
    everything = await controller.insert(schedule="0 * * * *", run_policy={"missed_runs": "all"})
    latest = await controller.insert(schedule="0 * * * *")
    await controller.cycle(audit=True)
    long_ago = datetime.now(UTC) - timedelta(hours=5)
    async with controller.store.engine.begin() as connection:
        await connection.execute(sa.update(status_table).values(last_synced_at=long_ago))

    for expected in (5, 0):
        await controller.reconciler.start()
        report = await controller.cycle(audit=True)
        assert report.caught_up == pytest.approx(expected, abs=1 if expected else 0)

    now = datetime.now(UTC)
    counts = {}
    for number in (everything, latest):
        held = (await gateway.read_deployments([deployment_name(number)]))[0]
        counts[number] = len(await gateway.run_dates(held.id, long_ago, now))
    assert counts[everything] in {4, 5}
    assert counts[latest] == 0


POLICY = {"missed_runs": "all"}


async def outage(parts: Rig, gateway: Mortal) -> tuple[int, int, int]:
    """Five hours, in which one connector stays as it is, one is described anew, and one is rescheduled each hour.

    At its end a change brings the connectors in line before the audit comes that looks for missed runs.
    """
    untouched, described, rescheduled = [
        await parts.insert(name=name, schedule="0 * * * *", run_policy=POLICY) for name in ("a", "b", "c")
    ]
    await parts.cycle(audit=True)
    gateway.alive = False
    for hour in range(5):
        parts.clock.advance(3600)
        await parts.change(described, description=f"It is {hour}")
        await parts.change(rescheduled, schedule=f"{hour} * * * *")
        await parts.cycle()
    gateway.alive = True
    parts.clock.advance(600)
    await parts.cycle()
    assert {status.phase for status in (await parts.store.statuses()).values()} == {Phase.SYNCED}
    return untouched, described, rescheduled


async def assert_made_up_for(parts: Rig, gateway: Mortal, untouched: int, described: int, rescheduled: int) -> None:
    dates: dict[str, list[datetime]] = {}
    assert (await parts.cycle(audit=True)).caught_up == 10
    for run in gateway.server.runs.values():
        dates.setdefault(gateway.server.deployments[run["deployment"]]["name"], []).append(run["at"])
    hours = [NOON + timedelta(hours=hour) for hour in range(1, 6)]
    # The dates of a schedule count from when it reached Prefect: the third one gets none.
    assert dates == {deployment_name(untouched): hours, deployment_name(described): hours}
    assert (await parts.cycle(audit=True)).caught_up == 0


async def test_a_connector_that_was_changed_during_the_outage_gets_its_missed_runs_too(store: Store) -> None:
    gateway = Mortal()
    async with rig(store, gateway, clock=Clock(NOON)) as parts:
        numbers = await outage(parts, gateway)
        await assert_made_up_for(parts, gateway, *numbers)
        status = await parts.status(numbers[1])
        assert status is not None
        assert status.last_synced_at == parts.clock(), "from here on it is in line, and its past is made up for"


class Choosy(Mortal):
    """A server whose work pool asks runs of one deployment for a job variable that they do not have."""

    refuses: UUID | None = None

    async def create_run(self, deployment_id: UUID, due: datetime, key: str) -> None:
        if deployment_id == self.refuses:
            raise RefusedError("Prefect refused it (422): 'namespace' is a required property", 422)
        await super().create_run(deployment_id, due, key)


async def test_a_connector_whose_missed_runs_are_refused_is_no_outage_and_stops_no_other(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Choosy()
    async with rig(store, gateway, clock=Clock(NOON)) as parts:
        untouched, described, _ = await outage(parts, gateway)
        refused = await parts.status(untouched)
        assert refused is not None
        gateway.refuses = refused.deployment_id
        report = await parts.cycle(audit=True)
        assert (report.caught_up, report.server_down, parts.reconciler.back_from_outage) == (5, None, False)
        assert f"connector {untouched}: its missed runs cannot be made" in caplog.text
        made = {run["deployment"] for run in gateway.server.runs.values()}
        other = await parts.status(described)
        assert other is not None
        assert made == {other.deployment_id}


async def test_many_missed_runs_show_that_the_controller_lives(store: Store) -> None:
    beats: list[None] = []
    async with rig(store, Mortal(), clock=Clock(NOON), progress=lambda: beats.append(None)) as parts:
        for name in ("a", "b"):
            await parts.insert(name=name, schedule="0 * * * *", run_policy=POLICY)
        await parts.cycle(audit=True)
        await parts.reconciler.start()
        parts.clock.advance(5 * 3600 + 600)
        beats.clear()
        assert (await parts.cycle(audit=True)).caught_up == 10
    assert len(beats) == 2


async def test_missed_runs_outlive_a_leader_that_dies_before_it_made_them(store: Store) -> None:
    gateway, clock = Mortal(), Clock(NOON)
    async with rig(store, gateway, clock=clock) as parts:
        numbers = await outage(parts, gateway)
    async with rig(store, gateway, clock=clock) as successor:
        await assert_made_up_for(successor, gateway, *numbers)
