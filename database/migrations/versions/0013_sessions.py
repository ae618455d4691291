"""Sessions end with the token that began them, and one-time links begin some.

A session that a token of `cai_tokens` began goes with its row; one that a token of CAI_API_TOKEN began holds a proof of
it, which no longer fits when the setting is changed.
"""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE cai_sessions
            ADD COLUMN token_id bigint REFERENCES cai_tokens ON DELETE CASCADE,
            ADD COLUMN proof bytea,
            ADD COLUMN is_link boolean NOT NULL DEFAULT false
        """
    )
    op.execute("CREATE INDEX cai_sessions_token ON cai_sessions (token_id) WHERE token_id IS NOT NULL")


def downgrade() -> None:
    # What is left of a link would be a session.
    op.execute("DELETE FROM cai_sessions")
    op.execute("ALTER TABLE cai_sessions DROP COLUMN token_id, DROP COLUMN proof, DROP COLUMN is_link")
