"""One ledger: how a connector's loads go stands on its last row of `cai_loads`, and nowhere a second time.

`cai_connector_loads`, which had a row a connector, becomes a view of those rows, for whoever reads it. A run of the
version before that is under way can't write its end there; the next run counts it as it counts one that died.
"""

from alembic import op

revision = "0026"
down_revision = "0025"

TOTALS = (
    "last_success_at", "failures", "configuration_failures", "loads_completed", "loads_failed", "rows_loaded",
    "rows_rejected",
)  # fmt: skip


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE cai_loads
            ADD COLUMN is_last boolean,
            ADD COLUMN said_before text,
            ADD COLUMN last_success_at timestamptz,
            ADD COLUMN failures integer NOT NULL DEFAULT 0,
            ADD COLUMN configuration_failures integer NOT NULL DEFAULT 0,
            ADD COLUMN loads_completed bigint NOT NULL DEFAULT 0,
            ADD COLUMN loads_failed bigint NOT NULL DEFAULT 0,
            ADD COLUMN rows_loaded bigint NOT NULL DEFAULT 0,
            ADD COLUMN rows_rejected bigint NOT NULL DEFAULT 0
        """
    )
    totals = ", ".join(TOTALS)
    op.execute(
        f"""
        UPDATE cai_loads l SET is_last = true, said_before = CASE WHEN o.outcome = 'running' THEN o.message END,
            {", ".join(f"{name} = o.{name}" for name in TOTALS)}
        FROM cai_connector_loads o
        WHERE l.id = (SELECT max(id) FROM cai_loads s WHERE s.connector_id = o.connector_id
            AND s.started_at = o.started_at AND s.outcome = o.outcome)
        """  # the migration's own names
    )
    # Of loads that were pruned, or came before there was a history.
    op.execute(
        f"""
        INSERT INTO cai_loads (connector_id, generation, run_id, outcome, message, said_before, rows, started_at,
            ended_at, is_last, {totals})
        SELECT connector_id, generation, run_id, coalesce(outcome, 'cancelled'),
            CASE WHEN outcome <> 'running' THEN message END, CASE WHEN outcome = 'running' THEN message END, rows,
            coalesce(started_at, ended_at, now()), ended_at, true, {totals}
        FROM cai_connector_loads o WHERE NOT EXISTS (
            SELECT FROM cai_loads l WHERE l.connector_id = o.connector_id AND is_last)
        """  # the migration's own names
    )
    op.execute("CREATE UNIQUE INDEX cai_loads_last ON cai_loads (connector_id) WHERE is_last")
    op.execute("DROP TABLE cai_connector_loads")
    op.execute(
        f"""
        CREATE VIEW cai_connector_loads AS
        SELECT connector_id, generation, run_id, outcome,
            CASE WHEN outcome = 'running' THEN said_before ELSE message END AS message,
            rows, started_at, ended_at, {totals}
        FROM cai_loads WHERE is_last
        """  # the migration's own names
    )


def downgrade() -> None:
    totals = ", ".join(TOTALS)
    op.execute("ALTER VIEW cai_connector_loads RENAME TO cai_last_loads")
    op.execute(
        """
        CREATE TABLE cai_connector_loads (
            connector_id bigint PRIMARY KEY,
            generation bigint NOT NULL DEFAULT 0,
            run_id uuid,
            outcome text CHECK (outcome IN ('running', 'completed', 'failed', 'cancelled', 'waiting')),
            message text,
            rows bigint NOT NULL DEFAULT 0,
            started_at timestamptz,
            ended_at timestamptz,
            last_success_at timestamptz,
            failures integer NOT NULL DEFAULT 0,
            configuration_failures integer NOT NULL DEFAULT 0,
            loads_completed bigint NOT NULL DEFAULT 0,
            loads_failed bigint NOT NULL DEFAULT 0,
            rows_loaded bigint NOT NULL DEFAULT 0,
            rows_rejected bigint NOT NULL DEFAULT 0
        )
        """
    )
    columns = f"connector_id, generation, run_id, outcome, message, rows, started_at, ended_at, {totals}"
    op.execute(f"INSERT INTO cai_connector_loads ({columns}) SELECT {columns} FROM cai_last_loads")
    op.execute("DROP VIEW cai_last_loads")
    op.execute("DROP INDEX cai_loads_last")
    for name in ("is_last", "said_before", *TOTALS):
        op.execute(f"ALTER TABLE cai_loads DROP COLUMN {name}")
