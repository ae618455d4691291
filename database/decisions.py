"""Decisions that wait for a person, as runs leave them and people take them: `cai_held_loads`."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.loads import Decision, HeldLoad
from database.connectors import of_teams
from database.tables import connectors, held_loads

_HELD = [held_loads.c[field.name] for field in fields(HeldLoad)]


async def held_of(engine: AsyncEngine, connector_id: int) -> list[HeldLoad]:
    """The tables for whose sake a connector's load waits, or that were decided and have not loaded since, by name."""
    query = sa.select(*_HELD).where(held_loads.c.connector_id == connector_id).order_by(held_loads.c.table_name)
    async with engine.connect() as connection:
        return [_held(row) for row in (await connection.execute(query)).mappings()]


async def held_waiting(engine: AsyncEngine, teams: Collection[str] | None, limit: int) -> list[HeldLoad]:
    """What nobody has decided yet, of the connectors of these teams (of all for None), the oldest first."""
    query = (
        sa.select(*_HELD)
        .join(connectors, connectors.c.id == held_loads.c.connector_id)
        .where(held_loads.c.state == Decision.WAITING.value, of_teams(teams))
        .order_by(held_loads.c.held_at, held_loads.c.id)
        .limit(limit)
    )
    async with engine.connect() as connection:
        return [_held(row) for row in (await connection.execute(query)).mappings()]


async def decide_held(
    connection: AsyncConnection, connector_id: int, held_id: int, decision: Decision, by: str
) -> HeldLoad | None:
    """Decide whether a load may land, in the caller's transaction; None where it is no more held, or for others."""
    decided = (
        sa.update(held_loads)
        .where(held_loads.c.connector_id == connector_id, held_loads.c.id == held_id)
        .values(state=decision.value, decided_by=by, decided_at=sa.func.now())
        .returning(*_HELD)
    )
    found = (await connection.execute(decided)).mappings().one_or_none()
    return None if found is None else _held(found)


def _held(found: sa.RowMapping) -> HeldLoad:
    row: dict[str, Any] = dict(found)
    row["state"] = Decision(row["state"])
    return HeldLoad(**row)
