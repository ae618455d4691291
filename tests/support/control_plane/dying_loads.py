"""Loads and controllers that die around the end of a load: forked from a process that has everything imported.

Started as `python -m tests.support.control_plane.dying_loads DATABASE_URL`; each line on stdin is `load` or `turn`, the
number of a connector and the seconds after which the child is killed (-1: not at all). It answers with whether the
child was killed, and how long it lived. The process has no threads of its own, so that forking it is safe.
"""

import asyncio
import json
import os
import select
import signal
import sys
import time

from pydantic import SecretStr

from connectors.connector import ConnectorRow
from connectors.loads import Outcome
from connectors.people import NameableSecrets
from database import runs
from database.connection.engine import open_engine
from database.control.notices import Whom
from deployments import follow_ups
from deployments.outgoing import Post
from pipelines.connector_lock import Locks, connector_key
from pipelines.load_history import count_the_dead, nobody
from pipelines.telling import carriers_of, webhooks
from prefect_api.event_feed import Events
from prefect_api.run_queries import open_runs
from settings import Settings
from tests.support.control_plane.ended_loads import END, fence

IMPORTED = webhooks.post


def load(url: str, number: int) -> None:
    """A load as a run records it: the connector's turn, what died before, its begin and its end."""
    with Locks.open(url) as locks:
        locks.wait(connector_key(number), lambda: None)
        row = locks.query("SELECT * FROM cai_connectors WHERE id = %(id)s", {"id": number}) or {}
        connector = ConnectorRow(**{name: row[name] for name in ConnectorRow.__slots__ if name in row})
        count_the_dead(locks, connector, nobody)
        about = {"run_id": None, "actor": None, "code_version": None, "options": "{}"}
        begun = runs.begin_load(locks.query, connector, about, is_whole=True)
        if begun is not None:
            runs.end_load(locks.query, begun, Outcome.COMPLETED, END)


async def turn(url: str) -> None:
    """What the leading controller does each second."""
    engine, events = open_engine(url), Events("dying")
    settings = Settings(database_url=SecretStr(url), credentials=NameableSecrets.OPEN)
    post = Post(engine, fence, events, carriers_of(settings))
    async with open_runs() as prefect:
        await follow_ups.turn(post, prefect, ["*/*"], Whom({}, 3))
        await post.turn()
        await post.settled()
    await engine.dispose()


def child(what: str, url: str, number: int) -> None:
    """Do it, and end."""
    if what == "load":
        load(url, number)
    else:
        asyncio.run(turn(url))
    os._exit(0)


def lived(what: str, url: str, number: int, seconds: float) -> dict[str, object]:
    """Fork a child, kill it after so long if it lives still, and say how that went."""
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        try:
            child(what, url, number)
        finally:
            os._exit(1)
    watch = os.pidfd_open(process)
    try:
        if seconds >= 0 and not select.select([watch], [], [], seconds)[0]:
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    finally:
        os.close(watch)
    return {
        "killed": os.WIFSIGNALED(status),
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
    }


def main() -> None:
    """Answer each line of stdin."""
    for line in sys.stdin:
        what, number, seconds = line.split()
        print(json.dumps(lived(what, sys.argv[1], int(number), float(seconds))), flush=True)


if __name__ == "__main__":
    main()
