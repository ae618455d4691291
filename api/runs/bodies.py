"""Answers about loads: one row for each run that tried, and one for each table of it."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt

from api.bodies import LONGEST_PAGE, Body, Input, cursor_text, plain_digits, plain_text
from api.camel_case import Sentence
from connectors.limits.ids import LARGEST_ID
from connectors.loads import FailureKind, LoadRun, Outcome, TableLoad
from connectors.runs import Options
from connectors.sources.write_rules import Comparison

_UNCOUNTED = "null: not counted."


class LoadsQuery(Input):
    """Which loads are listed."""

    limit: Annotated[
        int, Field(ge=1, le=LONGEST_PAGE, description="Most loads on the page."), BeforeValidator(plain_digits)
    ] = 20
    cursor: Annotated[
        str | None,
        AfterValidator(cursor_text),
        Field(description="`nextCursor` of the page before; left out: the newest."),
    ] = None


class RunInput(Input):
    """What one run is asked for beside the connector's own settings; all of it, when nothing is said."""

    full_refresh: Annotated[
        StrictBool, Field(description="true: drop the connector's tables and load everything again.")
    ] = False
    tables: Annotated[
        list[Annotated[str, AfterValidator(plain_text)]],
        Field(description="Only these tables or resources; empty: all.", max_length=1000, examples=[["visit"]]),
    ] = Field(default_factory=list)
    row_limit: Annotated[
        StrictInt | None,
        Field(ge=1, le=LARGEST_ID, description="At most so many rows of each table, to try a connector out."),
    ] = None
    backfill_from: Annotated[
        datetime | None,
        Field(description="Load again what changed since this moment, whatever was loaded before. No zone: UTC."),
    ] = None
    backfill_to: Annotated[
        datetime | None, Field(description="With `backfillFrom`: only what changed before this moment. null: now.")
    ] = None

    allow_mass_delete: Annotated[
        StrictBool,
        Field(
            description="true: somebody has looked, and rows that are gone at the source go from the destination, "
            "as many as were found to be: where more are by then, it is asked again."
        ),
    ] = False
    ignore_quiet_hours: Annotated[
        StrictBool,
        Field(description="true: ask the source in its quiet hours, too; else the run begins at their end."),
    ] = False

    @property
    def options(self) -> Options:
        """As the use case takes it."""
        return Options(
            self.full_refresh, tuple(self.tables), self.row_limit, self.backfill_from, self.backfill_to,
            allow_mass_delete=self.allow_mass_delete, ignore_quiet_hours=self.ignore_quiet_hours,
        )  # fmt: skip


class ReconcileInput(Input):
    """How source and destination are compared; by all values of all tables, when nothing is said."""

    by: Annotated[
        Comparison,
        Field(
            description="`sums`: all values, down to the keys that differ, where the destination is DuckDB or "
            "PostgreSQL and the table has a key; else, as with `counts`, the numbers of rows."
        ),
    ] = Comparison.SUMS
    tables: Annotated[
        list[Annotated[str, AfterValidator(plain_text)]],
        Field(description="Only these tables or resources; empty: all.", max_length=1000, examples=[["visit"]]),
    ] = Field(default_factory=list)

    @property
    def options(self) -> Options:
        """As the use case takes it."""
        return Options(tables=tuple(self.tables), reconcile=self.by)


class LoadAnswer(Body):
    """One run that tried to load, as it has recorded it itself. It stays when Prefect forgets the run."""

    run_id: Annotated[UUID | None, Field(description="Prefect's id of the flow run; null: it ran without Prefect.")]
    outcome: Annotated[
        Outcome, Field(description="How it went. `running` may have died: the next run of the connector says so.")
    ]
    kind: Annotated[FailureKind | None, Field(description="Of a failure: who must act.")]
    message: Annotated[Sentence | None, Field(description="The sentence with which it ended.")]
    actor: Annotated[str | None, Field(description="Who or what started it: `schedule`, or a name; null: nobody said.")]
    started_at: Annotated[datetime, Field(description="When it had its turn and began.")]
    ended_at: Annotated[datetime | None, Field(description="When it ended.")]
    generation: Annotated[int, Field(description="The generation of the connector that it ran by.")]
    options: Annotated[
        dict[str, Any],
        Field(
            description="What was asked of it: `full_refresh`, `tables`, `row_limit`, `backfill_from`, `backfill_to`, "
            "`reconcile`, `allow_mass_delete`, `ignore_quiet_hours`."
        ),
    ]
    destination: Annotated[str | None, Field(description="The destination's type, of a load that completed.")]
    dataset_name: Annotated[str | None, Field(description="The dataset, of a load that completed.")]
    rows: Annotated[int, Field(description="Rows written, in all tables.")]
    bytes: Annotated[int, Field(description="Bytes of load files.")]
    seconds: Annotated[dict[str, float], Field(description="By step: `extract`, `normalize`, `load`.")]
    code_version: Annotated[str | None, Field(description="The version of this program that ran.")]

    @classmethod
    def of(cls, load: LoadRun) -> "LoadAnswer":
        """A load as it is answered."""
        return cls(**_fields(load, cls))


class TableLoadAnswer(Body):
    """What one run did to one table. `read` is `written` and `rejected` together, always: else the load fails."""

    table: Annotated[str, Field(description="The table in the destination.")]
    read: Annotated[int, Field(description="Rows of the source that the run had to land.")]
    written: Annotated[int, Field(description="Rows that it wrote.")]
    rejected: Annotated[int, Field(description="Rows that could not land: they stand in `{table}__rejected`.")]
    repeated: Annotated[
        int,
        Field(
            description="Rows that came besides: they stood there already, or a newer version of them came in the same "
            "run."
        ),
    ]
    new: Annotated[int | None, Field(description=f"Of those written: rows whose key was not there. {_UNCOUNTED}")]
    changed: Annotated[
        int | None, Field(description=f"Of those written: rows that took the place of one with their key. {_UNCOUNTED}")
    ]
    deleted: Annotated[int | None, Field(description=f"Rows that were there and are not any more. {_UNCOUNTED}")]
    rows_after: Annotated[int | None, Field(description=f"Rows in the destination after the load. {_UNCOUNTED}")]
    cursor_from: Annotated[str | None, Field(description="The cursor from which it read; null: from the beginning.")]
    cursor_to: Annotated[str | None, Field(description="The cursor from which the next run reads.")]
    bytes: Annotated[int, Field(description="Bytes of load files.")]
    seconds: Annotated[dict[str, float], Field(description="By step, as far as it works on one table.")]
    schema_hash: Annotated[
        str | None, Field(description="Of the names and types of the columns: another one, and the shape has changed.")
    ]

    @classmethod
    def of(cls, table: TableLoad) -> "TableLoadAnswer":
        """A table's load as it is answered."""
        return cls(table=table.table_name, **_fields(table, cls))


class LoadsAnswer(Body):
    """Some loads of a connector."""

    items: Annotated[list[LoadAnswer], Field(description="The loads, the newest first.")]
    next_cursor: Annotated[
        str | None, Field(description="What `cursor` gets the next page with; null when this is the last.")
    ]


class LoadDetail(LoadAnswer):
    """One load, table by table."""

    tables: Annotated[list[TableLoadAnswer], Field(description="Its tables, by name; none of a load that failed.")]

    @classmethod
    def of_tables(cls, load: LoadRun, tables: tuple[TableLoad, ...]) -> "LoadDetail":
        """A load with its tables as it is answered."""
        return cls(**_fields(load, LoadAnswer), tables=[TableLoadAnswer.of(table) for table in tables])


def _fields(found: LoadRun | TableLoad, body: type[Body]) -> dict[str, Any]:
    return {name: getattr(found, name) for name in body.model_fields if hasattr(found, name)}
