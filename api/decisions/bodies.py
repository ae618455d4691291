"""Answers about what waits for a person."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.bodies import Body
from connectors.loads import ChangeKind, Decision, HeldLoad, SchemaChange
from connectors.runs import Run


class HeldLoadAnswer(Body):
    """A table whose checks failed, so that its connector's load waits for a person."""

    id: Annotated[int, Field(description="What it is decided by. Other checks that fail are another number.")]
    table: Annotated[str, Field(description="The table in the destination.")]
    sentence: Annotated[str, Field(description="Which checks failed, without a value of a row.")]
    run_id: Annotated[UUID | None, Field(description="Prefect's id of the last run that was held for it.")]
    held_at: Annotated[datetime, Field(description="Since when.")]
    state: Annotated[Decision, Field(description="`waiting`, or what was decided; it goes when the table has loaded.")]
    decided_by: Annotated[str | None, Field(description="Who decided.")]
    decided_at: Annotated[datetime | None, Field(description="When it was decided.")]

    @classmethod
    def of(cls, held: HeldLoad) -> "HeldLoadAnswer":
        """A held load as it is answered."""
        return cls(table=held.table_name, **{name: getattr(held, name) for name in cls.model_fields if name != "table"})


class SchemaChangeAnswer(Body):
    """A column that is not what it was at the source."""

    id: Annotated[int, Field(description="What it is decided by.")]
    table: Annotated[str, Field(description="The table in the destination.")]
    column: Annotated[str, Field(description="The column, as it lands.")]
    kind: Annotated[ChangeKind, Field(description="What became of it.")]
    type_before: Annotated[str | None, Field(description="Its type in the destination; null: it has none.")]
    type_after: Annotated[str | None, Field(description="The type of what comes now; null: nothing comes.")]
    was: Annotated[str | None, Field(description="Of one that seems to be renamed, its name before.")]
    run_id: Annotated[UUID | None, Field(description="Prefect's id of the run that saw it first.")]
    first_seen_at: Annotated[datetime, Field(description="When it was seen first.")]
    state: Annotated[
        Decision,
        Field(description="`waiting` for a person, `approved`, `refused`; `applied`: nobody was asked (`evolve`)."),
    ]
    decided_by: Annotated[str | None, Field(description="Who decided.")]
    decided_at: Annotated[datetime | None, Field(description="When it was decided.")]

    @classmethod
    def of(cls, change: SchemaChange) -> "SchemaChangeAnswer":
        """A change as it is answered."""
        named = {"table": change.table_name, "column": change.column_name}
        return cls(**named, **{name: getattr(change, name) for name in cls.model_fields if name not in named})


class SchemaChangesAnswer(Body):
    """What has changed at a connector's source."""

    items: Annotated[list[SchemaChangeAnswer], Field(description="The changes, the newest first.")]


class HeldLoadsAnswer(Body):
    """What waits for a person."""

    items: Annotated[list[HeldLoadAnswer], Field(description="The tables, by name.")]


class ApprovedLoadAnswer(HeldLoadAnswer):
    """A load that was let through."""

    started: Annotated[
        UUID | None,
        Field(
            description="The run that was started to load it; null: none could be, and the connector's next run does."
        ),
    ]

    @classmethod
    def of_run(cls, held: HeldLoad, run: Run | None) -> "ApprovedLoadAnswer":
        """The same as it is answered, with its run."""
        return cls(**HeldLoadAnswer.of(held).model_dump(), started=None if run is None else run.id)
