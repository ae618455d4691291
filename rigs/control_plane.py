"""A reconciler on a real database and a gateway, with a clock of its own, for tests of whole cycles."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from connectors.status import Status
from database.connection.engine import DATABASE_ERRORS
from database.store import Store
from database.tables import connectors
from deployments.leadership.lease import Lease
from deployments.monitoring.alerts import Alerts
from deployments.monitoring.metrics import Metrics
from deployments.planning.spec import Platform
from deployments.reconciling.gateway import Gateway
from deployments.reconciling.observing import SMALL
from deployments.reconciling.reconciler import Options, Reconciler, assemble
from deployments.reconciling.rounds import Report
from deployments.reconciling.server_health import ServerHealth
from prefect_api.concurrency_limit import AdaptiveLimiter
from prefect_api.event_feed import Events
from rigs.fake_prefect import FakePrefect

FILES_SOURCE = {"type": "files", "url": "/data/labs", "format": "csv", "table": "labs"}

SCHEMA = {
    "title": "Parameters",
    "type": "object",
    "properties": {
        "connector_id": {"type": "integer", "title": "connector_id", "position": 0},
        "full_refresh": {"type": "boolean", "default": False, "title": "full_refresh", "position": 1},
    },
    "required": ["connector_id"],
    "definitions": {},
}

PLATFORM = Platform(
    instance="clinical-ai",
    work_pool="default",
    work_queue="default",
    job_variables={"command": "python -m prefect.engine", "working_dir": "/app"},
    parameter_schema=SCHEMA,
)


@dataclass
class Clock:
    """A clock that moves when a test says so."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    passed: float = 0.0
    """Seconds by the monotonic clock, which nobody sets back."""

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass, or set the clock on the wall back."""
        self.now += timedelta(seconds=seconds)
        self.passed += max(0.0, seconds)


@dataclass
class Rig:
    """One controller's worth of parts."""

    store: Store
    gateway: Gateway
    reconciler: Reconciler
    clock: Clock
    lease: Lease
    alerts: Alerts

    async def cycle(self, **options: Any) -> Report:
        """One cycle."""
        return await self.reconciler.cycle(**options)

    async def settle(self, **options: Any) -> Report:
        """Cycles until one has found the server up and failed at nothing: a loaded machine's may time out meanwhile."""
        for _ in range(20):
            report = await self.cycle(**options)
            failed = await self.failed()
            if report.server_down is None and not failed:
                return report
            self.clock.advance(60)
        raise AssertionError(f"server down: {report.server_down}; failed: {failed}")

    async def failed(self) -> dict[int, str | None]:
        """The connectors that failed at their last try, and what they say."""
        return {i: status.message for i, status in (await self.store.statuses()).items() if status.attempts}

    async def insert(self, **values: Any) -> int:
        """Insert a connector, of a `files` source unless given another; its id."""
        return await insert(self.store, **values)

    async def change(self, connector_id: int, **values: Any) -> None:
        """Update columns of a connector."""
        async with self.store.engine.begin() as connection:
            await connection.execute(sa.update(connectors).where(connectors.c.id == connector_id).values(**values))

    async def remove(self, *connector_ids: int) -> None:
        """Delete connectors, in one transaction."""
        async with self.store.engine.begin() as connection:
            await connection.execute(sa.delete(connectors).where(connectors.c.id.in_(connector_ids)))

    async def status(self, connector_id: int) -> Status | None:
        """The status row, as the database holds it."""
        return (await self.store.statuses([connector_id])).get(connector_id)


async def insert(store: Store, **values: Any) -> int:
    """Insert a connector, of a `files` source unless given another; its id."""
    row = {"source": FILES_SOURCE, "schedule": "0 */4 * * *", **values}
    async with store.engine.begin() as connection:
        if "name" not in row:
            row["name"] = f"Connector {await connection.scalar(sa.text('SELECT txid_current()'))}"
        return int(await connection.scalar(sa.insert(connectors).values(**row).returning(connectors.c.id)) or 0)


@asynccontextmanager
async def rig(
    store: Store,
    gateway: Gateway,
    *,
    platform: Platform = PLATFORM,
    options: Options | None = None,
    clock: Clock | None = None,
    holder: str = "test",
    alerts: Alerts | None = None,
    events: Events | None = None,
    metrics: Metrics | None = None,
    progress: Callable[[], None] = lambda: None,
    small: int = SMALL,
) -> AsyncIterator[Rig]:
    """A leading controller's parts, started.

    It leaves an overloaded server in peace for as long as in life; where only the fake says that it is overloaded,
    there is nothing to wait for. Of a fleet up to `small` every audit lists everything.
    """
    clock = clock or Clock()
    rng = random.Random(1)
    lease = Lease(store.engine, name=platform.instance, holder=holder, ttl_seconds=3600)
    assert await lease.acquire()
    alerts = alerts or Alerts([], platform.instance)

    async def claim() -> None:
        return None

    reconciler = assemble(
        store=store,
        gateway=gateway,
        platform=platform,
        options=options or Options(max_prune_fraction=0.25, retry_base_seconds=5, retry_max_seconds=900),
        fence=lease.fence,
        alerts=alerts,
        server=ServerHealth(alerts, backoff_max_seconds=60, alert_after_seconds=120, rng=rng),
        limiter=AdaptiveLimiter(
            25,
            monotonic=time.monotonic,
            sleep=(lambda _: asyncio.sleep(0)) if isinstance(gateway, FakePrefect) else asyncio.sleep,
        ),
        clock=clock,
        rng=rng,
        claim=claim,
        progress=progress,
        events=events,
        metrics=metrics,
        monotonic=lambda: clock.passed,
        small=small,
    )
    await reconciler.start()
    try:
        yield Rig(store, gateway, reconciler, clock, lease, alerts)
    finally:
        with suppress(*DATABASE_ERRORS):  # as the controller does: a term that was cut off may still hold its row
            await lease.release()


async def insert_many(parts: Rig, count: int) -> list[int]:
    return [await parts.insert(name=f"Connector {number}") for number in range(count)]
