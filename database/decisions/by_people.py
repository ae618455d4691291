"""Decisions that wait for a person, as runs leave them and people take them: `cai_held_loads`."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.loads import ChangeKind, Decision, HeldLoad, SchemaChange
from database.connectors import of_teams
from database.tables import connectors, held_loads, schema_changes

_CHANGE = [schema_changes.c[field.name] for field in fields(SchemaChange)]
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


async def changes_of(engine: AsyncEngine, connector_id: int) -> list[SchemaChange]:
    """What has changed at a connector's source, the newest first."""
    query = sa.select(*_CHANGE).where(schema_changes.c.connector_id == connector_id)
    async with engine.connect() as connection:
        return [
            _change(row) for row in (await connection.execute(query.order_by(schema_changes.c.id.desc()))).mappings()
        ]


async def changes_waiting(engine: AsyncEngine, teams: Collection[str] | None, limit: int) -> list[SchemaChange]:
    """What nobody has decided yet, of the connectors of these teams (of all for None), the oldest first."""
    query = (
        sa.select(*_CHANGE)
        .join(connectors, connectors.c.id == schema_changes.c.connector_id)
        .where(schema_changes.c.state == Decision.WAITING.value, of_teams(teams))
        .order_by(schema_changes.c.first_seen_at, schema_changes.c.id)
        .limit(limit)
    )
    async with engine.connect() as connection:
        return [_change(row) for row in (await connection.execute(query)).mappings()]


async def decide_change(
    connection: AsyncConnection, connector_id: int, change_id: int, decision: Decision, by: str
) -> SchemaChange | None:
    """Decide on a change, in the caller's transaction; None where there is none that anybody was asked about."""
    decided = (
        sa.update(schema_changes)
        .where(
            schema_changes.c.connector_id == connector_id,
            schema_changes.c.id == change_id,
            schema_changes.c.state != Decision.APPLIED.value,
        )
        .values(state=decision.value, decided_by=by, decided_at=sa.func.now())
        .returning(*_CHANGE)
    )
    found = (await connection.execute(decided)).mappings().one_or_none()
    return None if found is None else _change(found)


def _change(found: sa.RowMapping) -> SchemaChange:
    row: dict[str, Any] = dict(found)
    row["state"], row["kind"] = Decision(row["state"]), ChangeKind(row["kind"])
    return SchemaChange(**row)


def _held(found: sa.RowMapping) -> HeldLoad:
    row: dict[str, Any] = dict(found)
    row["state"] = Decision(row["state"])
    return HeldLoad(**row)
