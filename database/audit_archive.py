"""Moving whole sealed days of the history out of the database, once they stand in a file.

A day goes in one transaction: its seal says when, and by which file's digest; the newest entry of each connector is
kept with the seal, so that the proof goes on from there; and one entry of the history tells that the day was moved out.
The database lets no entry go whose day is not marked so.
"""

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from connectors.history import Action
from connectors.people import Actor
from database import audit


@dataclass(frozen=True, slots=True)
class Seal:
    """The seal of one day. `previous` is the digest of the seal before it."""

    day: date
    entries: int
    first_id: int
    last_id: int
    previous: str | None
    digest: str
    sealed_at: datetime


_SEALS = sa.text(
    f"SELECT {', '.join(field.name for field in fields(Seal))} FROM cai_audit_seals "  # noqa: S608  # our own names
    "WHERE moved_out_at IS NULL AND day < (clock_timestamp() AT TIME ZONE 'UTC')::date - CAST(:days AS integer) "
    "ORDER BY day"
)
_OF_DAY = "at >= CAST(:day AS timestamp) AT TIME ZONE 'UTC' AND at < CAST(:next AS timestamp) AT TIME ZONE 'UTC'"
_LINES = sa.text(f"SELECT digest, cai_audit_text(a) FROM cai_audit a WHERE {_OF_DAY} ORDER BY id")  # noqa: S608
_STANDS = sa.text("SELECT digest FROM cai_audit_seal_digest(CAST(:day AS date), :previous)")
_MARK = sa.text(
    f"""
    UPDATE cai_audit_seals SET moved_out_at = clock_timestamp(), file_digest = :file_digest, tails = (
        SELECT jsonb_object_agg(chain, jsonb_build_object('id', id, 'digest', digest)) FROM (
            SELECT DISTINCT ON (coalesce(connector_id, 0)) coalesce(connector_id, 0) AS chain, id, digest
            FROM cai_audit WHERE {_OF_DAY} ORDER BY coalesce(connector_id, 0), id DESC) AS newest)
    WHERE day = CAST(:day AS date)
    """  # noqa: S608  # our own text
)
_DELETE = sa.text(f"DELETE FROM cai_audit WHERE {_OF_DAY}")  # noqa: S608  # our own text


async def older_than(connection: AsyncConnection, days: int) -> list[Seal]:
    """The seals of the days that ended more than so many days ago and are still here, the oldest first."""
    rows = (await connection.execute(_SEALS, {"days": days})).mappings()
    return [Seal(**row) for row in rows]


async def lines(connection: AsyncConnection, seal: Seal) -> AsyncIterator[tuple[str, str]]:
    """The entries of a day as (digest, text), in order: the digest is the SHA-256 of the text."""
    async with connection.stream(_LINES, _bounds(seal.day)) as result:
        async for digest, text in result:
            yield digest, text


async def fits(connection: AsyncConnection, seal: Seal) -> bool:
    """Whether a day's entries are still those that were sealed."""
    stands = await connection.scalar(_STANDS, {"day": seal.day, "previous": seal.previous})
    return bool(stands == seal.digest)


async def move_out(connection: AsyncConnection, actor: Actor, seal: Seal, file_digest: str) -> None:
    """Mark the day as moved out, delete its entries, and record that, in the caller's transaction."""
    await connection.execute(_MARK, {**_bounds(seal.day), "file_digest": file_digest})
    await connection.execute(_DELETE, _bounds(seal.day))
    shown = {name: str(value) if name in {"day", "sealed_at"} else value for name, value in asdict(seal).items()}
    await audit.record(connection, actor, Action.ARCHIVE, after={**shown, "file_digest": file_digest})


def _bounds(day: date) -> dict[str, datetime | date]:
    start = datetime(day.year, day.month, day.day)  # noqa: DTZ001  # the statement says that it is of UTC
    return {"day": start, "next": datetime.fromordinal(day.toordinal() + 1)}
