"""Triggers that go on when a back end alters the type of a column.

PL/pgSQL keeps, for as long as a session lives, the types that a row's columns had when it first came by: after an
`ALTER TABLE cai_connectors ALTER COLUMN name TYPE varchar(200)` each write of such a session was refused (42804).
What is read of a row is asked for with EXECUTE now, which looks at the columns as they are; what is kept and said stays
the same.
"""

from alembic import op

from database.migrations.user_columns import DEFAULTS, FIRST_COLUMNS, replace_stamp, search_path

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    replace_stamp((*FIRST_COLUMNS, "team", "owner", "tags"), {**DEFAULTS, "tags": "'{}'::text[]"})
    _replace_stamped_and_notify()
    _replace_audit(search_path())
    _replace_finder(search_path())


def downgrade() -> None:
    """Nothing: the functions do the same as those before, and the migrations below replace or drop them."""


def _replace_stamped_and_notify() -> None:
    op.execute(
        """
        CREATE OR REPLACE FUNCTION cai_connectors_stamped() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                EXECUTE 'SELECT cai_connectors_content($1)' INTO NEW.cai_stamp USING NEW;
            ELSE
                EXECUTE 'SELECT CASE WHEN ($1).generation <> ($2).generation THEN cai_connectors_content($1) '
                    'ELSE ($2).cai_stamp END' INTO NEW.cai_stamp USING NEW, OLD;
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        """
        CREATE OR REPLACE FUNCTION cai_connectors_notify() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                PERFORM pg_notify('cai_connectors', '*');
            ELSIF TG_OP = 'DELETE' THEN
                EXECUTE $row$SELECT pg_notify('cai_connectors', ($1).id::text)$row$ USING OLD;
            ELSIF TG_OP = 'INSERT' THEN
                EXECUTE $row$SELECT pg_notify('cai_connectors', ($1).id::text)$row$ USING NEW;
            ELSE
                EXECUTE $row$SELECT pg_notify('cai_connectors', ($1).id::text)
                    WHERE ($1).generation <> ($2).generation OR ($1).id <> ($2).id$row$ USING NEW, OLD;
            END IF;
            RETURN NULL;
        END $$
        """
    )


def _replace_audit(path: str) -> None:
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION cai_connectors_audit() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER {path} AS $$
        DECLARE
            old_id bigint;
            old_name text;
            old_generation bigint;
            old_values jsonb;
            new_id bigint;
            new_name text;
            new_generation bigint;
            new_values jsonb;
            new_content text;
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                PERFORM cai_audit_write('truncate', c.id, c.name, c.generation, cai_connectors_values(c), NULL, NULL)
                FROM cai_connectors c ORDER BY c.id;
                RETURN NULL;
            END IF;
            IF TG_OP <> 'INSERT' THEN
                EXECUTE 'SELECT ($1).id, ($1).name, ($1).generation, cai_connectors_values($1)'
                    INTO old_id, old_name, old_generation, old_values USING OLD;
            END IF;
            IF TG_OP <> 'DELETE' THEN
                EXECUTE 'SELECT ($1).id, ($1).name, ($1).generation, cai_connectors_values($1), '
                    'cai_connectors_content($1)'
                    INTO new_id, new_name, new_generation, new_values, new_content USING NEW;
            END IF;
            IF TG_OP = 'UPDATE' AND new_id = old_id THEN
                IF new_generation <> old_generation OR new_values IS DISTINCT FROM old_values THEN
                    PERFORM cai_audit_write(
                        'update', new_id, new_name, new_generation, old_values, new_values, new_content);
                END IF;
                RETURN NULL;
            END IF;
            -- One that gets another number has gone under the old one and comes under the new.
            IF TG_OP <> 'INSERT' THEN
                PERFORM cai_audit_write('delete', old_id, old_name, old_generation, old_values, NULL, NULL);
            END IF;
            IF TG_OP <> 'DELETE' THEN
                PERFORM cai_audit_write('create', new_id, new_name, new_generation, NULL, new_values, new_content);
            END IF;
            RETURN NULL;
        END $$
        """
    )


def _replace_finder(path: str) -> None:
    """Finds rows that are not as their newest entry left them (0007), and keeps no row between its statements."""
    found = "Changed with the triggers off, so by whom and when is not known. Found by the controller."
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION cai_audit_find() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER {path} AS $$
        DECLARE
            found_rows bigint := 0;
            candidate bigint;
            head cai_audit_heads;
            stands record;
            last cai_audit;
        BEGIN
            FOR candidate IN
                SELECT c.id FROM cai_connectors c LEFT JOIN cai_audit_heads h ON h.connector_id = c.id
                WHERE h.content IS DISTINCT FROM cai_connectors_content(c)
                UNION ALL
                SELECT h.connector_id FROM cai_audit_heads h WHERE h.content IS NOT NULL
                AND NOT EXISTS (SELECT FROM cai_connectors c WHERE c.id = h.connector_id)
                ORDER BY 1
            LOOP
                INSERT INTO cai_audit_heads (connector_id) VALUES (candidate) ON CONFLICT DO NOTHING;
                SELECT * INTO head FROM cai_audit_heads WHERE connector_id = candidate FOR UPDATE SKIP LOCKED;
                CONTINUE WHEN NOT FOUND;
                SELECT c.name::text AS name, c.generation::bigint AS generation,
                       cai_connectors_content(c) AS content, cai_redacted(cai_connectors_values(c)) AS after
                INTO stands FROM cai_connectors c WHERE c.id = candidate;
                CONTINUE WHEN head.content IS NOT DISTINCT FROM stands.content;
                SELECT * INTO last FROM cai_audit WHERE coalesce(connector_id, 0) = candidate
                AND action IN ('baseline', 'create', 'update', 'delete', 'truncate', 'found') ORDER BY id DESC LIMIT 1;
                INSERT INTO cai_audit (
                    connector_id, connector_name, generation, action, actor, via, reason, before, after)
                VALUES (
                    candidate, coalesce(stands.name, last.connector_name), coalesce(stands.generation, last.generation),
                    'found', 'unknown', 'controller', '{found}', last.after, stands.after);
                UPDATE cai_audit_heads SET
                    content = stands.content, generation = greatest(generation, stands.generation)
                WHERE connector_id = candidate;
                found_rows := found_rows + 1;
            END LOOP;
            RETURN found_rows;
        END $$
        """
    )
