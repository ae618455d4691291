"""The REST API's bodies: what is taken, what is answered, in camelCase.

The API's own fields are camelCase. What stands *inside* `source`, `destination` and `runPolicy` is the connector's JSON
exactly as the table holds it (snake_case), so that a back end may write either and read both the same.
Here only the shape of a body is checked; `connectors.connector` judges what a connector may say, so that the API, the
forms and the controller's status give one sentence for one mistake.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

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

from api.camel_case import Sentence
from connectors.connector import NAME_LENGTH, RunPolicy
from connectors.destinations import Destination
from connectors.diagnosis import Explanation, Obstacle
from connectors.freshness import Freshness
from connectors.limits.ids import LARGEST_ID, is_plain, parse_number
from connectors.limits.jsonb import is_text
from connectors.runs import Run
from connectors.sources import Source
from connectors.sources.secret_references import refused
from connectors.status import Phase, Reason, Status
from use_cases.queries import Entry, Preview

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
_Description = Annotated[str | None, Field(description="What it is for; shown in Prefect's list of deployments.")]
_Schedule = Annotated[
    str | None,
    Field(
        description="Cron, five fields, or a name such as @daily; H stands for a time of the connector's own. "
        "null: it runs only when started by hand.",
        examples=["0 */4 * * *"],
    ),
]
_Timezone = Annotated[
    str, Field(description="IANA time zone that the schedule is read in.", examples=["Europe/Berlin"])
]
_ACTIVE = "false: deactivated, so nothing is scheduled until it is activated."
_IsActive = Annotated[StrictBool, Field(description=_ACTIVE)]
_Source = Annotated[SkipValidation[Source], Field(description="Where the rows come from, by its `type`.")]
_Destination = Annotated[
    SkipValidation[Destination | None],
    Field(description="Where the rows go, by its `type`. null: the platform's default destination."),
]
_Dataset = Annotated[
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
_Owner = Annotated[str | None, Field(description="Who answers for it. It gives nobody a right.")]
_Tags = Annotated[
    list[str], Field(description="Words to find it by. They are not Prefect's tags.", examples=[["labs"]])
]
_Pool = Annotated[str | None, Field(description="Prefect work pool of the runs. null: the platform's own.")]
_Queue = Annotated[str | None, Field(description="Work queue in the pool. null: the platform's own.")]


class ConnectorInput(Input):
    """A whole connector, to create or to replace one. Fields that are left out get their defaults."""

    name: _Name
    description: _Description = None
    schedule: _Schedule = None
    timezone: _Timezone = "UTC"
    is_active: _IsActive = True
    source: _Source
    destination: _Destination = None
    dataset_name: _Dataset = None
    run_policy: _Policy = Field(default_factory=RunPolicy)
    work_pool_name: _Pool = None
    work_queue_name: _Queue = None
    team: _Team = None
    owner: _Owner = None
    tags: _Tags = Field(default_factory=list)


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class ConnectorPatch(Input):
    """The fields to change, each replaced as a whole; those that are left out stay as they are."""

    # A default here only says "not given" and is never used: `given` leaves it out.
    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: _Name = ""
    description: _Description = None
    schedule: _Schedule = None
    timezone: _Timezone = ""
    is_active: _IsActive = True
    source: _Source = None  # type: ignore[assignment]
    destination: _Destination = None
    dataset_name: _Dataset = None
    run_policy: _Policy = None  # type: ignore[assignment]
    work_pool_name: _Pool = None
    work_queue_name: _Queue = None
    team: _Team = None
    owner: _Owner = None
    tags: _Tags = Field(default_factory=list)


class SchedulePreviewInput(Input):
    """A schedule to try out."""

    cron: Annotated[str, Field(description="As a connector's `schedule`.", examples=["0 2 * * *"])]
    timezone: _Timezone = "UTC"
    connector_id: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            le=LARGEST_ID,
            description="The connector that is to have it: an H is resolved as its, and it is no herd of its own.",
        ),
    ] = None


def _text(value: str | None) -> str | None:
    if value is not None and not is_text(value):
        raise refused("{field} holds a character that no name has.")
    return value


def plain_digits(value: object) -> object:
    """Refuse what Python reads as another number than its author: `1_1`, digits of other scripts."""
    if isinstance(value, str) and not is_plain(value):
        raise refused("{field} must be a whole number.")
    return value


def _cursor(value: str | None) -> str | None:
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
        str | None, AfterValidator(_cursor), Field(description="`nextCursor` of the page before; left out: the first.")
    ] = None
    is_active: Annotated[bool | None, Field(description="Only active ones, or only deactivated ones.")] = None
    phase: Annotated[
        Phase | None,
        Field(description="Only those in this phase; of a connector that is `deleting`, no row is left to be listed."),
    ] = None
    freshness: Annotated[Freshness | None, Field(description="Only those of this freshness, such as `failing`.")] = None
    q: Annotated[
        str | None,
        AfterValidator(_text),
        Field(max_length=200, description="Only those with this text in name or description, in either case."),
    ] = None


class RunsQuery(Input):
    """Which runs are listed."""

    limit: Annotated[int, Field(ge=1, le=LONGEST_PAGE, description="Most runs."), BeforeValidator(plain_digits)] = 20


class StatusAnswer(Body):
    """How the connector stands with Prefect, as the controller has recorded it, and how its loads go."""

    phase: Annotated[
        Phase,
        Field(
            description="`pending` until the controller has seen the connector; `synced`: Prefect holds it as it is "
            "here, whether or not its loads succeed; `paused`: deactivated, or paused by itself (`reason` tells which)."
        ),
    ]
    reason: Annotated[Reason | None, Field(description="Why it is in this phase.")]
    message: Annotated[Sentence | None, Field(description="The same as a sentence.")]
    attempts: Annotated[int, Field(description="Failed tries in a row.")]
    next_attempt_at: Annotated[datetime | None, Field(description="When the controller tries again.")]
    last_synced_at: Annotated[datetime | None, Field(description="When Prefect was last seen to match.")]
    observed_generation: Annotated[
        int | None,
        Field(description="The generation that all this is about; a lower one than the connector's: it waits."),
    ]
    freshness: Annotated[
        Freshness,
        Field(
            description="Whether its data is as fresh as its schedule promises, in the fleet view's words. `paused`: "
            "deactivated, or paused by itself; `failing`: its last load failed."
        ),
    ]
    last_success_at: Annotated[datetime | None, Field(description="When it last loaded; null: never.")]
    failures: Annotated[int, Field(description="Loads that failed since the last one that succeeded.")]

    @classmethod
    def of(cls, entry: Entry, freshness: Freshness, **more: Any) -> Self:
        """How a connector stands, as it is answered."""
        known = entry.status or Status(entry.row.id, Phase.PENDING, message="The controller has not seen it yet.")
        recorded = {name: getattr(known, name) for name in _RECORDED}
        facts = entry.facts
        return cls(
            **recorded, freshness=freshness, last_success_at=facts.last_success_at, failures=facts.failures, **more
        )


_RECORDED = (
    "phase", "reason", "message", "attempts", "next_attempt_at", "last_synced_at", "observed_generation",
)  # fmt: skip
"""What of the controller's status is answered."""


class RunAnswer(Body):
    """One run, as Prefect tells it."""

    id: Annotated[UUID, Field(description="Prefect's id of the flow run.")]
    name: Annotated[str, Field(description="Prefect's name of it.")]
    state_type: Annotated[
        str, Field(description="SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CRASHED, CANCELLED...")
    ]
    state: Annotated[str, Field(description="Prefect's name of the state, such as Late.")]
    message: Annotated[Sentence | None, Field(description="What the run says of its state.")]
    expected_start_at: Annotated[datetime | None, Field(description="When it was due.")]
    started_at: Annotated[datetime | None, Field(description="When it began.")]
    ended_at: Annotated[datetime | None, Field(description="When it ended.")]
    rows_loaded: Annotated[int | None, Field(description="Rows that it loaded; null while unknown.")]
    url: Annotated[str | None, Field(description="The run in the Prefect UI.")]

    @classmethod
    def of(cls, run: Run) -> "RunAnswer":
        """A run as it is answered."""
        return cls(**{name: getattr(run, name) for name in cls.model_fields})


class ObstacleAnswer(Body):
    """One thing that keeps the connector from running as its row says."""

    obstacle: Annotated[Obstacle, Field(description="What it is.")]
    message: Annotated[Sentence, Field(description="The same as a sentence.")]


class StatusDetail(StatusAnswer):
    """Why it isn't running, or when it will: the table, the controller's status and Prefect in one."""

    summary: Annotated[Sentence, Field(description="How it stands, in a sentence.")]
    obstacles: Annotated[
        list[ObstacleAnswer], Field(description="All that keeps it from running; what must be removed first is first.")
    ]
    next_run_at: Annotated[datetime | None, Field(description="When it runs next.")]
    current_run: Annotated[RunAnswer | None, Field(description="The run that is going on.")]
    last_run: Annotated[RunAnswer | None, Field(description="The last run that has ended.")]
    failing_since: Annotated[datetime | None, Field(description="When the first of an unbroken row of failures ended.")]


class ConnectorAnswer(Body):
    """A connector. `source`, `destination` and `runPolicy` are shown as the table holds them, valid or not."""

    id: Annotated[int, Field(description="Its number.")]
    name: Annotated[str, Field(description="What people call it.")]
    description: _Description
    schedule: _Schedule
    timezone: _Timezone
    is_active: Annotated[bool, Field(description=_ACTIVE)]
    source: Annotated[Any, Field(description="Where the rows come from.")]
    destination: Annotated[Any, Field(description="Where the rows go. null: the platform's default destination.")]
    dataset_name: _Dataset
    run_policy: Annotated[Any, Field(description="How runs behave, as far as it was given.")]
    work_pool_name: _Pool
    work_queue_name: _Queue
    team: Annotated[str | None, Field(description="The team that it belongs to; null: everybody.")]
    owner: _Owner
    tags: _Tags
    prefect_deployment_id: Annotated[UUID | None, Field(description="Prefect's deployment; null until it holds one.")]
    created_at: Annotated[datetime | None, Field(description="When it was created.")]
    updated_at: Annotated[datetime | None, Field(description="When one of the fields above last changed.")]
    generation: Annotated[int, Field(description="Goes up with each change: the ETag.")]
    status: Annotated[StatusAnswer, Field(description="How it stands with Prefect.")]

    @classmethod
    def of(cls, entry: Entry, freshness: Freshness) -> "ConnectorAnswer":
        """A connector as it is answered."""
        return cls(**_columns(entry), status=StatusAnswer.of(entry, freshness))


class ConnectorDetail(ConnectorAnswer):
    """A connector, and why it isn't running."""

    status: Annotated[StatusDetail, Field(description="How it stands, and why it isn't running.")]

    @classmethod
    def explained(cls, entry: Entry, why: Explanation) -> "ConnectorDetail":
        """A connector as it is answered, with all that is known of how it stands."""
        status = StatusDetail.of(
            entry,
            why.freshness,
            summary=why.summary,
            obstacles=[ObstacleAnswer(obstacle=each.obstacle, message=each.message) for each in why.obstacles],
            next_run_at=why.next_run_at,
            current_run=RunAnswer.of(why.current_run) if why.current_run else None,
            last_run=RunAnswer.of(why.last_run) if why.last_run else None,
            failing_since=why.failing_since,
        )
        return cls(**_columns(entry), status=status)


def _columns(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry.row, name) for name in ConnectorAnswer.model_fields if name != "status"}


class ConnectorPage(Body):
    """Some connectors, in the order of their ids."""

    items: Annotated[list[ConnectorAnswer], Field(description="The connectors.")]
    next_cursor: Annotated[
        str | None, Field(description="What `cursor` gets the next page with; null when this is the last.")
    ]


class RunsAnswer(Body):
    """The last runs of a connector."""

    items: Annotated[list[RunAnswer], Field(description="The runs, the newest first.")]


class SchedulePreview(Body):
    """What a schedule means."""

    words: Annotated[str, Field(description="The schedule as a person says it.")]
    next_runs: Annotated[list[datetime], Field(description="The next five runs, in the schedule's time zone.")]
    warnings: Annotated[
        list[str], Field(description="What may surprise: changes of clocks, uneven steps, herds of connectors.")
    ]

    @classmethod
    def of(cls, preview: Preview) -> "SchedulePreview":
        """A preview as it is answered."""
        return cls(words=preview.words, next_runs=list(preview.next_runs), warnings=list(preview.warnings))


class ProbedTable(Body):
    """What one table or resource of the source answered."""

    name: Annotated[str, Field(description="The table or resource.")]
    rows: Annotated[list[dict[str, Any]], Field(description="Its first rows, masked columns hashed.")]


class ProbeAnswer(Body):
    """Whether the source could be reached, and the first rows."""

    ok: Annotated[bool, Field(description="Whether it answered.")]
    message: Annotated[Sentence, Field(description="Why not, or what was found.")]
    tables: Annotated[list[ProbedTable], Field(description="The first rows of each table.")]


class Health(Body):
    """The process lives."""

    status: Annotated[Literal["ok"], Field(description="Always ok.")] = "ok"
