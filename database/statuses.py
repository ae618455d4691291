"""`cai_connector_status`: how each connector stands with Prefect, as the controller has recorded it.

Written together with the deployment's id of the connector's own row, past the rows that other sessions hold.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.status import Phase, Reason, Status, Unrecorded
from database import tables
from database.connection.engine import Fence, any_of
from database.connection.errors import Trouble, told, trouble_of
from database.fenced_writes import Unwritten, attempt, held_rows, write_batch


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """What one connector's reconciliation leaves behind: its status, or None when nothing is left to remember."""

    connector_id: int
    status: Status | None


async def statuses(engine: AsyncEngine, ids: Collection[int] | None = None) -> dict[int, Status]:
    """The status rows of these connectors (of all for None), by connector id."""
    query = sa.select(*(tables.status.c[field.name] for field in fields(Status)))
    if ids is not None:
        query = query.where(tables.status.c.connector_id == any_of(ids))
    async with engine.connect() as connection:
        found = (await connection.execute(query)).mappings().all()
    return {row["connector_id"]: status_of(dict(row)) for row in found}


async def record(engine: AsyncEngine, records: Sequence[StatusRecord], fence: Fence) -> tuple[Unrecorded, ...]:
    """Write as many of these as can be written; returns the others.

    If the process dies before the commit, Prefect is ahead of the table: the next audit finds the deployment by its
    name and tag and stores its id.

    Raises:
        One of DATABASE_ERRORS: when it is no single row's matter. What was written by then stays written.
    """
    if not records:
        return ()
    return tuple(map(_unrecorded, await write_batch(engine, records, _write, fence)))


async def note(engine: AsyncEngine, noted: Sequence[Status], fence: Fence) -> None:
    """Write these status rows and nothing else, past those that somebody holds or that the database refuses."""
    for status in noted:

        async def alone(connection: AsyncConnection, status: Status = status) -> None:
            if not await held_rows(connection, tables.status.c.connector_id, [status.connector_id]):
                await _upsert(connection, [status])

        await attempt(engine, alone, fence, impatient=True)


def status_of(row: dict[str, object]) -> Status:
    """A row of the table, as a status."""
    reason = row["reason"]
    row["phase"] = Phase(str(row["phase"]))
    row["reason"] = None if reason is None else Reason(str(reason))
    return Status(**row)  # type: ignore[arg-type]  # the columns are the fields


def _unrecorded(left_out: Unwritten[StatusRecord]) -> Unrecorded:
    connector_id, error = left_out.item.connector_id, left_out.error
    if error is None or trouble_of(error) is Trouble.LOCKED:
        message = (
            "Another session's open transaction holds this connector's row in the database, so what Prefect holds of "
            "it cannot be written down. Whoever has it open must commit it or roll it back; this goes on by itself "
            "then."
        )
        return Unrecorded(connector_id, Reason.ROW_LOCKED, message)
    message = f"What Prefect holds of it cannot be written down: the database {told(error)}"
    return Unrecorded(connector_id, Reason.DATABASE_REFUSED, message)


async def _write(connection: AsyncConnection, records: Sequence[StatusRecord]) -> Sequence[StatusRecord]:
    """Write these, but for those whose rows somebody holds, which are returned."""
    kept = [record.status for record in records if record.status is not None]
    gone = [record.connector_id for record in records if record.status is None]
    held: set[int] = set()
    if kept:
        held |= await _moving_ids(connection, kept)
        held |= await held_rows(connection, tables.status.c.connector_id, [each.connector_id for each in kept])
        free = [each for each in kept if each.connector_id not in held]
        await _upsert(connection, free)
        await _store_ids(connection, free)
    if gone:
        both = (tables.status.c.connector_id, tables.loads.c.connector_id)
        for key in both:
            held |= await held_rows(connection, key, gone, to_delete=True)
        free_ids = [each for each in gone if each not in held]
        status, loads = tables.status.c, tables.load_runs.c
        await connection.execute(sa.delete(tables.status).where(status.connector_id == any_of(free_ids)))
        # The load history is kept, and says of no connector any more how it does.
        last = (loads.connector_id == any_of(free_ids), loads.is_last)
        await connection.execute(sa.update(tables.load_runs).where(*last).values(is_last=None))
    return [each for each in records if each.connector_id in held]


async def _moving_ids(connection: AsyncConnection, kept: Sequence[Status]) -> set[int]:
    """The connectors whose stored deployment differs and whose own row somebody holds."""
    row = tables.connectors.c
    query = sa.select(row.id, row.prefect_deployment_id).where(row.id == any_of([each.connector_id for each in kept]))
    stored = {found.id: found.prefect_deployment_id for found in await connection.execute(query)}
    moving = [
        each.connector_id
        for each in kept
        if each.connector_id in stored and stored[each.connector_id] != each.deployment_id
    ]
    return await held_rows(connection, row.id, moving) if moving else set()


async def _upsert(connection: AsyncConnection, written: Sequence[Status]) -> None:
    if not written:
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
        [asdict(status) for status in written],
    )


async def _store_ids(connection: AsyncConnection, written: Sequence[Status]) -> None:
    if not written:
        return
    connectors = tables.connectors
    await connection.execute(
        sa.update(connectors)
        .where(connectors.c.id == sa.bindparam("connector"))
        .where(connectors.c.prefect_deployment_id.is_distinct_from(sa.bindparam("deployment")))
        .values(prefect_deployment_id=sa.bindparam("deployment")),
        [{"connector": status.connector_id, "deployment": status.deployment_id} for status in written],
    )
