"""The time of a backfill, as the values of a cursor tell it: in the cursor's own zone, separators and precision."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pipelines.sources.cursors.values import Order, Unit, order_of, unit_of, written_like

MOMENT = "%Y-%m-%dT%H:%M:%SZ"
"""How APIs write a moment in UTC, when nothing is known of this one."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """From `start` (inclusive) to `end` (exclusive), both in UTC."""

    start: datetime
    end: datetime
    sample: Any = None
    """A value of the cursor, as the source writes it."""

    def hold(self, order: Order, value: Any) -> bool:
        """Whether a value lies within. Of days, each that has a part of the time in it does."""
        start, end = self.start, self.end
        if unit_of(value) is Unit.DAYS:
            start, end = first_of_day(start), next_day(end)
        return order_of(start) <= order < order_of(end)


def begins_at(bounds: Bounds, sample: Any) -> Any:
    """The beginning, as the source writes such values."""
    return _written(bounds.start, sample)


def _written(moment: datetime, sample: Any) -> Any:
    if isinstance(sample, datetime):
        return moment if sample.tzinfo is not None else moment.astimezone(UTC).replace(tzinfo=None)
    match unit_of(sample), sample:
        case Unit.SECONDS | Unit.DAYS, str():
            return written_like(moment, sample)
        case Unit.DAYS, _:
            return moment.date()
    return moment.strftime(MOMENT)


def first_of_day(moment: datetime) -> datetime:
    """The first moment of its day in UTC."""
    return datetime.combine(moment.astimezone(UTC).date(), time(), UTC)


def next_day(moment: datetime) -> datetime:
    """The first moment of the next day, or this one when it is such a moment."""
    first = first_of_day(moment)
    return first if first == moment else first + timedelta(days=1)
