"""Prefect away for minutes while people work on, and a Prefect that can take only little at once: nothing is lost."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from connectors.status import Phase, Reason
from database.store import Store
from deployments.monitoring.alerts import Alerts
from prefect_api.deployment_calls import PrefectGateway, open_gateway
from prefect_api.names import connector_id_of, deployment_name
from rigs.control_plane import Rig, rig
from tests.support.servers.prefect_server import PrefectServer
from tests.support.servers.webhook import Webhook

MANY = 60
VERY_MANY = 500
"""Creates that a SQLite-backed server is asked for at once; of 50 sent ten at a time it refuses 48 (measured)."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server that may be stopped."""
    server = PrefectServer(tmp_path_factory.mktemp("outage"))
    server.start()
    httpx.post(f"{server.url}/work_pools/", json={"name": "default", "type": "process"}).raise_for_status()
    with temporary_settings({PREFECT_API_URL: server.url}):
        yield server
    server.stop()


@pytest.fixture
async def gateway(server: PrefectServer) -> AsyncIterator[PrefectGateway]:
    async with open_gateway(timeout_seconds=30, connections=25) as gateway:
        yield gateway


async def held(gateway: PrefectGateway) -> dict[int, str | None]:
    """The cron of each deployment that Prefect holds, by connector; None for one that is paused."""
    listing = await gateway.list_deployments()
    assert listing.complete
    return {
        connector_id_of(found.name) or 0: None if found.fields.paused else found.fields.schedules[0].rule["cron"]
        for found in listing.deployments
    }


async def pass_time(controller: Rig, seconds: int) -> None:
    """Cycles every ten seconds, as the poll makes them."""
    for _ in range(seconds // 10):
        controller.clock.advance(10)
        await controller.cycle()


@pytest.mark.slow
async def test_after_an_outage_all_is_caught_up_with_one_alert_each_way(
    store: Store, server: PrefectServer, gateway: PrefectGateway
) -> None:
    with Webhook() as operations:
        alerts = Alerts([operations.url], "clinical-ai")
        async with rig(store, gateway, alerts=alerts) as controller:
            kept, edited, paused, *deleted = [await controller.insert(schedule="0 * * * *") for _ in range(5)]
            await controller.cycle(audit=True)

            server.stop()
            await controller.change(edited, schedule="15 * * * *")
            await controller.change(paused, is_active=False)
            await controller.remove(*deleted)
            new = await controller.insert(schedule="45 * * * *")
            wrong = await controller.insert(schedule="61 * * * *")
            await controller.cycle()
            status = await controller.status(new)
            assert status is not None
            assert (status.phase, status.reason) == (Phase.RETRYING, Reason.SERVER_UNAVAILABLE)
            assert status.next_attempt_at is not None
            assert (await controller.status(kept) or status).phase is Phase.SYNCED, (
                "what waits for nothing is left alone"
            )
            assert (await controller.status(wrong) or status).phase is Phase.INVALID, "a user's error needs no server"
            assert (await controller.status(deleted[0]) or status).phase is Phase.DELETING
            await pass_time(controller, 300)
            late = await controller.insert(schedule="50 * * * *")
            await pass_time(controller, 60)
            await alerts.drain()
            assert len(operations.said) == 1

            server.start()
            await pass_time(controller, 60)

            assert await held(gateway) == {
                kept: "0 * * * *",
                edited: "15 * * * *",
                paused: None,
                new: "45 * * * *",
                late: "50 * * * *",
            }
            statuses = await store.statuses()
            assert set(statuses) == {kept, edited, paused, new, late, wrong}
            assert {status.phase for status in statuses.values()} == {Phase.SYNCED, Phase.PAUSED, Phase.INVALID}
            await alerts.drain()
            assert len(operations.said) == 2
            assert "answers again" in operations.said[1]
            writes = gateway.writes
            await controller.cycle(audit=True)
            assert gateway.writes == writes
            await controller.remove(kept, edited, paused, new, late)
            await controller.cycle(allow_mass_prune=True)


async def create(count: int, store: Store, gateway: PrefectGateway) -> None:
    """Insert that many connectors and bring them to Prefect, looking at every status that was ever written."""
    seen: list[str] = []
    record = store.record

    async def spy(records: object, fence: object) -> object:
        for written in records:  # type: ignore[attr-defined]
            seen.append(f"{written.status and written.status.phase} {written.status and written.status.message}")
        return await record(records, fence)  # type: ignore[arg-type]

    store.record = spy  # type: ignore[method-assign, assignment]
    # A date far off: no worker takes these runs, and a server that marks them late, in vain, is busy with that alone.
    async with rig(store, gateway) as controller:
        numbers = [await controller.insert(name=f"c{number}", schedule="H 0 1 1 *") for number in range(count)]
        await controller.settle(audit=True)
        found = await gateway.read_deployments([deployment_name(number) for number in numbers])
        assert len(found) == count
        bad = [line for line in seen if not line.startswith(("synced", "retrying Prefect is unavailable."))]
        assert bad == [], "a busy server's answer reached a connector's status"
        await controller.remove(*numbers)
        await controller.settle(allow_mass_prune=True)
        assert await gateway.read_deployments([deployment_name(number) for number in numbers]) == []


@pytest.mark.slow
async def test_a_server_that_takes_little_at_once_gets_many_creates_without_a_failure(
    store: Store, gateway: PrefectGateway
) -> None:
    await create(MANY, store, gateway)


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_a_server_that_takes_little_at_once_gets_very_many_creates_without_a_failure(
    store: Store, gateway: PrefectGateway
) -> None:
    await create(VERY_MANY, store, gateway)
