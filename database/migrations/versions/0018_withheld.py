"""Deletes that a guard withholds, as long as they wait for a person."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE cai_withheld_deletes (
            connector_id bigint NOT NULL,
            table_name text NOT NULL,
            gone bigint NOT NULL,
            rows bigint NOT NULL,
            since timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (connector_id, table_name)
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE cai_withheld_deletes")
