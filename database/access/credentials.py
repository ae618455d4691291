"""`cai_credentials`: what connectors may name as a secret, and whose it is. The value is in a Prefect block."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.credentials import CredentialKind, Registered
from database.tables import credentials


@dataclass(frozen=True, slots=True)
class StoredCredential(Registered):
    """One credential with who made it, and when."""

    created_at: datetime | None = None
    created_by: str = ""


_COLUMNS = [credentials.c[name] for name in (*Registered.__slots__, "created_at", "created_by")]


def _stored(found: Any) -> StoredCredential:
    return StoredCredential(**{**found, "kind": CredentialKind(found["kind"]), "hosts": tuple(found["hosts"])})


async def registered(connection: AsyncConnection, references: Collection[str]) -> list[StoredCredential]:
    """The credentials that are one of these blocks or variables."""
    if not references:
        return []
    query = sa.select(*_COLUMNS).where(credentials.c.reference.in_(sorted(references)))
    return [_stored(found) for found in (await connection.execute(query)).mappings()]


async def listed(engine: AsyncEngine, teams: Collection[str] | None) -> list[StoredCredential]:
    """The credentials of these teams and everybody's, or all for None, by name."""
    query = sa.select(*_COLUMNS).order_by(credentials.c.name)
    if teams is not None:
        query = query.where(credentials.c.team.is_(None) | credentials.c.team.in_(sorted(teams)))
    async with engine.connect() as connection:
        return [_stored(found) for found in (await connection.execute(query)).mappings()]


async def one(engine: AsyncEngine, name: str) -> StoredCredential | None:
    """The credential of this name; None when there is none."""
    async with engine.connect() as connection:
        query = sa.select(*_COLUMNS).where(credentials.c.name == name)
        found = (await connection.execute(query)).mappings().one_or_none()
    return None if found is None else _stored(found)


_NAMED = sa.text("""
    SELECT DISTINCT kind, named #>> '{}' AS reference, c.id, c.name
    FROM cai_connectors c CROSS JOIN (VALUES ('secret'), ('block'), ('env')) AS kinds (kind),
        jsonb_path_query(
            jsonb_build_array(c.source, c.destination, c.run_policy::jsonb), ('$.**.' || kind)::jsonpath) AS named
    WHERE jsonb_typeof(named) = 'string' AND (c.team IS NULL OR CAST(:every AS boolean) OR c.team = ANY(:teams))
    ORDER BY c.name, c.id
""")


async def named(
    engine: AsyncEngine, teams: Collection[str] | None
) -> dict[tuple[CredentialKind, str], list[tuple[int, str]]]:
    """Which connectors of these teams and of everybody's name each block or variable: their numbers and names."""
    found: dict[tuple[CredentialKind, str], list[tuple[int, str]]] = {}
    async with engine.connect() as connection:
        rows = await connection.execute(_NAMED, {"every": teams is None, "teams": sorted(teams or ())})
        for kind, reference, number, name in rows:
            found.setdefault((CredentialKind(kind), reference), []).append((number, name))
    return found


async def insert(connection: AsyncConnection, **values: Any) -> bool:
    """Register a credential; False when its name is taken."""
    statement = upsert(credentials).values(**values).on_conflict_do_nothing(index_elements=["name"])
    return bool((await connection.execute(statement)).rowcount)


async def delete(connection: AsyncConnection, name: str) -> bool:
    """Forget a credential; whether there was one."""
    gone = await connection.execute(sa.delete(credentials).where(credentials.c.name == name))
    return bool(gone.rowcount)
