"""Runs that Prefect never scheduled are made for who wants them all, once, and for nobody else."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from connectors.schedule import Schedule
from connectors.tables import status as status_table
from deployments.missed import MOST_RUNS, missed_dates
from deployments.prefect_gateway import PrefectGateway
from deployments.spec import deployment_name
from tests.deployments.rig import Rig

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
