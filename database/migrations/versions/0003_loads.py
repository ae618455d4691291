"""State of each connector's loads: freshness, auto-pause, the fleet view and the metrics are made of it."""

from alembic import op

from database.migrations.consent import require_consent

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE cai_connector_loads (
            connector_id bigint PRIMARY KEY,
            generation bigint NOT NULL DEFAULT 0,
            run_id uuid,
            outcome text CHECK (outcome IN ('running', 'completed', 'failed', 'cancelled')),
            message text,
            rows bigint NOT NULL DEFAULT 0,
            started_at timestamptz,
            ended_at timestamptz,
            last_success_at timestamptz,
            failures integer NOT NULL DEFAULT 0,
            configuration_failures integer NOT NULL DEFAULT 0,
            loads_completed bigint NOT NULL DEFAULT 0,
            loads_failed bigint NOT NULL DEFAULT 0,
            rows_loaded bigint NOT NULL DEFAULT 0
        )
        """
    )


def downgrade() -> None:
    require_consent("cai_connector_loads", "how the loads of all connectors went")
    op.execute("DROP TABLE cai_connector_loads")
