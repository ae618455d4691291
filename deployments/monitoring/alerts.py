"""Alerts to operations, by Apprise URLs, once when something begins and once when it is over, whoever leads then.

An alert that went out and is not over is a row of `cai_alerts`, so the next leader ends what its predecessor began, and
begins nothing twice. A leader without addresses, as a flow run on a worker may be, leaves the rows alone: what it
finds, or sees the end of, the next one that has some will send.

Alerts go out by a queue of their own, one message at a time: one that cannot be delivered, or written down, never harms
a cycle. What no address has taken is tried again, and did not go out: so the next leader sends it, if this one cannot.
They hold no row's content: names and sentences, no sources and no credentials.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from database.connection.engine import DATABASE_ERRORS
from database.control.alerts import open_keys, write_down
from prefect_api.event_feed import Events
from prefect_api.names import ControllerEvent

logger = logging.getLogger(__name__)

SEND_TIMEOUT_SECONDS = 20.0

RETRY_SECONDS = 60.0
"""How long until what no address has taken is tried again."""

MOST_WAITING = 100
"""Alerts that wait behind a message that is slow to go out; then the oldest one stays in the log alone."""


@dataclass(frozen=True, slots=True)
class _News:
    """The begin or end of an alert, to be remembered once it went out."""

    key: str
    sentence: str
    begins: bool

    def __str__(self) -> str:
        return self.sentence if self.begins else f"Recovered: {self.sentence}"


class Alerts:
    """Open alerts by key, so that a state that lasts is one alert."""

    def __init__(
        self,
        urls: Sequence[SecretStr],
        instance: str,
        events: Events | None = None,
        engine: AsyncEngine | None = None,
        still_open: set[str] | None = None,
    ) -> None:
        """What concerns the controller as a whole (a key without a colon) is an event of `events` too.

        `engine` leads to the rows. Without one, or without `urls`, what is open is remembered in `still_open`, where a
        later term of this process finds it, or is forgotten with this object.
        """
        self._events = events
        self._urls = urls
        self._instance = instance
        self._engine = engine if urls else None
        self._open: set[str] = set() if self._engine is not None or still_open is None else still_open
        self._waiting: deque[_News] = deque(maxlen=MOST_WAITING)
        self._unwritten: deque[_News] = deque(maxlen=MOST_WAITING)
        """What went out and is no row yet: the database did not take it."""
        self._sending: asyncio.Task[None] | None = None
        self._try_at = 0.0
        self._write_at = 0.0

    async def load(self) -> None:
        """Take over what an earlier leader has alerted to and nobody has ended.

        Raises:
            One of DATABASE_ERRORS: when the database does not answer.
        """
        if self._engine is not None:
            self._open |= await open_keys(self._engine)

    def begin(self, key: str, sentence: str) -> None:
        """Something that operations must know of holds now; an alert when it did not hold before."""
        if key not in self._open:
            self._open.add(key)
            logger.error("ALERT %s: %s", key, sentence)
            self._queue_news(ControllerEvent.DEGRADED, _News(key, sentence, begins=True))
        self._send_what_waits()

    def end(self, key: str, sentence: str) -> None:
        """It is over; an alert when it held."""
        if key in self._open:
            self._open.discard(key)
            logger.warning("RECOVERED %s: %s", key, sentence)
            self._queue_news(ControllerEvent.RECOVERED, _News(key, sentence, begins=False))
        self._send_what_waits()

    def _queue_news(self, event: str, news: _News) -> None:
        if self._events is not None and ":" not in news.key:
            self._events.of_controller(event, {"what": news.key, "message": news.sentence})
        if self._urls:
            self._waiting.append(news)

    def _send_what_waits(self) -> None:
        now = time.monotonic()
        due = (self._waiting and now >= self._try_at) or (self._unwritten and now >= self._write_at)
        if due and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        """Send what waits, as one message, until nothing does, or nobody takes it; write down what went out.

        Sent first and written down then. If the process dies in between, or another one leads before the row is there,
        the next leader sends it once more: better twice than not at all. For the same reason the write is not fenced: a
        leader that has just lost the lease has sent it, so the next one must know. Doubled, it changes nothing.
        """
        while self._waiting and time.monotonic() >= self._try_at:
            news = tuple(self._waiting)
            self._waiting.clear()
            if not await self._deliver("\n".join(f"[{self._instance}] {each}" for each in news)):
                self._waiting = deque((*news, *self._waiting), MOST_WAITING)
                self._try_at = time.monotonic() + RETRY_SECONDS
                break
            self._unwritten.extend(news)
            await self._write_down()
        if self._unwritten and time.monotonic() >= self._write_at:
            await self._write_down()

    async def _deliver(self, text: str) -> bool:
        """Send a message to all addresses; whether one of them has taken it, which is enough."""
        taken = await asyncio.gather(*(_taken(url, text) for url in self._urls))
        if not all(taken):
            logger.error("An alert could not be delivered to every address of CAI_ALERT_URLS.")
        return any(taken)

    async def _write_down(self) -> None:
        """Make what went out rows. What the database does not take, as it may be what fails, is tried again."""
        news = tuple(self._unwritten)
        self._unwritten.clear()
        if self._engine is None:
            return
        try:
            await write_down(self._engine, ((each.key, each.sentence if each.begins else None) for each in news))
        except DATABASE_ERRORS as error:
            logger.warning("What was told could not be written down (%s).", type(error).__name__)
            self._unwritten.extendleft(reversed(news))
            self._write_at = time.monotonic() + RETRY_SECONDS

    async def drain(self, seconds: float | None = None) -> None:
        """Wait until the alerts under way are delivered, or have failed, and are written down; at most so long."""
        if self._sending is not None:
            await asyncio.wait({self._sending}, timeout=seconds)


async def _taken(url: SecretStr, text: str) -> bool:
    try:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            return await asyncio.to_thread(_notify, url.get_secret_value(), text)
    except Exception as error:  # whatever an alert's transport raises must not reach the cycle
        logger.error("An alert could not be delivered: %s", type(error).__name__)  # noqa: TRY400 - may hold the URL
        return False


def _notify(url: str, text: str) -> bool:
    # Imported here: it takes half a second, and most controllers never alert.
    from apprise import Apprise  # noqa: PLC0415

    sender = Apprise()
    sender.add(url)
    return bool(sender.notify(title="Connectors", body=text))
