"""Fenced writes of many rows, past those that somebody else's transaction holds or that the database refuses.

A back end may lock a row and leave its transaction open for minutes, or have a constraint or a trigger that refuses
our write. Either is the matter of that connector alone, so a batch takes only the rows that are free at once, and one
that is refused is cut in halves until only what is at fault is left out. The lease is looked at last, when nothing is
left to wait for: held while waiting, it could not be renewed, and one row would stop every connector.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from database.connection.engine import Fence, any_of
from database.connection.errors import Trouble, of_rows, trouble_of

T = TypeVar("T")

IMPATIENT = "SET LOCAL lock_timeout = '200ms'"
"""For the halves of a batch that has waited once: what is at fault is found soon, while all others wait."""

WHOLE_TABLE = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
"""The modes of a table's lock that keep every row of it from being written."""


@dataclass(frozen=True, slots=True)
class Unwritten(Generic[T]):
    """What was left out of a batch, and by which error; None: another session holds a row of it."""

    item: T
    error: DBAPIError | None = None


async def write_batch(
    engine: AsyncEngine,
    batch: Sequence[T],
    write: Callable[[AsyncConnection, Sequence[T]], Awaitable[Sequence[T]]],
    fence: Fence,
    *,
    impatient: bool = False,
) -> list[Unwritten[T]]:
    """Write as much of a batch as can be written; returns the rest.

    Args:
        engine: of the database.
        batch: at least one.
        write: writes these and returns those that it has left out, because somebody holds their rows.
        fence: of the writer.
        impatient: whether to wait for nobody.

    Raises:
        One of DATABASE_ERRORS: when it is no single row's matter. What was written by then stays written.
    """
    held: Sequence[T] = ()

    async def all_of_it(connection: AsyncConnection) -> None:
        nonlocal held
        held = await write(connection, batch)

    error = await attempt(engine, all_of_it, fence, impatient=impatient)
    if error is None:
        return [Unwritten(each) for each in held]
    if trouble_of(error) is Trouble.LOCKED and await _whole_table_is_locked(engine):
        raise error
    if len(batch) == 1:
        return [Unwritten(batch[0], error)]
    middle = len(batch) // 2
    first = await write_batch(engine, batch[:middle], write, fence, impatient=True)
    return first + await write_batch(engine, batch[middle:], write, fence, impatient=True)


async def attempt(
    engine: AsyncEngine,
    write: Callable[[AsyncConnection], Awaitable[None]],
    fence: Fence,
    *,
    impatient: bool = False,
) -> DBAPIError | None:
    """Write in one fenced transaction; the error that undid it, when it is the matter of its rows.

    Raises:
        One of DATABASE_ERRORS: when it is not, or is the fence's own.
    """
    written = fenced = False
    try:
        async with engine.begin() as connection:
            if impatient:
                await connection.execute(sa.text(IMPATIENT))
            await write(connection)
            written = True
            await fence(connection)
            fenced = True
    except DBAPIError as error:
        # The fence's own failure is the lease's matter. What is deferred is refused at the commit, after it.
        if (written and not fenced) or not of_rows(error):
            raise
        return error
    return None


async def held_rows(
    connection: AsyncConnection, key: sa.Column[int], ids: Collection[int], *, to_delete: bool = False
) -> set[int]:
    """Take the rows of these ids for this transaction, as far as they are free; those that are not."""
    there = sa.select(key).where(key == any_of(ids))
    free = set(await connection.scalars(there.with_for_update(skip_locked=True, key_share=not to_delete)))
    return set(await connection.scalars(there)) - free if len(free) < len(ids) else set()


async def _whole_table_is_locked(engine: AsyncEngine) -> bool:
    """Whether somebody holds a lock of one of the tables that no row of it can be written past."""
    locks = sa.text(
        # One that is merely waited for counts: whoever comes after it waits behind it.
        "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE mode = ANY(:modes) AND pid <> pg_backend_pid() "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND relation IN (to_regclass('cai_connectors'), to_regclass('cai_connector_status'), "
        "to_regclass('cai_loads'), to_regclass('cai_connector_freshness')))"
    )
    async with engine.connect() as connection:
        return bool(await connection.scalar(locks, {"modes": list(WHOLE_TABLE)}))
