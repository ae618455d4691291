"""Load history of connectors: rows that the runs themselves write as they start and end.

The ledger, `cai_loads` and `cai_load_tables`, has a row a run and a row a table of it. How a connector does is on its
last row: what that load did, and what is known of all before it (`cai_connector_loads` is a view of those rows).
Counted by the runs and not from Prefect's: each is counted once, whoever restarts, and nobody lists runs to know when a
connector last succeeded. What is derived of it (auto-pause, freshness) is computed and never stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from connectors.limits.closed_sets import ClosedSet
from connectors.sources.write_rules import WriteDisposition


class Outcome(StrEnum):
    """The closed set of `cai_loads.outcome`: how the last load went. Skipped runs leave it as it is."""

    RUNNING = "running"
    """Or its process has died: then the next run counts it as a failure."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    WAITING = "waiting"
    """The source has not made the rows yet; another run looks again."""


class FailureKind(StrEnum):
    """The closed set of why a load failed, by who must act: `kind` of the event `connector.load.failed`."""

    CONFIGURATION = "configuration"
    """The user."""
    TRANSIENT = "transient"
    """Nobody: the next run may succeed."""
    CHECKS = "checks"
    """The user, or whoever lets the load through: a check of its rows failed, so none of them is visible."""
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
    """How the loads of a connector go, by the last row of `cai_loads` that says so. Times are aware, in UTC."""

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
    rows_rejected: int = 0


@dataclass(frozen=True, slots=True)
class TableLoad:
    """One row of `cai_load_tables`: what one run did to one table. `read` is `written` and `rejected`, always."""

    table_name: str
    read: int
    """Rows of the source that the run had to land."""
    written: int
    rejected: int = 0
    """Rows that could not land."""
    repeated: int = 0
    """Not among those read: rows that stood there already, and versions of a row of which a newer one came too."""
    new: int | None = None
    """Of those written: rows whose key was not there. None: not counted, as are all below."""
    changed: int | None = None
    """Of those written: rows that took the place of one with their key."""
    deleted: int | None = None
    """Rows that were there and are not any more."""
    rows_after: int | None = None
    """Rows in the destination after the load."""
    cursor_from: str | None = None
    cursor_to: str | None = None
    bytes: int = 0
    """Of load files."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By step, as far as a step works on one table."""
    schema_hash: str | None = None
    """Of the names and types of its columns."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One table that was looked through for rows that are gone at the source."""

    table_name: str
    gone: int
    rows: int | None
    """Rows of the table before that; None where none is gone."""
    withheld: bool
    """They are too many to be deleted unasked, and stay."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """One row of `cai_withheld_deletes`: rows that are gone at the source and wait for a person."""

    connector_id: int
    table_name: str
    gone: int
    rows: int
    since: datetime


@dataclass(frozen=True, slots=True)
class LoadRun:
    """One row of `cai_loads`: one run that tried to load. Times are aware, in UTC."""

    id: int
    connector_id: int
    generation: int
    run_id: UUID | None
    """Prefect's; one that Prefect starts again keeps it, so it may have several rows."""
    actor: str | None
    """Who or what started it; None: nobody said."""
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome
    kind: FailureKind | None
    """Of a failure."""
    message: str | None
    """The sentence with which it ended."""
    code_version: str | None
    options: Mapping[str, Any]
    """What was asked of the run beside the connector's own settings."""
    destination: str | None
    """The destination's type."""
    dataset_name: str | None
    rows: int
    """Written, in all tables."""
    bytes: int
    seconds: Mapping[str, float]
    """By step."""


class Decision(StrEnum):
    """The closed set of how something stands that waits for a person."""

    WAITING = "waiting"
    APPROVED = "approved"
    REFUSED = "refused"
    APPLIED = "applied"
    """Nobody is asked: it has happened."""


class Answer(ClosedSet):
    """What a person says of what waits."""

    APPROVE = "approve"
    REFUSE = "refuse"

    @property
    def decision(self) -> Decision:
        """How it stands from then on."""
        return Decision.APPROVED if self is Answer.APPROVE else Decision.REFUSED


class ChangeKind(StrEnum):
    """The closed set of `cai_schema_changes.kind`: what became of a column at the source."""

    NEW = "new"
    GONE = "gone"
    RETYPED = "retyped"
    EMPTIED = "emptied"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One row of `cai_schema_changes`: a column that is not what it was at the source."""

    id: int
    connector_id: int
    table_name: str
    column_name: str
    kind: ChangeKind
    type_before: str | None
    type_after: str | None
    was: str | None
    """Of a column that seems to be renamed, its name before."""
    run_id: UUID | None
    first_seen_at: datetime
    state: Decision
    decided_by: str | None
    decided_at: datetime | None


def of_one_event(changes: Iterable[SchemaChange]) -> list[list[SchemaChange]]:
    """Changes by what happened: columns of a table that one run found to be gone, or emptied, are one event."""
    events: dict[tuple[Any, ...], list[SchemaChange]] = {}
    for each in changes:
        together = each.kind in {ChangeKind.GONE, ChangeKind.EMPTIED} and each.run_id is not None
        about = (each.run_id, each.kind, each.state, each.decided_by) if together else (each.id,)
        events.setdefault((each.connector_id, each.table_name, *about), []).append(each)
    return [*events.values()]


@dataclass(frozen=True, slots=True)
class HeldLoad:
    """One row of `cai_held_loads`: a table whose checks failed, so that its connector's load waits for a person."""

    id: int
    connector_id: int
    table_name: str
    sentence: str
    """Which checks failed, without a value of a row."""
    run_id: UUID | None
    """Prefect's, of the last run that was held for it."""
    held_at: datetime
    state: Decision
    decided_by: str | None
    decided_at: datetime | None


def changes(
    disposition: str | None, written: int, before: int | None, after: int | None
) -> tuple[int | None, int | None, int | None]:
    """How many rows of a table are new, changed and deleted by a load; None where sizes that it needs are not known.

    Args:
        disposition: of the table: append, merge or replace (as is every table of a full refresh).
        written: rows that the load wrote.
        before: rows of the table before it.
        after: rows of the table after it.
    """
    if disposition == WriteDisposition.APPEND:
        return written, 0, 0
    if disposition == WriteDisposition.REPLACE:
        return written, 0, before
    if before is None or after is None or not 0 <= after - before <= written:
        return None, None, None  # not counted, or somebody else has written there meanwhile
    return after - before, written - (after - before), 0


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
