"""Costs of a fleet in Prefect itself, for docs/scale.md: its scheduler's passes, and what a run takes on disk."""

import asyncio
import time

from benchmarks.rig.figures import Figure
from benchmarks.rig.stage import RUNS_AHEAD, Stage

FLEET = 1_000
LARGE = 10_000
IDLE_SECONDS = 65.0
"""One pass of the scheduler, at least."""


def scheduler(stage: Stage) -> list[Figure]:
    """The server's CPU and the database's size for each run that the scheduler makes, and for a fleet that stands."""
    fleet, large = stage.size(FLEET), stage.size(LARGE)
    runs = fleet * RUNS_AHEAD
    with stage.server(fleet, runs=False) as server:
        size = "SELECT pg_database_size(current_database())"
        before = asyncio.run(server.query(size))[0][0]
        # The server has not done anything else but start.
        used = server.cpu_seconds()
        server.wait("SELECT count(*) FROM flow_run WHERE auto_scheduled", runs)
        milliseconds = (server.cpu_seconds() - used) / runs * 1000
        kilobytes = (asyncio.run(server.query(size))[0][0] - before) / runs / 1024
    with stage.server(large) as server:
        used, began = server.cpu_seconds(), time.monotonic()
        time.sleep(IDLE_SECONDS)  # nothing to wait for: it is what happens in a time that is measured
        share = (server.cpu_seconds() - used) / (time.monotonic() - began)
        megabytes = asyncio.run(server.query(size))[0][0] / 2**20
    made = f"{milliseconds:.1f} ms of CPU, {kilobytes:.1f} kB"
    stands = f"{share * 100:.1f}% of a core, {megabytes:.0f} MB of database"
    return [
        Figure("scheduler: a run that it makes", made, "", None, "", True),
        Figure(f"server with {large:,} deployments that stand", stands, "", None, "", True),
    ]
