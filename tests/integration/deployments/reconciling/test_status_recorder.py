"""Alerts of connectors that cannot be synced: each reason once, however many they are."""

from uuid import UUID

from database.store import Store
from deployments.monitoring.alerts import Alerts
from deployments.reconciling.failures import MANY
from prefect_api.errors import RefusedError, ServerUnavailableError
from prefect_api.names import deployment_name
from rigs.control_plane import insert_many, rig
from rigs.fake_prefect import FakePrefect
from tests.support.control_plane.failing_prefect import FailingCreates
from tests.support.servers.webhook import Webhook


async def test_many_connectors_in_conflict_are_one_alert_that_ends_with_the_last_of_them(store: Store) -> None:
    with Webhook() as operations:
        alerts = Alerts([operations.url], "clinical-ai")
        gateway = FakePrefect()
        async with rig(store, gateway, alerts=alerts) as parts:
            numbers = await insert_many(parts, 5)
            theirs = [
                gateway.server.post({"name": deployment_name(i), "tags": ["managed-by:other"]}) for i in numbers[:4]
            ]
            for _ in range(3):
                await parts.cycle(audit=True)
            await alerts.drain()
            first, second, third, last = numbers[:4]
            assert operations.said == [
                f"[clinical-ai] 4 connectors cannot be synced: ForeignDeployment, for example {first}, {second}, "
                f"{third}. Connector {first}: {parts.reconciler.known[first].message}"
            ]
            gateway.server.delete(theirs[:3])
            await parts.cycle(audit=True)
            await alerts.drain()
            assert len(operations.said) == 1
            await parts.remove(last)
            await parts.cycle(audit=True)
            await alerts.drain()
            assert operations.said[1:] == [
                "[clinical-ai] Recovered: No connector fails with ForeignDeployment any more."
            ]
            assert theirs[3] in gateway.server.deployments


async def test_a_missing_work_pool_is_told_once_with_all_whom_it_stops(store: Store) -> None:
    with Webhook() as operations:
        alerts = Alerts([operations.url], "clinical-ai")
        gateway = FakePrefect()
        async with rig(store, gateway, alerts=alerts) as parts:
            for number in range(30):
                await parts.insert(name=f"Connector {number}", work_pool_name="nowhere")
            for _ in range(20):
                await parts.cycle()
                parts.clock.advance(30)
            await alerts.drain()
            assert len(operations.said) == 1
            assert operations.said[0].startswith("[clinical-ai] 30 connectors cannot be synced: WorkPoolMissing, for")
            assert "'nowhere' does not exist" in operations.said[0]
            gateway.server.pools.add("nowhere")
            parts.clock.advance(901)
            await parts.cycle()
            await alerts.drain()
            assert operations.said[1:] == ["[clinical-ai] Recovered: No connector fails with WorkPoolMissing any more."]


class Away(FailingCreates):
    """A server that may not answer, besides."""

    answers = True

    async def probe(self) -> None:
        if not self.answers:
            raise ServerUnavailableError("Prefect cannot be reached.")


async def test_one_connector_is_told_after_five_tries_and_an_outage_is_no_recovery(store: Store) -> None:
    with Webhook() as operations:
        alerts = Alerts([operations.url], "clinical-ai")
        gateway = Away(RefusedError("Prefect refused it (409): no.", 409))
        async with rig(store, gateway, alerts=alerts) as parts:
            number = await parts.insert()
            gateway.failing = {number}
            for attempt in range(1, 8):
                await parts.cycle()
                await alerts.drain()
                assert len(operations.said) == (1 if attempt >= 5 else 0)
                parts.clock.advance(901)
            assert operations.said == [
                f"[clinical-ai] Connector {number} cannot be synced: Prefect refused it (409): no. Tried 5 times."
            ]
            gateway.answers = False
            await parts.cycle()
            for _ in range(2):  # quiet ones: nothing is due before the next probe
                await parts.cycle()
            gateway.answers = True
            parts.clock.advance(901)
            await parts.cycle()
            await alerts.drain()
            assert len(operations.said) == 1
            await parts.change(number, schedule="never")
            await parts.cycle()
            await alerts.drain()
            assert len(operations.said) == 2


async def test_a_neglected_connector_hides_no_later_failures_of_its_reason(store: Store) -> None:
    with Webhook() as operations:
        alerts = Alerts([operations.url], "clinical-ai")
        gateway = FakePrefect()
        async with rig(store, gateway, alerts=alerts) as parts:

            async def theirs(count: int) -> list[UUID]:
                numbers = [await parts.insert() for _ in range(count)]
                return [
                    gateway.server.post({"name": deployment_name(i), "tags": ["managed-by:other"]}) for i in numbers
                ]

            async def hear() -> list[str]:
                await parts.cycle(audit=True)
                await alerts.drain()
                heard = [line.removeprefix("[clinical-ai] ").partition(",")[0] for line in operations.said]
                operations.said.clear()
                return heard

            neglected = await theirs(1)
            assert len(await hear()) == 1
            others = await theirs(MANY - 2)
            assert await hear() == [], "of a few more nobody is told again"
            others += await theirs(3)
            assert await hear() == [f"{MANY + 2} connectors cannot be synced: ForeignDeployment"]
            others += await theirs(5)
            assert await hear() == []
            gateway.server.delete(others)
            assert await hear() == [f"Recovered: Fewer than {MANY} connectors fail with ForeignDeployment."]
            gateway.server.delete(neglected)
            assert await hear() == ["Recovered: No connector fails with ForeignDeployment any more."]
