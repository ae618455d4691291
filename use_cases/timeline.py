"""The timeline of a connector: its loads, what was done to it and by whom, its phases and alerts, in one row.

Each of the three tables is read from where the page before has ended there, newest first, and the three are merged by
their times. So a page costs three short queries, however long a connector has lived.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from operator import attrgetter

from connectors.history import AuditEntry
from connectors.judging.standing import Event
from connectors.limits.ids import parse_number
from connectors.loads import LoadRun
from database import events, loads
from use_cases.history import History

Told = LoadRun | AuditEntry | Event


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that became of a connector, and when."""

    at: datetime
    what: Told


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: in each table, below this number. None: at its newest."""

    load: int | None = None
    entry: int | None = None
    event: int | None = None

    @classmethod
    def read(cls, text: str) -> "Place | None":
        """The place that a cursor names; None when it is no cursor of ours."""
        numbers = [parse_number(part) for part in text.split("-")]
        if len(numbers) != 3 or None in numbers:
            return None
        return cls(*numbers)

    def written(self) -> str:
        """As a cursor. A table of which nothing was shown yet begins anew at its newest, which is the largest."""
        return "-".join(str(_LARGEST if number is None else number) for number in (self.load, self.entry, self.event))


_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Timeline:
    """Some moments, the newest first; `after` is where the next page begins, None when this is the last."""

    moments: tuple[Moment, ...]
    after: Place | None


def merged(
    runs: Sequence[LoadRun], entries: Sequence[AuditEntry], stood: Sequence[Event], limit: int, place: Place
) -> Timeline:
    """A page of these three, each with the newest first and one more than `limit` where there are so many.

    Each keeps its own order, whatever its times say: so no cursor passes anything by.
    """
    rows = (
        [Moment(run.started_at, run) for run in runs],
        [Moment(entry.at, entry) for entry in entries],
        [Moment(event.at, event) for event in stood],
    )
    found = list(islice(heapq.merge(*rows, key=attrgetter("at"), reverse=True), limit + 1))
    shown = found[:limit]
    if len(found) <= limit:
        return Timeline(tuple(shown), None)

    def last(kind: type[Told], before: int | None) -> int | None:
        return next((each.what.id for each in reversed(shown) if isinstance(each.what, kind)), before)

    after = Place(last(LoadRun, place.load), last(AuditEntry, place.entry), last(Event, place.event))
    return Timeline(tuple(shown), after)


async def timeline(history: History, connector_id: int, *, limit: int, place: Place) -> Timeline:
    """A page of what became of a connector, also of one that was deleted. Raises `NotFoundError`."""
    entries = (await history.of_connector(connector_id, limit=limit + 1, before=place.entry)).entries
    runs = await loads.history(history.engine, connector_id, limit=limit + 1, before=place.load)
    stood = await events.of_connector(history.engine, connector_id, limit=limit + 1, before=place.event)
    return merged(runs, entries, stood, limit, place)
