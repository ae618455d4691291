"""Load history of a connector: one row of `cai_connector_loads`, which the runs themselves write as they start and end.

Counted by the runs and not from Prefect's: each is counted once, whoever restarts, and nobody lists runs to know when a
connector last succeeded. What is derived of it (auto-pause, freshness) is computed and never stored.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Outcome(StrEnum):
    """The closed set of `cai_connector_loads.outcome`: how the last load went. Skipped runs leave it as it is."""

    RUNNING = "running"
    """Or its process has died: then the next run counts it as a failure."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FailureKind(StrEnum):
    """The closed set of why a load failed, by who must act: `kind` of the event `connector.load.failed`."""

    CONFIGURATION = "configuration"
    """The user."""
    TRANSIENT = "transient"
    """Nobody: the next run may succeed."""
    TIME_LIMIT = "timelimit"
    """It took longer than `run_policy.timeout_seconds`."""
    UNEXPECTED = "unexpected"
    """Operations."""
    LOCK_LOST = "locklost"
    """The platform's database was lost, and another run may have begun."""
    ROW_HELD = "rowheld"
    """Somebody's open transaction held a row of the platform's database."""
    DIED = "died"
    """Its process ended without a word: told by the run after it."""


@dataclass(frozen=True, slots=True)
class Load:
    """One row of `cai_connector_loads`. Times are aware, in UTC."""

    connector_id: int
    generation: int = 0
    """The row's generation that the last load ran by."""
    run_id: UUID | None = None
    outcome: Outcome | None = None
    """None: it has never loaded."""
    message: str | None = None
    """The sentence with which the last load ended."""
    rows: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    last_success_at: datetime | None = None
    failures: int = 0
    """Loads that failed since the last one that succeeded."""
    configuration_failures: int = 0
    """Loads in a row, of this generation, that failed because the user must act."""
    loads_completed: int = 0
    loads_failed: int = 0
    rows_loaded: int = 0


def auto_pause(load: Load | None, generation: int, limit: int | None) -> str | None:
    """Why a connector is paused by itself, as a sentence; None when it is not.

    Args:
        load: how its loads go.
        generation: of its row as it stands; any change of the row undoes the pause.
        limit: `run_policy.auto_pause_after`; None or 0 for never.
    """
    if load is None or not limit or load.generation != generation or load.configuration_failures < limit:
        return None
    return (
        f"Paused by itself after {load.configuration_failures} failures in a row that no retry mends. The last one "
        f"said: {load.message or 'nothing.'} Correct the connector or what it refers to, then activate it."
    )
