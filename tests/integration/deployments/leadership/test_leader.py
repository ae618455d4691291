"""One term of leading: what its loop makes of a permission, of a fault of ours, and of one who waits to lead."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest

from connectors.status import Phase
from database.control.cycle_requests import CHANNEL, GIVE_WAY, Requests
from database.store import Store
from deployments.leadership.inbox import Inbox
from deployments.leadership.leader import ALERT_AFTER_CYCLES, Conclusion, Ending, Leader
from deployments.leadership.start_options import StartOptions
from deployments.monitoring.alerts import Alerts
from deployments.monitoring.database_health import DatabaseHealth
from deployments.monitoring.history_watch import HistoryWatch
from deployments.reconciling.rounds import Report
from deployments.reconciling.stale_runs import Sweeper
from prefect_api.errors import ServerUnavailableError
from rigs.control_plane import Rig, rig
from rigs.fake_prefect import FakePrefect
from settings import Settings
from tests.support.servers.webhook import Webhook
from tests.support.waiting import until


@asynccontextmanager
async def leading(
    parts: Rig, start_options: StartOptions, inbox: Inbox | None = None
) -> AsyncIterator["asyncio.Task[Conclusion]"]:
    """A term, ended with the block."""
    leader = Leader(
        Settings(poll_interval_seconds=0.05),
        parts.reconciler,
        start_options=start_options,
        lease=parts.lease,
        requests=Requests(parts.store.engine),
        inbox=inbox or Inbox(),
        heartbeat=lambda *, leading: None,
        database=DatabaseHealth(parts.alerts, 120),
        alerts=parts.alerts,
    )
    task = asyncio.create_task(leader.lead())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def phases(parts: Rig, *expected: Phase) -> Callable[[], Awaitable[bool]]:
    async def hold() -> bool:
        return sorted(status.phase for status in (await parts.store.statuses()).values()) == sorted(expected)

    return hold


async def test_the_permission_to_prune_is_good_for_one_full_cycle_whatever_the_term(store: Store) -> None:
    gateway = FakePrefect()
    start_options = StartOptions(allow_mass_prune=True, foreground=True)
    async with rig(store, gateway) as parts:
        numbers = [await parts.insert() for _ in range(20)]
        await parts.cycle(audit=True)
        await parts.remove(*numbers[:10])
        async with leading(parts, start_options):
            await until("ten deployments are deleted", phases(parts, *[Phase.SYNCED] * 10), 20)
        await parts.remove(*numbers[10:])
        async with leading(parts, start_options):
            await until("ten are withheld", phases(parts, *[Phase.DELETING] * 10), 20)
        assert len(gateway.server.deployments) == 10


@pytest.mark.parametrize(("then", "step"), [(Sweeper, "sweep_all"), (HistoryWatch, "look")])
async def test_a_full_cycle_that_is_cut_off_after_its_deletes_has_used_the_permission_up(
    store: Store, monkeypatch: pytest.MonkeyPatch, then: type, step: str
) -> None:
    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    start_options = StartOptions(allow_mass_prune=True, foreground=True)
    async with rig(store, FakePrefect()) as parts:
        numbers = [await parts.insert() for _ in range(10)]
        await parts.cycle(audit=True)
        await parts.remove(*numbers)
        monkeypatch.setattr(then, step, hang)
        async with leading(parts, start_options):
            await until("all are deleted", phases(parts), 20)
        assert not start_options.allow_mass_prune


class Away(FakePrefect):
    """A server that may not answer."""

    answers = True

    async def probe(self) -> None:
        if not self.answers:
            raise ServerUnavailableError("Prefect cannot be reached.")


async def test_a_term_without_a_full_cycle_leaves_the_permission_to_the_next(store: Store) -> None:
    gateway = Away()
    start_options = StartOptions(allow_mass_prune=True, foreground=True)
    async with rig(store, gateway) as parts:
        numbers = [await parts.insert() for _ in range(10)]
        await parts.cycle(audit=True)
        await parts.remove(*numbers)
        gateway.answers = False
        async with leading(parts, start_options):
            await until("the deletes wait for Prefect", phases(parts, *[Phase.DELETING] * 10), 20)
        gateway.answers = True
        parts.clock.advance(60)
        async with leading(parts, start_options):
            await until("all are deleted", phases(parts), 20)
        assert gateway.server.deployments == {}


async def test_a_flow_run_gives_way_to_a_controller_in_the_foreground_and_to_no_other_word(store: Store) -> None:
    inbox = Inbox()
    inbox.hear(CHANNEL, GIVE_WAY)
    async with rig(store, FakePrefect()) as parts:
        number = await parts.insert()

        async def synced() -> bool:
            status = await parts.status(number)
            return status is not None and status.phase is Phase.SYNCED

        async with leading(parts, StartOptions(), inbox) as task:
            await until("what was said before its term does not end it", synced, 20)
            inbox.hear(CHANNEL, "cycle")
            assert not task.done()
            inbox.hear(CHANNEL, GIVE_WAY)
            assert (await asyncio.wait_for(task, 20)).ending is Ending.GAVE_WAY


async def test_one_in_the_foreground_gives_way_to_nobody(store: Store) -> None:
    inbox = Inbox()
    async with rig(store, FakePrefect()) as parts, leading(parts, StartOptions(foreground=True), inbox) as task:
        inbox.hear(CHANNEL, GIVE_WAY)
        number = await parts.insert()

        async def synced() -> bool:
            status = await parts.status(number)
            return status is not None and status.phase is Phase.SYNCED

        await until("it leads on", synced, 20)
        assert not task.done()


async def test_operations_hear_of_cycles_that_fail_again_and_again_and_of_their_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, failed = True, 0
    with Webhook() as operations:
        alerts = Alerts([operations.url], "clinical-ai")
        async with rig(store, FakePrefect(), alerts=alerts) as parts:
            cycle = parts.reconciler.cycle

            async def faulty(*, audit: bool = False, hints: Collection[int] = (), **options: Any) -> Report:
                nonlocal failed
                if failing:
                    failed += 1
                    raise KeyError("a fault of ours")
                return await cycle(audit=audit, hints=hints, **options)

            monkeypatch.setattr(parts.reconciler, "cycle", faulty)
            async with leading(parts, StartOptions(foreground=True)):

                async def said(count: int) -> bool:
                    return len(operations.said) == count

                await until("operations hear of it", lambda: said(1), 20)
                assert failed >= ALERT_AFTER_CYCLES
                assert "fail by a fault of ours (KeyError)" in operations.said[0]
                failing = False
                await until("operations hear of the end", lambda: said(2), 20)
                assert operations.said[1] == "[clinical-ai] Recovered: The controller's cycles go through again."
