"""Parts of a large table that several runs copy, as its load plans them and whoever helps finds them: `cai_load_parts`.

Each function is one statement. What is in, the destination knows for certain; here it stands for who looks for more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from database.runs import Query


@dataclass(frozen=True, slots=True)
class Open:
    """A part that is not known to be in."""

    table: str
    number: int
    how: Mapping[str, Any]
    """What copies it, as the load has planned it."""


def plan(query: Query, load_id: int, table: str, parts: str) -> None:
    """Note the parts of a table, in the place of those of a try before.

    `parts`: JSON, a list of their `how`.
    """
    query(
        """
        WITH before AS (
            DELETE FROM cai_load_parts WHERE load_id = %(load)s AND table_name = %(table)s
                AND part >= jsonb_array_length(%(parts)s::jsonb)
        )
        INSERT INTO cai_load_parts (load_id, table_name, part, how)
        SELECT %(load)s, %(table)s, number - 1, how
        FROM jsonb_array_elements(%(parts)s::jsonb) WITH ORDINALITY AS found(how, number)
        ON CONFLICT (load_id, table_name, part) DO UPDATE
        SET how = excluded.how, run_id = NULL, rows = NULL, bytes = NULL, loaded_at = NULL
        """,
        {"load": load_id, "table": table, "parts": parts},
    )


def open_parts(query: Query, load_id: int, table: str | None = None) -> list[Open]:
    """The parts of a load, or of one of its tables, that are not known to be in."""
    found = query(
        """
        SELECT json_agg(json_build_array(table_name, part, how) ORDER BY table_name, part) AS found
        FROM cai_load_parts
        WHERE load_id = %(load)s AND rows IS NULL AND (%(table)s::text IS NULL OR table_name = %(table)s)
        """,
        {"load": load_id, "table": table},
    )
    return [Open(*each) for each in (found or {}).get("found") or ()]


def is_open(query: Query, load_id: int, part: Open) -> bool:
    """Whether a part is still not known to be in, and to be copied in the same way."""
    found = query(
        "SELECT 1 FROM cai_load_parts WHERE load_id = %(load)s AND table_name = %(table)s AND part = %(part)s "
        "AND rows IS NULL AND how ->> 'token' = %(token)s",
        {"load": load_id, "table": part.table, "part": part.number, "token": part.how["token"]},
    )
    return found is not None


def is_in(query: Query, load_id: int, part: Open, *, rows: int, size: int, run_id: str | None) -> None:
    """Note that a part is in. If the process dies before this, whoever takes it next finds that at the destination."""
    query(
        """
        UPDATE cai_load_parts SET rows = %(rows)s, bytes = %(size)s, run_id = %(run)s, loaded_at = now()
        WHERE load_id = %(load)s AND table_name = %(table)s AND part = %(part)s AND how ->> 'token' = %(token)s
        """,
        {
            "load": load_id, "table": part.table, "part": part.number, "token": part.how["token"], "rows": rows,
            "size": size, "run": run_id,
        },
    )  # fmt: skip


def size_of(query: Query, load_id: int, table: str) -> int:
    """Bytes of a table's parts that are in."""
    found = query(
        "SELECT coalesce(sum(bytes), 0)::bigint AS size FROM cai_load_parts "
        "WHERE load_id = %(load)s AND table_name = %(table)s",
        {"load": load_id, "table": table},
    )
    return int((found or {"size": 0})["size"])


def load_of(query: Query, load_id: int) -> tuple[int, int] | None:
    """The connector of a load that goes on, and the generation that it goes by; None: it has ended, or died."""
    found = query(
        "SELECT connector_id, generation FROM cai_loads WHERE id = %(load)s AND outcome = 'running'", {"load": load_id}
    )
    return None if found is None else (found["connector_id"], found["generation"])


def goes_on(query: Query, load_id: int, turn: int) -> bool:
    """Whether a load goes on: nobody has ended it, and somebody holds the lock of its connector's `turn`."""
    found = query(
        """
        SELECT 1 FROM cai_loads WHERE id = %(load)s AND outcome = 'running' AND EXISTS (
            SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 1
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND (classid::bigint << 32 | objid::bigint) = %(turn)s)
        """,
        {"load": load_id, "turn": turn},
    )
    return found is not None
