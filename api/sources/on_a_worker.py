"""Looks at a source from where loads run (CAI_PROBE=worker): a run of Prefect's that is told a number and nothing else.

The question and the answer go through `cai_probes`. If the API dies while it waits, the row goes after minutes; if the
worker does, whoever waits is told that no answer came.
"""

import asyncio
import functools
import json
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.connector import USER_COLUMNS, ConnectorRow
from connectors.discovery import Question
from connectors.errors import Unanswered
from database.connection.engine import open_engine
from database.control import probes
from prefect_api.probe_runs import start_probe
from settings import Settings

LOOK_SECONDS = 0.25
"""How often the answer is looked for."""

POOL_SIZE = 3


class OnAWorker:
    """Questions to workers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @functools.cached_property
    def _engine(self) -> AsyncEngine:
        return open_engine(self._settings.resolved_database_url(), pool_size=POOL_SIZE)

    async def __call__(self, question: Question, row: ConnectorRow, cursor: str | None) -> Mapping[str, Any]:
        """The answer of a run on the row's own pool, or the platform's.

        Raises:
            Unanswered: none came in time; the sentence says how far it got.
            PrefectUnavailableError: no run could be started.
        """
        await probes.forget(self._engine)
        said = {name: getattr(row, name) for name in USER_COLUMNS}
        known = {**said, "id": row.id, "generation": row.generation, "tags": list(row.tags)}
        request = json.dumps({"question": question, "row": known, "cursor": cursor})
        number = await probes.ask(self._engine, request)
        taken = False
        try:
            await start_probe(number, pool=row.work_pool_name, queue=row.work_queue_name)
            deadline = time.monotonic() + self._settings.probe_seconds
            while time.monotonic() < deadline:
                if (answer := await probes.answer_of(self._engine, number)) is not None:
                    found: dict[str, Any] = json.loads(answer)
                    return found
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            taken = await asyncio.shield(probes.withdraw(self._engine, number))
        seconds = f"{self._settings.probe_seconds:.0f} seconds"
        pool = row.work_pool_name or self._settings.work_pool
        if taken:
            raise Unanswered(f"A worker has asked the source, and it did not answer within {seconds}.")
        raise Unanswered(
            f"No worker of the pool {pool} had time for this within {seconds}: all are busy, or none is running. Try "
            "again in a moment; if it stays so, operations must look at the pool."
        )
