"""The API's tokens: who holds one may do what its row says. The token itself is nowhere, only its digest."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.people import Role
from database.tables import tokens

NOTED_EVERY = timedelta(minutes=1)
"""How exactly `last_used_at` is told: a write for each request would cost more than the request."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token, without itself. Times are aware, in UTC."""

    id: int
    name: str
    role: Role
    team: str | None
    """None: for all teams."""
    expires_at: datetime | None
    """None: it holds until it is revoked."""
    last_used_at: datetime | None
    created_at: datetime
    created_by: str


_COLUMNS = [tokens.c[name] for name in Token.__slots__]


def _token(found: sa.RowMapping) -> Token:
    values = {name: found[name] for name in Token.__slots__}
    return Token(**{**values, "role": Role(found["role"])})


async def used(engine: AsyncEngine, digest: bytes) -> Token | None:
    """The token of this digest, unless it has expired or been revoked; notes that it was used."""
    now = sa.func.now()
    alive = (tokens.c.expires_at.is_(None)) | (tokens.c.expires_at > now)
    stale = tokens.c.last_used_at.is_(None) | (tokens.c.last_used_at < now - NOTED_EVERY)
    query = sa.select(*_COLUMNS, stale.label("stale")).where(tokens.c.digest == digest, alive)
    async with engine.begin() as connection:
        found = (await connection.execute(query)).mappings().one_or_none()
        if found is None:
            return None
        if found["stale"]:
            # Whoever notes it at this moment notes the same: nobody waits.
            free = sa.select(tokens.c.id).where(tokens.c.id == found["id"]).with_for_update(skip_locked=True)
            noted = sa.update(tokens).where(tokens.c.id.in_(free.scalar_subquery())).values(last_used_at=now)
            await connection.execute(noted)
    return _token(found)


async def insert(connection: AsyncConnection, digest: bytes, **values: Any) -> Token:
    """Keep a new token. Raises what SQLAlchemy does when its name is taken."""
    statement = sa.insert(tokens).values(digest=digest, **values).returning(*_COLUMNS)
    return _token((await connection.execute(statement)).mappings().one())


async def name_taken(engine: AsyncEngine, name: str) -> bool:
    """Whether there is a token of this name."""
    async with engine.connect() as connection:
        return bool(await connection.scalar(sa.select(sa.exists().where(tokens.c.name == name))))


async def listed(engine: AsyncEngine, teams: Collection[str] | None) -> list[Token]:
    """The tokens of these teams, or all for None, by id."""
    query = sa.select(*_COLUMNS).order_by(tokens.c.id)
    if teams is not None:
        query = query.where(tokens.c.team.in_(sorted(teams)))
    async with engine.connect() as connection:
        return [_token(found) for found in (await connection.execute(query)).mappings()]


async def one(engine: AsyncEngine, token_id: int) -> Token | None:
    """The token of this number; None when there is none."""
    async with engine.connect() as connection:
        query = sa.select(*_COLUMNS).where(tokens.c.id == token_id)
        found = (await connection.execute(query)).mappings().one_or_none()
    return None if found is None else _token(found)


async def delete(connection: AsyncConnection, token_id: int) -> bool:
    """Revoke a token, from the commit on; whether there was one."""
    gone = await connection.execute(sa.delete(tokens).where(tokens.c.id == token_id))
    return bool(gone.rowcount)
