"""Alembic's entry point: connects to `CAI_DATABASE_URL` and runs the migrations, one transaction for all of them."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from connectors.store import open_engine
from connectors.tables import metadata
from settings import Settings

MIGRATION_LOCK = 0x0CA1_5EED
"""Advisory lock that makes two pods that migrate at once go one after the other."""


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()


async def _migrate() -> None:
    engine = open_engine(Settings().resolved_database_url())
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("These migrations look at the existing table before they change it: run them online.")
asyncio.run(_migrate())
