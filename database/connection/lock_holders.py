"""Holders of locks on our tables: the sessions that operations end when something waits in vain for them."""

import contextlib

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from database.connection.engine import DATABASE_ERRORS

HOLDERS = sa.text(r"""
    SELECT DISTINCT l.pid, coalesce(nullif(a.application_name, ''), 'without a name') AS application,
        extract(epoch FROM now() - a.xact_start)::bigint AS seconds
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.granted AND l.pid <> pg_backend_pid() AND a.xact_start < now() - interval '1 second'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.relation IN (SELECT oid FROM pg_class WHERE relname LIKE 'cai\_%' AND relkind IN ('r', 'p'))
    ORDER BY seconds DESC LIMIT 3
""")
"""The sessions whose open transactions hold locks of our tables, the oldest first. No statement of theirs: it may hold
values."""


async def lock_holders(engine: AsyncEngine) -> str:
    """These sessions as a sentence; empty when there are none, or the database does not say."""
    with contextlib.suppress(*DATABASE_ERRORS):
        async with engine.connect() as connection:
            rows = (await connection.execute(HOLDERS)).all()
        each = [f"process {row.pid} (application {row.application}, for {row.seconds} s)" for row in rows]
        return f"Open transactions on our tables: {', '.join(each)}." if each else ""
    return ""
