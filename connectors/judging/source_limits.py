"""Limits of sources: how many loads may ask one host, or use one login, at once, and when none may. Pure.

A limit is kept once and holds for every connector whose source goes to one of its hosts or names one of its
credentials, whoever's it is. A run that may not go on ends as waiting, and another one looks later: the more wait for
a limit, the seldomer each of them looks, so that one looks every so many seconds however many they are.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from connectors.credentials import CredentialKind, Use
from connectors.sources.asking.quiet_hours import QuietHours

LOOK_SECONDS = 15.0
"""Between two looks at one limit, whoever looks."""

LONGEST_WAIT_SECONDS = 600.0

STALE = timedelta(minutes=2)
"""A run that was to look so long ago does not wait any more: it was cancelled, or its worker is away."""


@dataclass(frozen=True, slots=True)
class SourceLimit:
    """One limit, as a run takes it."""

    name: str
    hosts: tuple[str, ...] = ()
    credentials: tuple[tuple[CredentialKind, str], ...] = ()
    loads: int | None = None
    """So many at once; None: any number."""
    quiet_hours: tuple[QuietHours, ...] = ()

    def holds_for(self, hosts: Collection[str], uses: Iterable[Use]) -> bool:
        """Whether it holds for a source that goes to these hosts (lower case) with these credentials."""
        return bool(set(self.hosts) & set(hosts)) or any(use.key in self.credentials for use in uses)


@dataclass(frozen=True, slots=True)
class Nothing:
    """Why a limit limits nothing."""

    field: str
    why: str

    @property
    def sentence(self) -> str:
        """With the field's name in it."""
        return self.why.format(field=self.field)


def limits_nothing(
    *, hosts: Collection[str], credentials: Collection[object], loads: int | None, quiet_hours: Collection[object]
) -> Nothing | None:
    """Why a limit that is to be kept would limit nothing; None: it does."""
    if not hosts and not credentials:
        return Nothing("hosts", "{field} must name a host, or credentials one: else the limit holds for nothing.")
    if loads is None and not quiet_hours:
        return Nothing("loads", "{field} must be a number, or quiet hours must be given: else nothing is limited.")
    return None


@dataclass(frozen=True, slots=True)
class Stand:
    """How a limit stands as a run looks at it."""

    under_way: int
    """Loads that count against it."""
    others: int
    """Runs of other connectors that wait for it."""
    mine: datetime | None
    """When a run of this connector, asked for the same, was to look; None: none waits."""


def may_go(limit: SourceLimit, stand: Stand) -> bool:
    """Whether a run may try for a place. One that comes new leaves those that are free to those that wait."""
    free = (limit.loads or 0) - stand.under_way
    return free > (stand.others if stand.mine is None else 0)


def look_at(stand: Stand, now: datetime, chance: float) -> datetime:
    """When a run that waits looks again, if nobody of its connector does so before.

    Args:
        stand: how the limit stands.
        now: this moment.
        chance: from 0 to 1, by which those that wait do not look all at once.
    """
    if stand.mine is not None and stand.mine > now:
        return stand.mine
    seconds = min(LOOK_SECONDS * (stand.others + 1), LONGEST_WAIT_SECONDS)
    return now + timedelta(seconds=seconds * (0.5 + chance))


def why_waiting(limit: SourceLimit, stand: Stand) -> str:
    """What a run that waits says."""
    under_way = min(stand.under_way, limit.loads or 0)
    loads = "load is" if limit.loads == 1 else "loads are"
    others = "" if stand.others == 0 else f", and {stand.others} other{'s wait' if stand.others > 1 else ' waits'} too"
    return (
        f"Waits for the source {limit.name}: {under_way} of {limit.loads} {loads} under way{others}. Another run looks "
        "again by itself."
    )


def why_quiet(end: datetime, name: str | None) -> str:
    """What a run in quiet hours says: until when (on the clock that is shown), and of which limit; None: its own."""
    whose = "the connector's quiet hours" if name is None else f"the quiet hours of the source {name}"
    return f"Waits until {end:%Y-%m-%d %H:%M} ({end.tzname()}): these are {whose}. Another run begins then by itself."
