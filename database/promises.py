"""`cai_connector_freshness`: what is promised of each connector, and what people were told of its being late."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, fields

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.freshness import Freshness, Promise
from database.connection.engine import Fence, any_of
from database.connection.errors import told
from database.fenced_writes import held_rows, write_batch
from database.tables import freshness as table

logger = logging.getLogger(__name__)


async def promises(engine: AsyncEngine, ids: Collection[int]) -> dict[int, Promise]:
    """What is promised of these connectors, by connector id, as far as the controller has judged them."""
    query = sa.select(*(table.c[field.name] for field in fields(Promise))).where(table.c.connector_id == any_of(ids))
    async with engine.connect() as connection:
        found = (await connection.execute(query)).mappings().all()
    return {row["connector_id"]: promise_of(dict(row)) for row in found}


def promise_of(row: dict[str, object]) -> Promise:
    """A row of the table, as a promise."""
    row["told"] = None if row["told"] is None else Freshness(str(row["told"]))
    return Promise(**row)  # type: ignore[arg-type]  # the columns are the fields


async def keep(engine: AsyncEngine, kept: Sequence[Promise], gone: Sequence[int], fence: Fence) -> None:
    """Write what is promised and was told, and forget the connectors that are gone.

    Rows that somebody holds or that the database refuses are passed by: the next look writes those, and what is told
    again until then is told under the same ids.

    Raises:
        One of DATABASE_ERRORS: when it is no single row's matter.
    """
    batch: list[Promise | int] = [*kept, *gone]
    if not batch:
        return
    for left_out in await write_batch(engine, batch, _write, fence):
        if left_out.error is not None:
            item = left_out.item
            number = item if isinstance(item, int) else item.connector_id
            why = told(left_out.error)
            logger.warning("The freshness of connector %s is not written down: the database %s", number, why)


async def _write(connection: AsyncConnection, batch: Sequence[Promise | int]) -> Sequence[Promise | int]:
    """Write the promises and delete the rows of the numbers; those that somebody holds are returned."""
    kept = [each for each in batch if isinstance(each, Promise)]
    gone = [each for each in batch if isinstance(each, int)]
    held: set[int] = set()
    if kept:
        held |= await held_rows(connection, table.c.connector_id, [each.connector_id for each in kept])
        statement = insert(table)
        changed = {f.name: statement.excluded[f.name] for f in fields(Promise) if f.name != "connector_id"}
        if free := [asdict(each) for each in kept if each.connector_id not in held]:
            written = statement.on_conflict_do_update(index_elements=["connector_id"], set_=changed)
            await connection.execute(written, free)
    if gone:
        held |= await held_rows(connection, table.c.connector_id, gone, to_delete=True)
        await connection.execute(sa.delete(table).where(table.c.connector_id == any_of([*set(gone) - held])))
    return [each for each in batch if (each if isinstance(each, int) else each.connector_id) in held]
