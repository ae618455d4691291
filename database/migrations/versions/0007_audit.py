"""The history: one entry for each change of a connector, written by triggers in the change's own transaction.

`cai_audit` is append-only, to its owner too. Each entry's digest covers the one before it of the same connector, and
`cai_audit_heads` holds the newest of each: its row is the lock by which the entries of one connector wait for each
other, and those of different connectors do not. `cai_audit_seals` covers all entries of a day (UTC), each seal the one
before it. The functions that write here run as the tables' owner, so a back end's role needs no right on the history.
"""

from alembic import op

from database.migrations.consent import require_consent
from database.migrations.user_columns import DEFAULTS, FIRST_COLUMNS, search_path, watch

revision = "0007"
down_revision = "0006"

FOUND = "Changed with the triggers off, so by whom and when is not known. Found by the controller."

BASELINE = "Stood in the table when its history began."

PARTS = (
    "token|secret|passwo?r?d|passphrase|pwd|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key|subscription[-_ ]?key"
    "|credential|authorization|cookie|session[-_ ]?id|signature"
)
WORDS = "auth|sig|x[-_ ]?key"
"""Keys that hold secrets, as `connectors.sources.secret_references.looks_secret` knows them: a test compares both."""

CHARACTER = r'(?:[^"\\]|\\.)'
KEY = rf'"(?:{CHARACTER}*(?:{PARTS}){CHARACTER}*|(?:{CHARACTER}*[-_ ])?(?:{WORDS})(?:[-_ ]{CHARACTER}*)?)"'
VALUE = rf'"{CHARACTER}*"|-?[0-9][-+.0-9eE]*|\[(?:"{CHARACTER}*"|[^][{{}}"])*\]'
MASK = "***redacted***"


def _run(statement: str) -> None:
    """As it stands: what `op.execute` takes for the names of parameters are colons of regular expressions."""
    op.get_bind().exec_driver_sql(statement)


def upgrade() -> None:
    path = search_path()
    _create_tables()
    _create_values(path)
    _create_chain(path)
    _create_entries(path)
    _create_finder(path)
    _create_seal(path)
    watch(FIRST_COLUMNS)
    _create_triggers()
    _run(
        "INSERT INTO cai_audit (connector_id, connector_name, generation, action, actor, via, reason, after) "
        f"SELECT id, name, generation, 'baseline', session_user, 'sql', '{BASELINE}', "
        "cai_redacted(cai_connectors_values(c)) FROM cai_connectors c ORDER BY id"
    )
    _run(
        "UPDATE cai_audit_heads h SET content = cai_connectors_content(c), generation = c.generation "
        "FROM cai_connectors c WHERE c.id = h.connector_id"
    )


def _create_tables() -> None:
    _run("CREATE SEQUENCE cai_audit_id")
    _run(
        """
        CREATE TABLE cai_audit (
            id bigint PRIMARY KEY DEFAULT nextval('cai_audit_id'),
            at timestamptz NOT NULL DEFAULT clock_timestamp(),
            connector_id bigint,
            connector_name text,
            generation bigint,
            action text NOT NULL,
            actor text NOT NULL,
            via text NOT NULL,
            reason text,
            request_id text,
            before jsonb,
            after jsonb,
            previous_id bigint,
            previous text,
            digest text NOT NULL
        )
        """
    )
    _run("ALTER SEQUENCE cai_audit_id OWNED BY cai_audit.id")
    _run("CREATE INDEX cai_audit_chain ON cai_audit (coalesce(connector_id, 0), id)")
    _run("CREATE INDEX cai_audit_at ON cai_audit (at)")
    # What belongs to no connector has the number 0. `content` is the row's when its newest change was written.
    _run(
        "CREATE TABLE cai_audit_heads (connector_id bigint PRIMARY KEY, id bigint, at timestamptz, digest text, "
        "generation bigint, content text) WITH (fillfactor = 70)"
    )
    _run(
        """
        CREATE TABLE cai_audit_seals (
            day date PRIMARY KEY,
            entries bigint NOT NULL,
            first_id bigint NOT NULL,
            last_id bigint NOT NULL,
            previous text,
            digest text NOT NULL,
            sealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            moved_out_at timestamptz,
            file_digest text,
            tails jsonb
        )
        """
    )


def _create_values(path: str) -> None:
    """The values of a row is kept, and how secrets in it are kept out.

    The text is searched and not the tree: a row may be nested more deeply than a recursive function can go, and no
    write of a back end's may fail because of its history. References, and two fields of OAuth that only look like
    secrets, are set aside by characters that the text of a jsonb never has.
    """
    _run(
        f"""
        CREATE FUNCTION cai_connectors_next_generation(connector bigint) RETURNS bigint
        LANGUAGE sql STABLE SECURITY DEFINER {path} AS $$
            SELECT coalesce((SELECT generation FROM cai_audit_heads WHERE connector_id = connector), 0) + 1
        $$
        """
    )
    _run(
        f"""
        CREATE FUNCTION cai_redacted(value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $redacted$
        DECLARE
            kept text := value::text;
        BEGIN
            IF value IS NULL OR kept !~* '{PARTS}|{WORDS}|://[^"]*@' THEN
                RETURN value;
            END IF;
            kept := regexp_replace(
                kept, '\\{{"secret": ("[a-z0-9]+(?:-[a-z0-9]+)*")\\}}', E'{{\\x01: \\\\1}}', 'g');
            kept := replace(replace(kept, '"access_token_url":', E'\\x02'), '"default_token_expiration":', E'\\x03');
            kept := regexp_replace(kept, $key$({KEY}: )(?:{VALUE})$key$, '\\1"{MASK}"', 'gi');
            kept := regexp_replace(kept, '(https?://)[^/@?#"]+@', '\\1{MASK}@', 'gi');
            kept := regexp_replace(kept, '(://)[^/@?#":]*:(?![0-9]+[/?#"])[^@"]*@', '\\1{MASK}@', 'g');
            kept := regexp_replace(kept, '([?&#;][^=&#;"]*(?:{PARTS})[^=&#;"]*=)[^&#;"\\\\]*', '\\1{MASK}', 'gi');
            kept := regexp_replace(
                kept, '([?&#;](?:[^=&#;"]*[-_ ])?(?:{WORDS})(?:[-_ ][^=&#;"]*)?=)[^&#;"\\\\]*', '\\1{MASK}', 'gi');
            kept := replace(replace(kept, E'\\x02', '"access_token_url":'), E'\\x03', '"default_token_expiration":');
            RETURN replace(kept, E'\\x01', '"secret"')::jsonb;
        END $redacted$
        """
    )
    _run(
        "CREATE FUNCTION cai_connectors_values(c cai_connectors) RETURNS jsonb LANGUAGE sql STABLE AS "
        "$$ SELECT '{}'::jsonb $$"
    )


def _create_chain(path: str) -> None:
    _run(
        """
        CREATE FUNCTION cai_audit_text(e cai_audit) RETURNS text LANGUAGE sql STABLE AS $$
            SELECT jsonb_build_object(
                'id', e.id, 'at', to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'connector_id', e.connector_id, 'connector_name', e.connector_name, 'generation', e.generation,
                'action', e.action, 'actor', e.actor, 'via', e.via, 'reason', e.reason, 'request_id', e.request_id,
                'before', e.before, 'after', e.after, 'previous_id', e.previous_id, 'previous', e.previous)::text
        $$
        """
    )
    _run(
        "CREATE FUNCTION cai_audit_digest(e cai_audit) RETURNS text LANGUAGE sql STABLE AS "
        "$$ SELECT encode(sha256(convert_to(cai_audit_text(e), 'UTF8')), 'hex') $$"
    )
    _run(
        f"""
        CREATE FUNCTION cai_audit_chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {path} AS $$
        DECLARE
            chain bigint := coalesce(NEW.connector_id, 0);
            head cai_audit_heads;
        BEGIN
            -- From here to the commit the connector's other writers wait, and then see this entry. In a transaction
            -- of one snapshot, which would not see it, PostgreSQL refuses the lock (40001).
            SELECT * INTO head FROM cai_audit_heads WHERE connector_id = chain FOR UPDATE;
            IF NOT FOUND THEN
                INSERT INTO cai_audit_heads (connector_id) VALUES (chain) ON CONFLICT DO NOTHING;
                SELECT * INTO head FROM cai_audit_heads WHERE connector_id = chain FOR UPDATE;
            END IF;
            -- Drawn again under the lock: the order of the numbers is that of the chain.
            NEW.id := nextval('cai_audit_id');
            -- A clock that was set back writes into no day that is sealed.
            NEW.at := greatest(
                clock_timestamp(), head.at, (SELECT (max(day) + 1)::timestamp AT TIME ZONE 'UTC' FROM cai_audit_seals));
            NEW.previous_id := head.id;
            NEW.previous := head.digest;
            NEW.digest := cai_audit_digest(NEW);
            UPDATE cai_audit_heads SET id = NEW.id, at = NEW.at, digest = NEW.digest WHERE connector_id = chain;
            RETURN NEW;
        END $$
        """
    )
    _run(
        f"""
        CREATE FUNCTION cai_audit_refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {path} AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND TG_LEVEL = 'ROW' AND TG_TABLE_NAME = 'cai_audit' THEN
                IF EXISTS (SELECT FROM cai_audit_seals
                           WHERE day = (OLD.at AT TIME ZONE 'UTC')::date AND moved_out_at IS NOT NULL) THEN
                    RETURN OLD;
                END IF;
            ELSIF TG_OP = 'UPDATE' AND TG_LEVEL = 'ROW' AND TG_TABLE_NAME = 'cai_audit_seals' THEN
                -- To be moved out is the one thing that may become of a seal, once.
                IF OLD.moved_out_at IS NULL AND NEW.moved_out_at IS NOT NULL AND NEW.file_digest IS NOT NULL
                   AND (NEW.day, NEW.entries, NEW.first_id, NEW.last_id, NEW.previous, NEW.digest, NEW.sealed_at)
                   IS NOT DISTINCT FROM
                   (OLD.day, OLD.entries, OLD.first_id, OLD.last_id, OLD.previous, OLD.digest, OLD.sealed_at) THEN
                    RETURN NEW;
                END IF;
            END IF;
            RAISE EXCEPTION '% is append-only: % is refused.', TG_TABLE_NAME, TG_OP
                USING ERRCODE = 'insufficient_privilege',
                HINT = 'python -m api.history.archive DIR exports whole sealed days and moves them out.';
        END $$
        """
    )


def _create_entries(path: str) -> None:
    _run(
        f"""
        CREATE FUNCTION cai_audit_write(
            doing text, connector bigint, called text, counted bigint, old_values jsonb, new_values jsonb, held text
        ) RETURNS void LANGUAGE plpgsql SECURITY DEFINER {path} AS $$
        BEGIN
            INSERT INTO cai_audit (
                connector_id, connector_name, generation, action, actor, via, reason, request_id, before, after)
            VALUES (
                connector, called, counted, doing,
                coalesce(nullif(current_setting('cai.actor', true), ''), session_user),
                coalesce(nullif(current_setting('cai.via', true), ''), 'sql'),
                nullif(current_setting('cai.reason', true), ''), nullif(current_setting('cai.request_id', true), ''),
                cai_redacted(old_values), cai_redacted(new_values));
            UPDATE cai_audit_heads SET content = held, generation = counted WHERE connector_id = connector;
        END $$
        """
    )
    _run("REVOKE ALL ON FUNCTION cai_audit_write(text, bigint, text, bigint, jsonb, jsonb, text) FROM PUBLIC")
    _run(
        f"""
        CREATE FUNCTION cai_connectors_audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {path} AS $$
        DECLARE
            old_values jsonb;
            new_values jsonb;
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                PERFORM cai_audit_write('truncate', c.id, c.name, c.generation, cai_connectors_values(c), NULL, NULL)
                FROM cai_connectors c ORDER BY c.id;
                RETURN NULL;
            END IF;
            IF TG_OP <> 'INSERT' THEN
                old_values := cai_connectors_values(OLD);
            END IF;
            IF TG_OP <> 'DELETE' THEN
                new_values := cai_connectors_values(NEW);
            END IF;
            IF TG_OP = 'UPDATE' AND NEW.id = OLD.id THEN
                IF NEW.generation <> OLD.generation OR new_values IS DISTINCT FROM old_values THEN
                    PERFORM cai_audit_write('update', NEW.id, NEW.name, NEW.generation, old_values, new_values,
                                            cai_connectors_content(NEW));
                END IF;
                RETURN NULL;
            END IF;
            -- One that gets another number has gone under the old one and comes under the new.
            IF TG_OP <> 'INSERT' THEN
                PERFORM cai_audit_write('delete', OLD.id, OLD.name, OLD.generation, old_values, NULL, NULL);
            END IF;
            IF TG_OP <> 'DELETE' THEN
                PERFORM cai_audit_write('create', NEW.id, NEW.name, NEW.generation, NULL, new_values,
                                        cai_connectors_content(NEW));
            END IF;
            RETURN NULL;
        END $$
        """
    )


def _create_finder(path: str) -> None:
    """Finds rows that are not as their newest entry left them.

    While a head's row is locked no recorded change of its connector can commit, so what differs then was not recorded.
    One that a transaction is about to change is looked at in the next audit.
    """
    _run(
        f"""
        CREATE FUNCTION cai_audit_find() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER {path} AS $$
        DECLARE
            found_rows bigint := 0;
            candidate bigint;
            head cai_audit_heads;
            stands cai_connectors;
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
                SELECT * INTO stands FROM cai_connectors WHERE id = candidate;
                CONTINUE WHEN head.content IS NOT DISTINCT FROM
                    CASE WHEN stands.id IS NOT NULL THEN cai_connectors_content(stands) END;
                SELECT * INTO last FROM cai_audit WHERE coalesce(connector_id, 0) = candidate
                AND action IN ('baseline', 'create', 'update', 'delete', 'truncate', 'found') ORDER BY id DESC LIMIT 1;
                INSERT INTO cai_audit (
                    connector_id, connector_name, generation, action, actor, via, reason, before, after)
                VALUES (
                    candidate, coalesce(stands.name, last.connector_name), coalesce(stands.generation, last.generation),
                    'found', 'unknown', 'controller', '{FOUND}', last.after,
                    CASE WHEN stands.id IS NOT NULL THEN cai_redacted(cai_connectors_values(stands)) END);
                UPDATE cai_audit_heads SET
                    content = CASE WHEN stands.id IS NOT NULL THEN cai_connectors_content(stands) END,
                    generation = greatest(generation, stands.generation)
                WHERE connector_id = candidate;
                found_rows := found_rows + 1;
            END LOOP;
            RETURN found_rows;
        END $$
        """
    )


def _create_seal(path: str) -> None:
    _run(
        f"""
        CREATE FUNCTION cai_audit_seal_digest(sealed date, last_seal text, OUT entries bigint, OUT first_id bigint,
                                              OUT last_id bigint, OUT digest text)
        LANGUAGE sql STABLE {path} AS $$
            SELECT count(*), min(id), max(id), encode(sha256(convert_to(concat_ws('|', last_seal,
                to_char(sealed, 'YYYY-MM-DD'), count(*), string_agg(digest, ',' ORDER BY id)), 'UTF8')), 'hex')
            FROM cai_audit
            WHERE at >= sealed::timestamp AT TIME ZONE 'UTC' AND at < (sealed + 1)::timestamp AT TIME ZONE 'UTC'
        $$
        """
    )
    _run(
        f"""
        CREATE FUNCTION cai_audit_seal() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER {path} AS $$
        DECLARE
            today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
            last cai_audit_seals;
            sealed date;
            made bigint := 0;
        BEGIN
            SELECT * INTO last FROM cai_audit_seals ORDER BY day DESC LIMIT 1;
            IF NOT EXISTS (SELECT FROM cai_audit WHERE at < today::timestamp AT TIME ZONE 'UTC'
                           AND at >= coalesce((last.day + 1)::timestamp AT TIME ZONE 'UTC', '-infinity')) THEN
                RETURN 0;
            END IF;
            -- Whoever has written an entry of those days has committed by then, and who comes later writes of today.
            LOCK TABLE cai_audit IN SHARE MODE;
            FOR sealed IN
                SELECT DISTINCT (at AT TIME ZONE 'UTC')::date FROM cai_audit
                WHERE at < today::timestamp AT TIME ZONE 'UTC'
                AND at >= coalesce((last.day + 1)::timestamp AT TIME ZONE 'UTC', '-infinity') ORDER BY 1
            LOOP
                INSERT INTO cai_audit_seals (day, previous, entries, first_id, last_id, digest)
                SELECT sealed, last.digest, s.* FROM cai_audit_seal_digest(sealed, last.digest) s RETURNING * INTO last;
                made := made + 1;
            END LOOP;
            RETURN made;
        END $$
        """
    )


def _create_triggers() -> None:
    _run("CREATE TRIGGER cai_audit_chain BEFORE INSERT ON cai_audit FOR EACH ROW EXECUTE FUNCTION cai_audit_chain()")
    for table, statements, rows in (
        ("cai_audit", "UPDATE OR TRUNCATE", "DELETE"),
        ("cai_audit_seals", "DELETE OR TRUNCATE", "UPDATE"),
    ):
        _run(
            f"CREATE TRIGGER {table}_refuse BEFORE {statements} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION cai_audit_refuse()"
        )
        _run(
            f"CREATE TRIGGER {table}_refuse_rows BEFORE {rows} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION cai_audit_refuse()"
        )
    _run(
        "CREATE TRIGGER cai_connectors_audit AFTER INSERT OR UPDATE OR DELETE ON cai_connectors "
        "FOR EACH ROW EXECUTE FUNCTION cai_connectors_audit()"
    )
    _run(
        "CREATE TRIGGER cai_connectors_audit_all BEFORE TRUNCATE ON cai_connectors "
        "FOR EACH STATEMENT EXECUTE FUNCTION cai_connectors_audit()"
    )


def downgrade() -> None:
    require_consent("cai_audit", "the history of all connectors")
    _run("DROP TRIGGER cai_connectors_audit ON cai_connectors")
    _run("DROP TRIGGER cai_connectors_audit_all ON cai_connectors")
    changed = " OR ".join(f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in FIRST_COLUMNS)
    filled = "\n".join(f"NEW.{name} := coalesce(NEW.{name}, {value});" for name, value in DEFAULTS.items())
    _run(
        f"""
        CREATE OR REPLACE FUNCTION cai_connectors_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                {filled}
                NEW.generation := 1;
            ELSIF {changed} THEN
                NEW.updated_at := now();
                NEW.generation := OLD.generation + 1;
            ELSE
                NEW.updated_at := OLD.updated_at;
                NEW.generation := OLD.generation;
            END IF;
            RETURN NEW;
        END $$
        """
    )
    for function in (
        "cai_connectors_audit()",
        "cai_audit_find()",
        "cai_audit_seal()",
        "cai_audit_seal_digest(date, text)",
        "cai_audit_write(text, bigint, text, bigint, jsonb, jsonb, text)",
        "cai_connectors_next_generation(bigint)",
        "cai_connectors_values(cai_connectors)",
        "cai_redacted(jsonb)",
        "cai_audit_digest(cai_audit)",
        "cai_audit_text(cai_audit)",
    ):
        _run(f"DROP FUNCTION {function}")
    for table in ("cai_audit_seals", "cai_audit_heads", "cai_audit"):
        _run(f"DROP TABLE {table}")
    _run("DROP FUNCTION cai_audit_chain()")
    _run("DROP FUNCTION cai_audit_refuse()")
