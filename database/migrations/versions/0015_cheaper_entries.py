"""Entries that cost a save less: what did not change is searched for secrets once, for what may be there.

What an entry says, and so its digest, is as before. Where most of a row stands, as in a change of its schedule, the
state before is made of the state after and of the values that differ: the search is the dearest part of an entry.
"""

from importlib import import_module

from alembic import op

from database.migrations.user_columns import search_path

revision = "0015"
down_revision = "0014"


first = import_module("database.migrations.versions.0007_audit")


def upgrade() -> None:
    _replace_redacted()
    _replace_write(search_path())
    _replace_audit(search_path())


def downgrade() -> None:
    """Nothing: the functions write the same as those before, and the migrations below replace or drop them."""


def _replace_redacted() -> None:
    """The same replacements as in 0007, each only where the character that it cannot do without stands in the text."""
    op.get_bind().exec_driver_sql(  # as it stands: what `op.execute` takes for parameters are colons of expressions
        f"""
        CREATE OR REPLACE FUNCTION cai_redacted(value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $redacted$
        DECLARE
            kept text := value::text;
        BEGIN
            IF value IS NULL OR kept !~* '{first.PARTS}|{first.WORDS}|://[^"]*@' THEN
                RETURN value;
            END IF;
            kept := regexp_replace(
                kept, '\\{{"secret": ("[a-z0-9]+(?:-[a-z0-9]+)*")\\}}', E'{{\\x01: \\\\1}}', 'g');
            kept := replace(replace(kept, '"access_token_url":', E'\\x02'), '"default_token_expiration":', E'\\x03');
            kept := regexp_replace(kept, $key$({first.KEY}: )(?:{first.VALUE})$key$, '\\1"{first.MASK}"', 'gi');
            IF strpos(kept, '@') > 0 THEN
                kept := regexp_replace(kept, '(https?://)[^/@?#"]+@', '\\1{first.MASK}@', 'gi');
                kept := regexp_replace(kept, '(://)[^/@?#":]*:(?![0-9]+[/?#"])[^@"]*@', '\\1{first.MASK}@', 'g');
            END IF;
            IF strpos(kept, '=') > 0 THEN
                kept := regexp_replace(
                    kept, '([?&#;][^=&#;"]*(?:{first.PARTS})[^=&#;"]*=)[^&#;"\\\\]*', '\\1{first.MASK}', 'gi');
                kept := regexp_replace(
                    kept, '([?&#;](?:[^=&#;"]*[-_ ])?(?:{first.WORDS})(?:[-_ ][^=&#;"]*)?=)[^&#;"\\\\]*',
                    '\\1{first.MASK}', 'gi');
            END IF;
            kept := replace(replace(kept, E'\\x02', '"access_token_url":'), E'\\x03', '"default_token_expiration":');
            RETURN replace(kept, E'\\x01', '"secret"')::jsonb;
        END $redacted$
        """
    )


def _replace_write(path: str) -> None:
    """Values of columns are searched one by one or together with the same outcome: no secret's pattern goes over two.

    Compared is what is stored (`*=`): to `=`, 1 and 1.0 in a document are the same, and the entry shows which it was.
    """
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION cai_audit_write(
            doing text, connector bigint, called text, counted bigint, old_values jsonb, new_values jsonb, held text
        ) RETURNS void LANGUAGE plpgsql SECURITY DEFINER {path} AS $$
        DECLARE
            kept jsonb := cai_redacted(new_values);
            differs jsonb;
            was jsonb;
        BEGIN
            IF old_values IS NULL OR new_values IS NULL THEN
                was := cai_redacted(old_values);
            ELSE
                SELECT coalesce(jsonb_object_agg(o.key, o.value), '{{}}') INTO differs FROM jsonb_each(old_values) o
                WHERE NOT row(o.value)::record *= row(new_values -> o.key)::record;
                was := kept || cai_redacted(differs);
            END IF;
            INSERT INTO cai_audit (
                connector_id, connector_name, generation, action, actor, via, reason, request_id, before, after)
            VALUES (
                connector, called, counted, doing,
                coalesce(nullif(current_setting('cai.actor', true), ''), session_user),
                coalesce(nullif(current_setting('cai.via', true), ''), 'sql'),
                nullif(current_setting('cai.reason', true), ''), nullif(current_setting('cai.request_id', true), ''),
                was, kept);
            UPDATE cai_audit_heads SET content = held, generation = counted WHERE connector_id = connector;
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
            -- With EXECUTE, since a back end may alter the columns' types while its sessions live (0012).
            IF TG_OP = 'UPDATE' THEN
                EXECUTE 'SELECT ($1).id, ($1).name, ($1).generation, cai_connectors_values($1), '
                    '($2).id, ($2).name, ($2).generation, cai_connectors_values($2), cai_connectors_content($2)'
                    INTO old_id, old_name, old_generation, old_values,
                         new_id, new_name, new_generation, new_values, new_content USING OLD, NEW;
            ELSIF TG_OP = 'INSERT' THEN
                EXECUTE 'SELECT ($1).id, ($1).name, ($1).generation, cai_connectors_values($1), '
                    'cai_connectors_content($1)'
                    INTO new_id, new_name, new_generation, new_values, new_content USING NEW;
            ELSE
                EXECUTE 'SELECT ($1).id, ($1).name, ($1).generation, cai_connectors_values($1)'
                    INTO old_id, old_name, old_generation, old_values USING OLD;
            END IF;
            IF new_id = old_id THEN
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
