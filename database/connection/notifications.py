"""Hearing of changes as they are committed: PostgreSQL's LISTEN, on a connection of its own.

A notification is a hint and nothing more. One that is lost (a connection that broke, a proxy in between) costs a poll,
so after every connect the listener says so and the controller looks at the table itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from database.connection.address import dsn
from database.connection.engine import CONNECT_TIMEOUT_SECONDS

logger = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 15.0
RECONNECT_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)


async def listen(
    url: str, channels: tuple[str, ...], heard: Callable[[str, str], None], connected: Callable[[], None]
) -> None:
    """Listen until cancelled.

    Args:
        url: the database.
        channels: what to listen to.
        heard: called with (channel, payload) for each notification.
        connected: called after each connect: what was said meanwhile is lost, so look for yourself.
    """
    address = dsn(url)
    failures = 0
    while True:
        try:
            connection = await asyncpg.connect(
                address, timeout=CONNECT_TIMEOUT_SECONDS, command_timeout=KEEPALIVE_SECONDS
            )
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            wait = RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)]
            failures += 1
            logger.warning("Cannot listen for changes (%s); polling goes on.", type(error).__name__)
            await asyncio.sleep(wait)
            continue
        failures = 0
        try:
            await _hear(connection, channels, heard, connected)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            logger.warning("Lost the connection that listens for changes: %s", type(error).__name__)
        finally:
            connection.terminate()


async def at_each(url: str, channel: str, act: Callable[[], Awaitable[object]]) -> None:
    """Do something whenever a channel says something, until cancelled; what is said meanwhile comes as one.

    What goes wrong is for whoever looks now and then anyway.
    """
    said = asyncio.Event()
    listener = asyncio.create_task(listen(url, (channel,), lambda *_: said.set(), lambda: None))
    try:
        while True:
            await said.wait()
            said.clear()
            try:
                await act()
            except Exception as error:
                logger.debug("Nothing came of a notification of %s (%s).", channel, type(error).__name__)
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


async def _hear(
    connection: asyncpg.Connection,
    channels: tuple[str, ...],
    heard: Callable[[str, str], None],
    connected: Callable[[], None],
) -> None:
    closed = asyncio.Event()
    connection.add_termination_listener(lambda _: closed.set())

    def callback(_connection: Any, _pid: int, channel: str, payload: object) -> None:
        heard(channel, str(payload))

    for channel in channels:
        await connection.add_listener(channel, callback)
    connected()
    while not closed.is_set():
        try:
            async with asyncio.timeout(KEEPALIVE_SECONDS):
                await closed.wait()
        except TimeoutError:
            # A half-open connection says nothing and hears nothing: ask.
            await connection.execute("SELECT 1")
