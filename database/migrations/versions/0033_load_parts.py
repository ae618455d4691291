"""Parts of large tables that several runs of one load copy."""

from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE cai_load_parts (
            load_id bigint NOT NULL REFERENCES cai_loads (id) ON DELETE CASCADE,
            table_name text NOT NULL,
            part integer NOT NULL,
            how jsonb NOT NULL,
            run_id text,
            rows bigint,
            bytes bigint,
            loaded_at timestamptz,
            PRIMARY KEY (load_id, table_name, part)
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE cai_load_parts")
