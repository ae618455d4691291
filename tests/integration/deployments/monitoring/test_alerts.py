"""Operations hear once that something began and once that it is over, whoever leads, however slow the way to them."""

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from database.store import Store
from database.tables import alerts as table
from deployments.monitoring import alerts as module
from deployments.monitoring.alerts import MOST_WAITING, Alerts
from deployments.reconciling.server_health import ServerHealth
from prefect_api.event_feed import Events
from rigs.control_plane import rig
from rigs.fake_prefect import FakePrefect
from tests.support.control_plane.samples import NOW
from tests.support.servers.webhook import Webhook

DOWN = "Prefect has been unavailable."
BACK = "Prefect answers again."


async def leader(store: Store, *urls: SecretStr) -> Alerts:
    """The alerts of a leader whose term begins: it knows what the tables hold and nothing else."""
    alerts = Alerts(urls, "clinical-ai", engine=store.engine)
    await alerts.load()
    return alerts


async def rows(store: Store) -> dict[str, str]:
    """What was told and is not over, by key."""
    async with store.engine.connect() as connection:
        return {row.key: row.sentence for row in await connection.execute(sa.select(table))}


async def test_who_leads_next_repeats_nothing_and_tells_the_end(store: Store) -> None:
    with Webhook() as operations:
        first = await leader(store, operations.url)
        first.begin("server", DOWN)
        first.begin("server", DOWN)
        await first.drain()
        assert await rows(store) == {"server": DOWN}

        second = await leader(store, operations.url)
        second.begin("server", DOWN)
        second.end("server", BACK)
        second.end("server", BACK)
        await second.drain()
        assert operations.said == [f"[clinical-ai] {DOWN}", f"[clinical-ai] Recovered: {BACK}"]
        assert await rows(store) == {}

        third = await leader(store, operations.url)
        third.end("server", BACK)
        third.begin("server", DOWN)
        await third.drain()
        assert operations.said[2:] == [f"[clinical-ai] {DOWN}"], "a new outage is told again"


async def test_an_outage_that_ended_while_nobody_led_is_over_at_the_first_answer(store: Store) -> None:
    with Webhook() as operations:
        first = await leader(store, operations.url)
        dying = ServerHealth(first, backoff_max_seconds=60, alert_after_seconds=0, rng=random.Random(1))
        dying.failed(NOW, "Nobody answers.")
        await first.drain()

        second = await leader(store, operations.url)
        health = ServerHealth(second, backoff_max_seconds=60, alert_after_seconds=0, rng=random.Random(1))
        assert health.answered(NOW) is False, "this leader never missed it"
        health.answered(NOW)
        await second.drain()
        assert operations.said[1:] == ["[clinical-ai] Recovered: Prefect answers again; waiting changes go on."]


async def test_a_leader_without_addresses_takes_no_alert_from_the_next_one_and_no_end(store: Store) -> None:
    """Such as the controller as a flow run on a worker, which is not given them: nobody would ever have heard."""
    with Webhook() as operations:
        silent = await leader(store)
        silent.begin("server", DOWN)
        await silent.drain()
        second = await leader(store, operations.url)
        second.begin("server", DOWN)
        await second.drain()
        silent = await leader(store)
        silent.end("server", BACK)
        await silent.drain()
        third = await leader(store, operations.url)
        third.end("server", BACK)
        await third.drain()
        assert operations.said == [f"[clinical-ai] {DOWN}", f"[clinical-ai] Recovered: {BACK}"]


async def test_a_reconciler_takes_over_what_was_told_as_it_starts(store: Store) -> None:
    with Webhook() as operations:
        first = await leader(store, operations.url)
        first.begin("prune", "6 deletes were withheld.")
        await first.drain()
        alerts = Alerts([operations.url], "clinical-ai", engine=store.engine)
        async with rig(store, FakePrefect(), alerts=alerts) as controller:
            await controller.cycle(audit=True)
            await alerts.drain()
        assert operations.said[1:] == ["[clinical-ai] Recovered: No deletes are withheld any more."]


async def test_a_leader_that_died_before_it_wrote_down_what_it_told_is_followed_by_one_that_tells_it_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Webhook() as operations:
        dying = await leader(store, operations.url)

        async def killed(*_: Any) -> None:
            return None

        monkeypatch.setattr(dying, "_write_down", killed)
        dying.begin("server", DOWN)
        await dying.drain()
        successor = await leader(store, operations.url)
        successor.begin("server", DOWN)
        await successor.drain()
        assert operations.said == [f"[clinical-ai] {DOWN}"] * 2


async def test_what_no_address_has_taken_was_not_told_and_the_next_leader_tells_it(store: Store) -> None:
    with Webhook(status=500) as refusing, Webhook() as operations:
        first = await leader(store, refusing.url)
        first.begin("server", DOWN)
        await first.drain()
        assert await rows(store) == {}
        second = await leader(store, operations.url, refusing.url)
        second.begin("server", DOWN)
        await second.drain()
        assert operations.said == [f"[clinical-ai] {DOWN}"]
        assert await rows(store) == {"server": DOWN}, "one of two has heard it"


async def test_what_no_address_has_taken_is_tried_again_and_keeps_its_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    takes = False

    def notify(_: str, text: str) -> bool:
        sent.append(text)
        return takes

    monkeypatch.setattr(module, "_notify", notify)
    alerts = await leader(store, SecretStr("json://127.0.0.1:1/"))
    alerts.begin("server", DOWN)
    await alerts.drain()
    alerts.begin("server", DOWN)
    alerts.begin("prune", "6 deletes were withheld.")
    await alerts.drain()
    assert len(sent) == 1, "not in the next breath"
    takes = True
    monkeypatch.setattr(alerts, "_try_at", 0.0)
    alerts.begin("server", DOWN)
    await alerts.drain()
    assert sent[1:] == [f"[clinical-ai] {DOWN}\n[clinical-ai] 6 deletes were withheld."]
    assert (await rows(store)).keys() == {"server", "prune"}


async def test_without_addresses_prefects_feed_hears_of_each_trouble_and_of_its_end_once_over_all_terms(
    store: Store,
) -> None:
    events, still_open = Events("clinical-ai"), set[str]()

    async def term() -> Alerts:
        alerts = Alerts([], "clinical-ai", events, store.engine, still_open)
        await alerts.load()
        return alerts

    for _ in range(2):
        (await term()).begin("server", DOWN)
    for _ in range(2):
        (await term()).end("server", BACK)
    assert [each["event"] for each in events._waiting] == ["controller.degraded", "controller.recovered"]


async def test_an_alert_that_cannot_be_written_down_is_told_and_harms_nothing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with Webhook() as operations:
        alerts = await leader(store, operations.url)
        async with store.engine.begin() as connection:
            await connection.execute(sa.text("ALTER TABLE cai_alerts RENAME TO gone"))
        alerts.begin("server", DOWN)
        alerts.end("server", BACK)
        await alerts.drain()
        assert operations.said == [f"[clinical-ai] {DOWN}\n[clinical-ai] Recovered: {BACK}"]
    assert "could not be written down (ProgrammingError)" in caplog.text


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Callable[[], None]]:
    """What was sent, by a way that lets the first message through when told, and no other beside it."""
    sent: list[str] = []
    open_ = threading.Event()
    one = threading.Lock()

    def notify(_: str, text: str) -> bool:
        assert one.acquire(blocking=False), "two messages at once"
        open_.wait(10)
        sent.append(text)
        one.release()
        return True

    monkeypatch.setattr(module, "_notify", notify)
    return sent, open_.set


async def test_what_waits_behind_a_slow_message_goes_out_together_in_its_order(
    slow: tuple[list[str], Callable[[], None]],
) -> None:
    sent, let_through = slow
    alerts = Alerts([SecretStr("json://127.0.0.1:1/")], "x")
    alerts.begin("first", "First.")
    await asyncio.sleep(0)  # it is under way
    for number in range(60):
        alerts.begin(f"k{number}", f"Number {number}.")
    alerts.end("first", "First.")
    let_through()
    await alerts.drain()
    assert sent == [
        "[x] First.",
        "\n".join([f"[x] Number {number}." for number in range(60)] + ["[x] Recovered: First."]),
    ]


async def test_what_waits_is_bounded_and_the_newest_is_kept(slow: tuple[list[str], Callable[[], None]]) -> None:
    sent, let_through = slow
    alerts = Alerts([SecretStr("json://127.0.0.1:1/")], "x")
    alerts.begin("first", "First.")
    await asyncio.sleep(0)
    for number in range(MOST_WAITING + 5):
        alerts.begin(f"k{number}", f"Number {number}.")
    let_through()
    await alerts.drain()
    assert sent[1].splitlines() == [f"[x] Number {number}." for number in range(5, MOST_WAITING + 5)]


async def test_the_end_of_a_term_does_not_wait_for_ever(slow: tuple[list[str], Callable[[], None]]) -> None:
    sent, let_through = slow
    alerts = Alerts([SecretStr("json://127.0.0.1:1/")], "x")
    alerts.begin("first", "First.")
    await asyncio.wait_for(alerts.drain(0.05), 5)
    assert sent == []
    let_through()
    await alerts.drain()
    assert sent == ["[x] First."]
