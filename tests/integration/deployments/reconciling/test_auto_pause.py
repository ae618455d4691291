"""A connector that keeps failing by its user's fault is paused by itself, and anything its user does undoes that."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.loads import Load, Outcome
from connectors.status import Phase, Reason
from database.store import Store
from deployments.planning.plan import Create, Observation, Policy, desire, plan
from prefect_api.deployment import Observed, Patch, Spec
from prefect_api.names import deployment_name
from prefect_api.run_queries import NoPrefect
from rigs.control_plane import PLATFORM, Rig, rig
from rigs.fake_prefect import FakePrefect
from tests.support.control_plane.last_loads import record_last_load
from tests.support.control_plane.samples import NOW, TAG, held, row, spec
from use_cases.connectors import Service

POLICY = {"auto_pause_after": 3}


async def fails(store: Store, number: int, times: int, generation: int = 1) -> None:
    """Leave what so many runs leave that failed by their connector's configuration."""
    values: dict[str, Any] = {
        "generation": generation,
        "outcome": Outcome.FAILED,
        "message": "The login is wrong.",
        "configuration_failures": times,
    }
    async with store.engine.begin() as connection:
        await record_last_load(connection, number, **values)


def deployment(controller: Rig, number: int) -> Observed:
    assert isinstance(controller.gateway, FakePrefect)
    server = controller.gateway.server
    return next(server.observed(i) for i, d in server.deployments.items() if d["name"] == deployment_name(number))


async def test_it_is_paused_with_the_reason_and_an_edit_resumes_it(store: Store) -> None:
    async with rig(store, FakePrefect()) as controller:
        number = await controller.insert(run_policy=POLICY)
        await controller.cycle()
        await fails(store, number, 2)
        await controller.cycle(hints=[number])
        assert not deployment(controller, number).fields.paused
        await fails(store, number, 3)
        await controller.cycle(hints=[number])
        assert deployment(controller, number).fields.paused
        status = await controller.status(number)
        assert status is not None
        assert (status.phase, status.reason) == (Phase.PAUSED, Reason.AUTO_PAUSED)
        assert "after 3 failures in a row" in (status.message or "")
        assert "The login is wrong." in (status.message or "")
        assert (await controller.cycle(audit=True)).lines == []

        await controller.change(number, description="mended")
        await controller.cycle()
        assert not deployment(controller, number).fields.paused


async def test_activating_resumes_it_though_the_row_says_active_already(store: Store) -> None:
    async with rig(store, FakePrefect()) as controller:
        number = await controller.insert(run_policy=POLICY)
        await controller.cycle()
        await fails(store, number, 3)
        await controller.cycle(hints=[number])
        assert deployment(controller, number).fields.paused
        await Service(store, NoPrefect(), instance=PLATFORM.instance).set_active(number, True)
        await controller.cycle(hints=[number])
        assert not deployment(controller, number).fields.paused
        async with store.engine.connect() as connection:
            generation = sa.text(f"SELECT generation FROM cai_connectors WHERE id = {number}")
            assert await connection.scalar(generation) == 1


BAD_LOAD = Load(1, 1, outcome=Outcome.FAILED, configuration_failures=3, ended_at=NOW - timedelta(minutes=1))


@pytest.mark.parametrize(
    ("values", "load", "deployed", "action"),
    [
        ({}, BAD_LOAD, False, Create),
        ({"run_policy": POLICY}, None, False, Create),
        ({"run_policy": POLICY}, BAD_LOAD, False, None),
        ({"run_policy": POLICY}, BAD_LOAD, True, Patch),
        ({"run_policy": POLICY, "generation": 2}, BAD_LOAD, False, Create),
        ({"run_policy": {"auto_pause_after": 0}}, BAD_LOAD, False, Create),
    ],
)
def test_the_plan_takes_an_auto_paused_connector_for_a_paused_one(
    values: dict[str, Any], load: Load | None, deployed: bool, action: type | None
) -> None:
    wanted = desire(row(**values), PLATFORM, load)
    observation = Observation({1: held(spec(**values))} if deployed else {})
    decision = plan({1: wanted}, {}, observation, Policy(TAG), scope=[1], fleet_size=1, now=NOW).decisions[0]
    assert (None if decision.action is None else type(decision.action)) is action
    if isinstance(decision.action, Patch):
        assert [change.field for change in decision.action.changes] == ["paused"]
        assert isinstance(wanted.wants, Spec)
        assert wanted.runs_by is None
