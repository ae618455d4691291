"""`cai_controller_lease`: who leads, in the database's time, with a token that grows with every change of hands.

Clocks and what a lost lease means are the holder's matter (`deployments.leadership.lease`).
"""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from database.tables import lease as table


async def take(engine: AsyncEngine, name: str, holder: str, ttl_seconds: float) -> int | None:
    """Take the lease if it is free or has run out: its new token, or None when another holds it."""
    free = sa.or_(table.c.expires_at.is_(None), table.c.expires_at <= sa.func.clock_timestamp())
    expiry = _expiry(ttl_seconds)
    statement = insert(table).values(name=name, holder=holder, token=1, expires_at=expiry)
    taken = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": holder, "token": table.c.token + 1, "expires_at": expiry},
        where=free,
    ).returning(table.c.token)
    async with engine.begin() as connection:
        token: int | None = await connection.scalar(taken)
        return token


async def renew(engine: AsyncEngine, name: str, token: int | None, ttl_seconds: float) -> bool:
    """Hold on to it for another TTL; False when another has taken it."""
    ours = sa.update(table).where(table.c.name == name, table.c.token == token)
    renewed = ours.values(expires_at=_expiry(ttl_seconds)).returning(table.c.token)
    async with engine.begin() as connection:
        return await connection.scalar(renewed) is not None


async def free(engine: AsyncEngine, name: str, token: int | None) -> None:
    """Give it back, unless another has taken it."""
    ours = sa.update(table).where(table.c.name == name, table.c.token == token)
    async with engine.begin() as connection:
        await connection.execute(ours.values(expires_at=None, holder=None))


async def expires_at(engine: AsyncEngine, name: str) -> object:
    """When the lease of whoever leads runs out, in the database's time; it moves while the leader lives."""
    async with engine.connect() as connection:
        return await connection.scalar(sa.select(table.c.expires_at).where(table.c.name == name))


async def is_led(engine: AsyncEngine, name: str) -> bool:
    """Whether anybody holds it now."""
    held = sa.select(sa.exists().where(table.c.name == name, table.c.expires_at > sa.func.now()))
    async with engine.connect() as connection:
        return bool(await connection.scalar(held))


async def holds(connection: AsyncConnection, name: str, token: int | None) -> bool:
    """Whether the token still leads; the row's lock keeps others from taking the lease until this transaction ends."""
    ours = sa.select(table.c.token).where(
        table.c.name == name,
        table.c.token == token,
        table.c.expires_at > sa.func.clock_timestamp(),
    )
    return await connection.scalar(ours.with_for_update(read=True)) is not None


def _expiry(ttl_seconds: float) -> sa.ColumnElement[object]:
    return sa.func.clock_timestamp() + timedelta(seconds=ttl_seconds)
