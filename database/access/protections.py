"""`cai_protections`: profiles of what may land of rows, and whose they are."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from database.tables import protections


@dataclass(frozen=True, slots=True)
class StoredProtection:
    """One profile, with who changed it last, and when."""

    name: str
    team: str | None
    rules: dict[str, Any]
    changed_at: datetime | None
    changed_by: str


_COLUMNS = [protections.c[name] for name in StoredProtection.__slots__]


async def listed(engine: AsyncEngine, teams: Collection[str] | None) -> list[StoredProtection]:
    """The profiles of these teams and everybody's, or all for None, by name."""
    query = sa.select(*_COLUMNS).order_by(protections.c.name)
    if teams is not None:
        query = query.where(protections.c.team.is_(None) | protections.c.team.in_(sorted(teams)))
    async with engine.connect() as connection:
        return [StoredProtection(**found) for found in (await connection.execute(query)).mappings()]


async def one(connection: AsyncConnection, name: str) -> StoredProtection | None:
    """The profile of this name, held until the transaction ends; None when there is none."""
    query = sa.select(*_COLUMNS).where(protections.c.name == name).with_for_update()
    found = (await connection.execute(query)).mappings().one_or_none()
    return None if found is None else StoredProtection(**found)


async def exists(connection: AsyncConnection, name: str, team: str | None) -> bool:
    """Whether a connector of a team may name a profile."""
    may = protections.c.team.is_(None) | (protections.c.team == team)
    query = sa.select(sa.literal(value=True)).where(protections.c.name == name, may)
    return bool((await connection.execute(query)).scalar())


async def put(connection: AsyncConnection, name: str, team: str | None, rules: dict[str, Any], by: str) -> None:
    """Store a profile under its name, in place of the one that has it."""
    values = {"team": team, "rules": rules, "changed_by": by, "changed_at": sa.func.now()}
    statement = upsert(protections).values(name=name, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


async def delete(connection: AsyncConnection, name: str) -> None:
    """Forget a profile."""
    await connection.execute(sa.delete(protections).where(protections.c.name == name))
