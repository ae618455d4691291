"""Exports that servers make for connectors, and loads that wait for one.

The address of an export is kept from the moment that the server names it: whoever runs next goes on with it, and never
begins a second one.
"""

from alembic import op

revision = "0020"
down_revision = "0019"

LEDGERS = ("cai_connector_loads", "cai_loads")
OUTCOMES = "'running', 'completed', 'failed', 'cancelled'"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE cai_exports (
            connector_id bigint PRIMARY KEY,
            id uuid NOT NULL,
            asked jsonb NOT NULL,
            options jsonb NOT NULL DEFAULT '{}',
            address text,
            sent_at timestamptz,
            look_at timestamptz,
            started_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    _constrain(f"{OUTCOMES}, 'waiting'")


def downgrade() -> None:
    for table in LEDGERS:
        op.execute(f"UPDATE {table} SET outcome = 'cancelled' WHERE outcome = 'waiting'")
    _constrain(OUTCOMES)
    op.execute("DROP TABLE cai_exports")


def _constrain(outcomes: str) -> None:
    for table in LEDGERS:
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT {table}_outcome_check, "
            f"ADD CONSTRAINT {table}_outcome_check CHECK (outcome IN ({outcomes}))"
        )
