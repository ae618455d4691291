"""The history, `cai_audit`: who acts is told to the database, what people do besides is written, entries are read.

Changes of connectors are written by the triggers of migration 0007 in the change's own transaction, so nothing here is
called for them but `act_as`. `database.audit_proof` verifies, `database.audit_archive` moves sealed days out.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from connectors.connector import ConnectorRow
from connectors.history import CHANGES, Action, AuditEntry
from connectors.people import Actor
from database import tables

_AUDIT = tables.audit.c
_COLUMNS = [_AUDIT[field.name] for field in fields(AuditEntry)]
_chain = sa.func.coalesce(_AUDIT.connector_id, sa.literal_column("0"))
"""As the index has it."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are listed: `since` and later, before `until`, all of this actor and action."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    action: str | None = None
    teams: Collection[str] | None = None
    """Only those of these teams' connectors and of everybody's; None: all, those of no connector among them."""


async def act_as(connection: AsyncConnection, actor: Actor) -> None:
    """Name who acts, for this transaction: the triggers read it."""
    said = {"actor": actor.name, "via": actor.via.value, "reason": actor.reason, "request_id": actor.request_id}
    settings = [sa.func.set_config(f"cai.{name}", value or "", True) for name, value in said.items()]
    await connection.execute(sa.select(*settings))


async def record(
    connection: AsyncConnection,
    actor: Actor,
    action: Action,
    *,
    connector_id: int | None = None,
    connector_name: str | None = None,
    generation: int | None = None,
    before: Any = None,
    after: Any = None,
) -> None:
    """Write one entry of something that was done besides changing a connector, in the caller's transaction.

    Entries of one connector wait for each other until the commit, so this comes last. `before` and `after` are shown to
    whoever reads the history: no secret may be in them.
    """
    await connection.execute(
        sa.insert(tables.audit).values(
            connector_id=connector_id,
            connector_name=connector_name,
            generation=generation,
            action=action.value,
            actor=actor.name,
            via=actor.via.value,
            reason=actor.reason,
            request_id=actor.request_id,
            before=before,
            after=after,
        )
    )


async def record_of(
    connection: AsyncConnection, actor: Actor, action: Action, row: ConnectorRow, after: Any = None
) -> None:
    """The same of what was done to a connector."""
    await record(
        connection,
        actor,
        action,
        connector_id=row.id,
        connector_name=row.name,
        generation=row.generation,
        after=after,
    )


async def history(
    connection: AsyncConnection, connector_id: int, *, limit: int, before_id: int | None = None
) -> list[AuditEntry]:
    """The entries of one connector, the newest first; those below `before_id`, or all."""
    query = sa.select(*_COLUMNS).where(_chain == connector_id, _AUDIT.connector_id == connector_id)
    if before_id is not None:
        query = query.where(_AUDIT.id < before_id)
    return await _entries(connection, query.order_by(_chain.desc(), _AUDIT.id.desc()).limit(limit))


async def entries(
    connection: AsyncConnection, which: AuditFilter, *, limit: int, before_id: int | None = None
) -> list[AuditEntry]:
    """The entries that fit, the newest first; those below `before_id`, or all."""
    query = sa.select(*_COLUMNS)
    if before_id is not None:
        query = query.where(_AUDIT.id < before_id)
    if which.since is not None:
        query = query.where(_AUDIT.at >= which.since)
    if which.until is not None:
        query = query.where(_AUDIT.at < which.until)
    if which.actor is not None:
        query = query.where(_AUDIT.actor == which.actor)
    if which.action is not None:
        query = query.where(_AUDIT.action == which.action)
    if which.teams is not None:
        query = query.where(_AUDIT.connector_id.is_not(None), sa.or_(_team.is_(None), _team.in_(sorted(which.teams))))
    return await _entries(connection, query.order_by(_AUDIT.id.desc()).limit(limit))


def _newest_team() -> sa.ScalarSelect[Any]:
    """The team of an entry's connector as its newest change tells it."""
    newest = tables.audit.alias()
    state = sa.func.coalesce(newest.c.after, newest.c.before)
    of_it = sa.func.coalesce(newest.c.connector_id, sa.literal_column("0")) == _chain
    query = sa.select(state["team"].astext).where(of_it, newest.c.action.in_([action.value for action in CHANGES]))
    return query.order_by(newest.c.id.desc()).limit(1).scalar_subquery()


_team = _newest_team()


async def newest_of_generation(connection: AsyncConnection, connector_id: int, generation: int) -> AuditEntry | None:
    """The entry that tells how a connector stood at this generation; None when there is none."""
    query = sa.select(*_COLUMNS).where(
        _chain == connector_id,
        _AUDIT.generation == generation,
        _AUDIT.action.in_([action.value for action in CHANGES]),
        _AUDIT.after.is_not(None),
    )
    found = await _entries(connection, query.order_by(_AUDIT.id.desc()).limit(1))
    return found[0] if found else None


async def newest_change(connection: AsyncConnection, connector_id: int) -> AuditEntry | None:
    """The newest entry that tells how a connector's row stands, or that it has gone; None when there is none."""
    changes = [action.value for action in CHANGES]
    query = sa.select(*_COLUMNS).where(_chain == connector_id, _AUDIT.action.in_(changes))
    found = await _entries(connection, query.order_by(_AUDIT.id.desc()).limit(1))
    return found[0] if found else None


async def find_unrecorded(connection: AsyncConnection) -> int:
    """Record the changes that were made with triggers off; returns how many connectors were found so."""
    return int(await connection.scalar(sa.text("SELECT cai_audit_find()")) or 0)


async def seal(connection: AsyncConnection) -> list[tuple[str, str]]:
    """Seal the days that are over; returns the new seals as (day, digest), for a log outside of the database.

    Writers are kept out for the moment that it takes, and a transaction that has written and goes on keeps it waiting
    no longer than `lock_timeout`: it is made at the next audit then.
    """
    made = await connection.scalar(sa.text("SELECT cai_audit_seal()"))
    query = sa.text("SELECT day::text, digest FROM cai_audit_seals ORDER BY day DESC LIMIT :made")
    return [(row[0], row[1]) for row in await connection.execute(query, {"made": made})]


async def _entries(connection: AsyncConnection, query: sa.Select[Any]) -> list[AuditEntry]:
    found: Sequence[sa.RowMapping] = (await connection.execute(query)).mappings().all()
    return [AuditEntry(**row) for row in found]
