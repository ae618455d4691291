"""`cai_probes`: a question about a source, from the API to a worker and its answer back, past Prefect.

Prefect is told the number of a question and nothing else, so no login's name, no address and no row of a source is in
its parameters, logs or results. A row goes when its answer is read, or when it is `KEPT_SECONDS` old, whoever sees that
first: a worker takes up no older one.
"""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from database.runs import Query
from database.tables import probes as table

KEPT_SECONDS = 240
"""Deleted by whoever asks next, and by the controller's watch once a minute: so none is older than five minutes."""


async def ask(engine: AsyncEngine, request: str) -> UUID:
    """Write a question down; its number."""
    async with engine.begin() as connection:
        number = await connection.scalar(sa.insert(table).values(request=request).returning(table.c.id))
    return UUID(str(number))


async def answer_of(engine: AsyncEngine, number: UUID) -> str | None:
    """The answer, which is deleted with that; None: not yet."""
    read = sa.delete(table).where(table.c.id == number, table.c.answer.is_not(None)).returning(table.c.answer)
    async with engine.begin() as connection:
        answer: str | None = await connection.scalar(read)
        return answer


async def withdraw(engine: AsyncEngine, number: UUID) -> bool:
    """Delete a question that nobody waits for any more; whether a worker had taken it up."""
    gone = sa.delete(table).where(table.c.id == number).returning(table.c.taken_at)
    async with engine.begin() as connection:
        return await connection.scalar(gone) is not None


async def forget(engine: AsyncEngine) -> None:
    """Delete what is old: whoever asked has died."""
    old = sa.func.now() - sa.text(f"interval '{KEPT_SECONDS} seconds'")
    async with engine.begin() as connection:
        await connection.execute(sa.delete(table).where(table.c.asked_at < old))


def take(query: Query, number: UUID) -> str | None:
    """Take a question up; None: nobody waits for it any more, or another run has it."""
    found = query(
        """
        UPDATE cai_probes SET taken_at = clock_timestamp()
        WHERE id = %(id)s AND taken_at IS NULL AND asked_at > now() - %(kept)s * interval '1 second'
        RETURNING request
        """,
        {"id": str(number), "kept": KEPT_SECONDS},
    )
    return None if found is None else str(found["request"])


def give(query: Query, number: UUID, answer: str) -> bool:
    """Write the answer down; whether anybody still waits for it."""
    written = "UPDATE cai_probes SET answer = %(answer)s WHERE id = %(id)s RETURNING true AS written"
    return query(written, {"id": str(number), "answer": answer}) is not None
