"""A sign that the loop moves, which a process that merely lives does not give.

Prefect's own heartbeat of a flow run comes from a thread and goes on while the loop hangs. This one is an event that
the leader's loop emits as it turns, now and then: its absence starts the automation *controller silent*. Leader and
standby alike touch a file, which is what a liveness probe looks at, since events need a server.
"""

import time
from collections.abc import Callable
from pathlib import Path

from connectors.happenings import controller_resource
from deployments.events import Events

EVENT = "controller.heartbeat"

SILENT_AFTER_BEATS = 5
"""A controller that was not heard of for so many heartbeats is taken for gone."""

ALIVE_FILE = "controller.alive"


def resource_id(instance: str) -> str:
    """The id by which Prefect's events speak of this instance's controller."""
    return controller_resource(instance)["prefect.resource.id"]


class Heartbeat:
    """Called at every turn of the loop; tells at most every so many seconds."""

    def __init__(
        self, events: Events, alive: Path, every_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`alive` is the file that is touched; `every_seconds` a leader's heartbeat is sent."""
        self._events = events
        self._alive = alive
        self._every = every_seconds
        self._monotonic = monotonic
        self._next = float("-inf")

    def __call__(self, *, leading: bool) -> None:
        """The loop has turned; `leading` says whose loop it is."""
        self._alive.parent.mkdir(parents=True, exist_ok=True)
        self._alive.touch()
        if leading and self._monotonic() >= self._next:
            self._next = self._monotonic() + self._every
            self._events.of_controller(EVENT)
