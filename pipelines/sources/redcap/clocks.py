"""Times as REDCap compares them: by the clock on its own wall, which tells no zone. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

CLOCKS = timedelta(hours=1)
"""By how much REDCap's clock may differ from ours, where its zone is not known either."""
SYNCHRONOUS = timedelta(minutes=10)
"""By how much it may differ where its zone is known, with what is committed late."""
WESTERNMOST, EASTERNMOST = timedelta(hours=-12), timedelta(hours=14)
"""REDCap compares with times of its own zone, which it does not tell. So the moments of all zones are asked for: a row
that comes again is merged."""
SET_BACK = timedelta(hours=3)
"""The time within which a clock that is set back shows a wall time again, at most."""

QUARTER, SECOND = timedelta(minutes=15), timedelta(seconds=1)
_QUARTERS = int(SET_BACK / QUARTER) + 2

FORMAT = "%Y-%m-%d %H:%M:%S"
_MINUTES = "%Y-%m-%d %H:%M"


def not_after(moment: datetime, zone: str | None = None) -> str:
    """A wall time of REDCap's clock that no moment from this one (in UTC) on is before: nothing from it on is missed.

    Without a zone it is that of the server that lags most.
    """
    if zone is None:
        return (moment + WESTERNMOST - CLOCKS).strftime(FORMAT)
    first = _quarter(moment - SYNCHRONOUS)
    least = min(_wall(first + number * QUARTER, zone) for number in range(_QUARTERS))
    # REDCap takes what is after it.
    return (least - SECOND).strftime(FORMAT)


def not_before(moment: datetime, zone: str | None = None) -> str:
    """A wall time that no moment before this one (in UTC) is after: nothing before it is missed."""
    if zone is None:
        return (moment + EASTERNMOST + CLOCKS).strftime(FORMAT)
    last = _quarter(moment + SYNCHRONOUS) + QUARTER
    # What a clock shows just before it is set back is the latest.
    greatest = max(_wall(last - number * QUARTER - SECOND, zone) for number in range(_QUARTERS))
    return (greatest + SECOND).strftime(FORMAT)


def _quarter(moment: datetime) -> datetime:
    """The quarter of an hour in which a moment is: clocks are set at its beginning."""
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def _wall(moment: datetime, zone: str) -> datetime:
    """What a clock shows there."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def not_after_by_log(moment: datetime, stamps: Iterable[str], now: datetime) -> str | None:
    """The same as `not_after`, by a log whose last entry is not later than now: its clock is ahead of ours by at least
    as much as that entry is. In minutes, as the log has it; None when the log has no such entry.
    """
    try:
        newest = max(datetime.strptime(stamp[:16], _MINUTES).replace(tzinfo=UTC) for stamp in stamps)
    except ValueError:
        return None
    ahead = max(newest - now, WESTERNMOST)
    return (moment + min(ahead, EASTERNMOST) - CLOCKS).strftime(_MINUTES)
