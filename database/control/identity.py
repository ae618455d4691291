"""`cai_database`: the identity of this database, which the controller compares with what Prefect remembers of it."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from database.tables import database


async def database_id(engine: AsyncEngine) -> str:
    """The UUID of this database, which tells a shared Prefect server whose deployments it holds."""
    async with engine.connect() as connection:
        return str(await connection.scalar(sa.select(database.c.id)))
