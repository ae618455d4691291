"""Load history, as a run writes it into `cai_connector_loads`: a mark when it starts, and at its end how it went.

The mark is what tells of a run that died without a word (out of memory, a lost machine): whoever has the connector's
turn next finds it, counts a failure and tells it. It also proves to a run that lost its lock whether it may go on: not
when somebody has ended its mark meanwhile. Keeping this record never harms a load: what cannot be written is a line in
the log.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from connectors.connector import ConnectorRow, RunPolicy
from database.tables import CHANNEL
from pipelines.connector_lock import Locks, RowHeldError
from pipelines.errors import ConfigurationError, RunError
from pipelines.loading.summary import Summary

logger = logging.getLogger("prefect.pipelines")

END_TRIES = 60
"""How often the end of a load is tried while somebody holds its row, five minutes in all: not written down, the next
run would take this one for dead."""

DIED = "The run before this one died without a word: out of memory, or its machine went away."


@dataclass(frozen=True, slots=True)
class Told:
    """How a load ended, for whoever tells others."""

    outcome: str
    """`completed`, `failed` or `skipped`."""
    connector_id: int
    message: str
    connector_name: str | None = None
    rows: int = 0
    kind: str | None = None
    """Of a failure: the class of its error, such as `configuration`."""
    failures: int = 0
    """Failures in a row, this one included; of a success, those before it."""
    seconds: dict[str, float] = field(default_factory=dict)


Tell = Callable[[Told], None]
"""Takes how a load ended. Must not raise."""


def nobody(told: Told) -> None:
    """Tells nobody."""
    del told


class LoadRecord:
    """The record of one load. `succeeded` is called by the one who knows its rows."""

    def __init__(self, locks: Locks, row: ConnectorRow, policy: RunPolicy, tell: Tell) -> None:
        self._locks = locks
        self._row = row
        self._pause_after = policy.auto_pause_after
        self._tell = tell
        self._started_at: datetime | None = None

    def started(self, run_id: UUID | None) -> None:
        """Mark the start. Another generation counts its failures of configuration from 0."""
        row = _written(
            self._locks,
            """
            INSERT INTO cai_connector_loads AS l (connector_id, generation, run_id, outcome, started_at)
            VALUES (%(id)s, %(generation)s, %(run)s, 'running', now())
            ON CONFLICT (connector_id) DO UPDATE SET
                generation = excluded.generation, run_id = excluded.run_id, outcome = 'running',
                started_at = now(), ended_at = NULL,
                configuration_failures =
                    CASE WHEN l.generation = excluded.generation THEN l.configuration_failures ELSE 0 END
            RETURNING started_at
            """,
            id=self._row.id,
            generation=self._row.generation,
            run=None if run_id is None else str(run_id),
        )
        if row is None:
            return
        self._started_at = row["started_at"]
        # Not the run's id: a run that Prefect starts again, on another machine, keeps it.
        self._locks.prove_by(
            "SELECT 1 FROM cai_connector_loads "
            "WHERE connector_id = %(id)s AND started_at = %(started)s AND outcome = 'running'",
            {"id": self._row.id, "started": self._started_at},
        )

    def succeeded(self, summary: Summary) -> None:
        """The load is done."""
        failures, of_configuration = self._ended(
            """
            UPDATE cai_connector_loads AS l SET outcome = 'completed', message = %(message)s, rows = %(rows)s,
                ended_at = now(), last_success_at = now(), failures = 0, configuration_failures = 0,
                loads_completed = l.loads_completed + 1, rows_loaded = l.rows_loaded + %(rows)s
            FROM cai_connector_loads AS old WHERE old.connector_id = l.connector_id
                AND l.connector_id = %(id)s AND l.started_at = %(started)s AND l.outcome = 'running'
            RETURNING old.failures, old.configuration_failures
            """,
            message=summary.sentence,
            rows=summary.total_rows,
        ) or (0, 0)
        self._wake_controller_if_paused(of_configuration)
        self._tell(
            Told(
                "completed",
                self._row.id,
                summary.sentence,
                self._row.name,
                rows=summary.total_rows,
                failures=failures,
                seconds=summary.seconds,
            )
        )

    def failed(self, error: RunError) -> None:
        """The load failed."""
        failures, of_configuration = self._ended(
            """
            UPDATE cai_connector_loads SET outcome = 'failed', message = %(message)s, rows = 0, ended_at = now(),
                failures = failures + 1, loads_failed = loads_failed + 1,
                configuration_failures = CASE WHEN %(configuration)s THEN configuration_failures + 1 ELSE 0 END
            WHERE connector_id = %(id)s AND started_at = %(started)s AND outcome = 'running'
            RETURNING failures, configuration_failures
            """,
            message=str(error),
            configuration=isinstance(error, ConfigurationError),
        ) or (1, 0)
        self._wake_controller_if_paused(of_configuration)
        kind = type(error).__name__.removesuffix("Error").lower()
        self._tell(Told("failed", self._row.id, str(error), self._row.name, kind=kind, failures=failures))

    def cancelled(self) -> None:
        """Somebody ended the run: that says nothing of the connector."""
        self._ended(
            "UPDATE cai_connector_loads SET outcome = 'cancelled', message = 'Cancelled.', rows = 0, ended_at = now() "
            "WHERE connector_id = %(id)s AND started_at = %(started)s AND outcome = 'running' "
            "RETURNING failures, configuration_failures"
        )

    def _wake_controller_if_paused(self, configuration_failures: int) -> None:
        """The controller pauses or resumes at once, not at its next audit."""
        if self._pause_after and configuration_failures >= self._pause_after:
            statement = "SELECT pg_notify(%(channel)s, %(name)s)"
            _written(self._locks, statement, channel=CHANNEL, name=str(self._row.id))

    def _ended(self, statement: str, **values: Any) -> tuple[int, int] | None:
        """The failures and the configuration failures that the statement returns; None where the mark isn't ours."""
        row = _written(self._locks, statement, END_TRIES, id=self._row.id, started=self._started_at, **values)
        return None if row is None else (row["failures"], row["configuration_failures"])


def count_the_dead(locks: Locks, row: ConnectorRow, tell: Tell) -> None:
    """Count and tell a run that marked its start and never its end. Needs the connector's lock.

    It died, or it lives and lost its lock: without its mark it writes nothing more.
    """
    found = _written(
        locks,
        """
        UPDATE cai_connector_loads SET outcome = 'failed', message = %(died)s, rows = 0, ended_at = now(),
            failures = failures + 1, loads_failed = loads_failed + 1, configuration_failures = 0
        WHERE connector_id = %(id)s AND outcome = 'running' RETURNING failures
        """,
        id=row.id,
        died=DIED,
    )
    if found is not None:
        tell(Told("failed", row.id, DIED, row.name, kind="died", failures=found["failures"]))


def _written(locks: Locks, statement: str, tries: int = 1, **values: Any) -> dict[str, Any] | None:
    """The row that the statement returns, if any; None too when nothing could be written."""
    for tried in range(1, tries + 1):
        try:
            return locks.query(statement, values)
        except RowHeldError as error:
            if tried in {1, tries}:
                logger.warning("How this load went could not be recorded: %s", error)
        except RunError as error:
            logger.warning("How this load went could not be recorded: %s", error)
            break
    return None


@contextmanager
def recorded(
    locks: Locks, row: ConnectorRow, policy: RunPolicy, run_id: UUID | None, tell: Tell
) -> Iterator[LoadRecord]:
    """Record the load inside: its start, and its end unless that is a success, which `LoadRecord.succeeded` is told."""
    record = LoadRecord(locks, row, policy, tell)
    record.started(run_id)
    try:
        yield record
    except RunError as error:
        record.failed(error)
        raise
    except BaseException:
        record.cancelled()
        raise
