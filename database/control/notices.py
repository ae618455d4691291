"""Statements on notices: what people are told of connectors, noted in the outbox once for each address and trouble."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.telling.notices import Ended, News, Notify, addresses, news_of
from database.connection.engine import Fence


@dataclass(frozen=True, slots=True)
class Whom:
    """Who is told, by operations' settings."""

    owners: Mapping[str, str]
    """Notification blocks by the names of connectors' owners."""
    alert_after_failures: int


@dataclass(frozen=True, slots=True)
class OneNews:
    """What happened to a connector beside its loads."""

    key: UUID
    """The same for the same news."""
    connector_id: int
    what: News
    message: str


_LOADS = """
    SELECT l.id, l.connector_id, l.ended_at, l.outcome = 'completed' AS completed, l.failures, l.loads_completed,
        coalesce(l.message, '') AS message, coalesce(l.failures_before, 0) AS failures_before,
        c.run_policy::jsonb -> 'notify' AS said, c.owner, ARRAY(
            SELECT s.table_name || '.' || s.column_name FROM cai_schema_changes s
            WHERE s.connector_id = l.connector_id AND s.first_seen_at BETWEEN l.started_at AND l.ended_at
            ORDER BY s.id) AS changed
    FROM cai_loads l JOIN cai_connectors c ON c.id = l.connector_id
    WHERE l.id = ANY(:ids) AND l.outcome IN ('completed', 'failed')
        AND (c.run_policy::jsonb ? 'notify' OR c.owner = ANY(:owners)) ORDER BY l.id
"""

_NOTE = """
    INSERT INTO cai_follow_ups (key, load_id, leader_id, follower, follow_up, loaded_at, kind, said)
    VALUES (coalesce(:key, gen_random_uuid()), :load, :leader, :follower, cast(:follow_up AS jsonb),
        coalesce(:at, now()), 'notice', cast(:said AS jsonb))
    ON CONFLICT DO NOTHING
"""


async def note_of_loads(connection: AsyncConnection, ids: Sequence[int], whom: Whom) -> None:
    """Note whom to tell of the ends of these loads, in the transaction that takes the mark of them away."""
    values = {"ids": ids, "owners": [*whom.owners]}
    for row in (await connection.execute(sa.text(_LOADS), values)).mappings().all():
        told = [*news_of(Ended(**{name: row[name] for name in _ENDED}), whom.alert_after_failures)]
        for to in addresses(row["said"], row["owner"], whom.owners) if told else ():
            for what, message in told:
                about = {"key": None, "load": row["id"], "leader": row["connector_id"], "at": row["ended_at"]}
                await _note(connection, to, what, message, about)


async def note(engine: AsyncEngine, fence: Fence, news: Sequence[OneNews], whom: Whom) -> None:
    """Note whom to tell of what happened; what was noted before is not noted again."""
    by_id = {each.connector_id: each for each in news}
    query = "SELECT id, owner, run_policy::jsonb -> 'notify' AS said FROM cai_connectors WHERE id = ANY(:ids)"
    async with engine.begin() as connection:
        for row in (await connection.execute(sa.text(query), {"ids": [*by_id]})).mappings().all():
            one = by_id[row["id"]]
            for to in addresses(row["said"], row["owner"], whom.owners):
                key = uuid5(one.key, to.address)
                about = {"key": key, "load": None, "leader": one.connector_id, "at": None}
                await _note(connection, to, one.what, one.message, about)
        await fence(connection)


_ENDED = ("completed", "message", "failures", "failures_before", "loads_completed", "changed")


async def _note(
    connection: AsyncConnection, to: Notify, what: News, message: str, about: Mapping[str, UUID | int | datetime | None]
) -> None:
    if what not in to.of:
        return
    said: dict[str, Any] = {"what": what.value, "message": message}
    values = {"follower": f"{to.address}#{what.value}", "said": json.dumps(said)}
    await connection.execute(sa.text(_NOTE), {**about, **values, "follow_up": json.dumps(to.model_dump(mode="json"))})
