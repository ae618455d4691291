"""Writing what the controller leaves of connectors, past the rows that somebody else's transaction holds.

A back end may lock a row and leave its transaction open for minutes, or have a constraint or a trigger that refuses
our write. Either is the matter of that connector alone, so a batch takes only the rows that are free at once, and one
that is refused is cut in halves until only what is at fault is left out. The lease is looked at last, when nothing is
left to wait for: held while waiting, it could not be renewed, and one row would stop every connector.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, dataclass, fields

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.freshness import Promise
from connectors.status import Reason, Status, Unrecorded
from database import tables
from database.errors import Trouble, of_rows, told, trouble_of

logger = logging.getLogger(__name__)

Fence = Callable[[AsyncConnection], Awaitable[None]]
"""Called last in every writing transaction, just before its commit; raises when the writer may no longer write."""

IMPATIENT = "SET LOCAL lock_timeout = '200ms'"
"""For the halves of a batch that has waited once: what is at fault is found soon, while all others wait."""

WHOLE_TABLE = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
"""The modes of a table's lock that keep every row of it from being written."""


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """What one connector's reconciliation leaves behind: its status, or None when nothing is left to remember."""

    connector_id: int
    status: Status | None


def _held(connector_id: int) -> Unrecorded:
    message = (
        "Another session's open transaction holds this connector's row in the database, so what Prefect holds of it "
        "cannot be written down. Whoever has it open must commit it or roll it back; this goes on by itself then."
    )
    return Unrecorded(connector_id, Reason.ROW_LOCKED, message)


def _refused(connector_id: int, error: BaseException) -> Unrecorded:
    if trouble_of(error) is Trouble.LOCKED:
        return _held(connector_id)
    message = f"What Prefect holds of it cannot be written down: the database {told(error)}"
    return Unrecorded(connector_id, Reason.DATABASE_REFUSED, message)


async def record(
    engine: AsyncEngine, records: Sequence[StatusRecord], fence: Fence, *, impatient: bool = False
) -> tuple[Unrecorded, ...]:
    """Write as many of these as can be written, at least one given; returns the others.

    Raises:
        One of DATABASE_ERRORS: when it is no single row's matter. What was written by then stays written.
    """
    written = fenced = False
    try:
        async with engine.begin() as connection:
            if impatient:
                await connection.execute(sa.text(IMPATIENT))
            held = await _write(connection, records)
            written = True
            await fence(connection)
            fenced = True
    except DBAPIError as error:
        # The fence's own failure is the lease's matter. What is deferred is refused at the commit, after it.
        if (written and not fenced) or not of_rows(error):
            raise
        if trouble_of(error) is Trouble.LOCKED and await _whole_table_is_locked(engine):
            raise
        if len(records) == 1:
            return (_refused(records[0].connector_id, error),)
        middle = len(records) // 2
        first = await record(engine, records[:middle], fence, impatient=True)
        return first + await record(engine, records[middle:], fence, impatient=True)
    return tuple(_held(each) for each in sorted(held))


async def _whole_table_is_locked(engine: AsyncEngine) -> bool:
    """Whether somebody holds a lock of one of the tables that no row of it can be written past."""
    locks = sa.text(
        # One that is merely waited for counts: whoever comes after it waits behind it.
        "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE mode = ANY(:modes) AND pid <> pg_backend_pid() "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND relation IN (to_regclass('cai_connectors'), to_regclass('cai_connector_status'), "
        "to_regclass('cai_connector_loads'), to_regclass('cai_connector_freshness')))"
    )
    async with engine.connect() as connection:
        return bool(await connection.scalar(locks, {"modes": list(WHOLE_TABLE)}))


async def _write(connection: AsyncConnection, records: Sequence[StatusRecord]) -> set[int]:
    """Write these, but for those whose rows somebody holds, which are returned."""
    kept = [record.status for record in records if record.status is not None]
    gone = [record.connector_id for record in records if record.status is None]
    held: set[int] = set()
    if kept:
        held |= await _moving_ids(connection, kept)
        held |= await _taken(connection, tables.status.c.connector_id, [each.connector_id for each in kept])
        free = [each for each in kept if each.connector_id not in held]
        await _upsert(connection, free)
        await _store_ids(connection, free)
    if gone:
        both = (tables.status.c.connector_id, tables.loads.c.connector_id)
        for key in both:
            held |= await _taken(connection, key, gone, to_delete=True)
        free_ids = [each for each in gone if each not in held]
        for key in both:
            await connection.execute(sa.delete(key.table).where(key == _any(free_ids)))
    return held


async def _moving_ids(connection: AsyncConnection, kept: Sequence[Status]) -> set[int]:
    """The connectors whose stored deployment differs and whose own row somebody holds."""
    row = tables.connectors.c
    query = sa.select(row.id, row.prefect_deployment_id).where(row.id == _any([each.connector_id for each in kept]))
    stored = {found.id: found.prefect_deployment_id for found in await connection.execute(query)}
    moving = [
        each.connector_id
        for each in kept
        if each.connector_id in stored and stored[each.connector_id] != each.deployment_id
    ]
    return await _taken(connection, row.id, moving) if moving else set()


async def _taken(
    connection: AsyncConnection, key: sa.Column[int], ids: Collection[int], *, to_delete: bool = False
) -> set[int]:
    """Take the rows of these ids for this transaction, as far as they are free; those that are not."""
    there = sa.select(key).where(key == _any(ids))
    free = set(await connection.scalars(there.with_for_update(skip_locked=True, key_share=not to_delete)))
    return set(await connection.scalars(there)) - free if len(free) < len(ids) else set()


async def _upsert(connection: AsyncConnection, statuses: Sequence[Status]) -> None:
    if not statuses:
        return
    statement = insert(tables.status)
    new = statement.excluded
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["connector_id"],
            set_={
                **{f.name: new[f.name] for f in fields(Status) if f.name != "connector_id"},
                "last_transition_at": sa.case(
                    (tables.status.c.phase != new.phase, sa.func.now()),
                    else_=tables.status.c.last_transition_at,
                ),
            },
        ),
        [asdict(status) for status in statuses],
    )


async def _store_ids(connection: AsyncConnection, statuses: Sequence[Status]) -> None:
    if not statuses:
        return
    connectors = tables.connectors
    await connection.execute(
        sa.update(connectors)
        .where(connectors.c.id == sa.bindparam("connector"))
        .where(connectors.c.prefect_deployment_id.is_distinct_from(sa.bindparam("deployment")))
        .values(prefect_deployment_id=sa.bindparam("deployment")),
        [{"connector": status.connector_id, "deployment": status.deployment_id} for status in statuses],
    )


async def note(engine: AsyncEngine, statuses: Sequence[Status], fence: Fence) -> None:
    """Write these status rows and nothing else, past those that somebody holds or that the database refuses."""
    for status in statuses:
        written = False
        try:
            async with engine.begin() as connection:
                await connection.execute(sa.text(IMPATIENT))
                if not await _taken(connection, tables.status.c.connector_id, [status.connector_id]):
                    await _upsert(connection, [status])
                written = True
                await fence(connection)
        except DBAPIError as error:
            if written or not of_rows(error):
                raise


async def write_promises(engine: AsyncEngine, kept: Sequence[Promise], gone: Sequence[int], fence: Fence) -> None:
    """Write what is promised and was told, past rows that somebody holds or that the database refuses.

    The next look writes those; what is told again until then is told under the same ids.

    Raises:
        One of DATABASE_ERRORS: when it is no single row's matter.
    """
    written = fenced = False
    try:
        async with engine.begin() as connection:
            await _keep(connection, kept)
            await _forget(connection, gone)
            written = True
            await fence(connection)
            fenced = True
    except DBAPIError as error:
        if (written and not fenced) or not of_rows(error):
            raise
        if trouble_of(error) is Trouble.LOCKED and await _whole_table_is_locked(engine):
            raise
        if len(kept) + len(gone) == 1:
            number = kept[0].connector_id if kept else gone[0]
            logger.warning("The freshness of connector %s is not written down: the database %s", number, told(error))
            return
        half, rest = (len(kept) + 1) // 2, len(gone) // 2
        await write_promises(engine, kept[:half], gone[:rest], fence)
        await write_promises(engine, kept[half:], gone[rest:], fence)


async def _keep(connection: AsyncConnection, kept: Sequence[Promise]) -> None:
    table = tables.freshness
    statement = insert(table)
    changed = {f.name: statement.excluded[f.name] for f in fields(Promise) if f.name != "connector_id"}
    held = await _taken(connection, table.c.connector_id, [each.connector_id for each in kept])
    if free := [asdict(promise) for promise in kept if promise.connector_id not in held]:
        await connection.execute(statement.on_conflict_do_update(index_elements=["connector_id"], set_=changed), free)


async def _forget(connection: AsyncConnection, gone: Collection[int]) -> None:
    table = tables.freshness
    held = await _taken(connection, table.c.connector_id, gone, to_delete=True)
    if free := [each for each in gone if each not in held]:
        await connection.execute(sa.delete(table).where(table.c.connector_id == _any(free)))


def _any(ids: Collection[int]) -> sa.ColumnElement[int]:
    """`= ANY(array)`: one parameter, however many ids."""
    return sa.func.any(sa.cast(list(ids), sa.ARRAY(sa.BigInteger)))
