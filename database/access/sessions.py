"""Sessions of the page, and the one-time links that begin some: rows that are found by a digest."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.people import Grant, Role
from database.tables import sessions


@dataclass(frozen=True, slots=True)
class StoredSession:
    """Somebody who is logged in."""

    name: str
    grants: tuple[Grant, ...]
    csrf: str
    proof: bytes | None
    """Of the token of CAI_API_TOKEN that began it; None where another did."""


def _session(found: sa.RowMapping) -> StoredSession:
    grants = tuple(Grant(Role(each["role"]), each["team"]) for each in found["grants"])
    return StoredSession(found["name"], grants, found["csrf"], found["proof"])


_COLUMNS = [sessions.c[name] for name in StoredSession.__slots__]


async def alive(engine: AsyncEngine, digest: bytes) -> StoredSession | None:
    """The session of this digest, unless it has ended."""
    query = sa.select(*_COLUMNS).where(
        sessions.c.digest == digest, sessions.c.expires_at > sa.func.now(), ~sessions.c.is_link
    )
    async with engine.connect() as connection:
        found = (await connection.execute(query)).mappings().one_or_none()
    return None if found is None else _session(found)


async def insert(
    connection: AsyncConnection, digest: bytes, grants: tuple[Grant, ...], lasts: timedelta, **values: Any
) -> None:
    """Keep a session or a link for as long as that, and forget those that have ended."""
    await connection.execute(sa.delete(sessions).where(sessions.c.expires_at <= sa.func.now()))
    written = [{"role": grant.role.value, "team": grant.team} for grant in grants]
    statement = sa.insert(sessions).values(
        digest=digest, grants=written, expires_at=sa.func.now() + sa.bindparam("lasts", lasts, sa.Interval), **values
    )
    await connection.execute(statement)


async def end(connection: AsyncConnection, digest: bytes) -> bool:
    """End a session, from the commit on; whether there was one."""
    gone = await connection.execute(sa.delete(sessions).where(sessions.c.digest == digest, ~sessions.c.is_link))
    return bool(gone.rowcount)


async def take_link(connection: AsyncConnection, digest: bytes) -> StoredSession | None:
    """Use up a link: whoever comes first with it has what it stands for."""
    statement = (
        sa.delete(sessions)
        .where(sessions.c.digest == digest, sessions.c.is_link, sessions.c.expires_at > sa.func.now())
        .returning(*_COLUMNS)
    )
    found = (await connection.execute(statement)).mappings().one_or_none()
    return None if found is None else _session(found)
