"""Is a connector's data as fresh as its schedule promises? One judgement for events, fleet view, metrics and API alike.

Counted in the schedule's own dates and not in hours, so a cron of uneven gaps is judged as its user reads it: after the
last successful load the next date starts a load, which has until the date after that to succeed. From there on the
connector is late, and one date later overdue. Pure.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

from connectors.loads import Load
from connectors.schedules.cron import Schedule, ScheduleError, parse
from connectors.schedules.dates import next_runs
from connectors.status import Phase

MOST_REMEMBERED = 20_000
"""Dates and parsed schedules that are kept: each costs up to a millisecond, and a fleet is judged every minute."""


class Freshness(StrEnum):
    """The closed set of judgements, in the words that people read."""

    INVALID = "invalid"
    """The user must act; nothing is promised."""
    PAUSED = "paused"
    """Deactivated, or paused by itself; nothing is promised."""
    FAILING = "failing"
    """The last load failed, however late it is meanwhile: a cause is known."""
    OVERDUE = "overdue"
    """No successful load for more than two intervals of its schedule."""
    LATE = "late"
    """No successful load for more than one."""
    MANUAL = "manual"
    """No schedule, so nothing is promised."""
    ON_TIME = "on time"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a connector is judged by. Times are aware."""

    connector_id: int
    schedule: str | None
    timezone: str
    is_active: bool
    phase: Phase | None = None
    """Of its status row; None when the controller has not seen it yet."""
    failures: int = 0
    """Loads that failed since the last one that succeeded."""
    last_success_at: datetime | None = None
    promised_at: datetime | None = None
    """Since when the schedule that holds now is to be kept; None: since now."""

    def recorded(self, load: Load | None, promise: "Promise | None") -> "Facts":
        """The same with what runs and controller have recorded; None: it has never run, or is not judged yet."""
        return replace(
            self,
            failures=load.failures if load else 0,
            last_success_at=load.last_success_at if load else None,
            promised_at=promise.promised_at if promise else None,
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """How fresh a connector is. Times are aware, in UTC, and None where nothing is promised."""

    freshness: Freshness
    since: datetime | None = None
    """From when the dates are counted: the last successful load, or when the promise began."""
    due_at: datetime | None = None
    """The first date after it."""
    late_from: datetime | None = None
    overdue_from: datetime | None = None
    late: bool = False
    """Past `late_from`: so may be a failing one."""
    overdue: bool = False
    """Past `overdue_from`: likewise."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One row of `cai_connector_freshness`: what is promised and since when, and what was told of its being late."""

    connector_id: int
    schedule: str | None
    """The cron as it runs; None while nothing is promised."""
    timezone: str | None
    promised_at: datetime
    told: Freshness | None = None
    """`late` or `overdue` from when that was told until its end was."""
    late_since: datetime | None = None
    alerted: bool = False
    """Whether people were told, and not only Prefect's event feed."""


def promised(facts: Facts) -> Schedule | None:
    """The schedule that a connector is held to; None when it promises nothing: manual, paused or invalid."""
    return as_it_runs(facts) if _standing(facts) is None else None


def as_it_runs(facts: Facts) -> Schedule | None:
    """The schedule as it runs, or would run if nothing else kept it; None when there is none, or no valid one."""
    return None if facts.schedule is None else _parsed(facts.schedule, facts.timezone, facts.connector_id)


def judge(facts: Facts, now: datetime) -> Judgement:
    """How fresh a connector is at an aware time."""
    standing = _standing(facts)
    if standing in {Freshness.INVALID, Freshness.PAUSED}:
        return Judgement(standing)
    schedule = promised(facts)
    if schedule is None:
        return Judgement(Freshness.FAILING if facts.failures else Freshness.MANUAL)
    known = [at for at in (facts.last_success_at, facts.promised_at) if at is not None]
    since = max(known, default=now).astimezone(UTC)
    due_at, late_from, overdue_from = _dates(schedule, since)
    late, overdue = now >= late_from, now >= overdue_from
    if facts.failures:
        freshness = Freshness.FAILING
    elif overdue:
        freshness = Freshness.OVERDUE
    else:
        freshness = Freshness.LATE if late else Freshness.ON_TIME
    return Judgement(freshness, since, due_at, late_from, overdue_from, late, overdue)


def next_dates(facts: Facts, after: datetime) -> tuple[datetime, ...]:
    """The next three dates after an aware time, in UTC, on which a load is due; none where nothing is promised."""
    schedule = promised(facts)
    return () if schedule is None else _dates(schedule, after)


def lateness(judgement: Judgement, facts: Facts) -> str:
    """What a late or overdue connector's people are told, as a sentence."""
    if facts.last_success_at is None:
        return f"It has never loaded; its first load was due at {said(judgement.due_at)}."
    return f"It last loaded at {said(facts.last_success_at)}; a load has been due since {said(judgement.due_at)}."


def said(at: datetime | None) -> str:
    """A time as people read it, in UTC to the minute; empty for None."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _standing(facts: Facts) -> Freshness | None:
    """The judgement that no date changes; None when the dates decide."""
    if not facts.is_active:
        return Freshness.PAUSED
    if facts.phase is Phase.INVALID:
        return Freshness.INVALID
    if facts.phase is Phase.PAUSED:
        return Freshness.PAUSED  # by itself, or activated a moment ago
    if facts.schedule is not None and as_it_runs(facts) is None:
        return Freshness.INVALID  # and the controller has not seen it yet
    return None


@lru_cache(maxsize=MOST_REMEMBERED)
def _parsed(schedule: str, timezone: str, connector_id: int) -> Schedule | None:
    try:
        return parse(schedule, timezone, connector_id)
    except ScheduleError:
        return None


@lru_cache(maxsize=MOST_REMEMBERED)
def _dates(schedule: Schedule, since: datetime) -> tuple[datetime, datetime, datetime]:
    """The next three dates after a moment; a run that is due at the very moment is not after it."""
    first, second, third = [at for at in next_runs(schedule, since, 4) if at > since][:3]
    return first, second, third
