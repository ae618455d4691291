"""Registers the references that connectors have now, as everybody's credentials, so that all of them go on running.

From here on a connector names what is registered: `CAI_CREDENTIALS=open` keeps the old rule. What is the platform's own
is registered for nobody.
"""

import sqlalchemy as sa
from alembic import op

from connectors.credentials import is_nobodys, uses_of
from database.tables import credentials

revision = "0009"
down_revision = "0008"

BY = "migration 0009"


def upgrade() -> None:
    connection = op.get_bind()
    found = connection.execute(sa.text("SELECT source, destination FROM cai_connectors ORDER BY id"))
    in_use = {use.key for source, destination in found for use in uses_of(source, destination)}
    rows = [
        {"name": f"{kind}:{reference}".replace("/", ":"), "kind": kind.value, "reference": reference, "created_by": BY}
        for kind, reference in sorted(in_use)
        if not is_nobodys(kind, reference)
    ]
    if rows:
        connection.execute(sa.insert(credentials), rows)


def downgrade() -> None:
    op.execute(f"DELETE FROM cai_credentials WHERE created_by = '{BY}'")
