"""User columns of `cai_connectors`: what people and back ends write, and what its triggers derive from that list.

A change of one of them moves `generation` and `updated_at`, is part of the row's stamp, and is an entry of the history.
A migration that adds one adds the column first and then calls `watch` with the longer list: rows that were in order
before are in order after it, and no change is found where there was none.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from alembic import op

FIRST_COLUMNS = (
    "name", "description", "schedule", "timezone", "is_active", "source", "destination", "dataset_name",
    "run_policy", "work_pool_name", "work_queue_name",
)  # fmt: skip

DEFAULTS = {
    "timezone": "'UTC'",
    "is_active": "true",
    "run_policy": "'{}'::jsonb",
    "created_at": "now()",
    "updated_at": "now()",
}
"""What an explicit null becomes at an insert: a back end's mapper writes nulls where it means "the default"."""


def search_path() -> str:
    """The setting of a function that runs as its owner: it sees our tables, and nobody's objects before them."""
    schema = op.get_bind().scalar(
        sa.text(
            "SELECT quote_ident(nspname) FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid "
            "WHERE c.oid = 'cai_connectors'::regclass"
        )
    )
    return f"SET search_path = pg_catalog, {schema}, pg_temp"


def watch(columns: Sequence[str], defaults: Mapping[str, str] = DEFAULTS) -> None:
    """Derive the triggers' functions from this list of user columns.

    Args:
        columns: all of them, in the order of the history's values.
        defaults: SQL by column, for those that an insert may leave null.
    """
    op.execute(
        "CREATE TEMPORARY TABLE cai_in_order ON COMMIT DROP AS "
        "SELECT c.id, c.cai_stamp IS NOT DISTINCT FROM cai_connectors_content(c) AS stamped, "
        "h.content IS NOT DISTINCT FROM cai_connectors_content(c) AS recorded "
        "FROM cai_connectors c LEFT JOIN cai_audit_heads h ON h.connector_id = c.id"
    )
    replace_stamp(columns, defaults)
    content = ", ".join(f"c.{name}" for name in ("generation", *columns))
    op.execute(
        "CREATE OR REPLACE FUNCTION cai_connectors_content(c cai_connectors) RETURNS text LANGUAGE sql STABLE AS "
        f"$$ SELECT to_hex(hashtextextended(jsonb_build_array({content})::text, 0)) $$"
    )
    values = ", ".join(f"'{name}', c.{name}" for name in columns)
    op.execute(
        "CREATE OR REPLACE FUNCTION cai_connectors_values(c cai_connectors) RETURNS jsonb LANGUAGE sql STABLE AS "
        f"$$ SELECT jsonb_build_object({values}) $$"
    )
    # With its triggers on, the table would keep the stamps that stand.
    op.execute("ALTER TABLE cai_connectors DISABLE TRIGGER USER")
    op.execute(
        "UPDATE cai_connectors c SET cai_stamp = cai_connectors_content(c) FROM cai_in_order o "
        "WHERE o.id = c.id AND o.stamped AND c.cai_stamp IS DISTINCT FROM cai_connectors_content(c)"
    )
    op.execute("ALTER TABLE cai_connectors ENABLE TRIGGER USER")
    op.execute(
        "UPDATE cai_audit_heads h SET content = cai_connectors_content(c) FROM cai_connectors c, cai_in_order o "
        "WHERE o.id = c.id AND o.recorded AND h.connector_id = c.id"
    )
    op.execute("DROP TABLE cai_in_order")


def replace_stamp(columns: Sequence[str], defaults: Mapping[str, str]) -> None:
    """The trigger that fills in defaults and moves the generation.

    Whatever it reads of a row it asks for with EXECUTE: PL/pgSQL keeps the types that a row's columns had when a
    session first came by, and a back end may alter them while that session lives.
    """
    filled = ", ".join(f"coalesce(($1).{name}, {value})" for name, value in defaults.items())
    into = ", ".join(f"NEW.{name}" for name in defaults)
    changed = " OR ".join(f"($1).{name} IS DISTINCT FROM ($2).{name}" for name in columns)
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION cai_connectors_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            changed boolean;
        BEGIN
            IF TG_OP = 'INSERT' THEN
                -- One that comes back under its number counts on: no two of its states have one generation.
                EXECUTE $row$SELECT {filled}, cai_connectors_next_generation(($1).id)$row$
                    INTO {into}, NEW.generation USING NEW;
            ELSE
                EXECUTE $row$SELECT {changed}$row$ INTO changed USING NEW, OLD;
                EXECUTE 'SELECT CASE WHEN $2 THEN now() ELSE ($1).updated_at END, ($1).generation + $2::int'
                    INTO NEW.updated_at, NEW.generation USING OLD, changed;
            END IF;
            RETURN NEW;
        END $$
        """
    )
