"""Does the database answer, and take what we write? What lasts is told to operations, by its own name.

A database that is gone, a table that somebody holds locked and a disk that is full end a cycle alike, and all of them
wait in silence if nobody says which one it is. Judged over all terms of a process: a leader that cannot renew its lease
is none any more, and the trouble goes on.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.database_errors import Trouble, told, trouble_of
from connectors.store import DATABASE_ERRORS
from deployments.alerts import Alerts

logger = logging.getLogger(__name__)

ALERT_KEY = "database"

HOLDERS = """
    SELECT DISTINCT l.pid, coalesce(nullif(a.application_name, ''), 'without a name') AS application,
        extract(epoch FROM now() - a.xact_start)::bigint AS seconds
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.granted AND l.pid <> pg_backend_pid() AND a.xact_start < now() - interval '1 second'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.relation IN (SELECT oid FROM pg_class WHERE relname LIKE 'cai\\_%' AND relkind IN ('r', 'p'))
    ORDER BY seconds DESC LIMIT 3
"""
"""The sessions whose open transactions hold locks of our tables, the oldest first."""


@dataclass
class DatabaseHealth:
    """Since when the database fails us, and what was told of it."""

    alerts: Alerts
    alert_after_seconds: float
    engine: AsyncEngine | None = None
    """Where to ask who holds a lock; None: nobody is asked."""
    monotonic: Callable[[], float] = time.monotonic
    _failing_since: float | None = None

    async def failed(self, error: BaseException) -> None:
        """The database did not do what it was asked."""
        now = self.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        what = told(error)
        logger.warning("The database %s", what)
        if now - self._failing_since >= self.alert_after_seconds:
            if trouble_of(error) is Trouble.LOCKED:
                what += await self._holders()
            minutes = (now - self._failing_since) / 60
            self.alerts.begin(
                ALERT_KEY, f"For {minutes:.1f} minutes the controller has not got on: the database {what} Changes wait."
            )

    def answered(self) -> None:
        """It did."""
        self._failing_since = None
        self.alerts.end(ALERT_KEY, "The database does what it is asked again; waiting changes go on.")

    async def _holders(self) -> str:
        """Which sessions to end, as a further sentence."""
        if self.engine is None:
            return ""
        with contextlib.suppress(*DATABASE_ERRORS):
            async with self.engine.connect() as connection:
                rows = (await connection.execute(sa.text(HOLDERS))).all()
            each = [f"process {row.pid} (application {row.application}, for {row.seconds} s)" for row in rows]
            return f" Open transactions on our tables: {', '.join(each)}." if each else ""
        return ""
