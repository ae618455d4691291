"""`cai_source_limits`: how many loads may ask a host or use a login at once, and when none may."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from connectors.judging.source_limits import STALE
from database.tables import source_limits, source_waits


@dataclass(frozen=True, slots=True)
class StoredLimit:
    """One limit, with who changed it last, when, and how many wait for it."""

    name: str
    hosts: list[str]
    credentials: list[dict[str, str]]
    loads: int | None
    quiet_hours: list[dict[str, Any]]
    changed_at: datetime
    changed_by: str
    waiting: int


_WAITING = (
    sa.select(sa.func.count())
    .where(
        source_waits.c.limit_name == source_limits.c.name,
        source_waits.c.look_at > sa.func.now() - STALE,
    )
    .scalar_subquery()
    .label("waiting")
)
_QUERY = sa.select(*(source_limits.c[name] for name in StoredLimit.__slots__ if name != "waiting"), _WAITING).order_by(
    source_limits.c.name
)


async def listed(connection: AsyncConnection) -> list[StoredLimit]:
    """All limits, by name."""
    return [StoredLimit(**found) for found in (await connection.execute(_QUERY)).mappings()]


async def one(connection: AsyncConnection, name: str) -> StoredLimit | None:
    """The limit of this name; None when there is none."""
    found = (await connection.execute(_QUERY.where(source_limits.c.name == name))).mappings().one_or_none()
    return None if found is None else StoredLimit(**found)


async def put(connection: AsyncConnection, name: str, values: Mapping[str, Any], by: str) -> None:
    """Store a limit under its name, in place of the one that has it."""
    stored = {**values, "changed_by": by, "changed_at": sa.func.now()}
    statement = upsert(source_limits).values(name=name, **stored)
    await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=stored))


async def delete(connection: AsyncConnection, name: str) -> None:
    """Forget a limit."""
    await connection.execute(sa.delete(source_limits).where(source_limits.c.name == name))
