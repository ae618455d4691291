"""Status of a connector with Prefect: one row of `cai_connector_status`, written by the controller alone.

Phases and reasons are closed sets: the REST API, the fleet view and alerts switch on them.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Phase(StrEnum):
    """The closed set of `cai_connector_status.phase`."""

    PENDING = "pending"
    SYNCED = "synced"
    PAUSED = "paused"
    INVALID = "invalid"
    RETRYING = "retrying"
    CONFLICT = "conflict"
    DELETING = "deleting"


class Reason(StrEnum):
    """The closed set of `cai_connector_status.reason`: why the connector is in its phase."""

    IN_SYNC = "InSync"
    INACTIVE = "Inactive"
    AUTO_PAUSED = "AutoPaused"

    INVALID_ID = "InvalidId"
    INVALID_NAME = "InvalidName"
    INVALID_SCHEDULE = "InvalidSchedule"
    INVALID_TIMEZONE = "InvalidTimezone"
    INVALID_SOURCE = "InvalidSource"
    INVALID_DESTINATION = "InvalidDestination"
    INVALID_DATASET = "InvalidDataset"
    INVALID_RUN_POLICY = "InvalidRunPolicy"
    INVALID_WORK_POOL = "InvalidWorkPool"
    INVALID_TEAM = "InvalidTeam"

    SERVER_UNAVAILABLE = "ServerUnavailable"
    REQUEST_REFUSED = "RequestRefused"
    WORK_POOL_MISSING = "WorkPoolMissing"
    WORK_POOL_UNFIT = "WorkPoolUnfit"
    SERVER_ERROR = "ServerError"
    INTERNAL_ERROR = "InternalError"
    ROW_LOCKED = "RowLocked"
    DATABASE_REFUSED = "DatabaseRefused"

    FOREIGN_DEPLOYMENT = "ForeignDeployment"
    UNKNOWN_DEPLOYMENT = "UnknownDeployment"

    ROW_GONE = "RowGone"
    PRUNE_WITHHELD = "PruneWithheld"


REASONS = {
    "name": Reason.INVALID_NAME,
    "schedule": Reason.INVALID_SCHEDULE,
    "timezone": Reason.INVALID_TIMEZONE,
    "source": Reason.INVALID_SOURCE,
    "destination": Reason.INVALID_DESTINATION,
    "dataset_name": Reason.INVALID_DATASET,
    "run_policy": Reason.INVALID_RUN_POLICY,
    "work_pool_name": Reason.INVALID_WORK_POOL,
    "work_queue_name": Reason.INVALID_WORK_POOL,
    "team": Reason.INVALID_TEAM,
    "owner": Reason.INVALID_TEAM,
    "tags": Reason.INVALID_TEAM,
}
"""Why a row is invalid, by the column that is refused."""


@dataclass(frozen=True, slots=True)
class Status:
    """One row of `cai_connector_status`. Times are aware, in UTC."""

    connector_id: int
    phase: Phase
    reason: Reason | None = None
    message: str | None = None
    deployment_id: UUID | None = None
    spec_version: str | None = None
    observed_generation: int | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    last_synced_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """One connector of which nothing could be written, and why: by a reason and a sentence for its status."""

    connector_id: int
    reason: Reason
    message: str
