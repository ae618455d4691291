"""What controllers need of each other: the lease, the database's identity, and requests for a cycle."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE cai_controller_lease (name text PRIMARY KEY, holder text, token bigint NOT NULL DEFAULT 0, "
        "expires_at timestamptz)"
    )
    op.execute("CREATE TABLE cai_database (id uuid PRIMARY KEY DEFAULT gen_random_uuid())")
    op.execute("CREATE UNIQUE INDEX cai_database_one_row ON cai_database ((true))")
    op.execute("INSERT INTO cai_database DEFAULT VALUES")
    op.execute(
        "CREATE TABLE cai_cycle_requests (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "allow_mass_prune boolean NOT NULL DEFAULT false, requested_at timestamptz NOT NULL DEFAULT now(), report jsonb)"
    )


def downgrade() -> None:
    for table in ("cai_cycle_requests", "cai_database", "cai_controller_lease"):
        op.execute(f"DROP TABLE {table}")
