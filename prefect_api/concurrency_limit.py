"""Concurrency limit of calls to Prefect: found out by trying, as TCP finds a line's speed.

Additive increase, multiplicative decrease (Chiu and Jain, 1989). A SQLite-backed server takes one or two calls at once
and answers 503 to more, a PostgreSQL-backed one ten; nobody needs to say which.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from prefect_api.errors import OverloadedError

START = 2
LATENCY_TOLERANCE = 2.0
"""Growing stops when a call takes this many times the shortest latency per call in flight that was seen."""

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds for which a refused call keeps its place: doubled by each refusal, forgotten at the first success."""


class AdaptiveLimiter:
    """A limit on calls in flight that grows while latency holds and halves when Prefect is overloaded."""

    def __init__(
        self,
        ceiling: int,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.ceiling = ceiling
        self._sleep = sleep
        self._pause = SHORTEST_PAUSE
        self._limit = float(min(START, ceiling))
        self._monotonic = monotonic
        self._in_flight = 0
        self._best = float("inf")
        self._last_cut = float("-inf")
        self._changed = asyncio.Condition()

    @property
    def limit(self) -> int:
        """The calls that may be in flight now."""
        return int(self._limit)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a free place, hold it for one call, and learn from how that went."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._in_flight < self.limit)
            self._in_flight += 1
        started = self._monotonic()
        crowd = self._in_flight
        try:
            yield
        except OverloadedError:
            pause = self._pause
            self._shrink(started)
            # The place stays taken, so that the calls behind this one do not run into the same refusal at once.
            await self._sleep(pause)
            raise
        else:
            self._pause = SHORTEST_PAUSE
            self._grow(self._monotonic() - started, crowd)
        finally:
            async with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def _grow(self, latency: float, crowd: int) -> None:
        """A server that works in turn takes longer in proportion to the crowd; beyond that it is choking."""
        self._best = min(self._best, latency / crowd)
        if latency <= self._best * crowd * LATENCY_TOLERANCE or crowd <= START:
            self._limit = min(float(self.ceiling), self._limit + 1 / self._limit)

    def _shrink(self, started: float) -> None:
        """Halve, but once for all the calls that were in flight together."""
        if started > self._last_cut:
            self._limit = max(1.0, self._limit / 2)
            self._pause = min(LONGEST_PAUSE, self._pause * 2)
            self._last_cut = self._monotonic()
