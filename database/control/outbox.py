"""Outbox of what is sent: the rows of `cai_follow_ups` that are webhooks, notices or lineage.

Each has a key, which stays the same however often it is sent, and what is said, which was written down when it was
noted. If the process dies between a delivery and the note of it, the next leader delivers it once more, under that key.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from database.connection.engine import Fence

CHANNEL = "cai_follow_ups"
"""Says, as it is committed, that a load has ended or that something waits in the outbox: triggers do."""

RUNS_CHANNEL = "cai_runs"
"""Says that a run was started, to workers that would find it at their next look at Prefect."""


class Kind(StrEnum):
    """What is sent."""

    WEBHOOK = "webhook"
    NOTICE = "notice"
    LINEAGE = "lineage"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One thing to be sent."""

    id: int
    kind: Kind
    key: UUID
    follower: str
    address: str
    """The follower, without what it is told of."""
    follow_up: dict[str, Any]
    said: dict[str, Any]
    tries: int
    loaded_at: datetime
    load_id: int | None
    leader_id: int
    leader_name: str | None
    """None: the connector is gone."""
    leader_team: str | None


class NotTakenError(Exception):
    """It was not taken. The message is a sentence without a secret; `final`: another try is not wanted."""

    def __init__(self, sentence: str, *, final: bool = False) -> None:
        super().__init__(sentence)
        self.final = final


Carry = Callable[[Outgoing], None]
"""Delivers one thing once, in a thread of its own. Raises `NotTakenError`."""

_ADDRESS = "CASE WHEN kind = 'webhook' THEN follower ELSE split_part(follower, '#', 1) END"
_WAITS = """
    started_at IS NULL AND error IS NULL AND kind = ANY(:kinds)
    AND (kind <> 'lineage' OR NOT EXISTS (
        SELECT FROM cai_follow_ups e WHERE e.load_id = o.load_id AND e.kind = 'lineage' AND e.id < o.id
        AND e.started_at IS NULL AND e.error IS NULL))
"""
"""Lineage of a load goes out in its order."""

_FREE = f"NOT leader_id || ' ' || {_ADDRESS} = ANY(:under_way)"


async def seconds_until_due(
    engine: AsyncEngine, under_way: Collection[tuple[int, str]], kinds: Collection[Kind]
) -> float | None:
    """How soon there is something to start or to send; 0 or less: now. None: nothing waits."""
    query = f"""
        SELECT extract(epoch FROM least((SELECT now() FROM cai_loads WHERE to_follow LIMIT 1), (
            SELECT min(next_try_at) FROM cai_follow_ups o WHERE started_at IS NULL AND error IS NULL
            AND (kind = 'start' OR {_WAITS} AND {_FREE}))) - now())
    """  # noqa: S608  # words of ours
    async with engine.connect() as connection:
        found = await connection.scalar(sa.text(query), _values(under_way, kinds))
    return None if found is None else float(found)


def _values(under_way: Collection[tuple[int, str]], kinds: Collection[Kind]) -> dict[str, list[str]]:
    busy = [f"{leader} {address}" for leader, address in under_way]
    return {"under_way": busy, "kinds": [kind.value for kind in kinds]}


async def due(
    engine: AsyncEngine, under_way: Collection[tuple[int, str]], kinds: Collection[Kind], limit: int
) -> list[Outgoing]:
    """What of these kinds is to be sent now, the oldest first and one to each address: none where one is under way."""
    query = f"""
        SELECT f.id, f.kind, f.key, f.follower, f.address, f.follow_up, coalesce(f.said, '{{}}') AS said, f.tries,
            f.loaded_at, f.load_id, f.leader_id, c.name AS leader_name, c.team AS leader_team
        FROM (
            SELECT DISTINCT ON (leader_id, {_ADDRESS}) *, {_ADDRESS} AS address FROM cai_follow_ups o
            WHERE {_WAITS} AND next_try_at <= now() AND {_FREE} ORDER BY leader_id, {_ADDRESS}, id
        ) AS f LEFT JOIN cai_connectors c ON c.id = f.leader_id ORDER BY f.id LIMIT {limit}
    """  # noqa: S608  # words of ours, and a number
    async with engine.connect() as connection:
        found = (await connection.execute(sa.text(query), _values(under_way, kinds))).mappings().all()
    return [Outgoing(**{**row, "kind": Kind(row["kind"])}) for row in found]


async def note_delivered(engine: AsyncEngine, fence: Fence, number: int) -> None:
    """It was taken."""
    await written(engine, fence, "started_at = now(), problem = :value", number, None)


async def note_problem(engine: AsyncEngine, fence: Fence, number: int, why: str, seconds: float | None) -> None:
    """It was not taken, and why; it is tried again in so many seconds. None: not any more."""
    if seconds is None:
        await written(engine, fence, "tries = tries + 1, error = :value, problem = NULL", number, why)
        return
    later = f"tries = tries + 1, problem = :value, next_try_at = now() + make_interval(secs => {seconds:.3f})"
    await written(engine, fence, later, number, why)


async def note_started(engine: AsyncEngine, fence: Fence, number: int, run_id: UUID) -> None:
    """A follow-up was started, as this run: workers hear of it."""
    started = "run_id = :value, started_at = now(), error = NULL"
    await written(engine, fence, started, number, run_id, channel=RUNS_CHANNEL)


async def tell_workers(engine: AsyncEngine) -> None:
    """A run was started: workers look at once."""
    async with engine.begin() as connection:
        await connection.execute(sa.select(sa.func.pg_notify(RUNS_CHANNEL, "")))


async def written(
    engine: AsyncEngine, fence: Fence, what: str, number: int, value: Any, *, channel: str | None = None
) -> None:
    """Change a row of `cai_follow_ups` that is not done, as long as we lead, and tell whoever listens to a channel.

    Raises:
        LeaseLostError: another controller leads, and nothing was written.
    """
    async with engine.begin() as connection:
        statement = f"UPDATE cai_follow_ups SET {what} WHERE id = :id AND started_at IS NULL"  # noqa: S608  # ours
        await connection.execute(sa.text(statement), {"id": number, "value": value})
        if channel is not None:
            await connection.execute(sa.select(sa.func.pg_notify(channel, "")))
        await fence(connection)
