"""The fleet in a few numbers, for metrics: counts and one age, never a connector by name.

Read from the tables and not from the controller's memory: so the numbers are right after a hand-over, and say it when a
loop that has stopped turning leaves changes undone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.loads import Outcome
from connectors.status import Phase
from database.tables import connectors, loads, status

SETTLED = (Phase.SYNCED, Phase.PAUSED, Phase.INVALID)
"""The phases in which nothing is left to do."""

NEVER = "never"
"""In place of an outcome: the connector has not loaded yet."""

OVERLAP = timedelta(minutes=1)
"""A row's times are those at which its transaction began, so one that was just read may get an older one yet."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How many loads of one connector have ended, and the rows they brought, over all its life."""

    completed: int
    failed: int
    rows: int


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
    moved = sa.select(loads.c.connector_id, loads.c.loads_completed, loads.c.loads_failed, loads.c.rows_loaded)
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
        ended={number: Ended(completed, failed, rows) for number, completed, failed, rows in ended},
    )
