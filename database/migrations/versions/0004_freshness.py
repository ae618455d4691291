"""Promises of each connector with their begin, and notices of its lateness."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE cai_connector_freshness (
            connector_id bigint PRIMARY KEY,
            schedule text,
            timezone text,
            promised_at timestamptz NOT NULL,
            told text CHECK (told IN ('late', 'overdue')),
            late_since timestamptz,
            alerted boolean NOT NULL DEFAULT false
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE cai_connector_freshness")
