"""A back end's owner at work on the connectors' table."""

import asyncpg


async def run(database_url: str, statements: str) -> None:
    """As a back end's owner."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()
