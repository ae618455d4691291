"""Waits before a request is tried again: what the server asks for, up to a limit; else longer each time.

Everything here is pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pipelines.errors import PASSING
from pipelines.wording import counted

TRIES = 3
"""Tries of one request before its error reaches the run, which Prefect may then try again as a whole."""

PATIENT_TRIES = 8
"""Tries of a request when the server says itself how long to wait: rate limits are met again and again."""

LONGEST_WAIT = 300.0
"""Seconds that a run waits because a server says so. Beyond that it ends, and is tried again as `run_policy` says."""

FIRST_WAIT = 0.5


@dataclass(frozen=True, slots=True)
class Patience:
    """The patience of a reader: a run waits longer than a test of a connector, for which somebody sits there."""

    longest: float = LONGEST_WAIT
    tries: int = TRIES
    """Tries of a request of which the server does not say when to send it again."""

    def hurried(self) -> "Patience":
        """That of a reader who rather asks for less than for the same once more."""
        return replace(self, tries=1)

    def wait(self, tries: int, asked_for: float | None) -> float | None:
        """Seconds until the next try, after `tries` of them. None: there is none."""
        if asked_for is None:
            return FIRST_WAIT * 2 ** (tries - 1) if tries < self.tries else None
        return max(asked_for, FIRST_WAIT) if asked_for <= self.longest and tries < PATIENT_TRIES else None


ONCE = Patience(longest=-1.0, tries=1)
"""For what may be sent once only, or is asked again by another run."""


def is_passing(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an error may pass by itself; some servers answer 403 when a rate limit is spent."""
    return status in PASSING or (status == 403 and headers.get("X-RateLimit-Remaining", "").strip() == "0")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds after which a server wants to be asked again: it gives them, or a moment. None when it says nothing."""
    said = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", said):
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
    except (TypeError, ValueError):
        return None
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())


def in_words(seconds: float) -> str:
    """A time as a sentence has it."""
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size or size == 1:
            count = max(1, round(seconds / size))
            return counted(count, unit)
    raise AssertionError
