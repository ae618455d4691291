"""Alembic's entry point: connects to `CAI_DATABASE_URL` and runs the migrations, one transaction for all of them.

A migration changes a back end's table, so it needs that table to itself for a moment. While it waits for whoever reads
there, everybody who comes later waits behind it: so it waits three seconds, lets the others pass, and tries again. If
the process dies at any moment, nothing was changed.
"""

import asyncio

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from database.connection.engine import open_engine
from database.connection.errors import Trouble, trouble_of
from database.connection.lock_holders import lock_holders
from database.tables import metadata
from settings import Settings

MIGRATION_LOCK = 0x0CA1_5EED
"""Advisory lock that makes two pods that migrate at once go one after the other."""

TRIES = "20"
"""How often the tables are tried for: two minutes in all. `alembic -x tries=100 upgrade head` has more patience."""

PAUSE_SECONDS = 3


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()


async def _migrate() -> None:
    # The rows of a large table may take long to be filled in.
    engine = open_engine(Settings().resolved_database_url(), statement_timeout_seconds=None)
    try:
        tries = int(context.get_x_argument(as_dictionary=True).get("tries", TRIES))
        for left in reversed(range(tries)):
            try:
                async with engine.connect() as connection:
                    await connection.run_sync(_run)
            except DBAPIError as error:
                if trouble_of(error) is not Trouble.LOCKED:
                    raise
                if not left:
                    who = await lock_holders(engine)
                    raise CommandError(
                        f"The tables are in use, and {tries} tries to have them for a moment failed; nothing was "
                        f"changed. {who} End what has been open for long, and run the migrations again."
                    ) from None
            else:
                return
            await asyncio.sleep(PAUSE_SECONDS)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("These migrations look at the existing table before they change it: run them online.")
asyncio.run(_migrate())
