"""Telling operations, by Apprise URLs, once when something begins and once when it is over.

An alert that cannot be delivered never harms the cycle: it is sent apart from it, in a thread, with a time limit, and a
failure is only logged. Alerts hold no row's content: names and sentences, no sources and no credentials.
"""

import asyncio
import logging
from collections.abc import Sequence

from pydantic import SecretStr

from deployments.events import Events

logger = logging.getLogger(__name__)

SEND_TIMEOUT_SECONDS = 20.0


class Alerts:
    """Open alerts by key, so that a state that lasts is told once."""

    def __init__(self, urls: Sequence[SecretStr], instance: str, events: Events | None = None) -> None:
        """What concerns the controller as a whole (a key without a colon) is told to `events` too."""
        self._events = events
        self._urls = urls
        self._instance = instance
        self._open: set[str] = set()
        self._sending: set[asyncio.Task[None]] = set()

    def begin(self, key: str, sentence: str) -> None:
        """Something that operations must know of holds now; told when it did not hold before."""
        if key not in self._open:
            self._open.add(key)
            logger.error("ALERT %s: %s", key, sentence)
            self._emit("controller.degraded", key, sentence)
            self._send(f"[{self._instance}] {sentence}")

    def end(self, key: str, sentence: str) -> None:
        """It is over; told when it held."""
        if key in self._open:
            self._open.discard(key)
            logger.warning("RECOVERED %s: %s", key, sentence)
            self._emit("controller.recovered", key, sentence)
            self._send(f"[{self._instance}] Recovered: {sentence}")

    def _emit(self, name: str, key: str, sentence: str) -> None:
        if self._events is not None and ":" not in key:
            self._events.of_controller(name, {"what": key, "message": sentence})

    def _send(self, text: str) -> None:
        if self._urls:
            task = asyncio.create_task(self._deliver(text))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _deliver(self, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                delivered = await asyncio.to_thread(_notify, [url.get_secret_value() for url in self._urls], text)
        except Exception as error:  # whatever an alert's transport raises must not reach the cycle
            logger.error("An alert could not be delivered: %s", type(error).__name__)  # noqa: TRY400 - may hold the URL
        else:
            if not delivered:
                logger.error("An alert could not be delivered to every address of CAI_ALERT_URLS.")

    async def drain(self) -> None:
        """Wait until the alerts under way are delivered or have failed."""
        if self._sending:
            await asyncio.gather(*self._sending)


def _notify(urls: list[str], text: str) -> bool:
    # Imported here: it takes half a second, and most controllers never alert.
    from apprise import Apprise  # noqa: PLC0415

    sender = Apprise()
    for url in urls:
        sender.add(url)
    return bool(sender.notify(title="Connectors", body=text))
