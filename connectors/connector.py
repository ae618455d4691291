"""A connector: what a business user asks for, as the table holds it and as the code trusts it.

Two shapes on purpose. `ConnectorRow` is the row as anybody may have written it (a Java back end writes it directly), so
nothing in it can be trusted. `Connector` is a row that passed `validate`: every later module takes only that.
This module is pure: no I/O, no clock, no Prefect.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from connectors.destinations import Destination
from connectors.destinations.duckdb import DuckdbDestination
from connectors.destinations.postgres import PostgresDestination
from connectors.follow_ups import FollowUp
from connectors.limits.jsonb import DEEPEST, Unreadable
from connectors.limits.names import why_no_name, why_no_pool
from connectors.refusals import Refusal, from_pydantic
from connectors.schedules.cron import Schedule, ScheduleError
from connectors.schedules.cron import parse as parse_schedule
from connectors.sources import Source
from connectors.sources.asking.quiet_hours import AllQuietHours
from connectors.sources.checks import checks_of
from connectors.sources.deletes import Deletes
from connectors.sources.fhir import FhirSource
from connectors.telling.notices import Notify

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

    overlap: Annotated[
        Overlap,
        Field(description="A run that is due while the last one goes on: `queue` waits, `skip` is left out."),
    ] = Overlap.QUEUE
    missed_runs: Annotated[
        MissedRuns,
        Field(description="What was due while nothing could run: the `latest` only, `all` of it, or `skip`."),
    ] = MissedRuns.LATEST
    retries: Annotated[
        int, Field(ge=0, le=100, description="Further tries of one run after an error that may pass.")
    ] = 3
    retry_delay_seconds: Annotated[
        float, Field(ge=0, le=86_400, description="Seconds between two tries of one run.")
    ] = 30
    timeout_seconds: Annotated[
        Annotated[float, Field(gt=0, le=7 * 86_400)] | None,
        Field(description="A run that takes longer is ended and counts as failed. null: no limit."),
    ] = None
    quiet_hours: Annotated[
        AllQuietHours,
        Field(description="When its source is not asked: a run that is due then begins at their end."),
    ] = ()
    then: Annotated[
        tuple[FollowUp, ...],
        Field(description="What starts each time the connector has loaded all that it should: see docs/follow-ups.md."),
    ] = ()
    notify: Annotated[
        tuple[Notify, ...] | None,
        Field(max_length=20, description="Who is told of what. null: the owner, if operations know where to."),
    ] = None
    auto_pause_after: Annotated[
        Annotated[int, Field(ge=0, le=1000)] | None,
        Field(
            description="After so many failures in a row that no retry mends, the connector is paused by itself, until "
            "it is changed or activated. null or 0: never."
        ),
    ] = None


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
    team: str | None = None
    """None: everybody's."""
    owner: str | None = None
    tags: Sequence[str] = ()
    content: str | None = field(default=None, compare=False)
    """A hash of what stands in the row; None where nobody has asked for it."""
    stamped: str | None = field(default=None, compare=False)
    """The same when the generation last moved."""

    @property
    def version(self) -> str:
        """What tells two states of the row apart, for ETags: the generation, as long as it counts every change.

        With triggers off a change moves no counter, so where the content is another than was stamped, it is in it.
        """
        return f"{self.generation}" if self.content == self.stamped else f"{self.generation}-{self.content}"


USER_COLUMNS = (
    "name",
    "description",
    "schedule",
    "timezone",
    "is_active",
    "source",
    "destination",
    "dataset_name",
    "run_policy",
    "work_pool_name",
    "work_queue_name",
    "team",
    "owner",
    "tags",
)
"""The columns that people write, in the order in which a connector is shown: its definition."""


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
    team: str | None = None
    """None: everybody's."""

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

UNUSED_BY_LOADS = {
    "/name", "/schedule", "/timezone", "/work_pool_name", "/work_queue_name", "/team", "/owner", "/tags",
}  # fmt: skip
"""What says when and where a connector runs, and whose it is, and not what is loaded."""

TEAM_LENGTH = 100
"""Most characters of a team's name, of an owner's and of a tag."""

MOST_TAGS = 50
"""Most tags of a connector."""


def validate(row: ConnectorRow) -> Connector:
    """Trust a row, or say everything that is wrong with it.

    Raises:
        InvalidConnectorError: with one `Refusal` for each thing that is wrong.
    """
    connector, refusals = _examined(row)
    if connector is None or refusals:
        raise InvalidConnectorError(refusals)
    return connector


def validate_for_load(row: ConnectorRow) -> Connector:
    """Trust a row as far as a load goes: a wrong schedule, which counts as none, does not keep data from being loaded.

    Raises:
        InvalidConnectorError: with one `Refusal` for each thing that a load would need.
    """
    connector, refusals = _examined(row)
    needed = tuple(refusal for refusal in refusals if refusal.pointer not in UNUSED_BY_LOADS)
    if connector is None or needed:
        raise InvalidConnectorError(needed)
    return connector


def _examined(row: ConnectorRow) -> tuple[Connector | None, tuple[Refusal, ...]]:
    """The connector, unless its source or its policy can't be read, and everything that is wrong with it."""
    refusals: list[Refusal] = []
    if not 1 <= len(row.name.strip()) <= NAME_LENGTH:
        refusals.append(Refusal("/name", f"name must have 1 to {NAME_LENGTH} characters, such as 'Lab results'."))
    elif (unseen := why_no_name(row.name.strip())) is not None:
        refusals.append(Refusal("/name", f"name {unseen}"))
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
        if value is not None and (why := why_no_pool(value)) is not None:
            refusals.append(Refusal(f"/{name}", f"{name} {why}"))
    refusals += _of_dataset(row, destination)
    refusals += _of_people(row)
    if source is not None and destination is not None:
        refusals += by_key_refusals(source, destination)
    if source is None or policy is None:
        return None, tuple(refusals)
    connector = Connector(
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
        team=row.team,
    )
    return connector, tuple(refusals)


def _of_dataset(row: ConnectorRow, destination: Destination | None) -> list[Refusal]:
    """What is wrong with the name of the dataset."""
    refusals = []
    if row.dataset_name is not None and not _is_dataset_name(row.dataset_name):
        refusals.append(
            Refusal(
                "/dataset_name",
                "dataset_name takes lowercase letters, digits and underscores and starts with a letter, "
                "such as 'lab_results'.",
            )
        )
    elif row.dataset_name is not None and re.fullmatch(r"connector_\d+_staging", row.dataset_name):
        refusals.append(
            Refusal(
                "/dataset_name",
                "dataset_name must not be that of a connector's staging, where merges are prepared and rows come and "
                "go: choose another one, such as 'lab_results'.",
            )
        )
    elif isinstance(destination, DuckdbDestination):
        clash = destination.clash(row.dataset_name or default_dataset(row.id))
        refusals += [Refusal("/dataset_name", clash)] if clash else []
    return refusals


def by_key_refusals(source: Source, destination: Destination) -> list[Refusal]:
    """What a source asks for that the destination can't do: what goes by the keys of rows, and several writers."""
    asked = {}
    if any(
        getattr(how, "deletes", Deletes.IGNORE) is not Deletes.IGNORE for how in (source, *source.landings().values())
    ):
        asked["deletes"] = "set them to ignore"
    if source.histories():
        asked["history"] = "set it to false"
    if isinstance(source, FhirSource) and source.all_views:
        asked["views"] = "leave views and view_definitions out"
    found = []
    for what, way_out in asked.items():
        verb = "works" if what == "history" else "work"
        if not isinstance(destination, DuckdbDestination | PostgresDestination):
            sentence = f"{what} {verb} in DuckDB and PostgreSQL only: {way_out}."
        elif destination.shared_tables:
            sentence = (
                f"{what} can't be used with shared_tables, for rows of the other connectors would be taken for gone: "
                f"{way_out}."
            )
        else:
            continue
        found.append(Refusal("/source", sentence))
    return found + _split_refusals(source, destination)


def _split_refusals(source: Source, destination: Destination) -> list[Refusal]:
    """Why a table can't be loaded by several runs, where it asks for that."""
    if not any(getattr(how, "split", None) for how in source.landings().values()):
        return []
    if isinstance(destination, DuckdbDestination):
        why = "split can't be used with DuckDB, which has one writer at a time: leave it out, or name PostgreSQL."
    elif not isinstance(destination, PostgresDestination):
        why = "split works from PostgreSQL into PostgreSQL only: leave it out."
    elif source.protect is not None or checks_of(source):
        why = "split can't be used with protect or checks, for which one run looks at each row: leave it out."
    else:
        return []
    return [Refusal("/source", why)]


def _of_people(row: ConnectorRow) -> list[Refusal]:
    """What is wrong with whose connector it is, and with its tags."""
    refusals = []
    for column, value in (("team", row.team), ("owner", row.owner)):
        if value is not None and (why := why_no_team(value)) is not None:
            refusals.append(Refusal(f"/{column}", f"{column} {why}"))
    tags = row.tags or ()
    for place, tag in enumerate(tags[:MOST_TAGS]):
        if (why := why_no_team(tag)) is not None:
            refusals.append(Refusal(f"/tags/{place}", f"tags.{place} {why}"))
    if len(tags) > MOST_TAGS:
        refusals.append(Refusal("/tags", f"tags must be no more than {MOST_TAGS}."))
    return refusals


def why_no_team(value: str | None) -> str | None:
    """Why this cannot be the name of a team, an owner or a tag, as the end of a sentence; None when it can."""
    if not value or value != value.strip() or len(value) > TEAM_LENGTH:
        return f"must have 1 to {TEAM_LENGTH} characters, without blanks around them, such as 'oncology'."
    return why_no_name(value)


def _is_dataset_name(value: str) -> bool:
    return (
        value.isascii() and value.isidentifier() and value == value.lower() and value[0].isalpha() and len(value) <= 63
    )


def _checked(adapter: TypeAdapter[T], name: str, value: Any, refusals: list[Refusal]) -> T | None:
    """`value` as the adapter's type, or None with the reasons appended to `refusals`."""
    if isinstance(value, Unreadable):
        reason = f"cannot be read: it is nested in more than {DEEPEST} levels, or holds a number that is too large."
        refusals.append(Refusal(f"/{name}", f"{name} {reason} Write it anew."))
        return None
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        refusals.extend(from_pydantic(error, name))
        return None
