"""Events: each real change once, none for what stands still, and never a harm to the controller."""

import asyncio
from typing import Any, cast

import httpx
import orjson
import pytest
from prefect.client.orchestration import PrefectClient

from connectors.status import Phase, Reason, Status
from database.store import Store
from deployments.planning.connector_events import fallen
from prefect_api.calls import PrefectCalls
from prefect_api.client import open_client
from prefect_api.event_feed import BATCH, GATHER_SECONDS, MOST_WAITING, Events, sending
from prefect_api.names import ControllerEvent, DeploymentEvent, FreshnessEvent, LoadEvent
from rigs.control_plane import rig
from rigs.fake_prefect import FakePrefect
from settings import ROOT
from tests.support.servers.prefect_server import PrefectServer
from tests.support.waiting import until


def names(events: Events) -> list[str]:
    return [each["event"] for each in events._waiting]


async def test_each_change_is_told_once_and_a_steady_state_not_at_all(store: Store) -> None:
    events = Events("clinical-ai")
    async with rig(store, FakePrefect(), events=events) as controller:
        number = await controller.insert(schedule="0 * * * *")
        await controller.insert(schedule="61 * * * *")
        await controller.cycle(audit=True)
        assert sorted(names(events)) == ["connector.deployment.created", "connector.deployment.rejected"]
        await controller.cycle(audit=True)
        assert len(events) == 2
        for change in ({"schedule": "5 * * * *"}, {"is_active": False}, {"is_active": True}):
            await controller.change(number, **change)
            await controller.cycle()
        await controller.remove(number)
        await controller.cycle()
        told = [name.removeprefix("connector.deployment.") for name in names(events)[2:]]
        assert told == ["updated", "paused", "resumed", "deleted"]


def test_a_failure_that_lasts_is_told_when_it_begins() -> None:
    first = Status(1, Phase.RETRYING, Reason.REQUEST_REFUSED, "no", attempts=1)
    second = Status(1, Phase.RETRYING, Reason.REQUEST_REFUSED, "no", attempts=2)
    assert fallen(None, first) == "connector.deployment.failed"
    assert fallen(first, second) is None
    waiting = Status(1, Phase.RETRYING, Reason.SERVER_UNAVAILABLE, "down", attempts=1)
    assert fallen(None, waiting) is None


def test_an_invalid_row_is_told_again_when_it_was_changed_and_not_when_it_is_said_in_other_words() -> None:
    def invalid(message: str, generation: int, reason: Reason = Reason.INVALID_SCHEDULE) -> Status:
        return Status(1, Phase.INVALID, reason, message, observed_generation=generation)

    first = invalid("no", 1)
    assert fallen(None, first) == "connector.deployment.rejected"
    assert fallen(first, invalid("No, says a new release.", 1)) is None
    assert fallen(first, invalid("no", 2)) == "connector.deployment.rejected"
    assert fallen(first, invalid("no", 1, Reason.INVALID_NAME)) == "connector.deployment.rejected"


def test_a_row_that_we_stumble_over_is_no_users_fault() -> None:
    fault = Status(1, Phase.INVALID, Reason.INTERNAL_ERROR, "a fault of ours", observed_generation=1)
    assert fallen(None, fault) == "connector.deployment.failed"
    assert fallen(fault, fault) is None


async def test_prefect_gets_them_with_their_resources(prefect_server: PrefectServer) -> None:
    events = Events("events-of-a-test")  # other tests leave theirs on the same server
    async with open_client() as client, sending(events, client), httpx.AsyncClient(base_url=prefect_server.url) as api:
        events.of_connector("connector.deployment.created", 7, title="Labs")

        async def arrived() -> list[dict[str, Any]]:
            body = {"filter": {"resource": {"id": ["cai.connector.events-of-a-test.7"]}}}
            found: list[dict[str, Any]] = (await api.post("/events/filter", json=body)).json()["events"]
            return found

        event = (await until("the event is in Prefect", arrived, 90))[0]
        assert event["resource"]["cai.connector-id"] == "7"
        assert event["resource"]["prefect.resource.name"] == "Labs"


async def test_events_wait_for_a_prefect_that_is_away_and_the_oldest_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = Events("clinical-ai")
    for number in range(MOST_WAITING + 3):
        events.of_controller("controller.heartbeat", {"number": number})
    assert (len(events), events.dropped) == (MOST_WAITING, 3)
    tries = 0
    sent: list[int] = []

    async def request(method: str, path: str, *, content: bytes, headers: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise httpx.ConnectError("away")
        sent.append(len(content))

    client = cast(PrefectClient, type("Client", (), {"request": staticmethod(request)})())
    sender = asyncio.create_task(events.send(PrefectCalls(client, 10)))

    async def all_gone() -> bool:
        return len(events) == 0

    await until("all of them are sent", all_gone, 20)
    sender.cancel()
    assert len(sent) == MOST_WAITING // BATCH


async def test_the_events_of_one_cycle_go_out_together_and_at_once_where_somebody_waits() -> None:
    batches: list[int] = []

    async def request(method: str, path: str, *, content: bytes, headers: object) -> None:
        batches.append(len(orjson.loads(content)))

    client = cast(PrefectClient, type("Client", (), {"request": staticmethod(request)})())
    events = Events("clinical-ai")
    async with sending(events, client):
        for number in range(3):
            events.of_connector("connector.deployment.created", number)
            await asyncio.sleep(0)  # as in life: each as its call has come back
        assert await events.sent(GATHER_SECONDS / 2)
    assert batches == [3]


def test_every_event_that_the_code_names_is_documented() -> None:
    page = (ROOT / "docs/events.md").read_text()
    named = [*ControllerEvent, *DeploymentEvent, *LoadEvent, *FreshnessEvent]
    for name in named:
        assert f"`{name}`" in page or f"`{name.rsplit('.', 1)[1]}`" in page, name
