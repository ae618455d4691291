"""Outgoing mail of loads, delivered: each thing until somebody has taken it, for a day, under a key of its own.

Nothing here waits for anything else: a receiver that is slow holds up what goes to it and nothing besides. A delivery
that fails harms no load; it is told in its row, and as an event when that begins and when it is given up.
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid5

from sqlalchemy.ext.asyncio import AsyncEngine

from database.connection.engine import Fence
from database.control import outbox
from database.control.follow_ups import Circle, Waiting
from database.control.outbox import Carry, Kind, NotTakenError, Outgoing
from prefect_api.event_feed import Events
from prefect_api.names import FollowUpEvent

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 5.0, 3600.0

GIVEN_UP_AFTER = timedelta(days=1)
"""Time after the load at which what nobody has taken is not sent any more."""

MOST_UNDER_WAY = 8

logger = logging.getLogger(__name__)


class Post:
    """Delivers what waits in the outbox, as long as we lead."""

    def __init__(
        self,
        engine: AsyncEngine,
        fence: Fence,
        events: Events,
        carriers: Mapping[Kind, Carry],
        woken: asyncio.Event | None = None,
    ) -> None:
        """`carriers` deliver each kind; what has none waits. `woken` is set when there is something to look at."""
        self.engine = engine
        self.fence = fence
        self.events = events
        self.woken = woken or asyncio.Event()
        self._carriers = carriers
        self._under_way: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(MOST_UNDER_WAY, "outgoing")

    async def seconds_until_due(self) -> float | None:
        """How soon there is something to start or to send, in one statement; None: nothing waits.

        Raises:
            LeaseLostError: another controller leads.
            One of DATABASE_ERRORS: the database does not answer.
        """
        self._reap()
        kinds = [*self._carriers] if len(self._under_way) < MOST_UNDER_WAY else []
        return await outbox.seconds_until_due(self.engine, [*self._under_way], kinds)

    async def turn(self) -> None:
        """Begin to deliver what is due.

        Raises:
            LeaseLostError: another controller leads.
            One of DATABASE_ERRORS: the database does not answer.
        """
        self._reap()
        if (free := MOST_UNDER_WAY - len(self._under_way)) > 0:
            for item in await outbox.due(self.engine, [*self._under_way], [*self._carriers], free):
                task = asyncio.create_task(self._deliver(item))
                task.add_done_callback(lambda _: self.woken.set())
                self._under_way[item.leader_id, item.address] = task

    def _reap(self) -> None:
        for where, task in [*self._under_way.items()]:
            if task.done():
                del self._under_way[where]
                task.result()

    def close(self) -> None:
        """Deliver no more.

        If we go here, or die, before a delivery is noted, the next leader delivers it again, under its key.
        """
        for task in self._under_way.values():
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def settled(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._under_way.values())

    async def _deliver(self, item: Outgoing) -> None:
        if item.leader_name is None:
            await self._put_off(item, "The connector that it follows is gone.", final=True)
            return
        try:
            carry = partial(copy_context().run, self._carriers[item.kind], item)
            await asyncio.get_running_loop().run_in_executor(self._threads, carry)
        except NotTakenError as error:
            await self._put_off(item, str(error), final=error.final)
        except Exception as error:  # a fault of ours, or of a library's, must not keep the others from going out
            # What it says may quote an address that is a secret: its kind alone is shown.
            why = type(error).__name__
            logger.error("A %s of connector %s could not be sent (%s).", item.kind, item.leader_id, why)  # noqa: TRY400
            await self._put_off(item, f"It could not be sent ({why}).", final=False)
        else:
            await outbox.note_delivered(self.engine, self.fence, item.id)

    async def _put_off(self, item: Outgoing, why: str, *, final: bool) -> None:
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(item.tries, 20))
        if final or datetime.now(UTC) + timedelta(seconds=delay) > item.loaded_at + GIVEN_UP_AFTER:
            logger.warning("A %s of connector %s is given up: %s", item.kind, item.leader_name, why)
            await outbox.note_problem(self.engine, self.fence, item.id, why, None)
            if item.kind is not Kind.LINEAGE:
                tell(self.events, FollowUpEvent.FAILED, item, why)
            return
        await outbox.note_problem(self.engine, self.fence, item.id, why, delay)
        if item.tries == 0 and item.kind is not Kind.LINEAGE:
            logger.warning("A %s of connector %s is tried again: %s", item.kind, item.leader_name, why)
            tell(self.events, FollowUpEvent.FAILING, item, why)


def tell(events: Events, event: FollowUpEvent, item: Outgoing | Waiting | Circle, why: str) -> None:
    """Tell Prefect's feed, once, that something does not follow a connector's load, or not yet."""
    payload = {"message": why, "follower": item.follower}
    events.of_connector(event, item.leader_id, title=item.leader_name, payload=payload, event_id=uuid5(item.key, event))
