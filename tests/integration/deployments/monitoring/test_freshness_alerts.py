"""People hear once of a connector that never loads and once that it does, and once that a silent controller is back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient

from database.control.notices import Whom
from database.store import Store
from deployments.automations import notifications
from deployments.leadership.lease import Lease
from deployments.monitoring.fleet_watch import Watch
from deployments.monitoring.heartbeat import Heartbeat
from deployments.monitoring.silence_recovery import SilenceRecovery
from prefect_api.artifacts import Artifacts
from prefect_api.calls import PrefectCalls
from prefect_api.client import open_client
from prefect_api.event_feed import Events, sending
from prefect_api.names import connector_resource_id
from rigs.control_plane import Clock, insert
from settings import Settings
from tests.support.control_plane.last_loads import record_last_load
from tests.support.servers.prefect_server import AsyncPatient, PrefectServer
from tests.support.waiting import until

INSTANCE = "freshness-alerts"
"""Ours alone on the shared server, so that nobody else's events or automations are among what is heard."""

SETTINGS = Settings(instance=INSTANCE, heartbeat_seconds=2)
HOUR = 3600.0


@pytest.fixture
async def client(prefect_server: PrefectServer) -> AsyncIterator[PrefectClient]:
    async with open_client(transport=AsyncPatient()) as client:
        yield client


@pytest.fixture
async def told(client: PrefectClient, heard: tuple[str, list[str]]) -> AsyncIterator[list[str]]:
    """What people are told, by the automations that bootstrap makes for them."""
    url, told = heard
    block = CustomWebhookNotificationBlock(name=INSTANCE, url=url, json_data={"text": "{{subject}} | {{body}}"})
    saved = await block.asave(INSTANCE, overwrite=True)
    made = [await client.create_automation(each) for each in notifications(SETTINGS, UUID(str(saved)))]
    yield told
    for automation in made:
        await client.delete_automation(automation)


@asynccontextmanager
async def leader(store: Store, client: PrefectClient, clock: Clock) -> AsyncIterator[tuple[Watch, Events]]:
    """A controller's watch, of a process of its own: it remembers nothing but what the tables and Prefect hold."""
    lease = Lease(store.engine, name=INSTANCE, holder="test", ttl_seconds=600)
    assert await lease.acquire()
    events = Events(INSTANCE)
    prefect = PrefectCalls(client, 60)
    artifacts = Artifacts(prefect, f"managed-by:{INSTANCE}")
    async with sending(events, client):
        yield (
            Watch(
                store=store,
                fence=lease.fence,
                events=events,
                artifacts=artifacts,
                silence_recovery=SilenceRecovery(prefect, events),
                tag=f"managed-by:{INSTANCE}",
                whom=Whom({}, 3),
                silent_after=timedelta(0),
                audit_every=timedelta(0),
                in_touch=lambda: True,
                judged=lambda _: None,
                grace=timedelta(0),
                clock=clock,
            ),
            events,
        )
    await artifacts.show({})
    await lease.release()


async def happened(client: PrefectClient, name: str, resource: str) -> int:
    """How many events of this name Prefect holds."""
    request: Any = client.request
    wanted = {"event": {"name": [name]}, "resource": {"id": [resource]}}
    answer: httpx.Response = await request("POST", "/events/filter", json={"filter": wanted})
    return len(answer.json()["events"])


@pytest.mark.slow
async def test_one_alert_for_a_connector_that_never_loads_and_one_recovery(
    store: Store, client: PrefectClient, told: list[str]
) -> None:
    clock = Clock()
    number = await insert(store, name="Labs", schedule="0 * * * *")
    resource = connector_resource_id(INSTANCE, number)
    async with leader(store, client, clock) as (watch, _):
        for _ in range(3):
            await watch.look()
            clock.advance(HOUR)
    for _ in range(3):  # it stays overdue, whoever leads
        async with leader(store, client, clock) as (watch, _):
            await watch.look()
            clock.advance(HOUR)

    async def alerted() -> bool:
        return len(told) >= 1

    await until("the alert is heard", alerted, 90)
    async with store.engine.begin() as connection:
        await record_last_load(connection, number, last_success_at=clock())
    async with leader(store, client, clock) as (watch, _):
        for _ in range(3):
            await watch.look()

    async def recovered() -> bool:
        return len(told) >= 2

    await until("the recovery is heard", recovered, 90)
    await until("Prefect holds it", lambda: happened(client, "connector.freshness.recovered", resource), 60)
    for name in ("late", "overdue", "recovered"):
        assert await happened(client, f"connector.freshness.{name}", resource) == 1
    assert len(told) == 2, told
    assert "connector overdue" in told[0]
    assert "Labs: It has never loaded" in told[0]
    assert "connector on time" in told[1]
    assert "Labs: It loaded at" in told[1]


@pytest.mark.slow
async def test_one_alert_for_a_silent_controller_and_one_when_it_is_back(
    store: Store, client: PrefectClient, told: list[str], tmp_path: Path
) -> None:
    clock = Clock()
    async with leader(store, client, clock) as (watch, events):
        await watch.look()
        Heartbeat(events, tmp_path / "alive", 60)(leading=True)

    async def silent() -> bool:
        return len(told) >= 1

    await until("the silence is told", silent, 120)
    resource = f"cai.controller.{INSTANCE}"
    for _ in range(2):  # back, and handed over once more
        async with leader(store, client, clock) as (watch, events):
            beat = Heartbeat(events, tmp_path / "alive", 0.5)

            async def back(watch: Watch = watch, beat: Heartbeat = beat) -> bool:
                beat(leading=True)
                await watch.look()
                return len(told) >= 2

            await until("its return is told", back, 90)
    await until("Prefect holds it", lambda: happened(client, "controller.recovered", resource), 60)
    assert await happened(client, "controller.recovered", resource) == 1
    assert ["silent" in told[0], "back" in told[1], len(told)] == [True, True, 2], told
