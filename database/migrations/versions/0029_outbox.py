"""Outbox: webhooks, notices and lineage wait among the follow-ups, beside what is started."""

from alembic import op

revision = "0029"
down_revision = "0026"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE cai_follow_ups
            ALTER COLUMN load_id DROP NOT NULL,
            ADD COLUMN kind text NOT NULL DEFAULT 'start' CHECK (kind IN ('start', 'webhook', 'notice', 'lineage')),
            ADD COLUMN said jsonb,
            ADD COLUMN problem text
        """
    )
    op.execute("CREATE UNIQUE INDEX cai_follow_ups_key ON cai_follow_ups (key)")
    op.execute("ALTER TABLE cai_loads ADD COLUMN failures_before integer")


def downgrade() -> None:
    op.execute("ALTER TABLE cai_loads DROP COLUMN failures_before")
    op.execute("DELETE FROM cai_follow_ups WHERE kind <> 'start'")
    op.execute("DROP INDEX cai_follow_ups_key")
    op.execute(
        """
        ALTER TABLE cai_follow_ups ALTER COLUMN load_id SET NOT NULL,
            DROP COLUMN kind, DROP COLUMN said, DROP COLUMN problem
        """
    )
