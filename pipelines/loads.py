"""What a run leaves in `cai_connector_loads`: a mark when it starts, and at its end how it went.

The mark is what tells of a run that died without a word (out of memory, a lost machine): the next run of the connector
finds it and counts a failure. The connector's lock is held all the while, so no two runs write at once. Keeping this
record never harms a load: what cannot be written is a line in the log.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg2  # type: ignore[import-untyped]
import psycopg2.extensions  # type: ignore[import-untyped]

from connectors.models import Connector
from connectors.tables import CHANNEL
from pipelines.errors import ConfigurationError, RunError
from pipelines.summary import Summary

logger = logging.getLogger("prefect.pipelines")

DIED = "The run before this one died without a word: it was killed, or its machine was lost."


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


class Record:
    """The record of one load. `succeeded` is called by the one who knows its rows."""

    def __init__(self, connection: psycopg2.extensions.connection, connector: Connector, tell: Tell) -> None:
        self._connection = connection
        self._connector = connector
        self._tell = tell

    def succeeded(self, summary: Summary) -> None:
        """The load is done."""
        before = self._write(
            """
            UPDATE cai_connector_loads AS l SET outcome = 'completed', message = %(message)s, rows = %(rows)s,
                ended_at = now(), last_success_at = now(), failures = 0, configuration_failures = 0,
                loads_completed = l.loads_completed + 1, rows_loaded = l.rows_loaded + %(rows)s
            FROM cai_connector_loads AS old WHERE l.connector_id = %(id)s AND old.connector_id = l.connector_id
            RETURNING old.failures, old.configuration_failures
            """,
            message=summary.sentence,
            rows=summary.total_rows,
        )
        failures, of_configuration = before or (0, 0)
        self._wake_controller_if_paused(of_configuration)
        self._tell(
            Told(
                "completed",
                self._connector.id,
                summary.sentence,
                self._connector.name,
                rows=summary.total_rows,
                failures=failures,
                seconds=summary.seconds,
            )
        )

    def failed(self, error: RunError) -> None:
        """The load failed."""
        configuration = isinstance(error, ConfigurationError)
        counts = self._write(
            """
            UPDATE cai_connector_loads SET outcome = 'failed', message = %(message)s, rows = 0, ended_at = now(),
                failures = failures + 1, loads_failed = loads_failed + 1,
                configuration_failures = CASE WHEN %(configuration)s THEN configuration_failures + 1 ELSE 0 END
            WHERE connector_id = %(id)s RETURNING failures, configuration_failures
            """,
            message=str(error),
            configuration=configuration,
        )
        failures, of_configuration = counts or (1, 0)
        self._wake_controller_if_paused(of_configuration)
        kind = type(error).__name__.removesuffix("Error").lower()
        self._tell(Told("failed", self._connector.id, str(error), self._connector.name, kind=kind, failures=failures))

    def cancelled(self) -> None:
        """Somebody ended the run: that says nothing of the connector."""
        self._write(
            "UPDATE cai_connector_loads SET outcome = 'cancelled', message = 'Cancelled.', rows = 0, ended_at = now() "
            "WHERE connector_id = %(id)s RETURNING failures, configuration_failures"
        )

    def started(self, run_id: UUID | None) -> None:
        """Mark the start. A mark that is still there is of a run that died; another generation counts from 0."""
        self._write(
            """
            INSERT INTO cai_connector_loads AS l (connector_id, generation, run_id, outcome, started_at)
            VALUES (%(id)s, %(generation)s, %(run)s, 'running', now())
            ON CONFLICT (connector_id) DO UPDATE SET
                generation = excluded.generation, run_id = excluded.run_id, outcome = 'running',
                started_at = now(), ended_at = NULL,
                message = CASE WHEN l.outcome = 'running' THEN %(died)s ELSE l.message END,
                failures = l.failures + (l.outcome IS NOT DISTINCT FROM 'running')::int,
                loads_failed = l.loads_failed + (l.outcome IS NOT DISTINCT FROM 'running')::int,
                configuration_failures = CASE WHEN l.generation = excluded.generation AND l.outcome <> 'running'
                    THEN l.configuration_failures ELSE 0 END
            RETURNING failures, configuration_failures
            """,
            generation=self._connector.generation,
            run=None if run_id is None else str(run_id),
            died=DIED,
        )

    def _wake_controller_if_paused(self, configuration_failures: int) -> None:
        """The controller pauses or resumes at once, not at its next audit."""
        limit = self._connector.run_policy.auto_pause_after
        if limit and configuration_failures >= limit:
            self._execute("SELECT pg_notify(%(channel)s, %(name)s)", channel=CHANNEL, name=str(self._connector.id))

    def _write(self, statement: str, **values: Any) -> tuple[int, int] | None:
        """The failures and the configuration failures that the statement returns."""
        return self._execute(statement, id=self._connector.id, **values)

    def _execute(self, statement: str, **values: Any) -> tuple[int, int] | None:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, values)
                found: tuple[int, int] | None = cursor.fetchone()
                return found
        except psycopg2.Error as error:
            logger.warning("How this load went could not be recorded: %s.", type(error).__name__)
            return None


@contextmanager
def recorded(
    connection: psycopg2.extensions.connection, connector: Connector, run_id: UUID | None, tell: Tell
) -> Iterator[Record]:
    """Record the load inside: its start, and its end unless that is a success, which `Record.succeeded` is told."""
    record = Record(connection, connector, tell)
    record.started(run_id)
    try:
        yield record
    except RunError as error:
        record.failed(error)
        raise
    except BaseException:
        record.cancelled()
        raise
