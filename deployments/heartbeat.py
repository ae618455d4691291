"""A sign that the loop moves, which a process that merely lives does not give.

Prefect's own heartbeat of a flow run comes from a thread and goes on while the loop hangs. This one is an event that
the leader's loop emits as it turns, now and then: its absence starts the automation *controller silent*. Leader and
standby alike touch a file, which is what a liveness probe looks at, since events need a server.
"""

import time
from collections.abc import Callable
from pathlib import Path

from prefect.events import emit_event

EVENT = "controller.heartbeat"
EVERY_SECONDS = 60.0
"""Slow, because each is a row of about 4 kB in Prefect's database (measured)."""

SILENT_AFTER_SECONDS = 5 * EVERY_SECONDS
"""A controller that was not heard of for this long is taken for gone."""

ALIVE_FILE = "controller.alive"


def resource_id(instance: str) -> str:
    """The id by which Prefect's events speak of this instance's controller."""
    return f"cai.controller.{instance}"


class Heartbeat:
    """Called at every turn of the loop; tells at most every `EVERY_SECONDS`."""

    def __init__(self, instance: str, alive: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`alive` is the file that is touched."""
        self._instance = instance
        self._alive = alive
        self._monotonic = monotonic
        self._next = float("-inf")

    def __call__(self, *, leading: bool) -> None:
        """The loop has turned; `leading` says whose loop it is."""
        self._alive.parent.mkdir(parents=True, exist_ok=True)
        self._alive.touch()
        if leading and self._monotonic() >= self._next:
            self._next = self._monotonic() + EVERY_SECONDS
            emit_event(EVENT, resource={"prefect.resource.id": resource_id(self._instance)})
