"""Statements of a run: what it reads and writes of our tables, on the one session that holds its locks.

A run has a driver of its own (psycopg2, without SQLAlchemy: a run that is skipped must not pay seconds for imports), so
each function here takes the run's way to ask, `query`, and each is one statement, which is one transaction.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from connectors.connector import ConnectorRow
from connectors.credentials import CredentialKind, Registered

CHANNEL = "cai_connectors"
"""The channel that carries the id of every connector whose row changed in a way that matters to Prefect."""

Query = Callable[[str, Mapping[str, Any]], "dict[str, Any] | None"]
"""Runs a statement with named parameters (`%(name)s`) and answers with its first row, if there is one."""


def connector(query: Query, connector_id: int) -> ConnectorRow | None:
    """The connector's row as it stands now, or None when it is gone."""
    found = query("SELECT * FROM cai_connectors WHERE id = %(id)s", {"id": connector_id})
    if found is None:
        return None
    # A back end's own table may have more columns than ours.
    return ConnectorRow(**{name: found[name] for name in ConnectorRow.__slots__ if name in found})


def others_of_dataset(query: Query, connector_id: int, dataset: str) -> list[dict[str, Any]]:
    """What the other connectors that load into a dataset of this name say of what they write, each by column."""
    found = query(
        """
        SELECT json_agg(json_build_object(
            'id', id, 'name', name, 'is_active', is_active, 'source', source, 'destination', destination,
            'dataset_name', dataset_name, 'run_policy', run_policy, 'team', team)) AS found
        FROM cai_connectors
        WHERE id <> %(id)s AND coalesce(dataset_name, 'connector_' || id) = %(dataset)s
        """,
        {"id": connector_id, "dataset": dataset},
    )
    return (found or {}).get("found") or []


def registered_credentials(query: Query) -> list[Registered]:
    """What is registered as a credential, whoever's it is."""
    found = query(
        """
        SELECT json_agg(json_build_object(
            'name', name, 'team', team, 'kind', kind, 'reference', reference, 'hosts', hosts)) AS found
        FROM cai_credentials
        """,
        {},
    )
    return [
        Registered(each["name"], each["team"], CredentialKind(each["kind"]), each["reference"], tuple(each["hosts"]))
        for each in (found or {}).get("found") or ()
    ]


def wake_controller(query: Query, connector_id: int) -> None:
    """Have the controller look at a connector at once, not at its next audit."""
    query("SELECT pg_notify(%(channel)s, %(name)s)", {"channel": CHANNEL, "name": str(connector_id)})


# --- cai_connector_loads ----------------------------------------------------------------------------------------------


def begin_load(query: Query, row: ConnectorRow, run_id: UUID | None) -> datetime | None:
    """Mark the start; when that was, by which the mark is known. Another generation counts its failures of
    configuration from 0."""
    found = query(
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
        {"id": row.id, "generation": row.generation, "run": None if run_id is None else str(run_id)},
    )
    return None if found is None else found["started_at"]


STILL_OURS = """
    SELECT 1 FROM cai_connector_loads
    WHERE connector_id = %(id)s AND started_at = %(started)s AND outcome = 'running'
"""
"""Answers as long as nobody has ended the mark. Not by the run's id: a run that Prefect starts again, on another
machine, keeps it."""


def complete_load(
    query: Query, connector_id: int, started: datetime | None, message: str, rows: int
) -> dict[str, Any] | None:
    """End the mark as a success: the failures and configuration failures before it; None where the mark isn't ours."""
    return query(
        """
        UPDATE cai_connector_loads AS l SET outcome = 'completed', message = %(message)s, rows = %(rows)s,
            ended_at = now(), last_success_at = now(), failures = 0, configuration_failures = 0,
            loads_completed = l.loads_completed + 1, rows_loaded = l.rows_loaded + %(rows)s
        FROM cai_connector_loads AS old WHERE old.connector_id = l.connector_id
            AND l.connector_id = %(id)s AND l.started_at = %(started)s AND l.outcome = 'running'
        RETURNING old.failures, old.configuration_failures
        """,
        {"id": connector_id, "started": started, "message": message, "rows": rows},
    )


def fail_load(
    query: Query, connector_id: int, started: datetime | None, message: str, *, of_configuration: bool
) -> dict[str, Any] | None:
    """End the mark as a failure: the failures and configuration failures with it; None where the mark isn't ours."""
    return query(
        """
        UPDATE cai_connector_loads SET outcome = 'failed', message = %(message)s, rows = 0, ended_at = now(),
            failures = failures + 1, loads_failed = loads_failed + 1,
            configuration_failures = CASE WHEN %(configuration)s THEN configuration_failures + 1 ELSE 0 END
        WHERE connector_id = %(id)s AND started_at = %(started)s AND outcome = 'running'
        RETURNING failures, configuration_failures
        """,
        {"id": connector_id, "started": started, "message": message, "configuration": of_configuration},
    )


def cancel_load(query: Query, connector_id: int, started: datetime | None) -> dict[str, Any] | None:
    """End the mark as cancelled, which counts neither way."""
    return query(
        """
        UPDATE cai_connector_loads SET outcome = 'cancelled', message = 'Cancelled.', rows = 0, ended_at = now()
        WHERE connector_id = %(id)s AND started_at = %(started)s AND outcome = 'running'
        RETURNING failures, configuration_failures
        """,
        {"id": connector_id, "started": started},
    )


def close_dead_load(query: Query, connector_id: int, message: str) -> dict[str, Any] | None:
    """End a mark that its run never ended, as a failure: the failures with it; None where there is none."""
    return query(
        """
        UPDATE cai_connector_loads SET outcome = 'failed', message = %(died)s, rows = 0, ended_at = now(),
            failures = failures + 1, loads_failed = loads_failed + 1, configuration_failures = 0
        WHERE connector_id = %(id)s AND outcome = 'running' RETURNING failures, configuration_failures
        """,
        {"id": connector_id, "died": message},
    )
