"""A cycle in which nothing changed: one SQL query, and what we add to it."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import asyncpg
import sqlalchemy as sa

from benchmarks.rig.figures import ROUNDS, Figure, median_ratio, shown
from database.connection.engine import open_engine
from database.store import Store
from deployments.reconciling.gateway import Gateway
from local.embedded_postgres import EmbeddedPostgres
from rigs.control_plane import rig
from rigs.fake_prefect import FakePrefect
from rigs.migrated import migrate

CONNECTORS = 10_000
CYCLES = 20


class Counted:
    """A gateway that counts every call, reads included."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        self.calls += 1
        return getattr(self._gateway, name)


@asynccontextmanager
async def filled(directory: Path) -> AsyncIterator[Store]:
    """A database with ten thousand connectors."""
    with EmbeddedPostgres(directory, throwaway=True) as cluster:
        url = cluster.create_database("bench")
        await asyncio.to_thread(migrate, url)
        source = {"type": "files", "url": "/data", "format": "csv", "table": "labs"}
        connection = await asyncpg.connect(url)
        await connection.execute(
            "INSERT INTO cai_connectors (name, schedule, source) "
            "SELECT 'Connector ' || n, 'H * * * *', $1::jsonb FROM generate_series(1, $2::int) n",
            json.dumps(source),
            CONNECTORS,
        )
        await connection.close()
        engine = open_engine(url)
        try:
            yield Store(engine)
        finally:
            await engine.dispose()


async def _measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        async with filled(Path(directory)) as store:
            fake = Counted(FakePrefect())
            async with rig(store, cast(Gateway, fake)) as controller:
                await controller.cycle(audit=True)
                queries = 0

                @sa.event.listens_for(store.engine.sync_engine, "before_cursor_execute")
                def count(*_: object) -> None:
                    nonlocal queries
                    queries += 1

                fake.calls = 0
                await controller.cycle()
                a_cycle, made = queries, fake.calls

                async def timed(what: object) -> float:
                    began = time.perf_counter()
                    for _ in range(CYCLES):
                        await (controller.cycle() if what == "cycle" else store.marks())
                    return (time.perf_counter() - began) / CYCLES

                pairs = [(await timed("cycle"), await timed("query")) for _ in range(ROUNDS)]
                ours, baseline = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
                ratio = median_ratio(ours, baseline)
                return [
                    Figure(
                        f"quiet cycle, {CONNECTORS:,} connectors: Prefect calls, SQL queries",
                        f"{made}, {a_cycle}",
                        "",
                        None,
                        "0, 1",
                        (made, a_cycle) == (0, 1),
                    ),
                    Figure(
                        f"quiet cycle, {CONNECTORS:,} connectors: time",
                        shown(ours),
                        f"the query alone {shown(baseline)}",
                        ratio,
                        "at most 1.5",
                        ratio <= 1.5,
                    ),
                ]


def quiet() -> list[Figure]:
    """A quiet cycle beside its one query."""
    return asyncio.run(_measure())
