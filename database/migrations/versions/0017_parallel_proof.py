"""A proof of the history on several cores: what computes a digest may run in PostgreSQL's parallel workers."""

from alembic import op

revision = "0017"
down_revision = "0016"

FUNCTIONS = ("cai_audit_text(cai_audit)", "cai_audit_digest(cai_audit)")


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} PARALLEL SAFE")


def downgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} PARALLEL UNSAFE")
