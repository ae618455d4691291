"""The list page at ten thousand connectors: how long one waits for it, beside what it asks of the database.

A whole `python -m api` answers. The baseline is what the page asks of the database, by the same code without HTTP and
without a page; beside it stands one query that would fetch the same.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import httpx
from pydantic import SecretStr

from benchmarks.rig.figures import Figure
from benchmarks.rig.stage import START_SECONDS, Stage, free_port
from database.connection.engine import open_engine
from database.connectors import Filter
from prefect_api.run_queries import NoPrefect
from settings import ROOT, Settings
from use_cases.connectors import Service
from web.pages.listing import SHOWN

CONNECTORS = 10_000
REQUESTS = 100
UNCOUNTED = 20
BAR_SECONDS = 0.15
BAR_RATIO = 3.0

IN_ONE = """
    SELECT c.*, s.phase, s.message, l.outcome, l.rows, l.ended_at, l.failures, l.last_success_at, f.promised_at
    FROM cai_connectors c
    LEFT JOIN cai_connector_status s ON s.connector_id = c.id
    LEFT JOIN cai_connector_loads l ON l.connector_id = c.id
    LEFT JOIN cai_connector_freshness f ON f.connector_id = c.id
    WHERE c.name ILIKE $1 ORDER BY c.id LIMIT 51
"""


def page(stage: Stage) -> list[Figure]:
    """The first page of the list, and one that is looked for by a word."""
    fleet = stage.size(CONNECTORS)
    database = stage.connectors(fleet)
    asyncio.run(_fill(database))
    with _api(stage, database) as url:
        figures = []
        for what, path, word in (("the first page", "/", ""), ("a word looked for", "/?q=9", "9")):
            whole, first = _asked(f"{url}{path}")
            queries, one = asyncio.run(_queries(database, word)), asyncio.run(_one_query(database, f"%{word}%"))
            tail = statistics.quantiles(whole, n=20)[-1]
            ratio = statistics.median(first) / statistics.median(queries)
            name = f"list of {fleet:,} connectors, {what}"
            alone = f"its queries alone {_ms(queries)}; all of it in one query by the driver {_ms(one)}"
            figures += [
                Figure(f"{name}: p95", f"{tail * 1000:.0f} ms", "", None, "at most 150 ms", tail <= BAR_SECONDS),
                Figure(f"{name}: first byte", _ms(first), alone, ratio, "at most 3", ratio <= BAR_RATIO),
            ]
        return figures


def _ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f} ms"


async def _fill(database: str) -> None:
    """Each connector with a status, a load and a promise."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            """
            INSERT INTO cai_connector_status (connector_id, phase, reason, message)
            SELECT id, 'synced', 'InSync', 'Prefect holds it.' FROM cai_connectors ON CONFLICT DO NOTHING;
            INSERT INTO cai_loads (
                connector_id, generation, outcome, message, rows, started_at, ended_at, is_last, last_success_at)
            SELECT id, generation, 'completed', 'Loaded.', 42, now(), now(), true, now() FROM cai_connectors
            ON CONFLICT DO NOTHING;
            INSERT INTO cai_connector_freshness (connector_id, schedule, timezone, promised_at)
            SELECT id, schedule, timezone, now() FROM cai_connectors ON CONFLICT DO NOTHING;
            ANALYZE
            """
        )
    finally:
        await connection.close()


@contextmanager
def _api(stage: Stage, database: str) -> Iterator[str]:
    port = free_port()
    environment = stage.environment(
        CAI_DATABASE_URL=database,
        CAI_API_PORT=str(port),
        CAI_DATA_DIR=str(stage.directory / "data"),
        PREFECT_API_URL=f"http://127.0.0.1:{free_port()}/api",
    )
    log = (stage.directory / "api.log").open("wb")
    command = [sys.executable, "-m", "api"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT) as server:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        try:
            while True:
                try:
                    httpx.get(f"{url}/ready").raise_for_status()
                    break
                except httpx.HTTPError:
                    if time.monotonic() > deadline or server.poll() is not None:
                        raise
                    time.sleep(0.1)
            yield url
        finally:
            server.terminate()


def _asked(url: str) -> tuple[list[float], list[float]]:
    """Seconds of the whole page, and to its first byte."""
    whole, first = [], []
    with httpx.Client(timeout=60) as client:
        for number in range(UNCOUNTED + REQUESTS):
            began = time.perf_counter()
            with client.stream("GET", url) as answer:
                pieces = answer.iter_raw()
                next(pieces)
                first_byte = time.perf_counter() - began
                for _ in pieces:
                    pass
                assert answer.status_code == 200, answer.status_code
            if number >= UNCOUNTED:
                whole.append(time.perf_counter() - began)
                first.append(first_byte)
    return whole, first


async def _queries(database: str, word: str) -> list[float]:
    """Seconds of what the page asks of the database, as it asks it, without the page."""
    engine = open_engine(database)
    service = Service.of(Settings(database_url=SecretStr(database)), engine, NoPrefect())
    try:
        seconds = []
        for number in range(UNCOUNTED + REQUESTS):
            began = time.perf_counter()
            await service.page(Filter(text=word or None), limit=SHOWN)
            await service.teams()
            if number >= UNCOUNTED:
                seconds.append(time.perf_counter() - began)
        return seconds
    finally:
        await engine.dispose()


async def _one_query(database: str, pattern: str) -> list[float]:
    connection = await asyncpg.connect(database)
    try:
        seconds = []
        for number in range(UNCOUNTED + REQUESTS):
            began = time.perf_counter()
            await connection.fetch(IN_ONE, pattern)
            if number >= UNCOUNTED:
                seconds.append(time.perf_counter() - began)
        return seconds
    finally:
        await connection.close()
