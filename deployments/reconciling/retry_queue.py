"""Retry queue: failed work that waits for its next try, by exponential backoff, with jitter and a cap.

The queue itself is a view: what waits, how often it was tried and when it is due stand in the status rows, so a restart
forgets nothing and resets no backoff.
"""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta

from connectors.status import Status


def backoff_seconds(attempts: int, base: float, cap: float, rng: random.Random) -> float:
    """Seconds to wait after the `attempts`-th failure (from 1): `base` doubling up to `cap`, less up to half.

    The half is "equal jitter" (M. Brooker, "Exponential Backoff and Jitter", AWS, 2015): connectors that failed
    together do not come back together, and none comes back at once.
    """
    ceiling = min(cap, base * 2.0 ** min(attempts - 1, 64))
    return ceiling * (0.5 + rng.random() / 2)


class RetryQueue:
    """Which connectors wait for a try, and when each is due."""

    def __init__(self) -> None:
        self._due: dict[int, datetime] = {}

    def __len__(self) -> int:
        return len(self._due)

    def load(self, statuses: Iterable[Status]) -> None:
        """Start from the status rows."""
        self._due = {}
        for status in statuses:
            self.follow(status.connector_id, status)

    def follow(self, connector_id: int, status: Status | None) -> None:
        """Take over what a status says: due at its next attempt, or not waiting."""
        if status is not None and status.next_attempt_at is not None:
            self._due[connector_id] = status.next_attempt_at
        else:
            self._due.pop(connector_id, None)

    def hurry(self, now: datetime) -> None:
        """Make all of it due: what it waited for is there again."""
        self._due = dict.fromkeys(self._due, now)

    def due(self, now: datetime) -> set[int]:
        """The connectors whose time has come."""
        return {connector_id for connector_id, at in self._due.items() if at <= now}

    def seconds_until_next(self, now: datetime) -> float | None:
        """Seconds until the next one is due, at least 0; None when nothing waits."""
        if not self._due:
            return None
        return max(timedelta(0), min(self._due.values()) - now).total_seconds()
