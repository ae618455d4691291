"""Connectors by SQL, and loads of theirs that begin and end as a run records them."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from connectors.connector import ConnectorRow
from connectors.loads import Outcome
from database import runs
from pipelines.connector_lock import Locks

END: Mapping[str, Any] = {
    **dict.fromkeys(("message", "kind", "bytes", "seconds", "destination", "dataset_name", "tables", "sweeps")),
    **dict.fromkeys(("anew", "settled")),
    "rows": 0,
    "rejected": 0,
}


async def fence(connection: AsyncConnection) -> None:
    """Everybody may write."""


class Rows:
    """Connectors, and loads of them as runs record them."""

    def __init__(self, database_url: str) -> None:
        self.url = database_url

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    async def add(self, name: str, then: str = "[]", *, team: str | None = None, deployment: UUID | None = None) -> int:
        (row,) = await self.sql(
            "INSERT INTO cai_connectors (name, source, run_policy, team, prefect_deployment_id) VALUES ($1, "
            """'{"type": "fhir", "base_url": "https://f", "resource_types": ["Patient"]}', """
            "jsonb_build_object('then', $2::jsonb), $3, $4) RETURNING id",
            name, then, team, deployment,
        )  # fmt: skip
        return int(row["id"])

    async def load(self, number: int, outcome: Outcome = Outcome.COMPLETED, *, is_whole: bool = True) -> None:
        """A load that begins and ends."""
        (row,) = await self.sql("SELECT * FROM cai_connectors WHERE id = $1", number)
        connector = ConnectorRow(**{name: row[name] for name in ConnectorRow.__slots__ if name in row.keys()})  # noqa: SIM118
        about = {"run_id": None, "actor": None, "code_version": None, "options": "{}"}

        def written() -> None:
            with Locks.open(self.url, str) as locks:
                begun = runs.begin_load(locks.query, connector, about, is_whole=is_whole)
                assert begun is not None
                runs.end_load(locks.query, begun, outcome, END)

        await asyncio.to_thread(written)

    async def notes(self) -> list[tuple[str, bool, str | None]]:
        query = "SELECT follower, started_at IS NOT NULL AS started, error FROM cai_follow_ups ORDER BY id"
        return [(row["follower"], row["started"], row["error"]) for row in await self.sql(query)]
