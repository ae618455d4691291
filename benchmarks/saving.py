"""Saving: what the history adds to a change of a connector, beside the same table without it."""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from benchmarks.rig.figures import ROUNDS, Figure
from benchmarks.rig.stage import Stage
from rigs.migrated import migrate

BEFORE_HISTORY = "0006"
"""The last migration of which a row keeps no history."""

BAR_MILLISECONDS = 2.0
CHANGES = 1_000
CONNECTORS = 50
UNCOUNTED = 100
"""Changes by which a session's plans are made and its tables are in memory."""

RESOURCES = 20
SOURCE = {
    "type": "rest_api",
    "base_url": "https://emr.example.org/api",
    "auth": {"type": "bearer", "token": {"secret": "emr-token"}},
    "resources": [
        {"name": f"things_{n}", "path": f"/things/{n}", "primary_key": ["id"], "cursor": {"path": "updated_at"}}
        for n in range(RESOURCES)
    ],
}
"""A source as clinics have it, with a secret's reference, for which each entry is searched."""

Change = Callable[[asyncpg.Connection, int], Awaitable[object]]


def saving(stage: Stage) -> list[Figure]:
    """The cost of an entry: updates and inserts by plain SQL, in turns on both schemas of one server."""
    with_history, without = stage.connectors(0), stage.database("before_history")
    migrate(without, "upgrade", BEFORE_HISTORY)
    return asyncio.run(_figures(with_history, without, max(stage.size(CHANGES), 20 * ROUNDS)))


async def _figures(with_history: str, without: str, changes: int) -> list[Figure]:
    ours, baseline = await asyncpg.connect(with_history), await asyncpg.connect(without)
    try:
        for side in (ours, baseline):
            for number in range(CONNECTORS):
                await _insert(side, number)
            await side.execute("ANALYZE")
        entries = await ours.fetchval("SELECT count(*) FROM cai_audit")
        figures = [
            await _figure("an update of a connector", _update, ours, baseline, changes),
            await _figure(
                "an insert of a connector", lambda side, n: _insert(side, CONNECTORS + n), ours, baseline, changes
            ),
        ]
        written = await ours.fetchval("SELECT count(*) FROM cai_audit") - entries
        assert written == 2 * (changes + UNCOUNTED), written
    finally:
        await ours.close()
        await baseline.close()
    return figures


async def _update(side: asyncpg.Connection, number: int) -> object:
    schedule = f"{number % 60} {number // 60 % 24} * * *"
    return await side.execute(
        "UPDATE cai_connectors SET schedule = $1 WHERE id = $2", schedule, number % CONNECTORS + 1
    )


async def _insert(side: asyncpg.Connection, number: int) -> object:
    return await side.execute(
        "INSERT INTO cai_connectors (name, source) VALUES ($1, $2)", f"Connector {number}", json.dumps(SOURCE)
    )


async def _figure(
    name: str, change: Change, ours: asyncpg.Connection, baseline: asyncpg.Connection, changes: int
) -> Figure:
    took: dict[asyncpg.Connection, list[float]] = {ours: [], baseline: []}
    used: dict[asyncpg.Connection, list[float]] = {ours: [], baseline: []}
    processes = {side: int(await side.fetchval("SELECT pg_backend_pid()")) for side in (ours, baseline)}
    for number in range(changes + UNCOUNTED):
        for side in (ours, baseline) if number % 2 else (baseline, ours):
            before, began = _cpu_milliseconds(processes[side]), time.perf_counter()
            await change(side, number)
            took[side].append((time.perf_counter() - began) * 1000)
            used[side].append(_cpu_milliseconds(processes[side]) - before)
    more, more_cpu = (
        _in_rounds([a - b for a, b in zip(each[ours], each[baseline], strict=True)][UNCOUNTED:])
        for each in (took, used)
    )
    return Figure(
        f"{name} of {RESOURCES} resources: p50, p95",
        "{:.2f} ms, {:.2f} ms".format(*_in_rounds(took[ours][UNCOUNTED:])),
        "without the history {:.2f} ms, {:.2f} ms".format(*_in_rounds(took[baseline][UNCOUNTED:])),
        None,
        f"at most {BAR_MILLISECONDS:.0f} ms of CPU more at p95 (is {more_cpu[1]:.2f} ms, p50 {more_cpu[0]:.2f} ms)",
        more_cpu[1] <= BAR_MILLISECONDS,
        "The bar is for the database's CPU time, in which others on the machine don't count; without others it is what "
        "a save takes longer. By the clock, others included: p50 {:.2f} ms more, p95 {:.2f} ms more.".format(*more),
    )


def _cpu_milliseconds(process: int) -> float:
    """CPU time of a process so far, to the nanosecond where it waits for its next command."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e6


def _in_rounds(values: list[float]) -> tuple[float, float]:
    """p50 and p95, each the median of the rounds'."""
    size = len(values) // ROUNDS
    rounds = [statistics.quantiles(values[n * size : (n + 1) * size], n=20, method="inclusive") for n in range(ROUNDS)]
    return statistics.median(cuts[9] for cuts in rounds), statistics.median(cuts[18] for cuts in rounds)
