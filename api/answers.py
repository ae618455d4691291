"""Answers of the REST API, in camelCase: a connector, its status, its runs, a schedule in words, a test."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    Field,
)

from api.bodies import ACTIVE, Body, Dataset, Description, Owner, Pool, Queue, Schedule, Tags, Timezone
from api.camel_case import Sentence
from connectors.freshness import Freshness
from connectors.judging.diagnosis import Explanation, Obstacle
from connectors.runs import Run
from connectors.status import Phase, Reason, Status
from use_cases.queries import Entry, Preview


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
    description: Description
    schedule: Schedule
    timezone: Timezone
    is_active: Annotated[bool, Field(description=ACTIVE)]
    source: Annotated[Any, Field(description="Where the rows come from.")]
    destination: Annotated[Any, Field(description="Where the rows go. null: the platform's default destination.")]
    dataset_name: Dataset
    run_policy: Annotated[Any, Field(description="How runs behave, as far as it was given.")]
    work_pool_name: Pool
    work_queue_name: Queue
    team: Annotated[str | None, Field(description="The team that it belongs to; null: everybody.")]
    owner: Owner
    tags: Tags
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


class WrittenTo(Body):
    """Whether a load could write to the destination."""

    ok: Annotated[bool, Field(description="Whether it could.")]
    message: Annotated[Sentence, Field(description="Why not, or that it can.")]


class ProbeAnswer(Body):
    """Whether the source could be reached, and the first rows."""

    ok: Annotated[bool, Field(description="Whether it answered.")]
    message: Annotated[Sentence, Field(description="Why not, or what was found.")]
    tables: Annotated[list[ProbedTable], Field(description="The first rows of each table.")]
    destination: Annotated[
        WrittenTo | None, Field(description="Whether it can be written, where that was asked; else null.")
    ] = None


class PublicKeys(Body):
    """The public keys of this installation, as RFC 7517 writes them."""

    keys: Annotated[list[dict[str, Any]], Field(description="A JWK each.")]


class Health(Body):
    """The process lives."""

    status: Annotated[Literal["ok"], Field(description="Always ok.")] = "ok"
