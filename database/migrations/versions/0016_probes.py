"""Looks at sources that are not saved: the question of the API and the answer of a worker, for minutes.

Not logged, for first rows of a source may stand in an answer: so they are in no write-ahead log, no replica and no
backup made of it. A crash of the database empties the table, and whoever waits is told that no answer came.
"""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute(
        """
        CREATE UNLOGGED TABLE cai_probes (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            asked_at timestamptz NOT NULL DEFAULT now(),
            request text NOT NULL,
            taken_at timestamptz,
            answer text
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE cai_probes")
