"""`cai_connector_events`: phases of connectors, and what people were told of their being late. Triggers write it."""

from dataclasses import fields
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.judging.standing import Event, EventKind
from database.connection.engine import Fence
from database.tables import events as table

PRUNED_AT_ONCE = 10_000
"""Rows that are deleted in one transaction: no other one waits long for it."""

_COLUMNS = [table.c[field.name] for field in fields(Event)]


async def of_connector(engine: AsyncEngine, connector_id: int, *, limit: int, before: int | None) -> list[Event]:
    """The events of one connector, the newest first, of those with an id below `before`."""
    query = sa.select(*_COLUMNS).where(table.c.connector_id == connector_id)
    if before is not None:
        query = query.where(table.c.id < before)
    async with engine.connect() as connection:
        found = (await connection.execute(query.order_by(table.c.id.desc()).limit(limit))).mappings()
        return [Event(**{**each, "kind": EventKind(each["kind"])}) for each in found]


async def prune(engine: AsyncEngine, keep: timedelta, fence: Fence) -> int:
    """Forget events that are older than that, some at a time; how many.

    If the process dies before the commit, the next audit does it.
    """
    old = sa.select(table.c.id).where(table.c.at < sa.func.now() - keep)
    some = old.order_by(table.c.at).limit(PRUNED_AT_ONCE).with_for_update(skip_locked=True)
    async with engine.begin() as connection:
        gone = await connection.execute(sa.delete(table).where(table.c.id.in_(some)))
        await fence(connection)
    return int(gone.rowcount)
