"""Loads as the runs have recorded them (`database.runs`): `cai_loads` and what belongs to it.

How a connector's loads go is what its last row says, which the view `cai_connector_loads` shows.
"""

from collections.abc import Collection
from dataclasses import fields
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.comparisons import Difference, DifferenceKind, KeyRange, TableComparison
from connectors.loads import FailureKind, Load, LoadRun, Outcome, TableLoad, Withheld
from connectors.sources.write_rules import Comparison
from database.connection.engine import Fence, any_of
from database.connectors import of_teams
from database.tables import comparisons, connectors, load_runs, load_tables, withheld_deletes
from database.tables import loads as table


async def loads(engine: AsyncEngine, ids: Collection[int] | None = None) -> dict[int, Load]:
    """How the loads of these connectors (of all for None) go, by connector id; none for one that never ran."""
    query = sa.select(*(table.c[field.name] for field in fields(Load)))
    if ids is not None:
        query = query.where(table.c.connector_id == any_of(ids))
    async with engine.connect() as connection:
        found = (await connection.execute(query)).mappings().all()
    return {row["connector_id"]: load_of(dict(row)) for row in found}


def load_of(row: dict[str, object]) -> Load:
    """A row of the table, as how the loads go."""
    outcome = row["outcome"]
    row["outcome"] = None if outcome is None else Outcome(str(outcome))
    return Load(**row)  # type: ignore[arg-type]  # the columns are the fields


async def forgive(engine: AsyncEngine, connector_id: int) -> None:
    """Undo an auto-pause: what failed until now counts no more."""
    forgiven = sa.update(load_runs).where(load_runs.c.connector_id == connector_id, load_runs.c.is_last)
    forgiven = forgiven.values(configuration_failures=0)
    async with engine.begin() as connection:
        await connection.execute(forgiven)


# --- the history ------------------------------------------------------------------------------------------------------

PRUNED_AT_ONCE = 10_000
"""Rows that are deleted in one transaction: no other one waits long for it."""

_RUN = [load_runs.c[field.name] for field in fields(LoadRun)]


async def history(engine: AsyncEngine, connector_id: int, *, limit: int, before: int | None) -> list[LoadRun]:
    """The last runs that tried to load a connector, the newest first, of those with an id below `before`."""
    query = sa.select(*_RUN).where(load_runs.c.connector_id == connector_id)
    if before is not None:
        query = query.where(load_runs.c.id < before)
    async with engine.connect() as connection:
        found = await connection.execute(query.order_by(load_runs.c.id.desc()).limit(limit))
        return [_run(row) for row in found.mappings()]


async def of_run(engine: AsyncEngine, connector_id: int, run_id: UUID) -> tuple[LoadRun, tuple[TableLoad, ...]] | None:
    """The load of one of Prefect's runs, the last where it was started again, and its tables; None: there is none."""
    which = (load_runs.c.connector_id == connector_id, load_runs.c.run_id == run_id)
    query = sa.select(*_RUN).where(*which).order_by(load_runs.c.id.desc()).limit(1)
    async with engine.connect() as connection:
        found = (await connection.execute(query)).mappings().one_or_none()
        if found is None:
            return None
        return _run(found), await _tables(connection, load_tables.c.load_id == found["id"])


async def last_tables(engine: AsyncEngine, connector_id: int) -> tuple[TableLoad, ...]:
    """What the last load of a connector that completed did to each table, by name."""
    done = (load_runs.c.connector_id == connector_id, load_runs.c.outcome == Outcome.COMPLETED.value)
    last = sa.select(load_runs.c.id).where(*done).order_by(load_runs.c.id.desc()).limit(1).scalar_subquery()
    async with engine.connect() as connection:
        return await _tables(connection, load_tables.c.load_id == last)


async def _tables(connection: AsyncConnection, which: sa.ColumnElement[bool]) -> tuple[TableLoad, ...]:
    columns = [load_tables.c[field.name] for field in fields(TableLoad)]
    query = sa.select(*columns).where(which).order_by(load_tables.c.table_name)
    return tuple(TableLoad(**row) for row in (await connection.execute(query)).mappings())


async def withheld(engine: AsyncEngine, teams: Collection[str] | None, *, limit: int) -> list[Withheld]:
    """Deletes that wait for a person, the longest first, of these teams' connectors and everybody's; None: of all."""
    row, found = connectors.c, withheld_deletes.c
    query = sa.select(*(found[field.name] for field in fields(Withheld))).join(connectors, row.id == found.connector_id)
    query = query.where(of_teams(teams))
    async with engine.connect() as connection:
        some = await connection.execute(query.order_by(found.since, found.connector_id, found.table_name).limit(limit))
        return [Withheld(**each) for each in some.mappings()]


async def comparisons_of(engine: AsyncEngine, connector_id: int) -> list[TableComparison]:
    """How a connector's tables compared with the source when they were last compared, by name."""
    columns = [comparisons.c[field.name] for field in fields(TableComparison)]
    query = sa.select(*columns).where(comparisons.c.connector_id == connector_id).order_by(comparisons.c.table_name)
    async with engine.connect() as connection:
        return [_comparison(dict(row)) for row in (await connection.execute(query)).mappings()]


def _comparison(row: dict[str, Any]) -> TableComparison:
    row["by"] = Comparison(row["by"])
    row["ranges"] = tuple(KeyRange(**each) for each in row["ranges"])
    row["differences"] = tuple(
        Difference(each["key"], DifferenceKind(each["kind"]), tuple(each["columns"])) for each in row["differences"]
    )
    return TableComparison(**row)


async def rows_of_runs(engine: AsyncEngine, run_ids: Collection[UUID]) -> dict[UUID, int]:
    """The rows that each of these runs has loaded, as far as one completed."""
    if not run_ids:
        return {}
    which = load_runs.c.run_id.in_(run_ids) & (load_runs.c.outcome == Outcome.COMPLETED.value)
    query = sa.select(load_runs.c.run_id, sa.func.sum(load_runs.c.rows)).where(which).group_by(load_runs.c.run_id)
    async with engine.connect() as connection:
        return {run_id: int(rows) for run_id, rows in await connection.execute(query)}


async def prune(engine: AsyncEngine, keep: timedelta, fence: Fence) -> int:
    """Forget runs that began longer ago than that, but for each connector's last, some at a time; how many.

    If the process dies before the commit, the next audit does it.
    """
    old = sa.select(load_runs.c.id).where(
        load_runs.c.started_at < sa.func.now() - keep, load_runs.c.is_last.is_not(True)
    )
    some = old.order_by(load_runs.c.started_at).limit(PRUNED_AT_ONCE).with_for_update(skip_locked=True)
    async with engine.begin() as connection:
        gone = await connection.execute(sa.delete(load_runs).where(load_runs.c.id.in_(some)))
        await fence(connection)
    return int(gone.rowcount)


def _run(found: sa.RowMapping) -> LoadRun:
    row: dict[str, Any] = dict(found)
    row["outcome"] = Outcome(row["outcome"])
    row["kind"] = None if row["kind"] is None else FailureKind(row["kind"])
    return LoadRun(**row)
