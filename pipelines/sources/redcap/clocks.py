"""Times as REDCap compares them: by the clock on its own wall, which tells no zone. Pure."""

from datetime import datetime, timedelta

CLOCKS = timedelta(hours=1)
"""By how much REDCap's clock may differ from ours."""
WESTERNMOST, EASTERNMOST = timedelta(hours=-12), timedelta(hours=14)
"""REDCap compares with times of its own zone, which it does not tell. So the moments of all zones are asked for: a row
that comes again is merged."""

FORMAT = "%Y-%m-%d %H:%M:%S"


def not_after(moment: datetime) -> str:
    """A moment (in UTC) by the clock of the server that lags most: nothing from it on is missed."""
    return (moment + WESTERNMOST - CLOCKS).strftime(FORMAT)


def not_before(moment: datetime) -> str:
    """A moment (in UTC) by the clock of the server that is most ahead: nothing before it is missed."""
    return (moment + EASTERNMOST + CLOCKS).strftime(FORMAT)
