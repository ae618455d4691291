"""Health of Prefect's server: one judgement for all connectors, so that an outage is no connector's failure.

While the server is down nothing is tried but a probe, ever more rarely; the first good one makes all waiting work due.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from deployments.monitoring.alerts import Alerts
from deployments.reconciling.gateway import Gateway
from deployments.reconciling.retry_queue import backoff_seconds
from prefect_api.errors import ServerUnavailableError

ALERT_KEY = "server"
FIRST_PROBE_SECONDS = 1.0


@dataclass
class ServerHealth:
    """Whether Prefect answers, since when it does not, and when it is asked again."""

    alerts: Alerts
    backoff_max_seconds: float
    alert_after_seconds: float
    rng: random.Random
    down_since: datetime | None = None
    next_probe_at: datetime | None = None
    _failures: int = 0

    def may_try(self, now: datetime) -> bool:
        """Whether Prefect is worth a call now."""
        return self.seconds_until_try(now) == 0

    def seconds_until_try(self, now: datetime) -> float:
        """Seconds until Prefect is worth a call: 0 unless it is down.

        No probe is ever further away than the longest wait, so where one seems to be, the machine's clock was set
        back: then it is due, else an hour's step would leave Prefect unasked for an hour.
        """
        if self.next_probe_at is None:
            return 0.0
        left = (self.next_probe_at - now).total_seconds()
        return left if 0 < left <= self.backoff_max_seconds else 0.0

    def failed(self, now: datetime, why: str) -> None:
        """A probe, or a call, found nobody."""
        self.down_since = min(self.down_since or now, now)  # the clock may have been set back
        self._failures += 1
        wait = backoff_seconds(self._failures, FIRST_PROBE_SECONDS, self.backoff_max_seconds, self.rng)
        self.next_probe_at = now + timedelta(seconds=wait)
        if (now - self.down_since).total_seconds() >= self.alert_after_seconds:
            since = self.down_since.isoformat(timespec="seconds")
            self.alerts.begin(ALERT_KEY, f"Prefect has been unavailable since {since}: {why} Changes wait.")

    def answered(self, now: datetime) -> bool:
        """Prefect answers; True when it did not before."""
        recovered = self.down_since is not None
        after = "" if self.down_since is None else f" after {(now - self.down_since).total_seconds() / 60:.1f} minutes"
        # Also when we never missed it: the leader before us may have alerted to an outage and not seen its end.
        self.alerts.end(ALERT_KEY, f"Prefect answers again{after}; waiting changes go on.")
        self.down_since = self.next_probe_at = None
        self._failures = 0
        return recovered


class Answer(Enum):
    """What a probe of Prefect came to."""

    NONE = auto()
    AS_BEFORE = auto()
    AGAIN = auto()
    """The first one after it was down."""


class ServerProbe:
    """Whether Prefect is there and, once a controller has claimed them, its deployments are this database's."""

    def __init__(
        self,
        gateway: Gateway,
        health: ServerHealth,
        claim: Callable[[], Awaitable[None]],
        clock: Callable[[], datetime],
    ) -> None:
        """`claim` makes sure, before the first write to Prefect, that its deployments belong to this database."""
        self._gateway = gateway
        self._health = health
        self._claim = claim
        self._clock = clock
        self._claimed = False

    @property
    def is_down(self) -> bool:
        """Whether Prefect did not answer when last asked."""
        return self._health.down_since is not None

    @property
    def in_touch(self) -> bool:
        """Whether Prefect answered when last asked, and is known to be this database's."""
        return self._claimed and not self.is_down

    @property
    def next_at(self) -> datetime | None:
        """When a Prefect that is down is asked again."""
        return self._health.next_probe_at

    def may_try(self) -> bool:
        """False while Prefect is down and not yet due for the next probe."""
        return self._health.may_try(self._clock())

    def seconds_until_try(self) -> float:
        """Seconds until Prefect is worth a call: 0 unless it is down."""
        return self._health.seconds_until_try(self._clock())

    async def ask(self) -> Answer:
        """Ask whether Prefect is there."""
        now = self._clock()
        try:
            await self._gateway.probe()
        except ServerUnavailableError as error:
            self._health.failed(now, str(error))
            return Answer.NONE
        return Answer.AGAIN if self._health.answered(now) else Answer.AS_BEFORE

    async def must_answer(self) -> None:
        """Return when Prefect answers; raise `ServerUnavailableError` otherwise."""
        await self._gateway.probe()

    def failed(self, why: str) -> None:
        """A call has found nobody, though the probe did."""
        self._health.failed(self._clock(), why)

    async def claim(self) -> None:
        """Make sure, once, that Prefect's deployments are this database's.

        Raises:
            WrongInstanceError: when they are not.
        """
        if not self._claimed:
            await self._claim()
            self._claimed = True
