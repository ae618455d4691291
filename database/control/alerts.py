"""`cai_alerts`: what operations were told of. A row stands until they were told that it is over, by whoever leads then.

No write here is fenced: a leader that has just lost the lease has told it, so the next one must know. Doubled, a write
changes nothing.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from database.tables import alerts as table


async def open_keys(engine: AsyncEngine) -> set[str]:
    """The keys of what was told and is not over."""
    async with engine.connect() as connection:
        return set(await connection.scalars(sa.select(table.c.key)))


async def write_down(engine: AsyncEngine, told: Iterable[tuple[str, str | None]]) -> None:
    """Write what was told, in its order and in one transaction: a key with its sentence, or None where it is over."""
    async with engine.begin() as connection:
        for key, sentence in told:
            if sentence is None:
                await connection.execute(sa.delete(table).where(table.c.key == key))
            else:
                await connection.execute(insert(table).values(key=key, sentence=sentence).on_conflict_do_nothing())
