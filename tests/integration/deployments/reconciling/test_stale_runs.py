"""Stale runs and stuck slots, made on a real server as the scheduler's race makes them."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from deployments.reconciling.stale_runs import ABANDONED, is_abandoned, is_stale
from prefect_api.deployment import Observed
from prefect_api.deployment_calls import PrefectGateway
from prefect_api.names import deployment_name
from prefect_api.run_calls import PendingRun, ScheduledRun
from rigs.control_plane import Rig
from tests.support.servers.prefect_server import PrefectServer

SQL = Callable[..., None]


@pytest.fixture
def behind_its_back(prefect_server: PrefectServer) -> SQL:
    """Changes Prefect's database without Prefect's cleaning up: what is left is what its race leaves."""

    def execute(statement: str, *values: Any) -> None:
        with sqlite3.connect(prefect_server.home / "prefect.db", timeout=30) as database:
            assert database.execute(statement, values).rowcount > 0
        database.close()

    return execute


async def scheduled(controller: Rig, gateway: PrefectGateway, api: httpx.Client, **values: Any) -> tuple[int, Observed]:
    """A connector whose deployment has automatic runs."""
    number = await controller.insert(**values)
    await controller.cycle(audit=True)
    held = (await gateway.read_deployments([deployment_name(number)]))[0]
    api.post(f"/deployments/{held.id}/schedule", json={"min_runs": 3}).raise_for_status()
    assert await gateway.scheduled_runs(deployment_ids=[held.id])
    return number, held


async def test_runs_of_a_paused_deployment_are_removed_and_the_others_stay(
    controller: Rig, gateway: PrefectGateway, api: httpx.Client, behind_its_back: SQL
) -> None:
    _, other = await scheduled(controller, gateway, api)
    number, held = await scheduled(controller, gateway, api)
    await controller.change(number, is_active=False)
    behind_its_back("UPDATE deployment SET paused = 1 WHERE id = ?", str(held.id))
    report = await controller.cycle(audit=True)
    assert report.swept > 0
    assert await gateway.scheduled_runs(deployment_ids=[held.id]) == []
    assert await gateway.scheduled_runs(deployment_ids=[other.id])


async def test_runs_of_a_deployment_that_is_gone_are_removed(
    controller: Rig, gateway: PrefectGateway, api: httpx.Client, behind_its_back: SQL
) -> None:
    number, held = await scheduled(controller, gateway, api)
    await controller.remove(number)
    behind_its_back("DELETE FROM deployment WHERE id = ?", str(held.id))
    await controller.cycle(audit=True)
    assert await gateway.scheduled_runs() == []


async def test_runs_of_the_old_schedule_are_removed_soon_after_the_change(
    controller: Rig, gateway: PrefectGateway, api: httpx.Client, behind_its_back: SQL
) -> None:
    number, held = await scheduled(controller, gateway, api, schedule="7 * * * *")
    await controller.change(number, schedule="33 * * * *")
    await controller.cycle()
    api.post(f"/deployments/{held.id}/schedule", json={"min_runs": 3}).raise_for_status()
    runs = await gateway.scheduled_runs(deployment_ids=[held.id])
    late = min(run.expected_start_time for run in runs).replace(minute=7).astimezone(UTC)
    behind_its_back(
        "UPDATE flow_run SET expected_start_time = ? WHERE id = ?",
        late.strftime("%Y-%m-%d %H:%M:%S.%f"),
        str(runs[0].id),
    )
    assert controller.reconciler.seconds_until_due() is not None
    controller.clock.advance(31)
    report = await controller.cycle()
    assert report.swept == 1
    left = {run.id for run in await gateway.scheduled_runs(deployment_ids=[held.id])}
    assert runs[0].id not in left
    assert left >= {run.id for run in runs[1:]}


async def test_another_installations_runs_are_not_swept(
    controller: Rig, gateway: PrefectGateway, api: httpx.Client, behind_its_back: SQL
) -> None:
    _, held = await scheduled(controller, gateway, api)
    behind_its_back("UPDATE flow_run SET tags = '[\"managed-by:other\"]' WHERE deployment_id = ?", str(held.id))
    behind_its_back("UPDATE deployment SET tags = '[\"managed-by:other\"]', paused = 1 WHERE id = ?", str(held.id))
    report = await controller.cycle(audit=True)
    assert report.swept == 0
    assert await gateway.scheduled_runs(deployment_ids=[held.id])


async def test_a_slot_that_no_run_holds_is_freed_by_the_second_audit(
    controller: Rig, gateway: PrefectGateway, api: httpx.Client
) -> None:
    number = await controller.insert()
    await controller.cycle(audit=True)
    held = (await gateway.read_deployments([deployment_name(number)]))[0]
    api.patch(f"/v2/concurrency_limits/{held.limit_id}", json={"active_slots": 1}).raise_for_status()
    await controller.cycle(audit=True)
    assert (await gateway.read_deployments([deployment_name(number)]))[0].active_slots == 1
    await controller.cycle(audit=True)
    assert (await gateway.read_deployments([deployment_name(number)]))[0].active_slots == 0


async def test_a_claimed_run_that_nothing_can_begin_any_more_is_crashed_and_its_slot_is_free(
    controller: Rig, gateway: PrefectGateway, api: httpx.Client
) -> None:
    number = await controller.insert(schedule=None)
    await controller.cycle(audit=True)
    held = (await gateway.read_deployments([deployment_name(number)]))[0]
    run = api.post(f"/deployments/{held.id}/create_flow_run", json={}).json()["id"]
    api.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "PENDING"}}).raise_for_status()
    # What a server with leases in memory has forgotten when it was restarted: the slot stands in its database.
    api.patch(f"/v2/concurrency_limits/{held.limit_id}", json={"active_slots": 1}).raise_for_status()
    await controller.cycle(audit=True)
    assert api.get(f"/flow_runs/{run}").json()["state"]["type"] == "PENDING"
    controller.clock.advance(16 * 60)
    for _ in range(2):
        await controller.cycle(audit=True)
    state = api.get(f"/flow_runs/{run}").json()["state"]
    assert (state["type"], state["message"]) == ("CRASHED", ABANDONED)
    assert (await gateway.read_deployments([deployment_name(number)]))[0].active_slots == 0


@pytest.mark.parametrize(
    ("pending_for", "workers_known_for", "abandoned"),
    [(14, [], False), (16, [], True), (16, [5], True), (16, [60], False), (59, [60, 5], False), (61, [90], True)],
)
def test_a_pending_run_is_given_up_when_its_worker_is_gone_or_it_is_very_old(
    pending_for: int, workers_known_for: list[int], abandoned: bool
) -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    run = PendingRun(uuid4(), "run", uuid4(), "default", now - timedelta(minutes=pending_for))
    assert is_abandoned(run, [now - timedelta(minutes=known) for known in workers_known_for], now) is abandoned


async def test_a_slot_that_a_running_run_holds_is_left(
    controller: Rig, gateway: PrefectGateway, api: httpx.Client
) -> None:
    number = await controller.insert()
    await controller.cycle(audit=True)
    held = (await gateway.read_deployments([deployment_name(number)]))[0]
    run = api.post(f"/deployments/{held.id}/create_flow_run", json={}).json()["id"]
    for state in ("PENDING", "RUNNING"):
        body = {"state": {"type": state}, "force": False}
        answer = api.post(f"/flow_runs/{run}/set_state", json=body).json()
        assert answer["status"] == "ACCEPT", answer
    for _ in range(3):
        await controller.cycle(audit=True)
    assert (await gateway.read_deployments([deployment_name(number)]))[0].active_slots == 1


async def test_across_a_change_of_the_clocks_no_run_of_the_schedule_counts_as_stale(
    controller: Rig, gateway: PrefectGateway
) -> None:
    number = await controller.insert(schedule="*/30 * * * *", timezone="America/New_York")
    await controller.cycle(audit=True)
    held = (await gateway.read_deployments([deployment_name(number)]))[0]
    prefect_schedule = __import__("prefect.server.schemas.schedules", fromlist=["CronSchedule"]).CronSchedule
    dates = await prefect_schedule(cron="*/30 * * * *", timezone="America/New_York").get_dates(
        24, start=datetime(2027, 3, 14, 4, tzinfo=UTC)
    )
    runs = [ScheduledRun(uuid4(), held.id, date, frozenset()) for date in dates]
    assert not [run.expected_start_time for run in runs if is_stale(run, held)]
    off = ScheduledRun(UUID(int=1), held.id, dates[0] + timedelta(minutes=1), frozenset())
    assert is_stale(off, held)
