"""Standing of a connector: row, status, loads and promise in one piece, for freshness and for operations' pages.

Read by one query for the whole fleet, so what is not shown is not in it: no source, no destination, no credentials.
"""

from dataclasses import dataclass
from uuid import UUID

from connectors.freshness import Facts, Promise
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
