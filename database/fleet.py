"""The whole fleet across its tables: how each connector stands, and the fleet in a few numbers for metrics.

Read from the tables and not from the controller's memory: so both are right after a hand-over, and say it when a loop
that has stopped turning leaves changes undone. The numbers are counts and one age, never a connector by name.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.connector import ConnectorRow
from connectors.freshness import Promise
from connectors.judging.standing import Standing
from connectors.loads import Load, Outcome
from connectors.status import Phase, Reason, Status
from database.connection.engine import any_of
from database.connectors import within_reach
from database.loads import load_of
from database.promises import promise_of
from database.statuses import status_of
from database.tables import connectors, freshness, loads, status

SETTLED = (Phase.SYNCED, Phase.PAUSED, Phase.INVALID)
"""The phases in which nothing is left to do."""

NEVER = "never"
"""In place of an outcome: the connector has not loaded yet."""

OVERLAP = timedelta(minutes=1)
"""A row's times are those at which its transaction began, so one that was just read may get an older one yet."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How many loads of one connector have ended, and the rows they brought and rejected, over all its life."""

    completed: int
    failed: int
    rows: int
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """The fleet at one moment."""

    at: datetime
    """When it was read, in the database's time."""
    phases: Mapping[Phase, int]
    """Connectors by phase; one without a status yet is pending."""
    outcomes: Mapping[str, int]
    """Connectors by how their last load went (an `Outcome`, or `never`)."""
    unsynced_seconds: float
    """For how long the change that waits longest has waited to be in Prefect; 0 when none waits."""
    ended: Mapping[int, Ended]
    """The loads of those connectors whose loads have moved lately, by connector id."""


class Joined(NamedTuple):
    """A connector with what is recorded of it; None where nothing is."""

    row: ConnectorRow
    status: Status | None
    load: Load | None
    promise: Promise | None


async def joined(engine: AsyncEngine, ids: Collection[int]) -> list[Joined]:
    """These connectors, by id, with all that is recorded of them, in one query. Of the rows' content there is no hash.

    A page of the list costs this and the query that finds its ids, and not one a table.
    """
    parts: list[tuple[str, sa.Table, Any]] = [
        ("status", status, Status),
        ("load", loads, Load),
        ("promise", freshness, Promise),
    ]
    every: sa.FromClause = connectors
    columns: list[sa.ColumnElement[Any]] = [*map(within_reach, connectors.c)]
    for label, table, kind in parts:
        every = every.outerjoin(table, table.c.connector_id == connectors.c.id)
        columns += [table.c[field.name].label(f"{label}_{field.name}") for field in fields(kind)]
    query = sa.select(*columns).select_from(every).where(connectors.c.id == any_of(ids)).order_by(connectors.c.id)
    async with engine.connect() as connection:
        found = (await connection.execute(query)).mappings().all()
    return [_joined(dict(each)) for each in found]


def _joined(row: dict[str, Any]) -> Joined:
    def part(label: str, kind: Any, made: Callable[[dict[str, object]], Any]) -> Any:
        values = {field.name: row.pop(f"{label}_{field.name}") for field in fields(kind)}
        return None if values["connector_id"] is None else made(values)

    recorded = (
        part("status", Status, status_of), part("load", Load, load_of), part("promise", Promise, promise_of)
    )  # fmt: skip
    return Joined(ConnectorRow(**row), *recorded)


async def standings(engine: AsyncEngine) -> list[Standing]:
    """How every connector stands, by id, in one query; those too that are gone and of which something was told."""
    row, promise = connectors.c, freshness.c
    every = connectors.join(freshness, promise.connector_id == row.id, full=True)
    connector_id = sa.func.coalesce(row.id, promise.connector_id)
    every = every.outerjoin(status, status.c.connector_id == connector_id)
    every = every.outerjoin(loads, loads.c.connector_id == connector_id)
    shown = (row.name, row.description, row.schedule, row.timezone, row.is_active, row.dataset_name)
    told = (status.c.phase, status.c.reason, status.c.message, status.c.deployment_id)
    query = sa.select(
        connector_id.label("connector_id"),
        row.source["type"].astext.label("source_type"),
        row.destination["type"].astext.label("destination_type"),
        *shown,
        *told,
        *(loads.c[field.name].label(f"load_{field.name}") for field in fields(Load)),
        *(promise[field.name].label(f"promise_{field.name}") for field in fields(Promise)),
    )
    async with engine.connect() as connection:
        found = (await connection.execute(query.select_from(every).order_by(connector_id))).mappings().all()
    return [_standing(dict(each)) for each in found]


def _standing(row: dict[str, Any]) -> Standing:
    """One row of that query: a connector whose own row is gone has none of its columns."""
    load = {field.name: row.pop(f"load_{field.name}") for field in fields(Load)}
    promise = {field.name: row.pop(f"promise_{field.name}") for field in fields(Promise)}
    row["phase"] = None if row["phase"] is None else Phase(row["phase"])
    row["reason"] = None if row["reason"] is None else Reason(row["reason"])
    if row["name"] is None:
        row["timezone"], row["is_active"] = "UTC", False
    return Standing(
        **row,
        load=None if load["connector_id"] is None else load_of(load),
        promise=None if promise["connector_id"] is None else promise_of(promise),
    )


async def totals(engine: AsyncEngine, since: datetime | None) -> Totals:
    """Read them. `since` is the `at` of the reading before: `ended` then holds what has moved since; all for None.

    Raises:
        One of DATABASE_ERRORS: when the database does not answer.
    """
    every = connectors.join(status, status.c.connector_id == connectors.c.id, full=True)
    phase = sa.func.coalesce(status.c.phase, Phase.PENDING.value)
    # What was settled for an older generation waits again, since the row was changed; what has no row left is deleted.
    changed = status.c.observed_generation.is_distinct_from(connectors.c.generation) & connectors.c.id.is_not(None)
    waits_since = sa.case(
        (phase.not_in(SETTLED), sa.func.coalesce(status.c.last_transition_at, connectors.c.updated_at)),
        (changed, connectors.c.updated_at),
    )
    age = sa.extract("epoch", sa.func.clock_timestamp() - sa.func.min(waits_since))
    phases = sa.select(phase, sa.func.count(), age)
    outcomes = sa.select(sa.func.coalesce(loads.c.outcome, NEVER), sa.func.count())
    totals_of_loads = (loads.c.loads_completed, loads.c.loads_failed, loads.c.rows_loaded, loads.c.rows_rejected)
    moved = sa.select(loads.c.connector_id, *totals_of_loads)
    if since is not None:
        moved = moved.where(sa.func.greatest(loads.c.started_at, loads.c.ended_at) >= since - OVERLAP)
    async with engine.connect() as connection:
        at = (await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
        by_phase = (await connection.execute(phases.select_from(every).group_by(sa.text("1")))).all()
        joined = outcomes.select_from(connectors.outerjoin(loads, loads.c.connector_id == connectors.c.id))
        by_outcome = (await connection.execute(joined.group_by(sa.text("1")))).all()
        ended = (await connection.execute(moved)).all()
    return Totals(
        at=at,
        phases={Phase(name): count for name, count, _ in by_phase},
        outcomes={Outcome(name) if name != NEVER else name: count for name, count in by_outcome},
        unsynced_seconds=max((float(waited) for _, _, waited in by_phase if waited is not None), default=0.0),
        ended={number: Ended(*counts) for number, *counts in ended},
    )
