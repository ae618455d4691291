"""Notices of lateness: each is sent once as it begins, once more as it becomes an alert, and once as it ends. Pure.

What was sent is remembered in the database (`Promise.told`), so a restarted controller sends nothing twice and ends
what its predecessor began. A lateness ends by a load, and just as well by nothing being promised any more: paused,
rescheduled, deleted. An alert that nobody ends is one that nobody reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from connectors.freshness import Freshness, Judgement, Promise, judge, lateness, promised, said
from connectors.judging.standing import Standing
from prefect_api.names import Alert, FreshnessEvent


@dataclass(frozen=True, slots=True)
class News:
    """One event of a connector's freshness."""

    event: FreshnessEvent
    message: str
    freshness: Freshness
    late_since: datetime | None
    alert: Alert | None = None

    def id(self, instance: str, connector_id: int) -> UUID:
        """The event's id: the same for the same news, so Prefect takes what is sent twice for one."""
        return uuid5(NAMESPACE_URL, f"cai:{instance}:{connector_id}:{self.event}:{self.late_since}")


@dataclass(frozen=True, slots=True)
class Turn:
    """What a look at one connector came to."""

    standing: Standing
    """With the promise as it is now."""
    judgement: Judgement
    news: tuple[News, ...] = ()


def turn(standing: Standing, now: datetime, *, hold: bool, alert_after_failures: int) -> Turn:
    """Judge one connector, and say what is to be sent and remembered of it.

    Args:
        standing: the connector.
        now: the time, aware.
        hold: no lateness is news yet: Prefect is away or has just come back, and all are late alike.
        alert_after_failures: people were notified already of a connector that failed so often in a row.
    """
    promise = _renewed(standing, now)
    standing = replace(standing, promise=promise)
    judged = judge(standing.facts, now)
    news = tuple(_news(standing, promise, judged, hold=hold, alert_after_failures=alert_after_failures))
    for each in news:
        if each.event is FreshnessEvent.RECOVERED:
            promise = replace(promise, told=None, late_since=None, alerted=False)
        else:
            told = Freshness.OVERDUE if each.event is FreshnessEvent.OVERDUE else Freshness.LATE
            alerted = promise.alerted or each.alert is Alert.BEGIN
            promise = replace(promise, told=told, late_since=each.late_since, alerted=alerted)
    return Turn(replace(standing, promise=promise), judged, news)


def _renewed(standing: Standing, now: datetime) -> Promise:
    """The promise, counted from now when another schedule is to be kept from now on, or one at all."""
    schedule = promised(standing.facts)
    cron, timezone = (None, None) if schedule is None else (schedule.cron, schedule.timezone)
    held = standing.promise
    if held is None:
        return Promise(standing.connector_id, cron, timezone, now)
    if (held.schedule, held.timezone) == (cron, timezone):
        return held
    return replace(held, schedule=cron, timezone=timezone, promised_at=now)


def _news(
    standing: Standing, promise: Promise, judged: Judgement, *, hold: bool, alert_after_failures: int
) -> Iterator[News]:
    facts = standing.facts
    if not judged.late:
        if promise.told is not None:
            end = Alert.END if promise.alerted else None
            yield News(FreshnessEvent.RECOVERED, _why_over(standing, judged), judged.freshness, promise.late_since, end)
        return
    if hold:
        return
    sentence = lateness(judged, facts)
    if promise.told is None:
        yield News(FreshnessEvent.LATE, sentence, judged.freshness, judged.late_from)
    if judged.overdue and promise.told is not Freshness.OVERDUE:
        begin = Alert.BEGIN if facts.failures < alert_after_failures else None
        # The lateness that was sent goes on, even if its dates are counted from elsewhere by now.
        since = judged.late_from if promise.told is None else promise.late_since
        yield News(FreshnessEvent.OVERDUE, sentence, judged.freshness, since, begin)


def _why_over(standing: Standing, judged: Judgement) -> str:
    """Why a lateness is over."""
    if standing.name is None:
        return "It was deleted."
    if judged.freshness in {Freshness.PAUSED, Freshness.INVALID, Freshness.MANUAL} or judged.since is None:
        return f"No load is due any more: it is {judged.freshness}."
    load = standing.load
    if load is not None and load.last_success_at is not None and load.last_success_at >= judged.since:
        return f"It loaded at {said(load.last_success_at)}."
    return f"It has another schedule; its next load is due at {said(judged.due_at)}."
