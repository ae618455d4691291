"""Rows that schema contracts rejected, over all loads of a connector: for the metrics."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("ALTER TABLE cai_connector_loads ADD COLUMN rows_rejected bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    op.execute("ALTER TABLE cai_connector_loads DROP COLUMN rows_rejected")
