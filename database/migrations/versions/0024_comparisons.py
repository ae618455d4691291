"""Comparisons with the source: of each table the last one, which goes with its connector."""

from alembic import op

from database.migrations.user_columns import search_path

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE cai_comparisons (
            connector_id bigint NOT NULL,
            table_name text NOT NULL,
            by text NOT NULL CHECK (by IN ('counts', 'sums')),
            at_source bigint NOT NULL,
            in_destination bigint NOT NULL,
            missing bigint,
            extra bigint,
            different bigint,
            ranges jsonb NOT NULL DEFAULT '[]',
            differences jsonb NOT NULL DEFAULT '[]',
            compared_at timestamptz NOT NULL DEFAULT now(),
            run_id uuid,
            PRIMARY KEY (connector_id, table_name)
        )
        """
    )
    # Keys may tell whose rows they are. Done as the owner: whoever may delete a connector need not have a right here.
    op.execute(
        f"""
        CREATE FUNCTION cai_forget_comparisons() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {search_path()} AS $$
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                DELETE FROM cai_comparisons;
            ELSE
                DELETE FROM cai_comparisons WHERE connector_id = OLD.id;
            END IF;
            RETURN NULL;
        END $$
        """
    )
    for moment, level in (("DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER cai_forget_comparisons_{moment.lower()} AFTER {moment} ON cai_connectors "
            f"FOR EACH {level} EXECUTE FUNCTION cai_forget_comparisons()"
        )


def downgrade() -> None:
    for moment in ("delete", "truncate"):
        op.execute(f"DROP TRIGGER cai_forget_comparisons_{moment} ON cai_connectors")
    op.execute("DROP FUNCTION cai_forget_comparisons()")
    op.execute("DROP TABLE cai_comparisons")
