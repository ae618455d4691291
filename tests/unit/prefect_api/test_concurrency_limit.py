"""The adaptive limit on calls in flight: it finds what a server can take, and gives way when it cannot."""

import asyncio
from contextlib import suppress

import pytest

from prefect_api.concurrency_limit import SHORTEST_PAUSE, START, AdaptiveLimiter
from prefect_api.errors import OverloadedError, ServerError


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        return self.now


async def call(limiter: AdaptiveLimiter, time: Time, seconds: float, error: Exception | None = None) -> None:
    with suppress(OverloadedError, ServerError):
        async with limiter.slot():
            time.now += seconds
            if error is not None:
                raise error


@pytest.fixture
def time() -> Time:
    return Time()


async def test_it_starts_low_and_grows_to_the_ceiling_while_latency_holds(time: Time) -> None:
    limiter = AdaptiveLimiter(5, time, time.sleep)
    assert limiter.limit == START
    for _ in range(30):
        await call(limiter, time, 0.1)
    assert limiter.limit == 5


async def test_a_ceiling_of_one_is_kept(time: Time) -> None:
    limiter = AdaptiveLimiter(1, time, time.sleep)
    for _ in range(10):
        await call(limiter, time, 0.1)
    assert limiter.limit == 1


async def test_an_overload_halves_it_down_to_one_and_never_to_none(time: Time) -> None:
    limiter = AdaptiveLimiter(25, time, time.sleep)
    for _ in range(200):
        await call(limiter, time, 0.1)
    before = limiter.limit
    await call(limiter, time, 1, OverloadedError("busy"))
    assert limiter.limit == before // 2
    for _ in range(10):
        await call(limiter, time, 1, OverloadedError("busy"))
    assert limiter.limit == 1
    await call(limiter, time, 0.1)
    assert limiter.limit == 2


async def test_a_refused_call_keeps_its_place_for_ever_longer_until_one_succeeds(time: Time) -> None:
    limiter = AdaptiveLimiter(25, time, time.sleep)
    for _ in range(7):
        await call(limiter, time, 1, OverloadedError("busy"))
    assert time.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    await call(limiter, time, 1)
    await call(limiter, time, 1, OverloadedError("busy"))
    assert time.slept[-1] == SHORTEST_PAUSE


async def test_a_server_error_is_no_overload(time: Time) -> None:
    limiter = AdaptiveLimiter(25, time, time.sleep)
    await call(limiter, time, 1, ServerError("500"))
    assert limiter.limit == START


async def test_calls_that_were_refused_together_halve_it_once(time: Time) -> None:
    limiter = AdaptiveLimiter(16, time, time.sleep)
    for _ in range(200):
        await call(limiter, time, 0.1)
    gate = asyncio.Event()

    async def refused() -> None:
        with suppress(OverloadedError):
            async with limiter.slot():
                await gate.wait()
                raise OverloadedError("busy")

    crowd = [asyncio.create_task(refused()) for _ in range(16)]
    await asyncio.sleep(0)
    time.now += 1
    gate.set()
    await asyncio.gather(*crowd)
    assert limiter.limit == 8


async def test_growth_stops_when_a_call_takes_longer_than_the_crowd_explains(time: Time) -> None:
    limiter = AdaptiveLimiter(25, time, time.sleep)
    await call(limiter, time, 0.1)
    gates = [asyncio.Event() for _ in range(3)]

    async def crowded(gate: asyncio.Event) -> None:
        async with limiter.slot():
            await gate.wait()

    while limiter.limit < 3:
        await call(limiter, time, 0.1)
    crowd = [asyncio.create_task(crowded(gate)) for gate in gates]
    while limiter._in_flight < 3:
        await asyncio.sleep(0)
    before = limiter._limit
    time.now += 5
    gates[2].set()
    await crowd[2]
    assert limiter._limit == before
    for gate in gates:
        gate.set()
    await asyncio.gather(*crowd)


async def test_no_more_calls_are_in_flight_than_the_limit_says(time: Time) -> None:
    limiter = AdaptiveLimiter(4, time, time.sleep)
    in_flight = most = 0

    async def work() -> None:
        nonlocal in_flight, most
        async with limiter.slot():
            in_flight += 1
            most = max(most, in_flight)
            assert in_flight <= limiter.limit
            await asyncio.sleep(0)
            in_flight -= 1

    await asyncio.gather(*(work() for _ in range(100)))
    assert 2 <= most <= 4


async def test_a_cancelled_call_gives_its_place_back(time: Time) -> None:
    limiter = AdaptiveLimiter(1, time, time.sleep)

    async def hang() -> None:
        async with limiter.slot():
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(1):
        await call(limiter, time, 0.1)
