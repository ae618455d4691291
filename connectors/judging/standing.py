"""Standing of a connector: row, status, loads and promise in one piece, for freshness and for operations' pages.

Read by one query for the whole fleet, so what is not shown is not in it: no source, no destination, no credentials.
How it came to stand so is its events: each phase, and each time that people were told of its being late.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from connectors.freshness import Facts, Promise, said
from connectors.loads import Load
from connectors.status import Phase, Reason


@dataclass(frozen=True, slots=True)
class Standing:
    """One connector: its row, its status, its loads and what was promised and told of it."""

    connector_id: int
    name: str | None
    """None: its row is gone."""
    description: str | None = None
    schedule: str | None = None
    timezone: str = "UTC"
    is_active: bool = False
    source_type: str | None = None
    destination_type: str | None = None
    """None: the platform's default destination."""
    dataset_name: str | None = None
    phase: Phase | None = None
    """None: the controller has not seen it yet."""
    reason: Reason | None = None
    message: str | None = None
    deployment_id: UUID | None = None
    load: Load | None = None
    """None: it has never run."""
    promise: Promise | None = None

    @property
    def facts(self) -> Facts:
        """What its freshness is judged by."""
        known = Facts(self.connector_id, self.schedule, self.timezone, self.is_active, self.phase)
        return known.recorded(self.load, self.promise)


class EventKind(StrEnum):
    """The closed set of `cai_connector_events.kind`."""

    PHASE = "phase"
    """The controller has recorded another phase, or another reason for it."""
    ALERT = "alert"
    """People were told that it is late or overdue, or that this is over."""


@dataclass(frozen=True, slots=True)
class Event:
    """One row of `cai_connector_events`. Times are aware, in UTC."""

    id: int
    at: datetime
    kind: EventKind
    state: str
    """The phase; or `late`, `overdue` or `over`."""
    reason: str | None
    message: str | None
    """The phase as a sentence."""
    since: datetime | None
    """Of an alert: since when it is late, or was."""
    alerted: bool
    """Of an alert: whether somebody was notified, and not only Prefect's event feed."""

    @property
    def sentence(self) -> str | None:
        """The same for a person."""
        if self.kind is EventKind.PHASE:
            return self.message
        since = "" if self.since is None else f" since {said(self.since)}"
        told = " People were notified." if self.alerted else ""
        match self.state:
            case "over":
                return f"It is not late any more; it was{since}."
            case "overdue":
                return f"It has missed its dates{since}.{told}"
            case _:
                return f"It has been late{since}.{told}"
