"""Health of the database: whether it answers and takes writes. Operations are alerted to what lasts, by its own name.

A database that is gone, a table that somebody holds locked and a disk that is full end a cycle alike, and all of them
wait in silence if nobody says which one it is. Judged over all terms of a process: a leader that cannot renew its lease
is none any more, and the trouble goes on. An open alert is a row of `cai_alerts` as soon as the database takes one: if
the process dies meanwhile, the next leader ends it. A database that takes none until then leaves no such trace.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from database.connection.errors import Trouble, told, trouble_of
from database.connection.lock_holders import lock_holders
from deployments.monitoring.alerts import Alerts

logger = logging.getLogger(__name__)

ALERT_KEY = "database"


@dataclass
class DatabaseHealth:
    """Since when the database fails us, and the alert to it."""

    alerts: Alerts
    alert_after_seconds: float
    engine: AsyncEngine | None = None
    """Where to ask who holds a lock; None: nobody is asked."""
    monotonic: Callable[[], float] = time.monotonic
    _failing_since: float | None = None

    async def take_over(self) -> None:
        """End what an earlier leader alerted to, at the first answer.

        Raises:
            One of DATABASE_ERRORS: when the database does not answer.
        """
        await self.alerts.load()

    async def failed(self, error: BaseException) -> None:
        """The database did not do what it was asked."""
        now = self.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        what = told(error)
        logger.warning("The database %s", what)
        if now - self._failing_since >= self.alert_after_seconds:
            if trouble_of(error) is Trouble.LOCKED and self.engine is not None:
                what = f"{what} {await lock_holders(self.engine)}".rstrip()
            minutes = (now - self._failing_since) / 60
            self.alerts.begin(
                ALERT_KEY, f"For {minutes:.1f} minutes the controller has not got on: the database {what} Changes wait."
            )

    def answered(self) -> None:
        """It did."""
        self._failing_since = None
        self.alerts.end(ALERT_KEY, "The database does what it is asked again; waiting changes go on.")
