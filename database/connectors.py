"""`cai_connectors`: what people and back ends ask for. Of a row the controller writes the deployment's id alone.

Reading takes an engine, one snapshot a call. Changing takes the connection of a transaction that the caller has begun,
so that a lock, a judgement and a write are one: if the process dies before the commit, nothing has happened.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.connector import ConnectorRow
from connectors.errors import ClashError, ConstraintError, NameTakenError
from connectors.freshness import Facts, Freshness
from connectors.status import Phase
from database import tables
from database.connection.engine import any_of
from database.connection.errors import PASSED_BY, Trouble, because_of_others, of_rows, refusal, trouble_of
from database.runs import CHANNEL

EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""The moments that Python can tell in any time zone."""


class Mark(NamedTuple):
    """By what a change of a row is noticed: its generation, and the transaction that wrote it, which moves by any."""

    generation: int
    written: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which connectors are listed. `text` is looked for in name and description, in either case."""

    is_active: bool | None = None
    phase: Phase | None = None
    freshness: Freshness | None = None
    text: str | None = None
    teams: Collection[str] | None = None
    """Only those of these teams and everybody's; None: all there are."""
    team: str | None = None
    """Only those of this team; empty: only everybody's."""


# --- reading ----------------------------------------------------------------------------------------------------------


async def marks(engine: AsyncEngine) -> dict[int, Mark]:
    """The mark of every connector by its id: the one query of a quiet cycle."""
    row = tables.connectors.c
    written: sa.ColumnElement[str] = sa.literal_column("cai_connectors.xmin::text", sa.Text)
    async with engine.connect() as connection:
        result = await connection.execute(sa.select(row.id, row.generation, written).select_from(tables.connectors))
        return {found[0]: Mark(found[1], found[2]) for found in result}


async def contents(engine: AsyncEngine, ids: Collection[int]) -> dict[int, str]:
    """A hash of what stands in the rows of these connectors, by id."""
    query = sa.select(tables.connectors.c.id, tables.content).where(tables.connectors.c.id == any_of(ids))
    async with engine.connect() as connection:
        return {found[0]: found[1] for found in await connection.execute(query)}


async def rows(engine: AsyncEngine, ids: Collection[int] | None = None) -> list[ConnectorRow]:
    """The rows of these connectors (of all for None), in one snapshot, by id."""
    columns = (*map(within_reach, tables.connectors.c), tables.content, tables.stamped)
    query = sa.select(*columns).order_by(tables.connectors.c.id)
    if ids is not None:
        query = query.where(tables.connectors.c.id == any_of(ids))
    async with engine.connect() as connection:
        return [ConnectorRow(**row) for row in (await connection.execute(query)).mappings()]


async def ids_of_names(engine: AsyncEngine, names: Collection[str]) -> dict[str, int]:
    """The ids of the connectors of these names, whoever's they are."""
    row = tables.connectors.c
    async with engine.connect() as connection:
        found = await connection.execute(sa.select(row.name, row.id).where(row.name.in_(names)))
        return {each.name: each.id for each in found}


async def ready(engine: AsyncEngine) -> None:
    """Return when the database answers and holds the table; raise what it says otherwise."""
    async with engine.connect() as connection:
        await connection.execute(sa.select(tables.connectors.c.id).limit(1))


async def facts(engine: AsyncEngine, which: Filter, *, limit: int, after: int | None) -> list[Facts]:
    """What connectors are judged by, in the order of their ids, of those that fit and have an id above `after`.

    Where a freshness is asked for there may be more than `limit`, and some that do not fit: SQL does not know the dates
    of a schedule, so whoever asks judges them.
    """
    row = tables.connectors.c
    query = _FACTS if after is None else _FACTS.where(row.id > after)
    if which.is_active is not None:
        query = query.where(row.is_active.is_(which.is_active))
    if which.phase is not None:
        query = query.where(sa.func.coalesce(tables.status.c.phase, Phase.PENDING.value) == which.phase.value)
    query = query.where(of_teams(which.teams))
    if which.team is not None:
        query = query.where(row.team == which.team if which.team else row.team.is_(None))
    if which.text:
        columns = (row.name, row.description)
        query = query.where(sa.or_(*(column.icontains(which.text, autoescape=True) for column in columns)))
    query = query.limit(limit) if which.freshness is None else query.where(_MAY_BE[which.freshness])
    async with engine.connect() as connection:
        return [_facts(each) for each in (await connection.execute(query)).mappings()]


async def teams_of(engine: AsyncEngine, teams: Collection[str] | None) -> list[str]:
    """The teams that have connectors, by name, of these; None: of all."""
    team = tables.connectors.c.team
    query = sa.select(team).where(team.is_not(None), of_teams(teams)).distinct().order_by(team)
    async with engine.connect() as connection:
        return list(await connection.scalars(query))


async def schedules(
    engine: AsyncEngine, *, but: int, teams: Collection[str] | None = None
) -> Sequence[tuple[str, str, int]]:
    """Schedule, time zone and id of every active connector that has a schedule, but for one; of these teams alone."""
    row = tables.connectors.c
    query = sa.select(row.schedule, row.timezone, row.id).where(
        row.is_active, row.schedule.is_not(None), row.id != but, of_teams(teams)
    )
    async with engine.connect() as connection:
        return [(cron, timezone, number) for cron, timezone, number in await connection.execute(query)]


def of_teams(teams: Collection[str] | None) -> sa.ColumnElement[bool]:
    """The connectors of these teams, and everybody's; all of them for None, and none at all without a team."""
    team = tables.connectors.c.team
    if teams is None:
        return sa.true()
    return sa.or_(team.is_(None), team.in_(sorted(teams))) if teams else sa.false()


def within_reach(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A column as Python can hold it: PostgreSQL's years go beyond 9999, and one such row would fail for all."""
    if not isinstance(column.type, TIMESTAMP):
        return column
    return sa.func.least(sa.func.greatest(column, EARLIEST), LATEST).label(column.name)


_FACTS = (
    sa.select(
        tables.connectors.c.id.label("connector_id"),
        tables.connectors.c.schedule,
        tables.connectors.c.timezone,
        tables.connectors.c.is_active,
        tables.status.c.phase,
        sa.func.coalesce(tables.loads.c.failures, 0).label("failures"),
        tables.loads.c.last_success_at,
        tables.freshness.c.promised_at,
    )
    .outerjoin(tables.status, tables.status.c.connector_id == tables.connectors.c.id)
    .outerjoin(tables.loads, tables.loads.c.connector_id == tables.connectors.c.id)
    .outerjoin(tables.freshness, tables.freshness.c.connector_id == tables.connectors.c.id)
    .order_by(tables.connectors.c.id)
)
"""What connectors are judged by, in the order of their ids."""

_RUNS = sa.and_(tables.connectors.c.is_active, tables.connectors.c.schedule.is_not(None))
_MAY_BE: Mapping[Freshness, sa.ColumnElement[bool]] = {
    Freshness.INVALID: tables.connectors.c.is_active,
    Freshness.PAUSED: sa.or_(~tables.connectors.c.is_active, tables.status.c.phase == Phase.PAUSED.value),
    Freshness.FAILING: tables.loads.c.failures > 0,
    Freshness.OVERDUE: _RUNS,
    Freshness.LATE: _RUNS,
    Freshness.MANUAL: tables.connectors.c.schedule.is_(None),
    Freshness.ON_TIME: _RUNS,
}
"""What SQL knows of each judgement, so that fewer are left to judge."""


def _facts(found: sa.RowMapping) -> Facts:
    return Facts(**{**found, "phase": None if found["phase"] is None else Phase(found["phase"])})


# --- changing ---------------------------------------------------------------------------------------------------------

COLUMNS: list[sa.ColumnElement[Any]] = [
    *(tables.connectors.c[field.name] for field in fields(ConnectorRow) if field.name in tables.connectors.c),
    tables.content,
    tables.stamped,
]


@asynccontextmanager
async def changing(engine: AsyncEngine, *, name: str | None, own_id: int | None) -> AsyncIterator[AsyncConnection]:
    """One transaction; what constraints and triggers refuse becomes a sentence: a back end may have some of its own.

    Args:
        engine: of the database.
        name: the name that the connector is to have; None when it stays.
        own_id: of the connector; None for a new one.

    Raises:
        NameTakenError: another connector has `name`.
        ConstraintError: any other constraint is broken, or a trigger raises.
    """
    try:
        async with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        if not of_rows(error) or trouble_of(error) is Trouble.LOCKED:
            raise
        if name is not None and trouble_of(error) is Trouble.CONSTRAINT and await _taken(engine, name, own_id):
            raise NameTakenError from error
        kind = ClashError if because_of_others(error) else ConstraintError
        raise kind(refusal(error)) from error


async def lock(connection: AsyncConnection, connector_id: int) -> ConnectorRow | None:
    """The row, kept for this transaction: whoever else would change it waits, and then sees what we wrote."""
    query = sa.select(*COLUMNS).where(tables.connectors.c.id == connector_id).with_for_update()
    found = (await connection.execute(query)).mappings().one_or_none()
    return None if found is None else ConnectorRow(**found)


async def exists(connection: AsyncConnection, connector_id: int) -> bool:
    """Whether there is a row of this number."""
    there = sa.exists().where(tables.connectors.c.id == connector_id)
    return bool(await connection.scalar(sa.select(there)))


async def insert(connection: AsyncConnection, values: Mapping[str, Any]) -> ConnectorRow:
    """Make a row of these columns. Raises `ConstraintError` when a trigger passes over it."""
    statement = sa.insert(tables.connectors).values(**values).returning(*COLUMNS)
    return _kept((await connection.execute(statement)).mappings().first())


async def update(connection: AsyncConnection, connector_id: int, changes: Mapping[str, Any]) -> ConnectorRow:
    """Change these columns, at least one. Raises `ConstraintError` when a trigger passes over it."""
    connectors = tables.connectors
    statement = sa.update(connectors).where(connectors.c.id == connector_id).values(**changes).returning(*COLUMNS)
    return _kept((await connection.execute(statement)).mappings().first())


async def delete(connection: AsyncConnection, connector_id: int) -> None:
    """Delete a row. Raises `ConstraintError` when a trigger passes over it."""
    gone = sa.delete(tables.connectors).where(tables.connectors.c.id == connector_id).returning(*COLUMNS)
    _kept((await connection.execute(gone)).mappings().first())


async def others_of_dataset(connection: AsyncConnection, dataset: str, own_id: int) -> list[ConnectorRow]:
    """The rows of the other connectors that load into a dataset of this name."""
    connectors = tables.connectors
    theirs = sa.func.coalesce(connectors.c.dataset_name, sa.func.concat("connector_", connectors.c.id))
    query = sa.select(*COLUMNS).where(theirs == dataset, connectors.c.id != own_id)
    return [ConnectorRow(**other) for other in (await connection.execute(query)).mappings()]


async def hint(engine: AsyncEngine, connector_id: int) -> None:
    """Wake the controller for one connector. A lost hint costs nothing but its next audit or try."""
    async with engine.begin() as connection:
        await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, str(connector_id))))


async def _taken(engine: AsyncEngine, name: str, own_id: int | None) -> bool:
    connectors = tables.connectors
    taken = sa.exists().where(connectors.c.name == name, connectors.c.id != (own_id or 0))
    async with engine.connect() as connection:
        return bool(await connection.scalar(sa.select(taken)))


def _kept(found: sa.RowMapping | None) -> ConnectorRow:
    """The row that a statement wrote, or deleted. Raises `ConstraintError` when a trigger has let it pass by."""
    if found is None:
        raise ConstraintError(PASSED_BY)
    return ConnectorRow(**found)
