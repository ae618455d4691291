"""Lease of the one writer: a row in the database, in the database's time, with a fencing token.

Two walls. Every write to the database ends by taking the lease row's lock and checking the token in the same
transaction, so a controller that lost the lease cannot write even if it does not know yet; last, so that the lease is
never held while anything is waited for, and can be renewed meanwhile. Prefect cannot be fenced, so no call to it
starts unless the holder's own monotonic clock says that the lease outlives the longest call (a third of the TTL).

The scheme is that of Kubernetes' leader election (client-go `leaderelection`), with the token that Kleppmann asks for
("How to do distributed locking", 2016).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from database.connection.engine import DATABASE_ERRORS
from database.connection.errors import told
from database.control import lease
from prefect_api.errors import LeaseLostError

logger = logging.getLogger(__name__)


class Lease:
    """The lease of one instance's controllers."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        name: str,
        holder: str,
        ttl_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`name` is the instance; `holder` says to people who leads; a dead leader is over after `ttl_seconds`."""
        self.engine = engine
        self._name = name
        self._holder = holder
        self._ttl = ttl_seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._token: int | None = None
        self._deadline = float("-inf")

    @property
    def token(self) -> int | None:
        """The fencing token while we hold the lease; it grows by one with every change of hands."""
        return self._token

    @property
    def held(self) -> bool:
        """Whether the lease is ours, by our own clock."""
        return self._monotonic() < self._deadline

    async def acquire(self) -> bool:
        """Take the lease if it is free or has run out; True when it is ours now."""
        asked = self._monotonic()
        self._token = await lease.take(self.engine, self._name, self._holder, self._ttl)
        if self._token is None:
            return False
        # Counted from before the question, so ours is never the later of the two clocks.
        self._deadline = asked + self._ttl
        return True

    async def expires_at(self) -> object:
        """When the lease of whoever leads runs out, in the database's time; it moves while the leader lives."""
        return await lease.expires_at(self.engine, self._name)

    async def renew(self) -> None:
        """Hold on to the lease for another TTL.

        Raises:
            LeaseLostError: when another controller has taken it.
        """
        asked = self._monotonic()
        if not await lease.renew(self.engine, self._name, self._token, self._ttl):
            self._deadline = float("-inf")
            raise LeaseLostError("Another controller leads now.")
        self._deadline = asked + self._ttl

    async def keep(self) -> None:
        """Renew three times a TTL, apart from the cycle, until the lease is lost.

        A database that does not answer is no loss yet: it is asked again until our own clock says that the lease is
        over; `check` stops the writes by then.

        Raises:
            LeaseLostError: when the lease is gone.
        """
        while True:
            await self._sleep(self._ttl / 3)
            try:
                async with asyncio.timeout(self._ttl / 3):
                    await self.renew()
            except DATABASE_ERRORS as error:
                logger.warning("The lease could not be renewed: the database %s", told(error))
                if self._monotonic() >= self._deadline:
                    raise LeaseLostError("The lease ran out while the database did not answer.") from error

    async def release(self) -> None:
        """Give the lease back, so that a standby leads at once. If the process dies instead, the TTL does the same."""
        self._deadline = float("-inf")
        await lease.free(self.engine, self._name, self._token)
        self._token = None

    def check(self) -> None:
        """Return when a call that starts now ends before the lease does.

        Raises:
            LeaseLostError: otherwise.
        """
        if self._deadline - self._monotonic() <= self._ttl / 3:
            raise LeaseLostError("The lease is about to run out.")

    async def fence(self, connection: AsyncConnection) -> None:
        """Check the token inside a transaction; its row lock keeps others from taking the lease until the commit.

        Raises:
            LeaseLostError: when the lease is not ours any more.
        """
        if not await lease.holds(connection, self._name, self._token):
            raise LeaseLostError("Another controller leads now.")
