"""Last loads: rows of the ledger as runs leave them, without a run."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from database.tables import load_runs


async def record_last_load(connection: AsyncConnection, connector_id: int, **values: Any) -> None:
    """Write the last load of a connector, with what is known of all of its loads."""
    before = (load_runs.c.connector_id == connector_id, load_runs.c.is_last)
    await connection.execute(sa.update(load_runs).where(*before).values(is_last=None))
    usual = {"generation": 0, "outcome": "completed", "started_at": datetime(2026, 1, 1, tzinfo=UTC), "is_last": True}
    await connection.execute(sa.insert(load_runs).values(**{**usual, "connector_id": connector_id, **values}))
