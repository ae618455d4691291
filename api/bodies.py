"""Bodies that the REST API takes, in camelCase. `api.answers` has what it answers.

The API's own fields are camelCase. What stands *inside* `source`, `destination` and `runPolicy` is the connector's JSON
exactly as the table holds it (snake_case), so that a back end may write either and read both the same.
Here only the shape of a body is checked; `connectors.connector` judges what a connector may say, so that the API, the
forms and the controller's status give one sentence for one mistake.
"""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    StrictBool,
    StrictInt,
)
from pydantic.alias_generators import to_camel

from connectors.connector import NAME_LENGTH, RunPolicy
from connectors.destinations import Destination
from connectors.freshness import Freshness
from connectors.limits.ids import LARGEST_ID, is_plain, parse_number
from connectors.limits.jsonb import is_text
from connectors.sources import Source
from connectors.sources.secret_references import refused
from connectors.status import Phase

LONGEST_PAGE = 200


class Body(BaseModel):
    """Everything that is sent or answered. Unknown keys are refused: a typing error must not silently do nothing."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )


class Input(Body):
    """A request's body: its keys by their camelCase names only."""

    model_config = ConfigDict(populate_by_name=False)

    def given(self) -> dict[str, Any]:
        """The columns that the body names, each with its value as it was sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


_Name = Annotated[
    str,
    Field(
        description="What people call it: unique, without blanks around it.",
        json_schema_extra={"minLength": 1, "maxLength": NAME_LENGTH, "pattern": r"\S"},
        examples=["Customer Data Pipeline"],
    ),
]
Description = Annotated[str | None, Field(description="What it is for; shown in Prefect's list of deployments.")]
Schedule = Annotated[
    str | None,
    Field(
        description="Cron, five fields, or a name such as @daily; H stands for a time of the connector's own. "
        "null: it runs only when started by hand.",
        examples=["0 */4 * * *"],
    ),
]
Timezone = Annotated[str, Field(description="IANA time zone that the schedule is read in.", examples=["Europe/Berlin"])]
ACTIVE = "false: deactivated, so nothing is scheduled until it is activated."
_IsActive = Annotated[StrictBool, Field(description=ACTIVE)]
_Source = Annotated[SkipValidation[Source], Field(description="Where the rows come from, by its `type`.")]
_Destination = Annotated[
    SkipValidation[Destination | None],
    Field(description="Where the rows go, by its `type`. null: the platform's default destination."),
]
Dataset = Annotated[
    str | None, Field(description="Dataset (schema) that the rows land in. null: connector_{id}.", examples=["labs"])
]
_Policy = Annotated[
    SkipValidation[RunPolicy], Field(description="How runs behave: overlap, missed runs, retries, time limit.")
]
_Team = Annotated[
    str | None,
    Field(
        description="The team that it belongs to; null: everybody. Left out: your own, if you have roles in one only.",
        examples=["oncology"],
    ),
]
Owner = Annotated[str | None, Field(description="Who answers for it. It gives nobody a right.")]
Tags = Annotated[list[str], Field(description="Words to find it by. They are not Prefect's tags.", examples=[["labs"]])]
Pool = Annotated[str | None, Field(description="Prefect work pool of the runs. null: the platform's own.")]
Queue = Annotated[str | None, Field(description="Work queue in the pool. null: the platform's own.")]


class ConnectorInput(Input):
    """A whole connector, to create or to replace one. Fields that are left out get their defaults."""

    name: _Name
    description: Description = None
    schedule: Schedule = None
    timezone: Timezone = "UTC"
    is_active: _IsActive = True
    source: _Source
    destination: _Destination = None
    dataset_name: Dataset = None
    run_policy: _Policy = Field(default_factory=RunPolicy)
    work_pool_name: Pool = None
    work_queue_name: Queue = None
    team: _Team = None
    owner: Owner = None
    tags: Tags = Field(default_factory=list)


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class ConnectorPatch(Input):
    """The fields to change, each replaced as a whole; those that are left out stay as they are."""

    # A default here only says "not given" and is never used: `given` leaves it out.
    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: _Name = ""
    description: Description = None
    schedule: Schedule = None
    timezone: Timezone = ""
    is_active: _IsActive = True
    source: _Source = None  # type: ignore[assignment]
    destination: _Destination = None
    dataset_name: Dataset = None
    run_policy: _Policy = None  # type: ignore[assignment]
    work_pool_name: Pool = None
    work_queue_name: Queue = None
    team: _Team = None
    owner: Owner = None
    tags: Tags = Field(default_factory=list)


class SchedulePreviewInput(Input):
    """A schedule to try out."""

    cron: Annotated[str, Field(description="As a connector's `schedule`.", examples=["0 2 * * *"])]
    timezone: Timezone = "UTC"
    connector_id: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            le=LARGEST_ID,
            description="The connector that is to have it: an H is resolved as its, and it is no herd of its own.",
        ),
    ] = None


def plain_text(value: str | None) -> str | None:
    """Refuse what no text of the database holds, such as NUL."""
    if value is not None and not is_text(value):
        raise refused("{field} holds a character that no name has.")
    return value


def plain_digits(value: object) -> object:
    """Refuse what Python reads as another number than its author: `1_1`, digits of other scripts."""
    if isinstance(value, str) and not is_plain(value):
        raise refused("{field} must be a whole number.")
    return value


def cursor_text(value: str | None) -> str | None:
    """Refuse what no page has answered as its cursor."""
    if value is not None and parse_number(value) is None:
        raise refused("{field} is what nextCursor of the page before says, unchanged.")
    return value


class ConnectorQuery(Input):
    """Which connectors are listed. An unknown parameter is refused: it would look like a filter and be none."""

    limit: Annotated[
        int,
        Field(ge=1, le=LONGEST_PAGE, description="Most connectors on the page."),
        BeforeValidator(plain_digits),
    ] = 50
    cursor: Annotated[
        str | None,
        AfterValidator(cursor_text),
        Field(description="`nextCursor` of the page before; left out: the first."),
    ] = None
    is_active: Annotated[bool | None, Field(description="Only active ones, or only deactivated ones.")] = None
    phase: Annotated[
        Phase | None,
        Field(description="Only those in this phase; of a connector that is `deleting`, no row is left to be listed."),
    ] = None
    freshness: Annotated[Freshness | None, Field(description="Only those of this freshness, such as `failing`.")] = None
    team: Annotated[
        str | None,
        AfterValidator(plain_text),
        Field(max_length=200, description="Only those of this team; empty: only those that are everybody's."),
    ] = None
    q: Annotated[
        str | None,
        AfterValidator(plain_text),
        Field(max_length=200, description="Only those with this text in name or description, in either case."),
    ] = None


class RunsQuery(Input):
    """Which runs are listed."""

    limit: Annotated[int, Field(ge=1, le=LONGEST_PAGE, description="Most runs."), BeforeValidator(plain_digits)] = 20
