"""A controller with nothing to do leaves no trace: not in Prefect's database, not in the log."""

import asyncio
import logging
import re
import sqlite3
from collections import Counter, deque
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from connectors.status import Phase
from database.store import Store
from deployments.leadership import leader
from deployments.leadership.start_options import StartOptions, WhenLed
from deployments.monitoring import fleet_watch as watch
from flows.controller import controller_of
from logs import LOGGERS
from prefect_api.calls import READS
from prefect_api.names import ControllerEvent
from rigs.control_plane import insert
from settings import Settings
from tests.support.servers.prefect_server import PrefectServer
from tests.support.waiting import until

CYCLES = 1000
CONNECTORS = 10
SHOWN = re.compile(r"(?:\*\*Phase:\*\* |\"phase\W+)(\w+)")
OF_EVENTS = {"events", "event_resources"}


@dataclass(frozen=True)
class Database:
    """Prefect's own, read behind its back."""

    path: Path

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=60)) as connection:
            return connection.execute(query, values).fetchall()

    def rows(self) -> dict[str, int]:
        """How many rows each table holds."""
        tables = self.ask("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name: self.ask(f'SELECT count(*) FROM "{name}"')[0][0] for (name,) in tables}

    def events(self, since: datetime) -> set[str]:
        """The names of the events that have happened since."""
        query = "SELECT DISTINCT event FROM events WHERE datetime(occurred) > datetime(?)"
        return {name for (name,) in self.ask(query, since.isoformat())}

    def shown(self) -> Counter[str]:
        """How many connectors are shown to be in each phase, by their pages and by the fleet's table."""
        texts = [str(data) for (data,) in self.ask("SELECT data FROM artifact_collection")]
        return Counter(phase for text in texts for phase in SHOWN.findall(text))


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
    monkeypatch.setattr(watch, "FIRST_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.2)
    settings = Settings(
        database_url=SecretStr(database_url), data_dir=tmp_path, poll_interval_seconds=0.001, heartbeat_seconds=2
    )
    database = Database(own_prefect_server.home / "prefect.db")
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

        def writes() -> float:
            return sum(
                sample.value
                for family in controller.metrics.registry.collect()
                for sample in family.samples
                if sample.name == "cai_controller_prefect_call_seconds_count" and sample.labels["kind"] not in READS
            )

        async def settled() -> bool:
            shown = database.shown() == {Phase.SYNCED: 2 * CONNECTORS, Phase.INVALID: 2}
            last_writes.append(writes())
            # The answer of the very last call may still be under way.
            rests = len(set(last_writes)) == 1 and len(last_writes) == last_writes.maxlen
            return shown and rests and counted("cai_controller_events_waiting") == 0 and quiet() > 0

        last_writes: deque[float] = deque(maxlen=10)

        stop = asyncio.Event()
        task = asyncio.create_task(controller.run(StartOptions(WhenLed.STAND_BY), stop))
        try:
            await until("all is in Prefect, and shown there", settled, 120)
            begun, before, cycles, written = datetime.now(UTC), database.rows(), quiet(), writes()
            caplog.set_level(logging.INFO)
            caplog.clear()

            async def turned() -> bool:
                return quiet() >= cycles + CYCLES

            await until(f"{CYCLES} quiet cycles", turned, 120)
            lines = [each.getMessage() for each in caplog.records if each.name.partition(".")[0] in LOGGERS]
            assert lines == []
            assert writes() == written
            assert counted("cai_connectors_by_freshness", freshness="manual") == CONNECTORS

            async def persisted() -> bool:
                return ControllerEvent.HEARTBEAT in database.events(begun)

            await until("Prefect has a heartbeat of this time, and so what was told before it", persisted, 60)
            after = database.rows()
        finally:
            stop.set()
            await asyncio.gather(task, return_exceptions=True)
    assert {name: count for name, count in after.items() if count != before.get(name)}.keys() <= OF_EVENTS
    assert database.events(begun) <= {ControllerEvent.HEARTBEAT, "controller.handed-over"}, "the last one is of its end"
