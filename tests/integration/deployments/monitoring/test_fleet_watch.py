"""The watch: one query a look, nothing lost or told twice whatever dies or is away, and led by every controller."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import sqlalchemy as sa
from prefect.client.orchestration import PrefectClient

from database.control.notices import Whom
from database.store import Store
from database.tables import connectors
from deployments.leadership.lease import Lease
from deployments.leadership.start_options import StartOptions, WhenLed
from deployments.monitoring import fleet_watch as module
from deployments.monitoring.fleet_watch import Watch
from deployments.monitoring.silence_recovery import SilenceRecovery
from flows.controller import controller_of
from prefect_api.artifacts import Artifacts
from prefect_api.calls import PrefectCalls
from prefect_api.event_feed import Events
from rigs.control_plane import Clock, insert
from settings import Settings
from tests.support.servers.prefect_server import AsyncPatient, PrefectServer
from tests.support.waiting import until

HOUR = 3600.0


@pytest.fixture
async def lease(store: Store) -> AsyncIterator[Lease]:
    lease = Lease(store.engine, name="watch", holder="test", ttl_seconds=600)
    assert await lease.acquire()
    yield lease
    await lease.release()


class Away:
    """Prefect's client when nobody answers."""

    async def request(self, *_: Any, **__: Any) -> None:
        raise httpx.ConnectError("away")


def watch_of(store: Store, lease: Lease, events: Events, clock: Clock, **values: Any) -> Watch:
    """A watch that may not touch Prefect: it is away."""
    prefect = PrefectCalls(cast(PrefectClient, Away()), 1)
    artifacts = Artifacts(prefect, "managed-by:watch")
    usual: dict[str, Any] = {
        "artifacts": artifacts,
        "silence_recovery": SilenceRecovery(prefect, events),
        "tag": "managed-by:watch",
        "whom": Whom({}, 3),
        "silent_after": timedelta(minutes=5),
        "audit_every": timedelta(hours=1),
        "in_touch": lambda: True,
        "judged": lambda _: None,
        "grace": timedelta(0),
    }
    return Watch(store=store, fence=lease.fence, events=events, clock=clock, **{**usual, **values})


def names(events: Events) -> list[str]:
    return [each["event"].rsplit(".", 1)[1] for each in events._waiting]


async def test_a_look_at_a_steady_fleet_is_one_query_and_changes_nothing(store: Store, lease: Lease) -> None:
    for number in range(3):
        await insert(store, name=f"Labs {number}", schedule="0 * * * *")
    watch = watch_of(store, lease, Events("watch"), Clock(), in_touch=lambda: False)
    await watch.look()
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(store.engine.sync_engine, "before_cursor_execute", note)
    await watch.look()
    forgets, *asked = statements
    assert forgets.startswith("DELETE FROM cai_probes"), "questions about sources that nobody waits for any more"
    assert [statement.split()[0] for statement in asked] == ["SELECT"]


async def test_news_that_prefect_has_not_taken_is_told_again_as_the_same_event(
    store: Store, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SENT_SECONDS", 0.0)
    clock, events = Clock(), Events("watch")
    number = await insert(store, name="Labs", schedule="0 * * * *")
    watch = watch_of(store, lease, events, clock)
    await watch.look()
    clock.advance(5 * HOUR)
    await watch.look()
    await watch.look()
    assert names(events) == ["late", "overdue"]
    assert (await store.promises([number]))[number].told is None
    first = [each["id"] for each in events._waiting]

    successor = Events("watch")  # the first one died with what it had not sent
    await watch_of(store, lease, successor, clock).look()
    assert [each["id"] for each in successor._waiting] == first


async def test_while_prefect_is_away_nothing_is_told_and_for_a_while_after_it_is_back(
    store: Store, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SENT_SECONDS", 0.0)
    clock, events, away = Clock(), Events("watch"), asyncio.Event()
    number = await insert(store, name="Labs", schedule="0 * * * *")
    away.set()
    watch = watch_of(store, lease, events, clock, in_touch=lambda: not away.is_set(), grace=timedelta(minutes=3))
    await watch.look()
    clock.advance(5 * HOUR)
    await watch.look()
    away.clear()
    for _ in range(3):
        await watch.look()
        clock.advance(60)
    assert names(events) == []
    await watch.look()
    assert names(events) == ["late", "overdue"]

    async with store.engine.begin() as connection:
        await connection.execute(sa.delete(connectors).where(connectors.c.id == number))
    for told in list(events._waiting):  # as if they were sent
        events._waiting.remove(told)
    await watch.look()
    assert await store.promises([number]) == {}


async def test_every_controller_that_leads_keeps_the_watch(
    store: Store, database_url: str, prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.2)
    number = await insert(store, name="Labs of the watch", schedule="0 * * * *")
    settings = Settings.model_validate({"database_url": database_url, "data_dir": tmp_path, "instance": "watch-of-one"})
    stop = asyncio.Event()
    running = asyncio.create_task(controller_of(settings).run(StartOptions(WhenLed.STAND_BY), stop))
    async with httpx.AsyncClient(base_url=prefect_server.url, transport=AsyncPatient()) as api:

        async def held(key: str) -> dict[str, Any]:
            body = {"artifacts": {"key": {"any_": [key]}}}
            return next(iter((await api.post("/artifacts/latest/filter", json=body)).json()), {})

        async def shown() -> str:
            held = await api.get("/artifacts/connector-fleet/latest")
            return held.json()["data"] if held.is_success and "synced" in held.json()["data"] else ""

        try:
            data = await until("the fleet is shown", shown, 90)
        finally:
            stop.set()
            await running
        for key in ("connector-fleet", f"connector-{number}"):
            (await api.delete(f"/artifacts/{(await held(key))['latest_id']}")).raise_for_status()
    assert f"Labs of the watch ({number})" in data
