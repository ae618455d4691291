"""A controller that finds another leading asks it for a cycle, through the database, and reports what it did.

Asking and answering are rows, so neither side needs to be reachable by the other; a notification only makes it quick.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from database.connection.engine import Fence
from database.tables import cycle_requests as table

CHANNEL = "cai_controller"
"""What controllers tell each other: that a cycle is asked for, that the lease is free, or to give way."""

GIVE_WAY = "give way"
"""Said by a controller in the foreground as long as it stands by."""

KEPT_DAYS = 7

ABANDONED_SECONDS = 60
"""Who asks reminds every second; a request that was not reminded of for this long is nobody's."""


@dataclass(frozen=True, slots=True)
class CycleResult:
    """What a full cycle came to, for whoever asked for it."""

    ok: bool
    """Everything is synced, paused or invalid."""
    summary: str
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Request:
    """A cycle that somebody waits for."""

    id: int
    allow_mass_prune: bool


class Requests:
    """The requests of one database's controllers."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def ask(self, *, allow_mass_prune: bool) -> int:
        """Ask the leader for a full cycle; the request's id."""
        async with self._engine.begin() as connection:
            values = {"allow_mass_prune": allow_mass_prune}
            number = await connection.scalar(sa.insert(table).values(**values).returning(table.c.id))
            await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "cycle")))
        return int(number or 0)

    async def remind(self, request_id: int) -> None:
        """Say that somebody still waits, and tell the leader again: the notification may have been lost."""
        async with self._engine.begin() as connection:
            still = sa.update(table).where(table.c.id == request_id).values(requested_at=sa.func.now())
            await connection.execute(still)
            await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "cycle")))

    async def withdraw(self, request_id: int) -> None:
        """Nobody waits for it any more."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(table).where(table.c.id == request_id, table.c.report.is_(None)))

    async def notify(self, what: str) -> None:
        """Tell every controller something."""
        async with self._engine.begin() as connection:
            await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, what)))

    async def answer_of(self, request_id: int) -> CycleResult | None:
        """The leader's answer, once there is one."""
        async with self._engine.connect() as connection:
            report: dict[str, Any] | None = await connection.scalar(
                sa.select(table.c.report).where(table.c.id == request_id)
            )
        return None if report is None else CycleResult(**report)

    async def pending(self) -> list[Request]:
        """The requests that nobody has answered and somebody waits for.

        One whose asker died is none: it would lend its permission to delete to a cycle that nobody asked for.
        """
        waited_for = table.c.requested_at > sa.func.now() - sa.text(f"interval '{ABANDONED_SECONDS} seconds'")
        async with self._engine.connect() as connection:
            query = sa.select(table.c.id, table.c.allow_mass_prune).where(table.c.report.is_(None), waited_for)
            return [Request(row.id, row.allow_mass_prune) for row in await connection.execute(query)]

    async def answer(self, requests: list[Request], result: CycleResult, fence: Fence) -> None:
        """Answer them all with one cycle's result, and forget old ones.

        If the process dies before this, the requests are pending for the next leader.
        """
        old = sa.func.now() - sa.text(f"interval '{KEPT_DAYS} days'")
        async with self._engine.begin() as connection:
            # A request that somebody holds is answered the next time it is reminded of: no cycle waits for it.
            answered = _free(table.c.id.in_([request.id for request in requests]))
            await connection.execute(sa.update(table).where(answered).values(report=asdict(result)))
            await connection.execute(sa.delete(table).where(_free(table.c.requested_at < old)))
            await fence(connection)


def _free(which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Those requests that no other transaction holds."""
    return table.c.id.in_(sa.select(table.c.id).where(which).with_for_update(skip_locked=True))
