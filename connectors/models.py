"""A connector: what a business user asks for, as the table holds it and as the code trusts it.

Two shapes on purpose. `ConnectorRow` is the row as anybody may have written it (a Java back end writes it directly), so
nothing in it can be trusted. `Connector` is a row that passed `validate`: every later module takes only that.
This module is pure: no I/O, no clock, no Prefect.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from connectors.kinds import Destination, DuckdbDestination, Source
from connectors.refusals import Refusal, from_pydantic
from connectors.schedule import Schedule, ScheduleError
from connectors.schedule import parse as parse_schedule

T = TypeVar("T")


class MissedRuns(StrEnum):
    """What happens to runs that were due while nothing could run them."""

    LATEST = "latest"
    ALL = "all"
    SKIP = "skip"


class Overlap(StrEnum):
    """What happens when a run is due while the last one is still going."""

    QUEUE = "queue"
    SKIP = "skip"


class RunPolicy(BaseModel):
    """How the runs of one connector behave (`cai_connectors.run_policy`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overlap: Overlap = Overlap.QUEUE
    missed_runs: MissedRuns = MissedRuns.LATEST
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    retry_delay_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30
    timeout_seconds: Annotated[float, Field(gt=0, le=7 * 86_400)] | None = None
    auto_pause_after: Annotated[int, Field(ge=0, le=1000)] | None = None
    """After so many failures in a row that no retry mends, the connector is paused by itself; null or 0: never."""


@dataclass(frozen=True, slots=True)
class ConnectorRow:
    """One row of `cai_connectors`, untrusted, as read."""

    id: int
    name: str
    description: str | None
    schedule: str | None
    timezone: str
    is_active: bool
    source: Any
    destination: Any
    dataset_name: str | None
    run_policy: Any
    work_pool_name: str | None
    work_queue_name: str | None
    prefect_deployment_id: UUID | None
    generation: int
    created_at: datetime | None = None
    updated_at: datetime | None = None


class InvalidConnectorError(ValueError):
    """The user must act: no retry helps until the row changes. Carries every refusal, in the order of the fields."""

    def __init__(self, refusals: tuple[Refusal, ...]) -> None:
        self.refusals = refusals
        super().__init__(" ".join(refusal.message for refusal in refusals))


@dataclass(frozen=True, slots=True)
class Connector:
    """A connector that passed `validate`."""

    id: int
    name: str
    description: str | None
    schedule: Schedule | None
    is_active: bool
    source: Source
    destination: Destination | None
    dataset_name: str | None
    run_policy: RunPolicy
    work_pool_name: str | None
    work_queue_name: str | None
    prefect_deployment_id: UUID | None = None
    generation: int = field(default=1, compare=False)

    @property
    def dataset(self) -> str:
        """The dataset that the rows land in: the given one, else `connector_{id}`."""
        return self.dataset_name or default_dataset(self.id)


def default_dataset(connector_id: int) -> str:
    """The dataset of a connector that names none."""
    return f"connector_{connector_id}"


_SOURCE: TypeAdapter[Source] = TypeAdapter(Source)
_DESTINATION: TypeAdapter[Destination] = TypeAdapter(Destination)
_POLICY = TypeAdapter(RunPolicy)

NAME_LENGTH = 200
"""Most characters of a connector's name."""


def validate(row: ConnectorRow) -> Connector:
    """Trust a row, or say everything that is wrong with it.

    Raises:
        InvalidConnectorError: with one `Refusal` for each thing that is wrong.
    """
    refusals: list[Refusal] = []
    if not 1 <= len(row.name.strip()) <= NAME_LENGTH:
        refusals.append(Refusal("/name", f"name must have 1 to {NAME_LENGTH} characters, such as 'Lab results'."))
    schedule = None
    try:
        # A connector without a schedule still has a time zone, and a wrong one must not wait for the first schedule.
        parsed = parse_schedule("0 0 * * *" if row.schedule is None else row.schedule, row.timezone, row.id)
        schedule = None if row.schedule is None else parsed
    except ScheduleError as error:
        refusals.append(Refusal(f"/{error.field}", str(error)))
    source = _checked(_SOURCE, "source", row.source, refusals)
    destination = None if row.destination is None else _checked(_DESTINATION, "destination", row.destination, refusals)
    policy = _checked(_POLICY, "run_policy", row.run_policy, refusals)
    for name, value in (("work_pool_name", row.work_pool_name), ("work_queue_name", row.work_queue_name)):
        if value is not None and not value.strip():
            refusals.append(Refusal(f"/{name}", f"{name} must not be empty: leave it out for the platform's own."))
    if row.dataset_name is not None and not _is_dataset_name(row.dataset_name):
        refusals.append(
            Refusal(
                "/dataset_name",
                "dataset_name takes lowercase letters, digits and underscores and starts with a letter, "
                "such as 'lab_results'.",
            )
        )
    elif isinstance(destination, DuckdbDestination):
        clash = destination.clash(row.dataset_name or default_dataset(row.id))
        refusals += [Refusal("/dataset_name", clash)] if clash else []
    if refusals or source is None or policy is None:
        raise InvalidConnectorError(tuple(refusals))
    return Connector(
        id=row.id,
        name=row.name.strip(),
        description=row.description,
        schedule=schedule,
        is_active=row.is_active,
        source=source,
        destination=destination,
        dataset_name=row.dataset_name,
        run_policy=policy,
        work_pool_name=row.work_pool_name,
        work_queue_name=row.work_queue_name,
        prefect_deployment_id=row.prefect_deployment_id,
        generation=row.generation,
    )


def _is_dataset_name(value: str) -> bool:
    return (
        value.isascii() and value.isidentifier() and value == value.lower() and value[0].isalpha() and len(value) <= 63
    )


def _checked(adapter: TypeAdapter[T], name: str, value: Any, refusals: list[Refusal]) -> T | None:
    """`value` as the adapter's type, or None with the reasons appended to `refusals`."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        refusals.extend(from_pydantic(error, name))
        return None
