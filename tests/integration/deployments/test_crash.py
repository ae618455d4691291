"""Kill -9 at every boundary between two effects: whoever comes next finishes what was begun, and nothing is doubled."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from database.store import Store
from database.tables import lease
from deployments.planning.plan import desire
from prefect_api.deployment import Spec, drift
from prefect_api.deployment_calls import PrefectGateway
from prefect_api.names import connector_id_of
from rigs.control_plane import PLATFORM, Rig, insert, rig
from settings import ROOT
from tests.support.control_plane import tally
from tests.support.servers.prefect_server import PrefectServer


class DyingController:
    """A controller's full cycle in a process of its own, killed at a boundary."""

    def __init__(self, database_url: str, server: PrefectServer) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.control_plane.crashing", database_url],
            cwd=ROOT,
            env={**os.environ, **server.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def cycle(self, deadly: int) -> dict[str, Any]:
        """How a cycle ended that was to die at that boundary (-1: at none)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{deadly}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def end(self) -> None:
        """End the process that forks."""
        self._process.communicate()


@pytest.fixture
def dying(database_url: str, prefect_server: PrefectServer) -> Iterator[DyingController]:
    controller = DyingController(database_url, prefect_server)
    yield controller
    controller.end()


class Work:
    """Changes of every kind, again and again: what a cycle then has to do is always the same."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rounds = 0
        self.edited = self.switched = self.doomed = 0

    async def begin(self) -> None:
        """The connectors that are changed later."""
        self.edited = await insert(self.store, schedule="0 * * * *")
        self.switched = await insert(self.store, schedule="0 * * * *")
        self.doomed = await insert(self.store, schedule="0 * * * *")
        await insert(self.store, schedule="61 * * * *")

    async def change(self, parts: Rig) -> None:
        """One connector is new, one rescheduled, one paused or resumed, one deleted."""
        self.rounds += 1
        await parts.change(self.edited, schedule=f"{self.rounds % 60} * * * *" if self.rounds % 3 else None)
        await parts.change(self.switched, is_active=bool(self.rounds % 2))
        await parts.remove(self.doomed)
        self.doomed = await insert(self.store, schedule="H * * * *")


async def forget_the_lease(store: Store) -> None:
    """What the dead one's TTL would do."""
    async with store.engine.begin() as connection:
        await connection.execute(sa.delete(lease))


async def assert_converged(store: Store, gateway: PrefectGateway) -> None:
    """Prefect holds what the rows ask for, field by field, and the rows know its ids."""
    rows = {row.id: row for row in await store.rows()}
    held = {connector_id_of(found.name): found for found in (await gateway.list_deployments()).deployments}
    specs = {number: desire(row, PLATFORM).wants for number, row in rows.items()}
    wanted = {number: spec for number, spec in specs.items() if isinstance(spec, Spec)}
    assert held.keys() <= wanted.keys()
    for number, spec in wanted.items():
        if rows[number].is_active or number in held:
            assert drift(spec, held[number]) == ()
            assert rows[number].prefect_deployment_id == held[number].id
    statuses = await store.statuses()
    assert statuses.keys() == rows.keys()
    assert all(status.attempts == 0 for status in statuses.values())


async def kill_everywhere(store: Store, gateway: PrefectGateway, dying: DyingController, times: int) -> None:
    """Kill a controller at each boundary of its cycle, so many times."""
    work = Work(store)
    await work.begin()
    async with rig(store, gateway) as controller:
        await controller.cycle(audit=True)
        await work.change(controller)
    await forget_the_lease(store)
    counted = dying.cycle(-1)
    assert counted["exit"] == 0
    boundaries = counted["boundaries"]
    assert boundaries > 20
    await assert_converged(store, gateway)

    killed = 0
    for deadly in [*range(boundaries)] * times:
        async with rig(store, gateway) as controller:
            await work.change(controller)
        await forget_the_lease(store)
        killed += dying.cycle(deadly)["exit"] == -signal.SIGKILL
        await forget_the_lease(store)
        async with rig(store, gateway) as controller:
            await controller.settle(audit=True)
        await assert_converged(store, gateway)
        await forget_the_lease(store)
    tally.done["kills"] += killed
    assert killed >= times * boundaries * 3 // 4, "the cycle takes other ways than the one that was counted"
    async with rig(store, gateway) as controller:
        writes = gateway.writes
        await controller.cycle(audit=True)
        assert gateway.writes == writes


@pytest.mark.slow
async def test_a_kill_at_any_boundary_is_healed_by_the_next_controller(
    store: Store, gateway: PrefectGateway, dying: DyingController
) -> None:
    await kill_everywhere(store, gateway, dying, times=1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_many_kills_are_healed(store: Store, gateway: PrefectGateway, dying: DyingController) -> None:
    await kill_everywhere(store, gateway, dying, times=5)
