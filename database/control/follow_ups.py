"""Statements on follow-ups: `cai_loads.to_follow`, which the end of a load sets, and `cai_follow_ups`.

A load is marked in the statement that ends it. The leader finds out what follows, notes each follow-up and takes the
mark away in one transaction; what is noted is started, and then noted as started. If the process dies in between, the
next leader finds what is left, and starts it with the same key, which Prefect has one run for.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.follow_ups import FollowUp, Leader, circle, due
from connectors.history import Action
from connectors.people import CONTROLLER
from database import audit
from database.connection.engine import Fence
from database.control import outbox
from database.control.notices import Whom, note_of_loads

AT_ONCE = 100
"""Loads, and follow-ups, that are looked at together."""

_LEADERS = """
    SELECT id, name, team, run_policy::jsonb -> 'then' AS said FROM cai_connectors
    WHERE jsonb_typeof(run_policy::jsonb -> 'then') = 'array'
"""

_ENDED = """
    SELECT l.id, l.ended_at, l.outcome, c.name FROM cai_loads l JOIN cai_connectors c ON c.id = l.connector_id
    WHERE l.to_follow ORDER BY l.id LIMIT :limit FOR UPDATE OF l SKIP LOCKED
"""

_SAID = """
    SELECT jsonb_build_object(
        'connector', jsonb_build_object('id', c.id, 'name', c.name),
        'load', jsonb_build_object('id', l.id, 'run_id', l.run_id, 'started_at', l.started_at, 'ended_at', l.ended_at,
            'dataset', l.dataset_name, 'rows', l.rows, 'tables', (
                SELECT coalesce(jsonb_agg(jsonb_build_object('name', t.table_name, 'written', t.written,
                    'deleted', t.deleted, 'rows_after', t.rows_after) ORDER BY t.table_name), '[]')
                FROM cai_load_tables t WHERE t.load_id = l.id)))
    FROM cai_loads l JOIN cai_connectors c ON c.id = l.connector_id WHERE l.id = :load
"""
"""What a webhook says of a load: written once, so that each try sends the same."""

_NOTE = f"""
    INSERT INTO cai_follow_ups (load_id, leader_id, follower, follow_up, loaded_at, error, kind, said)
    VALUES (:load, :leader, :follower, cast(:follow_up AS jsonb), :loaded_at, :error, :kind,
        CASE WHEN :kind = 'webhook' THEN ({_SAID}) END)
    ON CONFLICT DO NOTHING RETURNING key
"""  # noqa: S608  # ours


@dataclass(frozen=True, slots=True)
class Expanded:
    """What was made of loads that have ended."""

    loads: int
    """So many were looked at."""
    refused: "list[Circle]"


@dataclass(frozen=True, slots=True)
class Circle:
    """A follow-up that is not started, for it leads in a circle."""

    key: UUID
    leader_id: int
    leader_name: str
    follower: str
    why: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A follow-up that is to be started."""

    id: int
    key: UUID
    """Its own in Prefect: numbers come again in a database that was made anew."""
    follow_up: FollowUp
    leader_id: int
    leader_name: str | None
    """None: it is gone."""
    leader_team: str | None
    tries: int
    loaded_at: datetime
    follower_id: int | None
    """Of a connector that follows: its id, as far as there is one of that name."""
    follower_team: str | None
    is_active: bool | None
    deployment_id: UUID | None

    @property
    def follower(self) -> str:
        """What tells it from the leader's others."""
        return self.follow_up.key


async def leaders(connection: AsyncConnection) -> list[Leader]:
    """The connectors that others follow."""
    found = await connection.execute(sa.text(_LEADERS))
    return [Leader.of(row.id, row.name, row.team, row.said) for row in found]


async def may_follow(connection: AsyncConnection, team: str | None) -> set[str]:
    """The names of the connectors of a team and of everybody's."""
    query = "SELECT name FROM cai_connectors WHERE team IS NULL OR team = :team"
    return set(await connection.scalars(sa.text(query), {"team": team}))


async def expand(engine: AsyncEngine, fence: Fence, whom: Whom) -> Expanded:
    """Note what follows the loads that have ended, and whom to tell of it. A circle is an entry of the history."""
    circles: list[Circle] = []
    async with engine.begin() as connection:
        loads = (await connection.execute(sa.text(_ENDED), {"limit": AT_ONCE})).all()
        ids = [load.id for load in loads]
        if completed := [load for load in loads if load.outcome == "completed"]:
            circles = await _note(connection, completed)
        if loads:
            await note_of_loads(connection, ids, whom)
        # A connector that is gone has nobody that follows it.
        gone = "UPDATE cai_loads l SET to_follow = NULL WHERE to_follow AND (id = ANY(:ids) OR NOT EXISTS "
        gone += "(SELECT FROM cai_connectors c WHERE c.id = l.connector_id))"
        done = await connection.execute(sa.text(gone), {"ids": ids})
        for each in circles:
            await audit.record(
                connection,
                CONTROLLER,
                Action.FOLLOW_UP_REFUSED,
                connector_id=each.leader_id,
                connector_name=each.leader_name,
                after={"follower": each.follower, "why": each.why},
            )
        if done.rowcount:
            await fence(connection)
        return Expanded(len(ids), circles)


async def _note(connection: AsyncConnection, loads: Sequence[Any]) -> list[Circle]:
    circles: list[Circle] = []
    followed = await leaders(connection)
    if not followed:
        return circles
    names = sorted({name for leader in followed for each in leader.then for name in (leader.name, *each.with_all)})
    ended = "SELECT c.name, l.last_success_at FROM cai_loads l JOIN cai_connectors c ON c.id = l.connector_id "
    ended += "WHERE l.is_last AND c.name = ANY(:names) AND l.last_success_at IS NOT NULL"
    completed = {row.name: row.last_success_at for row in await connection.execute(sa.text(ended), {"names": names})}
    before = "SELECT leader_id, follower, max(loaded_at) AS loaded_at FROM cai_follow_ups "
    before += "WHERE leader_id = ANY(:ids) GROUP BY 1, 2"
    ids = [leader.connector_id for leader in followed]
    found = await connection.execute(sa.text(before), {"ids": ids})
    started = {(row.leader_id, row.follower): row.loaded_at for row in found}
    for load in loads:
        for leader, each in due(followed, load.name, completed, started):
            way = circle(leader.name, followed)
            error = None if way is None else f"it leads in a circle: {' -> '.join(way)}."
            values = {
                "error": error,
                "load": load.id,
                "leader": leader.connector_id,
                "follower": each.key,
                "loaded_at": load.ended_at,
                "kind": "start" if each.webhook is None else "webhook",
            }
            said = json.dumps(each.model_dump(mode="json"))
            key = await connection.scalar(sa.text(_NOTE), {**values, "follow_up": said})
            if error is not None and key is not None:
                circles.append(Circle(key, leader.connector_id, leader.name, each.key, error))
            started[leader.connector_id, each.key] = load.ended_at
    return circles


async def waiting(engine: AsyncEngine) -> list[Waiting]:
    """The follow-ups whose time to be started has come, the oldest first."""
    query = f"""
        SELECT f.id, f.key, f.follow_up, f.leader_id, l.name AS leader_name, l.team AS leader_team, f.tries,
            f.loaded_at, c.id AS follower_id, c.team AS follower_team, c.is_active,
            c.prefect_deployment_id AS deployment_id
        FROM cai_follow_ups f LEFT JOIN cai_connectors l ON l.id = f.leader_id
        LEFT JOIN cai_connectors c ON c.name = f.follow_up ->> 'connector'
        WHERE f.kind = 'start' AND f.started_at IS NULL AND f.error IS NULL AND f.next_try_at <= now()
        ORDER BY f.id LIMIT {AT_ONCE}
    """  # noqa: S608  # a number of ours
    async with engine.connect() as connection:
        found = (await connection.execute(sa.text(query))).mappings().all()
    return [Waiting(**{**row, "follow_up": FollowUp.model_validate(row["follow_up"])}) for row in found]


async def note_refused(engine: AsyncEngine, fence: Fence, number: int, why: str) -> None:
    """A follow-up is not started, and why."""
    await outbox.written(engine, fence, "error = :value", number, why)


async def note_later(engine: AsyncEngine, fence: Fence, number: int, seconds: float) -> None:
    """A follow-up could not be started now: it is tried again in so many seconds."""
    later = "tries = tries + 1, next_try_at = now() + make_interval(secs => :value)"
    await outbox.written(engine, fence, later, number, seconds)
