"""Alerts that operations have been told, not yet that they are over: the next leader tells the end, nothing twice."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE cai_alerts (key text PRIMARY KEY, since timestamptz NOT NULL DEFAULT now(), "
        "sentence text NOT NULL)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE cai_alerts")
