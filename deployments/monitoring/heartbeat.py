"""Heartbeat of the controller: a sign that its loop moves, which a process that merely lives does not give.

Prefect's own heartbeat of a flow run comes from a thread and goes on while the loop hangs. This one is an event that
the leader's loop emits as it turns, now and then: its absence starts the automation *controller silent*. Leader and
standby alike touch a file, which is what a liveness probe looks at (`deployments.alive`), since events need a server.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from prefect_api.event_feed import Events
from prefect_api.names import ControllerEvent

logger = logging.getLogger(__name__)

SILENT_AFTER_BEATS = 5
"""A controller that was not heard of for so many heartbeats is taken for gone."""


class Heartbeat:
    """Called at every turn of the loop; sends at most every so many seconds, and raises nothing."""

    def __init__(
        self, events: Events, alive: Path, every_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`alive` is the file that is touched; `every_seconds` a leader's heartbeat is sent."""
        self._events = events
        self._alive = alive
        self._every = every_seconds
        self._monotonic = monotonic
        self._next = float("-inf")
        self._warned = False

    def __call__(self, *, leading: bool) -> None:
        """The loop has turned; `leading` says whose loop it is."""
        self._touch()
        if leading and self._monotonic() >= self._next:
            self._next = self._monotonic() + self._every
            self._events.of_controller(ControllerEvent.HEARTBEAT)

    def _touch(self) -> None:
        """Leave the sign for the probe. A full disk costs the sign and not the controller; it is logged once."""
        try:
            self._alive.parent.mkdir(parents=True, exist_ok=True)
            self._alive.touch()
        except OSError as error:
            if not self._warned:
                logger.warning(
                    "%s cannot be touched (%s): the controller goes on, but its probe takes it for hung. Free the disk "
                    "of CAI_DATA_DIR, or let it be written to.",
                    self._alive,
                    error.strerror,
                )
            self._warned = True
        else:
            self._warned = False
