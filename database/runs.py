"""Statements of a run: what it reads and writes of our tables, on the one session that holds its locks.

A run has a driver of its own (psycopg2, without SQLAlchemy: a run that is skipped must not pay seconds for imports), so
each function here takes the run's way to ask, `query`, and each is one statement, which is one transaction.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from connectors.connector import ConnectorRow
from connectors.credentials import CredentialKind, Registered
from connectors.loads import Outcome

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


def protection(query: Query, name: str, team: str | None) -> Any:
    """The rules of the profile of this name, as a connector of that team may name it; None: there is no such one."""
    found = query(
        "SELECT rules FROM cai_protections WHERE name = %(name)s AND (team IS NULL OR team = %(team)s)",
        {"name": name, "team": team},
    )
    return (found or {}).get("rules")


def wake_controller(query: Query, connector_id: int) -> None:
    """Have the controller look at a connector at once, not at its next audit."""
    query("SELECT pg_notify(%(channel)s, %(name)s)", {"channel": CHANNEL, "name": str(connector_id)})


# --- cai_loads, cai_load_tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begun:
    """A load that has begun: its row in `cai_loads`."""

    connector_id: int
    load_id: int
    is_whole: bool
    """It says how the connector does; one of a part, asked for by hand, does not."""
    sees_left_export: bool = False
    """A deleted connector has left an export that is to be ended now (`left_export`)."""
    sees_limits: bool = True
    """There are limits of sources, whatever they hold for."""


def begin_load(query: Query, row: ConnectorRow, run: Mapping[str, Any], *, is_whole: bool) -> Begun | None:
    """Write the start of a load. Another generation counts its failures of configuration from 0.

    Args:
        query: the session.
        row: the connector.
        run: of the run, its `run_id`, `actor`, `code_version` and `options` (JSON), each of which may be None.
        is_whole: whether it says how the connector does, in the place of the load before it.
    """
    found = query(
        """
        WITH before AS (
            UPDATE cai_loads SET is_last = NULL WHERE connector_id = %(id)s AND is_last AND %(whole)s RETURNING *
        ),
        load AS (
            INSERT INTO cai_loads (connector_id, generation, run_id, actor, started_at, outcome, code_version, options,
                is_last, said_before, last_success_at, failures, configuration_failures, loads_completed, loads_failed,
                rows_loaded, rows_rejected)
            SELECT %(id)s, %(generation)s, %(run_id)s, %(actor)s, now(), 'running', %(code_version)s,
                coalesce(%(options)s, '{}')::jsonb, CASE WHEN %(whole)s THEN true END,
                CASE WHEN b.outcome = 'running' THEN b.said_before ELSE b.message END, b.last_success_at,
                coalesce(b.failures, 0),
                CASE WHEN b.generation = %(generation)s THEN b.configuration_failures ELSE 0 END,
                coalesce(b.loads_completed, 0), coalesce(b.loads_failed, 0), coalesce(b.rows_loaded, 0),
                coalesce(b.rows_rejected, 0)
            FROM (SELECT) AS one LEFT JOIN before b ON true
            RETURNING id
        ),
        traced AS (
            INSERT INTO cai_follow_ups (load_id, leader_id, follower, follow_up, loaded_at, kind, said)
            SELECT id, %(id)s, 'lineage#start', '{}', now(), 'lineage', '{"event": "START"}' FROM load WHERE %(traced)s
        )
        SELECT id, EXISTS (SELECT FROM cai_exports WHERE left_by IS NOT NULL AND look_at <= now()) AS left_export,
            EXISTS (SELECT FROM cai_source_limits) AS limited
        FROM load
        """,
        {"id": row.id, "generation": row.generation, "whole": is_whole, "traced": False, **run},
    )
    if found is None:
        return None
    return Begun(row.id, found["id"], is_whole, sees_left_export=found["left_export"], sees_limits=found["limited"])


STILL_OURS = "SELECT 1 FROM cai_loads WHERE id = %(load)s AND outcome = 'running'"
"""Answers as long as nobody has ended the load. Not by the run's id: a run that Prefect starts again, on another
machine, keeps it."""

_OF_TABLES = """
    table_name text, read bigint, written bigint, rejected bigint, repeated bigint, new bigint, changed bigint,
    deleted bigint, rows_after bigint, cursor_from text, cursor_to text, bytes bigint, seconds jsonb, schema_hash text
"""


_TOTALS = """
    last_success_at = CASE WHEN l.is_last AND %(outcome)s = 'completed' THEN now() ELSE l.last_success_at END,
    failures = CASE WHEN l.is_last AND %(outcome)s = 'completed' THEN 0
        WHEN l.is_last AND %(outcome)s = 'failed' THEN l.failures + 1 ELSE l.failures END,
    configuration_failures = CASE WHEN l.is_last AND %(outcome)s = 'failed' AND %(kind)s = 'configuration'
        THEN l.configuration_failures + 1
        WHEN l.is_last AND %(outcome)s IN ('completed', 'failed') THEN 0 ELSE l.configuration_failures END,
    loads_completed = l.loads_completed + coalesce(l.is_last AND %(outcome)s = 'completed', false)::int,
    loads_failed = l.loads_failed + coalesce(l.is_last AND %(outcome)s = 'failed', false)::int,
    rows_loaded = l.rows_loaded + CASE WHEN l.is_last THEN coalesce(%(rows)s, 0) ELSE 0 END,
    rows_rejected = l.rows_rejected + CASE WHEN l.is_last THEN coalesce(%(rejected)s, 0) ELSE 0 END
"""
"""What each outcome makes of what is known of the connector's loads."""

_ENDED = f"""
    UPDATE cai_loads AS l SET outcome = %(outcome)s, kind = %(kind)s, message = %(message)s, ended_at = now(),
        rows = coalesce(%(rows)s, 0), bytes = coalesce(%(bytes)s, 0),
        seconds = coalesce(%(seconds)s, '{{}}')::jsonb,
        destination = %(destination)s, dataset_name = %(dataset_name)s,
        to_follow = CASE WHEN l.is_last AND %(outcome)s IN ('completed', 'failed') THEN true END,
        failures_before = CASE WHEN l.is_last THEN l.failures END,
        {_TOTALS}
    FROM cai_loads AS old
    WHERE l.id = %(load)s AND old.id = l.id AND l.outcome = 'running'
    RETURNING l.id, CASE %(outcome)s WHEN 'completed' THEN old.failures ELSE l.failures END AS failures,
        CASE %(outcome)s WHEN 'completed' THEN old.configuration_failures ELSE l.configuration_failures END
        AS configuration_failures
"""  # noqa: S608  # all parts are ours
"""Ends the row of a load that runs, and gives its failures: of a success, those before it; of a failure, with it."""


_TRACED = """
    traced AS (
        INSERT INTO cai_follow_ups (load_id, leader_id, follower, follow_up, loaded_at, kind, said)
        SELECT load.id, %(id)s, 'lineage#end', '{}', now(), 'lineage', jsonb_build_object(
            'event', CASE %(outcome)s WHEN 'completed' THEN 'COMPLETE' WHEN 'failed' THEN 'FAIL' ELSE 'ABORT' END,
            'message', CASE WHEN %(outcome)s = 'failed' THEN %(message)s END, 'dataset', %(dataset_name)s,
            'destination', %(destination)s, 'columns', coalesce(%(columns)s, '{}')::jsonb,
            'tables', coalesce(%(tables)s, '[]')::jsonb)
        FROM load WHERE EXISTS (
            SELECT FROM cai_follow_ups f WHERE f.load_id = load.id AND f.follower = 'lineage#start')
    )
"""
"""Lineage of the end of a load, of whose beginning it was noted."""


def end_load(query: Query, begun: Begun, outcome: Outcome, end: Mapping[str, Any]) -> dict[str, Any] | None:
    """End a load, once: its failures and configuration failures; None where it isn't ours any more.

    One that another run has ended writes nothing.

    Args:
        query: the session.
        begun: the load.
        outcome: of it.
        end: its `message`, `kind` (of a failure), `rows`, `rejected`, `bytes`, `seconds` (JSON), `destination`,
            `dataset_name`, `tables` (JSON: a list of rows of `cai_load_tables`), `sweeps` (JSON: of each table that was
            looked through for rows that are gone `table_name`, `gone`, `rows`, `withheld`), `anew` (everything was
            loaded anew, so none of them waits any more) and `settled` (tables whose checks let the load through: nobody
            decides on them any more); None for what is not known.
    """
    return query(
        f"""
        WITH load AS ({_ENDED}),
        let_through AS (
            DELETE FROM cai_held_loads WHERE connector_id = %(id)s AND %(outcome)s = 'completed'
                AND (%(whole)s OR table_name = ANY(%(settled)s)) AND EXISTS (SELECT FROM load)
        ),
        tables AS (
            INSERT INTO cai_load_tables
            SELECT load.id, found.*
            FROM load, jsonb_to_recordset(coalesce(%(tables)s, '[]')::jsonb) AS found({_OF_TABLES})
        ),
        swept AS (
            SELECT found.* FROM load, jsonb_to_recordset(coalesce(%(sweeps)s, '[]')::jsonb)
            AS found(table_name text, gone bigint, rows bigint, withheld boolean)
        ),
        let_go AS (
            DELETE FROM cai_withheld_deletes w USING load WHERE w.connector_id = %(id)s
            AND (%(anew)s OR w.table_name IN (SELECT table_name FROM swept WHERE NOT withheld))
        ),
        kept AS (
            INSERT INTO cai_withheld_deletes AS w (connector_id, table_name, gone, rows)
            SELECT %(id)s, table_name, gone, rows FROM swept WHERE withheld
            ON CONFLICT (connector_id, table_name) DO UPDATE SET gone = excluded.gone, rows = excluded.rows
        ),
        {_TRACED}
        SELECT failures, configuration_failures FROM load
        """,  # noqa: S608  # all parts are ours
        {
            "columns": None,
            **end,
            "id": begun.connector_id,
            "load": begun.load_id,
            "outcome": outcome.value,
            "whole": begun.is_whole,
        },
    )


def forget_waits_before(query: Query, begun: Begun) -> None:
    """Of runs that waited for the same one after the other the last alone is kept, but what lineage is yet to tell."""
    query(
        """
        DELETE FROM cai_loads w USING cai_loads last
        WHERE last.id = %(load)s AND last.outcome = 'waiting' AND w.outcome = 'waiting'
            AND w.connector_id = last.connector_id AND w.id < last.id AND w.options = last.options
            AND NOT EXISTS (SELECT FROM cai_loads o WHERE o.connector_id = last.connector_id AND o.id > w.id
                AND o.id < last.id AND o.outcome <> 'waiting')
            AND NOT EXISTS (SELECT FROM cai_follow_ups f WHERE f.load_id = w.id AND f.started_at IS NULL
                AND f.error IS NULL)
        """,
        {"load": begun.load_id},
    )


def close_dead_loads(query: Query, connector_id: int, message: str) -> dict[str, Any] | None:
    """End what its run never ended, as a failure. Needs the connector's lock.

    Returns the failures with it; None where there is none, or only one of a part.
    """
    return query(
        """
        WITH closed AS (
            UPDATE cai_loads SET outcome = 'failed', kind = 'died', message = %(died)s, ended_at = now(),
                to_follow = is_last, failures_before = failures,
                failures = CASE WHEN is_last THEN failures + 1 ELSE failures END,
                loads_failed = CASE WHEN is_last THEN loads_failed + 1 ELSE loads_failed END,
                configuration_failures = 0
            WHERE connector_id = %(id)s AND outcome = 'running' RETURNING id, is_last, failures
        ),
        traced AS (
            INSERT INTO cai_follow_ups (load_id, leader_id, follower, follow_up, loaded_at, kind, said)
            SELECT c.id, %(id)s, 'lineage#end', '{}', now(), 'lineage',
                jsonb_build_object('event', 'FAIL', 'message', %(died)s)
            FROM closed c WHERE EXISTS (
                SELECT FROM cai_follow_ups f WHERE f.load_id = c.id AND f.follower = 'lineage#start')
        )
        SELECT failures, 0 AS configuration_failures FROM closed WHERE is_last
        """,
        {"id": connector_id, "died": message},
    )


# --- cai_exports ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Export:
    """One row of `cai_exports`. Times are aware."""

    id: UUID
    asked: Mapping[str, Any]
    """What the server was asked for."""
    options: Mapping[str, Any]
    """What the run that began it was asked for."""
    address: str | None
    """Where the server tells how far it is; None: it has not named it, or its answer was lost."""
    sent_at: datetime | None
    """When the server was asked to begin it; None: not yet, or it has refused."""
    look_at: datetime | None
    """Before that nobody looks."""
    started_at: datetime


def export_of(query: Query, connector_id: int) -> Export | None:
    """The export under way; None: there is none."""
    found = query(
        "SELECT id, asked, options, address, sent_at, look_at, started_at FROM cai_exports WHERE connector_id = %(id)s",
        {"id": connector_id},
    )
    return None if found is None else Export(**{**found, "id": UUID(str(found["id"]))})


def begin_export(
    query: Query, connector_id: int, export_id: UUID, asked: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Note that the server is being asked for an export, in the place of any other of the connector."""
    query(
        """
        INSERT INTO cai_exports (connector_id, id, asked, options, sent_at)
        VALUES (%(connector)s, %(id)s, %(asked)s, %(options)s, now())
        ON CONFLICT (connector_id) DO UPDATE SET id = excluded.id, asked = excluded.asked, options = excluded.options,
            address = NULL, sent_at = excluded.sent_at, look_at = NULL, started_at = now()
        """,
        {
            "connector": connector_id,
            "id": str(export_id),
            "asked": json.dumps(asked),
            "options": json.dumps(options),
        },
    )


def export_refused(query: Query, export_id: UUID, look_at: datetime | None) -> None:
    """The server has not begun it, and may be asked again at a time."""
    query(
        "UPDATE cai_exports SET sent_at = NULL, look_at = %(at)s WHERE id = %(id)s",
        {"id": str(export_id), "at": look_at},
    )


def export_located(query: Query, export_id: UUID, address: str) -> None:
    """The server has begun it, and tells at an address how far it is."""
    query("UPDATE cai_exports SET address = %(to)s WHERE id = %(id)s", {"id": str(export_id), "to": address})


def look_again_at_export(query: Query, export_id: UUID, look_at: datetime) -> None:
    """Nobody is to look before a time."""
    query("UPDATE cai_exports SET look_at = %(at)s WHERE id = %(id)s", {"id": str(export_id), "at": look_at})


def forget_export(query: Query, export_id: UUID) -> None:
    """It is over."""
    query("DELETE FROM cai_exports WHERE id = %(id)s", {"id": str(export_id)})


def left_export(query: Query, minutes: float) -> tuple[Export, dict[str, Any], datetime] | None:
    """An export that a deleted connector has left, with that connector's row and the time of its end.

    It is the caller's for some minutes: no other run takes it meanwhile, and if the process dies here, one does then.
    """
    found = query(
        """
        UPDATE cai_exports SET look_at = now() + make_interval(secs => %(seconds)s)
        WHERE id = (
            SELECT id FROM cai_exports WHERE left_by IS NOT NULL AND look_at <= now()
            ORDER BY look_at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING id, asked, options, address, sent_at, look_at, started_at, left_by, left_at
        """,
        {"seconds": 60 * minutes},
    )
    if found is None:
        return None
    row, at = found.pop("left_by"), found.pop("left_at")
    return Export(**{**found, "id": UUID(str(found["id"]))}), row, at
