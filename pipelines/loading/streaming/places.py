"""Places: a table with new rows becomes one that has none, by its name, so that no row is written twice.

Only where nothing would be lost with the empty table: one that a view, an index, a trigger, a rule, a policy or a
publication belongs to, or that has rights, settings or words of its own, stays, and the rows are copied into it.
"""

from typing import Any

import psycopg2.errors  # type: ignore[import-untyped]

from pipelines.loading.columns.widening import LOCK_SECONDS

_PLAIN = """
    SELECT coalesce(bool_and(
        t.relkind = 'r' AND t.relacl IS NOT DISTINCT FROM n.relacl AND t.relowner = n.relowner
        AND t.reloptions IS NULL AND NOT t.relrowsecurity AND NOT t.relispartition AND NOT t.relhassubclass
        AND t.reltablespace = n.reltablespace
        AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0
            AND (a.attacl IS NOT NULL OR a.attoptions IS NOT NULL OR a.attisdropped))
        AND NOT EXISTS (SELECT FROM pg_description d WHERE d.classoid = 'pg_class'::regclass AND d.objoid = t.oid)
        AND NOT EXISTS (SELECT FROM pg_seclabel s WHERE s.classoid = 'pg_class'::regclass AND s.objoid = t.oid)
        AND NOT EXISTS (
            SELECT FROM pg_depend d LEFT JOIN pg_constraint c
                ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid AND c.contype = 'n'
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.deptype <> 'i' AND c.oid IS NULL)
    ), false)
    FROM pg_class t, pg_class n WHERE t.oid = to_regclass(%s) AND n.oid = to_regclass(%s)
"""


def take_place(cursor: Any, name: str, into: str, bare: str) -> bool:
    """Let a table take the place of an empty one, in the caller's transaction; false: it can't.

    Args:
        cursor: of the destination.
        name: the empty table, as SQL has it.
        into: that with the rows, which is in the same schema.
        bare: the name alone.
    """
    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'; SAVEPOINT place")
    try:
        # Whoever reads it has it for a moment; one who holds it for longer keeps it.
        cursor.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
    except psycopg2.errors.LockNotAvailable:
        cursor.execute("ROLLBACK TO SAVEPOINT place")
        return False
    cursor.execute(_PLAIN, (name, into))
    if not cursor.fetchone()[0]:
        return False
    cursor.execute(f"DROP TABLE {name}; ALTER TABLE {into} RENAME TO {bare}")
    return True
