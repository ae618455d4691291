"""Exports whose connector was deleted: kept with the connector as it was, until a run has ended them at their server.

An export of which the server has named no address can't be ended, and goes with its connector.
"""

from alembic import op

from database.migrations.user_columns import search_path

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.execute("ALTER TABLE cai_exports ADD COLUMN left_by jsonb, ADD COLUMN left_at timestamptz")
    # Done as the owner: whoever may write a connector need not have a right on exports.
    op.execute(
        f"""
        CREATE FUNCTION cai_connectors_leave_export() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER {search_path()} AS $$
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                DELETE FROM cai_exports WHERE address IS NULL;
                UPDATE cai_exports e SET left_by = to_jsonb(c), left_at = now(), look_at = now()
                FROM cai_connectors c WHERE c.id = e.connector_id;
                RETURN NULL;
            END IF;
            IF TG_OP = 'INSERT' THEN  -- a deleted one comes back under its number, and goes on with its export
                UPDATE cai_exports SET left_by = NULL, left_at = NULL WHERE connector_id = NEW.id;
                RETURN NULL;
            END IF;
            DELETE FROM cai_exports WHERE connector_id = OLD.id AND address IS NULL;
            UPDATE cai_exports SET left_by = to_jsonb(OLD), left_at = now(), look_at = now()
            WHERE connector_id = OLD.id;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER cai_connectors_leave_export AFTER INSERT OR DELETE ON cai_connectors "
        "FOR EACH ROW EXECUTE FUNCTION cai_connectors_leave_export()"
    )
    op.execute(
        "CREATE TRIGGER cai_connectors_leave_all_exports BEFORE TRUNCATE ON cai_connectors "
        "FOR EACH STATEMENT EXECUTE FUNCTION cai_connectors_leave_export()"
    )
    # Those of connectors that were deleted before: nobody knows their login any more.
    op.execute("DELETE FROM cai_exports e WHERE NOT EXISTS (SELECT FROM cai_connectors c WHERE c.id = e.connector_id)")


def downgrade() -> None:
    op.execute("DROP TRIGGER cai_connectors_leave_export ON cai_connectors")
    op.execute("DROP TRIGGER cai_connectors_leave_all_exports ON cai_connectors")
    op.execute("DROP FUNCTION cai_connectors_leave_export()")
    op.execute("DELETE FROM cai_exports WHERE left_by IS NOT NULL")
    op.execute("ALTER TABLE cai_exports DROP COLUMN left_by, DROP COLUMN left_at")
