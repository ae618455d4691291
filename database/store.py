"""Reading connectors, their statuses, loads and promises, and writing what the controller leaves of them.

All that the controller writes of a connector is here, so that it is seen in one place: its status, what was promised
and told of it, and of its own row the deployment's id alone. Use cases, the lease and requests have statements of their
own.
"""

from collections.abc import Collection, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from connectors.connector import ConnectorRow
from connectors.freshness import Freshness, Promise
from connectors.json_limits import readable
from connectors.loads import Load, Outcome
from connectors.standing import Standing
from connectors.status import Phase, Reason, Status, Unrecorded
from database import tables
from database.recording import Fence, StatusRecord, note, record, write_promises

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 30

LOCK_TIMEOUT_SECONDS = 3
"""How long any statement waits for what another session's transaction holds. Far less than a lease lasts."""

EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""The moments that Python can tell in any time zone."""

DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What a database that does not answer looks like: a connect fails with the driver's own errors, unwrapped."""

__all__ = ["DATABASE_ERRORS", "Fence", "StatusRecord", "Store", "Unrecorded", "dsn", "open_engine"]


def dsn(url: str) -> str:
    """`url` as asyncpg takes it: a SQLAlchemy driver suffix (`postgresql+asyncpg://`) is dropped.

    Raises:
        ValueError: when it is no PostgreSQL URL.
    """
    refused = "CAI_DATABASE_URL must be a PostgreSQL URL, such as postgresql://user:password@host/database."
    try:
        parts = urlsplit(url)
    except ValueError:  # whose own message may repeat the password
        raise ValueError(refused) from None
    if parts.scheme.split("+")[0] not in {"postgresql", "postgres"}:
        raise ValueError(refused)
    return urlunsplit(parts._replace(scheme="postgresql"))


def open_engine(
    url: str,
    *,
    pool_size: int = 5,
    statement_timeout_seconds: float | None = STATEMENT_TIMEOUT_SECONDS,
) -> AsyncEngine:
    """An engine on the PostgreSQL at `url`. Its repr and its errors hold neither password nor parameters.

    JSON that cannot be read is that row's matter and no error of the query, which would fail for all rows alike.

    No statement is kept under a name, though that would save a round trip each. After a back end's ALTER TABLE the
    first use of a kept one fails (0A000, a cached plan must not change its result's type), and its transaction with it;
    one that is parsed in its own transaction has the table's lock from then on, so it cannot. And behind a connection
    pool in transaction mode (PgBouncer) the next transaction may meet another session, which knows no such name.

    Args:
        url: of the database.
        pool_size: connections that are kept.
        statement_timeout_seconds: how long a statement may take; None: as long as it needs.
    """
    address = dsn(url)
    unnamed: dict[str, Any] = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(
            address,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=statement_timeout_seconds,
            statement_cache_size=0,
        )

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        connect_args=unnamed,
        pool_size=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,
        json_deserializer=readable,
    )
    sa.event.listen(engine.sync_engine, "begin", _limit_waiting)
    return engine


def _limit_waiting(connection: sa.Connection) -> None:
    """A transaction waits for nobody's locks for long: theirs may stay open for hours.

    Of the transaction and not of the session, which a pooler between us and the database may hand to somebody else.
    """
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
    finally:
        cursor.close()


class Mark(NamedTuple):
    """By what a change of a row is noticed: its generation, and the transaction that wrote it, which moves by any."""

    generation: int
    written: str


class Store:
    """The connectors' tables, as the controller, the API and a run see them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def marks(self) -> dict[int, Mark]:
        """The mark of every connector by its id: the one query of a quiet cycle."""
        row = tables.connectors.c
        written: sa.ColumnElement[str] = sa.literal_column("cai_connectors.xmin::text", sa.Text)
        async with self.engine.connect() as connection:
            result = await connection.execute(sa.select(row.id, row.generation, written).select_from(tables.connectors))
            return {found[0]: Mark(found[1], found[2]) for found in result}

    async def contents(self, ids: Collection[int]) -> dict[int, str]:
        """A hash of what stands in the rows of these connectors, by id."""
        query = sa.select(tables.connectors.c.id, tables.content).where(tables.connectors.c.id == _any(ids))
        async with self.engine.connect() as connection:
            return {found[0]: found[1] for found in await connection.execute(query)}

    async def rows(self, ids: Collection[int] | None = None) -> list[ConnectorRow]:
        """The rows of these connectors (of all for None), in one snapshot, by id."""
        columns = (*map(_within_reach, tables.connectors.c), tables.content, tables.stamped)
        query = sa.select(*columns).order_by(tables.connectors.c.id)
        if ids is not None:
            query = query.where(tables.connectors.c.id == _any(ids))
        async with self.engine.connect() as connection:
            return [ConnectorRow(**row) for row in (await connection.execute(query)).mappings()]

    async def row(self, connector_id: int) -> ConnectorRow | None:
        """The row of one connector, or None when it is gone."""
        found = await self.rows([connector_id])
        return found[0] if found else None

    async def statuses(self, ids: Collection[int] | None = None) -> dict[int, Status]:
        """The status rows of these connectors (of all for None), by connector id."""
        columns = [tables.status.c[field.name] for field in fields(Status)]
        query = sa.select(*columns)
        if ids is not None:
            query = query.where(tables.status.c.connector_id == _any(ids))
        async with self.engine.connect() as connection:
            found = (await connection.execute(query)).mappings().all()
        return {row["connector_id"]: _status(dict(row)) for row in found}

    async def record(self, records: Sequence[StatusRecord], fence: Fence) -> tuple[Unrecorded, ...]:
        """Write statuses and deployment ids, all in one transaction, guarded by the fence.

        Returns those of which nothing was written, because another session holds a row of theirs or a constraint or
        trigger of a back end's refuses it: the others are written all the same. If the process dies before the commit,
        Prefect is ahead of the table: the next audit finds the deployment by its name and tag and stores its id.
        """
        return await record(self.engine, records, fence) if records else ()

    async def note(self, statuses: Sequence[Status], fence: Fence) -> None:
        """Write statuses alone, as far as nobody holds their rows: why a connector cannot be recorded."""
        await note(self.engine, statuses, fence)

    async def loads(self, ids: Collection[int] | None = None) -> dict[int, Load]:
        """How the loads of these connectors (of all for None) go, by connector id; none for one that never ran."""
        query = sa.select(*(tables.loads.c[field.name] for field in fields(Load)))
        if ids is not None:
            query = query.where(tables.loads.c.connector_id == _any(ids))
        async with self.engine.connect() as connection:
            found = (await connection.execute(query)).mappings().all()
        return {row["connector_id"]: _load(dict(row)) for row in found}

    async def fleet(self) -> list[Standing]:
        """How every connector stands, by id, in one query; those too that are gone and of which something was told."""
        rows, status, loads, promises = tables.connectors.c, tables.status.c, tables.loads.c, tables.freshness.c
        every = tables.connectors.join(tables.freshness, promises.connector_id == rows.id, full=True)
        connector_id = sa.func.coalesce(rows.id, promises.connector_id)
        every = every.outerjoin(tables.status, status.connector_id == connector_id)
        every = every.outerjoin(tables.loads, loads.connector_id == connector_id)
        shown = (rows.name, rows.description, rows.schedule, rows.timezone, rows.is_active, rows.dataset_name)
        told = (status.phase, status.reason, status.message, status.deployment_id)
        query = sa.select(
            connector_id.label("connector_id"),
            rows.source["type"].astext.label("source_type"),
            rows.destination["type"].astext.label("destination_type"),
            *shown,
            *told,
            *(loads[field.name].label(f"load_{field.name}") for field in fields(Load)),
            *(promises[field.name].label(f"promise_{field.name}") for field in fields(Promise)),
        )
        async with self.engine.connect() as connection:
            found = (await connection.execute(query.select_from(every).order_by(connector_id))).mappings().all()
        return [_standing(dict(row)) for row in found]

    async def promises(self, ids: Collection[int]) -> dict[int, Promise]:
        """What is promised of these connectors, by connector id, as far as the controller has judged them."""
        columns = [tables.freshness.c[field.name] for field in fields(Promise)]
        query = sa.select(*columns).where(tables.freshness.c.connector_id == _any(ids))
        async with self.engine.connect() as connection:
            found = (await connection.execute(query)).mappings().all()
        return {row["connector_id"]: _promise(dict(row)) for row in found}

    async def keep_promises(self, kept: Sequence[Promise], gone: Sequence[int], fence: Fence) -> None:
        """Write what is promised and was told, and forget the connectors that are gone, guarded by the fence."""
        if not kept and not gone:
            return
        await write_promises(self.engine, kept, gone, fence)

    async def database_id(self) -> str:
        """The UUID of this database, which tells a shared Prefect server whose deployments it holds."""
        async with self.engine.connect() as connection:
            return str(await connection.scalar(sa.select(tables.database.c.id)))


def _within_reach(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A column as Python can hold it: PostgreSQL's years go beyond 9999, and one such row would fail for all."""
    if not isinstance(column.type, TIMESTAMP):
        return column
    return sa.func.least(sa.func.greatest(column, EARLIEST), LATEST).label(column.name)


def _any(ids: Collection[int]) -> sa.ColumnElement[int]:
    """`= ANY(array)`: one parameter, however many ids."""
    return sa.func.any(sa.cast(list(ids), sa.ARRAY(sa.BigInteger)))


def _load(row: dict[str, object]) -> Load:
    outcome = row["outcome"]
    row["outcome"] = None if outcome is None else Outcome(str(outcome))
    return Load(**row)  # type: ignore[arg-type]  # the columns are the fields


def _promise(row: dict[str, object]) -> Promise:
    row["told"] = None if row["told"] is None else Freshness(str(row["told"]))
    return Promise(**row)  # type: ignore[arg-type]  # the columns are the fields


def _standing(row: dict[str, Any]) -> Standing:
    """One row of the fleet's query: a connector whose own row is gone has none of its columns."""
    load = {field.name: row.pop(f"load_{field.name}") for field in fields(Load)}
    promise = {field.name: row.pop(f"promise_{field.name}") for field in fields(Promise)}
    row["phase"] = None if row["phase"] is None else Phase(row["phase"])
    row["reason"] = None if row["reason"] is None else Reason(row["reason"])
    if row["name"] is None:
        row["timezone"], row["is_active"] = "UTC", False
    return Standing(
        **row,
        load=None if load["connector_id"] is None else _load(load),
        promise=None if promise["connector_id"] is None else _promise(promise),
    )


def _status(row: dict[str, object]) -> Status:
    reason = row["reason"]
    row["phase"] = Phase(str(row["phase"]))
    row["reason"] = None if reason is None else Reason(str(reason))
    return Status(**row)  # type: ignore[arg-type]  # the columns are the fields
