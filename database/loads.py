"""`cai_connector_loads`: how the loads of each connector go, as its runs have recorded it."""

from collections.abc import Collection
from dataclasses import fields

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.loads import Load, Outcome
from database.connection.engine import any_of
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
    forgiven = sa.update(table).where(table.c.connector_id == connector_id).values(configuration_failures=0)
    async with engine.begin() as connection:
        await connection.execute(forgiven)
