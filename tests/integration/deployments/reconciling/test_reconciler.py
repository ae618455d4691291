"""Cycles on a real PostgreSQL and a real Prefect server, row by row of `plan`'s table."""

from uuid import UUID

import httpx
import pytest

from connectors.status import Phase, Reason
from prefect_api.deployment import Observed
from prefect_api.deployment_calls import PrefectGateway
from prefect_api.names import ENTRYPOINT, deployment_name
from rigs.control_plane import PLATFORM, SCHEMA, Rig


async def held(gateway: PrefectGateway, connector_id: int) -> Observed | None:
    found = await gateway.read_deployments([deployment_name(connector_id)])
    return found[0] if found else None


async def must_hold(gateway: PrefectGateway, connector_id: int) -> Observed:
    found = await held(gateway, connector_id)
    assert found is not None
    return found


async def test_a_row_becomes_the_deployment_that_the_design_describes(
    controller: Rig, gateway: PrefectGateway, api: httpx.Client
) -> None:
    number = await controller.insert(name="Labs", description="From the lab system", schedule="0 */4 * * *")
    await controller.cycle(audit=True)

    answer = api.get(f"/deployments/name/run_connector_pipeline/connector-{number}-pipeline").json()
    assert answer["entrypoint"] == ENTRYPOINT
    assert answer["parameters"] == {"connector_id": number}
    assert (answer["work_pool_name"], answer["work_queue_name"]) == ("default", "default")
    schedule = answer["schedules"][0]
    assert (schedule["slug"], schedule["active"], schedule["parameters"]) == ("main", True, {})
    assert schedule["schedule"] == {"cron": "0 */4 * * *", "timezone": "UTC", "day_or": True}
    assert sorted(answer["tags"]) == sorted([f"connector-{number}", "scheduled", "managed-by:clinical-ai"])
    assert answer["global_concurrency_limit"]["limit"] == 1
    assert answer["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert answer["enforce_parameter_schema"] is True
    assert answer["parameter_openapi_schema"] == SCHEMA
    assert answer["paused"] is False
    assert "Labs" in answer["description"]
    assert "From the lab system" in answer["description"]

    status = await controller.status(number)
    assert status is not None
    assert (status.phase, status.reason) == (Phase.SYNCED, Reason.IN_SYNC)
    assert status.spec_version == answer["version"]
    row = await controller.store.row(number)
    assert row is not None
    assert row.prefect_deployment_id == status.deployment_id == UUID(answer["id"])
    assert row.generation == 1


async def test_a_steady_state_makes_no_write_and_a_quiet_cycle_no_call(
    controller: Rig, gateway: PrefectGateway
) -> None:
    for schedule in ("0 * * * *", None, "H 2 * * *", "@daily"):
        await controller.insert(schedule=schedule)
    await controller.insert(schedule="0 0 30 2 *")
    await controller.insert(is_active=False)
    await controller.cycle(audit=True)
    writes = gateway.writes
    before = await controller.store.statuses()

    assert (await controller.cycle(audit=True)).lines == []
    assert gateway.writes == writes
    assert await controller.store.statuses() == before

    gateway.calls.clear()
    await controller.cycle()
    assert not gateway.calls


async def test_a_changed_schedule_is_patched_in_place(controller: Rig, gateway: PrefectGateway) -> None:
    number = await controller.insert(schedule="0 * * * *")
    await controller.cycle()
    before = await must_hold(gateway, number)
    await controller.change(number, schedule="30 * * * *", timezone="Europe/Berlin")
    report = await controller.cycle()
    after = await must_hold(gateway, number)
    assert (after.id, after.schedule_ids) == (before.id, before.schedule_ids)
    assert dict(after.fields.schedules[0].rule) == {"cron": "30 * * * *", "timezone": "Europe/Berlin"}
    assert f"connector {number}: schedules: '0 * * * *' UTC -> '30 * * * *' Europe/Berlin" in report.lines


async def test_a_schedule_comes_and_goes(controller: Rig, gateway: PrefectGateway) -> None:
    number = await controller.insert(schedule="0 * * * *")
    await controller.cycle()
    await controller.change(number, schedule=None)
    await controller.cycle()
    manual = await must_hold(gateway, number)
    assert manual.fields.schedules == ()
    assert "manual" in manual.fields.tags
    await controller.change(number, schedule="5 * * * *")
    await controller.cycle()
    again = await must_hold(gateway, number)
    assert [schedule.slug for schedule in again.fields.schedules] == ["main"]
    assert "scheduled" in again.fields.tags


async def test_deactivation_pauses_and_activation_resumes(controller: Rig, gateway: PrefectGateway) -> None:
    number = await controller.insert()
    await controller.cycle()
    await controller.change(number, is_active=False)
    await controller.cycle()
    assert (await must_hold(gateway, number)).fields.paused
    status = await controller.status(number)
    assert status is not None
    assert (status.phase, status.reason) == (Phase.PAUSED, Reason.INACTIVE)
    await controller.change(number, is_active=True)
    await controller.cycle()
    assert not (await must_hold(gateway, number)).fields.paused


async def test_a_deleted_row_takes_its_deployment_and_its_status_along(
    controller: Rig, gateway: PrefectGateway
) -> None:
    number = await controller.insert()
    await controller.cycle()
    await controller.remove(number)
    await controller.cycle()
    assert await held(gateway, number) is None
    assert await controller.status(number) is None


@pytest.mark.parametrize("schedule", ["0 0 30 2 *", "61 * * * *", "* * * *", "@reboot", ""])
async def test_an_invalid_schedule_makes_no_deployment_and_no_call(
    controller: Rig, gateway: PrefectGateway, schedule: str
) -> None:
    number = await controller.insert(schedule=schedule)
    await controller.cycle()
    assert not gateway.calls
    status = await controller.status(number)
    assert status is not None
    assert (status.phase, status.reason) == (Phase.INVALID, Reason.INVALID_SCHEDULE)
    assert "schedule" in (status.message or "")
    assert "For example" in (status.message or "")


async def test_a_row_that_becomes_invalid_keeps_its_last_good_deployment(
    controller: Rig, gateway: PrefectGateway
) -> None:
    number = await controller.insert(schedule="0 * * * *")
    await controller.cycle()
    good = await must_hold(gateway, number)
    writes = gateway.writes
    await controller.change(number, schedule="61 * * * *")
    await controller.cycle()
    await controller.cycle(audit=True)
    assert await held(gateway, number) == good
    assert gateway.writes == writes
    status = await controller.status(number)
    assert status is not None
    assert (status.phase, status.deployment_id) == (Phase.INVALID, good.id)

    await controller.change(number, is_active=False)
    await controller.cycle()
    paused = await must_hold(gateway, number)
    assert paused.fields.paused
    assert paused.fields.schedules == good.fields.schedules
    status = await controller.status(number)
    assert status is not None
    assert status.phase is Phase.INVALID


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"paused": True}),
        ("PATCH", "", {"tags": ["mine"]}),
        ("PATCH", "", {"parameters": {"connector_id": 999}}),
        ("PATCH", "", {"version": "mine", "description": "mine"}),
        ("PATCH", "", {"entrypoint": "other.py:flow", "path": "/elsewhere"}),
        ("PATCH", "", {"job_variables": {"command": "sleep 1000", "env": {"A": "b"}}}),
        ("PATCH", "", {"pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": "/tmp"}}]}),
        ("PATCH", "", {"concurrency_limit": 5, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}),
        ("PATCH", "", {"enforce_parameter_schema": False}),
        ("PATCH", "", {"parameter_openapi_schema": {"type": "object", "properties": {}}}),
        ("PATCH", "", {"work_pool_name": "other", "work_queue_name": "slow"}),
        ("PATCH", "", {"schedules": [{"slug": "main", "schedule": {"interval": 3600}}]}),
        ("PATCH", "", {"schedules": [{"slug": "extra", "schedule": {"cron": "* * * * *"}}]}),
        ("PATCH", "", {"schedules": [{"slug": "main", "parameters": {"connector_id": 1}}]}),
        ("PATCH", "", {"schedules": [{"slug": "main", "active": False}]}),
        ("PATCH", "", {"schedules": [{"slug": "main", "max_scheduled_runs": 1}]}),
        ("DELETE", "/schedules/{schedule}", None),
        ("POST", "/schedules", [{"schedule": {"cron": "* * * * *"}, "active": True}]),
        ("DELETE", "", None),
    ],
)
async def test_a_hand_edit_in_prefect_is_repaired_by_the_next_audit(
    controller: Rig,
    gateway: PrefectGateway,
    api: httpx.Client,
    method: str,
    path: str,
    body: object,
) -> None:
    api.post("/work_pools/", json={"name": "other", "type": "process"})
    number = await controller.insert(schedule="0 * * * *")
    await controller.cycle()
    good = await must_hold(gateway, number)
    where = f"/deployments/{good.id}" + path.format(schedule=good.schedule_ids[0])
    api.request(method, where, json=body).raise_for_status()
    assert await held(gateway, number) != good

    await controller.cycle(audit=True)

    repaired = await must_hold(gateway, number)
    assert repaired.fields == good.fields
    if (method, path) != ("DELETE", ""):
        assert repaired.id == good.id
    row = await controller.store.row(number)
    assert row is not None
    assert row.prefect_deployment_id == repaired.id
    writes = gateway.writes
    await controller.cycle(audit=True)
    assert gateway.writes == writes


async def test_an_older_back_ends_deployment_is_adopted_and_not_made_anew(
    controller: Rig, gateway: PrefectGateway, api: httpx.Client
) -> None:
    number = await controller.insert(schedule="0 * * * *")
    flow = api.post("/flows/", json={"name": "run_connector_pipeline"}).json()["id"]
    body = {
        "name": deployment_name(number),
        "flow_id": flow,
        "work_pool_name": "default",
        "parameters": {"connector_id": number},
        "schedules": [{"schedule": {"cron": "15 * * * *"}}],
    }
    older = api.post("/deployments/", json=body).json()["id"]
    await controller.cycle(audit=True)
    adopted = await must_hold(gateway, number)
    assert str(adopted.id) == older
    assert PLATFORM.tag in adopted.fields.tags
    assert [dict(schedule.rule) for schedule in adopted.fields.schedules] == [{"cron": "0 * * * *", "timezone": "UTC"}]
    assert gateway.calls["create"] == 0


async def test_a_stale_id_is_replaced_by_the_real_one(controller: Rig, gateway: PrefectGateway) -> None:
    number = await controller.insert()
    await controller.cycle()
    real = (await must_hold(gateway, number)).id
    await controller.change(number, prefect_deployment_id=None)
    await controller.cycle(audit=True)
    row = await controller.store.row(number)
    assert row is not None
    assert row.prefect_deployment_id == real


@pytest.mark.parametrize("tags", [["managed-by:other"], ["managed-by:clinical-ai", "managed-by:other"]])
async def test_another_installations_deployment_is_a_conflict_and_never_touched(
    controller: Rig, gateway: PrefectGateway, api: httpx.Client, tags: list[str]
) -> None:
    number = await controller.insert()
    flow = api.post("/flows/", json={"name": "run_connector_pipeline"}).json()["id"]
    body = {"name": deployment_name(number), "flow_id": flow, "work_pool_name": "default", "tags": tags}
    api.post("/deployments/", json=body).raise_for_status()
    before = api.get(f"/deployments/name/run_connector_pipeline/{deployment_name(number)}").json()
    await controller.cycle(audit=True)
    await controller.remove(number)
    await controller.cycle(audit=True)
    assert api.get(f"/deployments/name/run_connector_pipeline/{deployment_name(number)}").json() == before


async def test_one_connectors_failure_does_not_stop_the_others(controller: Rig, gateway: PrefectGateway) -> None:
    failing = await controller.insert(work_pool_name="nowhere")
    fine = await controller.insert()
    await controller.cycle()
    assert await held(gateway, fine) is not None
    assert set(await controller.failed()) == {failing}
    status = await controller.status(failing)
    assert status is not None
    assert (status.phase, status.reason, status.attempts) == (Phase.RETRYING, Reason.WORK_POOL_MISSING, 1)
    assert "'nowhere' does not exist" in (status.message or "")
    assert status.next_attempt_at is not None
    assert status.next_attempt_at > controller.clock()

    controller.clock.advance(6)
    await controller.cycle()
    status = await controller.status(failing)
    assert status is not None
    assert status.attempts == 2
    await controller.change(failing, work_pool_name=None)
    await controller.cycle()
    status = await controller.status(failing)
    assert status is not None
    assert (status.phase, status.attempts, status.next_attempt_at) == (Phase.SYNCED, 0, None)
