"""Statements of a run on what waits for a person, and on the loads that it is compared with (`database.runs`)."""

from collections.abc import Mapping
from typing import Any

from database.runs import Query


def earlier_rows(
    query: Query, connector_id: int, table: str, *, from_cursor: bool, increments: bool, limit: int = 14
) -> list[int]:
    """The rows of a table's last loads that completed and were of all its rows, the newest first.

    Args:
        query: the session.
        connector_id: whose.
        table: as it lands.
        from_cursor: of loads that went on from a cursor; else of those that began at the beginning.
        increments: each load brings what is new though there is no cursor, so the first one, which brought all that
            was there, and full refreshes are left out.
        limit: how many.
    """
    found = query(
        """
        SELECT json_agg(written ORDER BY id DESC) AS rows FROM (
            SELECT l.id, t.written FROM cai_loads l
            JOIN cai_load_tables t ON t.load_id = l.id AND t.table_name = %(table)s
            WHERE l.connector_id = %(id)s AND l.outcome = 'completed'
                AND NOT l.options ?| ARRAY['row_limit', 'backfill_from', 'backfill_to', 'reconcile']
                AND (t.cursor_from IS NOT NULL) = %(from_cursor)s
                AND (NOT %(increments)s OR (NOT l.options ? 'full_refresh' AND EXISTS (
                    SELECT 1 FROM cai_loads e JOIN cai_load_tables o ON o.load_id = e.id AND o.table_name = %(table)s
                    WHERE e.connector_id = l.connector_id AND e.outcome = 'completed' AND e.id < l.id)))
            ORDER BY l.id DESC LIMIT %(limit)s
        ) AS last
        """,
        {"id": connector_id, "table": table, "from_cursor": from_cursor, "increments": increments, "limit": limit},
    )
    return [int(rows) for rows in (found or {}).get("rows") or ()]


def hold_table(query: Query, connector_id: int, held: Mapping[str, str | None]) -> bool:
    """Note that a load waits for a person for the sake of a table; whether that is new, so that people are told.

    The same checks as before keep what was decided; others are another matter, which waits anew.

    Args:
        query: the session.
        connector_id: whose load.
        held: the `table`, `marks` (which checks failed), `sentence` and `run_id`.
    """
    found = query(
        """
        INSERT INTO cai_held_loads AS h (connector_id, table_name, marks, sentence, run_id)
        VALUES (%(id)s, %(table)s, %(marks)s, %(sentence)s, %(run_id)s)
        ON CONFLICT (connector_id, table_name) DO UPDATE SET
            id = CASE WHEN h.marks = excluded.marks THEN h.id ELSE excluded.id END,
            held_at = CASE WHEN h.marks = excluded.marks THEN h.held_at ELSE excluded.held_at END,
            state = CASE WHEN h.marks = excluded.marks THEN h.state ELSE 'waiting' END,
            decided_by = CASE WHEN h.marks = excluded.marks THEN h.decided_by END,
            decided_at = CASE WHEN h.marks = excluded.marks THEN h.decided_at END,
            marks = excluded.marks, sentence = excluded.sentence, run_id = excluded.run_id
        RETURNING held_at = now() AS is_new
        """,
        {"id": connector_id, **held},
    )
    return bool(found and found["is_new"])


def held_tables(query: Query, connector_id: int) -> dict[str, dict[str, Any]]:
    """The tables for whose sake a connector's load waits, or waited until it was decided, by name."""
    found = query(
        "SELECT json_object_agg(table_name, json_build_object('marks', marks, 'state', state, 'decided_by', "
        "decided_by)) AS held FROM cai_held_loads WHERE connector_id = %(id)s",
        {"id": connector_id},
    )
    return (found or {}).get("held") or {}


def withheld_deletes(query: Query, connector_id: int) -> dict[str, int]:
    """How many rows were found to be gone of the tables whose deletes wait for a person, by table."""
    found = query(
        "SELECT json_object_agg(table_name, gone) AS gone FROM cai_withheld_deletes WHERE connector_id = %(id)s",
        {"id": connector_id},
    )
    return (found or {}).get("gone") or {}


def note_comparisons(query: Query, connector_id: int, found: str, run_id: str | None) -> None:
    """Note how tables compare with the source, in the place of what was noted of them before.

    Args:
        query: the session.
        connector_id: whose.
        found: JSON: a list of tables with the columns of `cai_comparisons`.
        run_id: Prefect's.
    """
    query(
        """
        INSERT INTO cai_comparisons AS c (connector_id, table_name, by, at_source, in_destination, missing, extra,
            different, ranges, differences, run_id)
        SELECT %(id)s, found.*, %(run_id)s::uuid FROM jsonb_to_recordset(%(found)s::jsonb) AS found(
            table_name text, by text, at_source bigint, in_destination bigint, missing bigint, extra bigint,
            different bigint, ranges jsonb, differences jsonb)
        WHERE EXISTS (SELECT 1 FROM cai_connectors WHERE id = %(id)s)
        ON CONFLICT (connector_id, table_name) DO UPDATE SET by = excluded.by, at_source = excluded.at_source,
            in_destination = excluded.in_destination, missing = excluded.missing, extra = excluded.extra,
            different = excluded.different, ranges = excluded.ranges, differences = excluded.differences,
            compared_at = excluded.compared_at, run_id = excluded.run_id
        RETURNING connector_id
        """,
        {"id": connector_id, "found": found, "run_id": run_id},
    )


def note_changes(query: Query, connector_id: int, changes: str, state: str, run_id: str | None) -> list[str]:
    """Note columns that are not what they were; which of them are new to us, each as `table.column`.

    Args:
        query: the session.
        connector_id: whose.
        changes: JSON: a list of `table_name`, `column_name`, `kind`, `type_before`, `type_after` and `was`.
        state: of those that are new: `waiting` for a person, or `applied`.
        run_id: Prefect's.
    """
    found = query(
        """
        WITH noted AS (
            INSERT INTO cai_schema_changes
                (connector_id, table_name, column_name, kind, type_before, type_after, was, run_id, state)
            SELECT %(id)s, found.*, %(run_id)s::uuid, %(state)s FROM jsonb_to_recordset(%(changes)s::jsonb) AS found(
                table_name text, column_name text, kind text, type_before text, type_after text, was text)
            ON CONFLICT DO NOTHING RETURNING table_name, column_name
        )
        SELECT json_agg(table_name || '.' || column_name) AS new FROM noted
        """,
        {"id": connector_id, "changes": changes, "state": state, "run_id": run_id},
    )
    return (found or {}).get("new") or []


def approved_columns(query: Query, connector_id: int) -> dict[str, frozenset[tuple[str, str]]]:
    """The columns whose changes a person has approved, each with the type that was approved, by table."""
    found = query(
        """
        SELECT json_object_agg(table_name, columns) AS approved FROM (
            SELECT table_name, json_agg(json_build_array(column_name, type_after)) AS columns FROM cai_schema_changes
            WHERE connector_id = %(id)s AND state = 'approved' AND kind IN ('new', 'renamed', 'retyped')
            GROUP BY table_name
        ) AS of_table
        """,
        {"id": connector_id},
    )
    approved: dict[str, list[tuple[str, str]]] = (found or {}).get("approved") or {}
    return {table: frozenset((name, kind) for name, kind in columns) for table, columns in approved.items()}
