"""The lease on a real PostgreSQL: one writer, in the database's time, and a token that stops who does not know yet."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.status import Phase, Status
from database.statuses import StatusRecord
from database.store import Store
from database.tables import lease as table
from deployments.leadership.lease import Lease
from prefect_api.errors import LeaseLostError

TTL = 30.0


class Time:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def contender(engine: AsyncEngine, time: Time) -> Callable[[str], Lease]:
    return lambda holder: Lease(engine, name="clinical-ai", holder=holder, ttl_seconds=TTL, monotonic=time)


async def run_out(engine: AsyncEngine) -> None:
    """The holder was silent for longer than its lease lasts."""
    async with engine.begin() as connection:
        past = sa.func.clock_timestamp() - sa.text("interval '1 millisecond'")
        await connection.execute(sa.update(table).values(expires_at=past))


async def write(store: Store, lease: Lease, connector_id: int = 1) -> None:
    await store.record([StatusRecord(connector_id, Status(connector_id, Phase.PENDING))], lease.fence)


async def test_one_of_two_gets_it_and_the_other_when_it_is_released(contender: Callable[[str], Lease]) -> None:
    first, second = contender("first"), contender("second")
    assert await first.acquire()
    assert not await second.acquire()
    assert second.token is None
    await first.release()
    assert await second.acquire()
    assert second.token == 2


async def test_of_many_who_ask_at_the_same_moment_one_gets_it(contender: Callable[[str], Lease]) -> None:
    for round_ in range(5):
        crowd = [contender(f"holder {number}") for number in range(5)]
        taken = await asyncio.gather(*(lease.acquire() for lease in crowd))
        assert sum(taken) == 1
        winner = crowd[taken.index(True)]
        assert winner.token == round_ + 1
        await winner.release()


async def test_two_instances_have_a_lease_each(engine: AsyncEngine) -> None:
    for name in ("clinical-ai", "other"):
        assert await Lease(engine, name=name, holder="me", ttl_seconds=TTL).acquire()


async def test_a_lease_that_ran_out_in_the_databases_time_is_free(
    engine: AsyncEngine, contender: Callable[[str], Lease]
) -> None:
    first, second = contender("first"), contender("second")
    await first.acquire()
    await run_out(engine)
    assert await second.acquire()
    with pytest.raises(LeaseLostError):
        await first.renew()
    with pytest.raises(LeaseLostError):
        first.check()
    await second.renew()


async def test_it_runs_out_by_the_databases_clock_and_by_no_others(engine: AsyncEngine) -> None:
    fast, slow = Time(), Time()
    fast.now, slow.now = 1e9, -1e9
    first = Lease(engine, name="clinical-ai", holder="first", ttl_seconds=1, monotonic=fast)
    second = Lease(engine, name="clinical-ai", holder="second", ttl_seconds=1, monotonic=slow)
    await first.acquire()
    assert not await second.acquire()
    async with asyncio.timeout(30):
        while not await second.acquire():
            await asyncio.sleep(0.02)


async def test_the_token_of_who_lost_it_writes_nothing(
    engine: AsyncEngine, store: Store, contender: Callable[[str], Lease]
) -> None:
    first, second = contender("first"), contender("second")
    await first.acquire()
    await write(store, first)
    await run_out(engine)
    with pytest.raises(LeaseLostError):  # nobody took it yet, and still it is over
        await write(store, first, 2)
    await second.acquire()
    with pytest.raises(LeaseLostError):
        await write(store, first, 3)
    await write(store, second, 4)
    assert set(await store.statuses()) == {1, 4}


async def test_who_lost_it_and_got_it_again_writes_under_a_new_token(
    engine: AsyncEngine, store: Store, contender: Callable[[str], Lease]
) -> None:
    lease = contender("me")
    await lease.acquire()
    await run_out(engine)
    assert await lease.acquire()
    assert lease.token == 2
    await write(store, lease)


async def test_nobody_takes_it_while_a_fenced_write_is_under_way(
    engine: AsyncEngine, contender: Callable[[str], Lease]
) -> None:
    """The write commits before the next leader begins: it cannot overwrite what that one writes."""
    first, second = contender("first"), contender("second")
    await first.acquire()
    async with engine.begin() as connection:
        await first.fence(connection)
        taking = asyncio.create_task(_take_once_run_out(engine, second))
        await asyncio.sleep(0.2)
        assert not taking.done()
    async with asyncio.timeout(5):
        assert await taking


async def _take_once_run_out(engine: AsyncEngine, lease: Lease) -> bool:
    await run_out(engine)
    return await lease.acquire()


async def test_no_call_starts_that_could_outlast_the_lease(contender: Callable[[str], Lease], time: Time) -> None:
    lease = contender("me")
    with pytest.raises(LeaseLostError):
        lease.check()
    await lease.acquire()
    time.now += TTL * 2 / 3 - 0.1
    lease.check()
    time.now += 0.2
    with pytest.raises(LeaseLostError):
        lease.check()
    await lease.renew()
    lease.check()
    await lease.release()
    with pytest.raises(LeaseLostError):
        lease.check()


async def test_an_answer_that_took_long_makes_the_lease_no_longer(
    engine: AsyncEngine, contender: Callable[[str], Lease], time: Time
) -> None:
    """The database's time runs from somewhere within the question: counted from its answer, ours would outlast it."""
    lease = contender("first")

    def slowly(*_: object) -> None:
        time.now += TTL

    sa.event.listen(engine.sync_engine, "after_cursor_execute", slowly)
    for ask in (lease.acquire, lease.renew):
        await ask()
        assert not lease.held


async def test_who_released_it_takes_nothing_from_the_next_one(contender: Callable[[str], Lease]) -> None:
    first, second = contender("first"), contender("second")
    await first.acquire()
    await first.release()
    await second.acquire()
    await first.release()
    await second.renew()
    assert not await first.acquire()


class Turns:
    """The sleep of a keeper, which lasts until a test lets it end."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._asleep, self._wake = asyncio.Event(), asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self._asleep.set()
        await self._wake.wait()
        self._wake.clear()
        self._time.now += seconds

    async def turn(self, keeper: "asyncio.Task[None]") -> None:
        """Let the keeper wake, do its work, and fall asleep again or end."""
        await self._falls_asleep(keeper)
        self._asleep.clear()
        self._wake.set()
        await self._falls_asleep(keeper)

    async def _falls_asleep(self, keeper: "asyncio.Task[None]") -> None:
        asleep = asyncio.create_task(self._asleep.wait())
        done, _ = await asyncio.wait({asleep, keeper}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        asleep.cancel()
        assert done


@pytest.fixture
def turns(time: Time) -> Turns:
    return Turns(time)


@pytest.fixture
async def kept(engine: AsyncEngine, time: Time, turns: Turns) -> AsyncIterator[tuple[Lease, "asyncio.Task[None]"]]:
    """A lease that was taken, and its keeper."""
    lease = Lease(engine, name="clinical-ai", holder="first", ttl_seconds=TTL, monotonic=time, sleep=turns.sleep)
    await lease.acquire()
    keeper = asyncio.create_task(lease.keep())
    yield lease, keeper
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)


async def test_it_is_renewed_three_times_a_ttl_until_another_has_taken_it(
    engine: AsyncEngine, time: Time, turns: Turns, kept: tuple[Lease, "asyncio.Task[None]"]
) -> None:
    lease, keeper = kept
    began, expiries = time.now, [await lease.expires_at()]
    for _ in range(6):
        await turns.turn(keeper)
        lease.check()
        expiries.append(await lease.expires_at())
    assert time.now - began == pytest.approx(2 * TTL)
    assert len(set(expiries)) == 7, "each turn has renewed it"
    async with engine.begin() as connection:
        await connection.execute(sa.update(table).values(token=table.c.token + 1, holder="thief"))
    await turns.turn(keeper)
    with pytest.raises(LeaseLostError):
        await keeper
    with pytest.raises(LeaseLostError):
        lease.check()


async def test_a_database_that_does_not_answer_loses_it_only_when_its_time_is_over(
    engine: AsyncEngine, turns: Turns, kept: tuple[Lease, "asyncio.Task[None]"]
) -> None:
    async def rename(old: str, new: str) -> None:
        async with engine.begin() as connection:
            await connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))

    lease, keeper = kept
    await rename("cai_controller_lease", "away")
    await turns.turn(keeper)
    assert lease.held
    await rename("away", "cai_controller_lease")
    await turns.turn(keeper)
    await rename("cai_controller_lease", "away")
    for _ in range(2):
        await turns.turn(keeper)
        assert lease.held
        assert not keeper.done()
    await turns.turn(keeper)
    with pytest.raises(LeaseLostError):
        await keeper
    with pytest.raises(LeaseLostError):
        lease.check()
