"""Inbox of a controller: the database's notifications since its loop last looked."""

import asyncio

from connectors.limits.ids import parse_number
from database.control.cycle_requests import CHANNEL, GIVE_WAY
from database.control.outbox import CHANNEL as FOLLOW_UPS_CHANNEL

SETTLE_SECONDS = 0.02
"""Changes that are committed within this time of each other are dealt with in one cycle."""


class Inbox:
    """What the database's notifications said since the leader last looked."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self._hints: set[int] = set()
        self._asked = True  # somebody may have asked before we listened
        self.loads = asyncio.Event()
        """Loads have ended, or something is to be sent. No reason for a cycle either."""
        self.contended = False
        """A controller in the foreground stands by. No reason for a cycle, so it wakes nobody."""

    def hear(self, channel: str, payload: str) -> None:
        """Take one notification."""
        if channel == FOLLOW_UPS_CHANNEL:
            self.loads.set()
            return
        if channel == CHANNEL and payload == GIVE_WAY:
            self.contended = True
            return
        if channel == CHANNEL:
            self._asked = True
        elif (number := parse_number(payload)) is not None:
            self._hints.add(number)
        self._wake.set()

    def look(self) -> None:
        """Something may have been missed: look at the tables."""
        self._asked = True
        self._wake.set()
        self.loads.set()

    def take(self) -> tuple[set[int], bool]:
        """The connectors named since the last call, and whether somebody may wait for a cycle."""
        taken = self._hints, self._asked
        self._hints, self._asked = set(), False
        return taken

    def put_back(self, hints: set[int]) -> None:
        """Keep what could not be dealt with."""
        self._hints |= hints
        self._asked = True

    async def wait(self, seconds: float, stop: asyncio.Event) -> None:
        """Wait, but not past `stop` or a notification; a burst of these comes as one."""
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._wake)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._wake.is_set() and not stop.is_set():
            await asyncio.sleep(SETTLE_SECONDS)
            self._wake.clear()
