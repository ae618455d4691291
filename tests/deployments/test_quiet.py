"""A controller with nothing to do leaves no trace: not in Prefect's database, not in the log."""

import asyncio
import logging
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from connectors.logs import LOGGERS
from connectors.status import Phase
from connectors.store import Store
from deployments import leader
from deployments.controller import Mandate, WhenLed
from deployments.heartbeat import EVENT
from flows.controller import controller_of
from settings import Settings
from tests.deployments.rig import insert
from tests.prefect_server import PrefectServer
from tests.test_end_to_end import own_prefect_server, until

__all__ = ["own_prefect_server"]

CYCLES = 1000
CONNECTORS = 10
OF_EVENTS = {"events", "event_resources"}


def rows(database: Path) -> dict[str, int]:
    """How many rows each table of Prefect's holds."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables}


def events(database: Path, since: datetime) -> list[str]:
    """The names of the events that have happened since."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        found = connection.execute(
            "SELECT event FROM events WHERE datetime(occurred) > datetime(?)", (since.isoformat(),)
        )
        return [name for (name,) in found]


@pytest.mark.slow
async def test_a_thousand_quiet_cycles_add_no_row_but_heartbeats_and_no_line(
    own_prefect_server: PrefectServer,
    store: Store,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(leader, "SHORTEST_WAIT_SECONDS", 0.0)
    settings = Settings(
        database_url=SecretStr(database_url), data_dir=tmp_path, poll_interval_seconds=0.001, heartbeat_seconds=2
    )
    database = own_prefect_server.home / "prefect.db"
    pool = {"name": "default", "type": "process"}
    httpx.post(f"{own_prefect_server.url}/work_pools/", json=pool, timeout=60).raise_for_status()
    # By hand only: what Prefect's scheduler adds is no controller's doing.
    for _ in range(CONNECTORS):
        await insert(store, schedule=None)
    await insert(store, schedule="61 * * * *")
    with temporary_settings({PREFECT_API_URL: own_prefect_server.url}):
        controller = controller_of(settings)

        def counted(name: str, **labels: str) -> float:
            return controller.metrics.registry.get_sample_value(name, labels) or 0.0

        def quiet() -> float:
            return counted("cai_controller_cycle_seconds_count", result="quiet")

        async def synced() -> bool:
            phases = [status.phase for status in (await store.statuses()).values()]
            settled = phases.count(Phase.SYNCED) == CONNECTORS and phases.count(Phase.INVALID) == 1
            return settled and counted("cai_controller_events_waiting") == 0 and quiet() > 0

        stop = asyncio.Event()
        task = asyncio.create_task(controller.run(Mandate(WhenLed.STAND_BY), stop))
        try:
            await until("all is in Prefect", synced, 120)
            begun, before, cycles = datetime.now(UTC), rows(database), quiet()
            calls = counted("cai_controller_prefect_calls_total", result="2xx")
            caplog.set_level(logging.INFO)
            caplog.clear()

            async def turned() -> bool:
                return quiet() >= cycles + CYCLES

            await until(f"{CYCLES} quiet cycles", turned, 120)
            lines = [each.getMessage() for each in caplog.records if each.name.partition(".")[0] in LOGGERS]
            assert lines == []
            assert counted("cai_controller_prefect_calls_total", result="2xx") == calls

            async def persisted() -> bool:
                return EVENT in events(database, begun)

            await until("Prefect has a heartbeat of this time, and so what was told before it", persisted, 60)
            after = rows(database)
        finally:
            stop.set()
            await asyncio.gather(task, return_exceptions=True)
    assert {name: count for name, count in after.items() if count != before.get(name)}.keys() <= OF_EVENTS
    assert set(events(database, begun)) - {EVENT} <= {"controller.handed-over"}, "at its end"
