"""A downgrade that would delete what nobody can make again needs a word more than the command."""

import sqlalchemy as sa
from alembic import context, op
from alembic.util import CommandError

CONSENT = "drop-connectors"


def require_consent(table: str, what: str) -> None:
    """Return when `table`, which holds `what`, is empty, or `-x drop-connectors=yes` was given.

    Raises:
        CommandError: otherwise. All migrations are one transaction, so nothing was changed then.
    """
    rows = op.get_bind().scalar(sa.text(f"SELECT count(*) FROM {table}"))  # noqa: S608  # the migrations' own names
    if rows and context.get_x_argument(as_dictionary=True).get(CONSENT) != "yes":
        raise CommandError(
            f"This downgrade would delete {what} ({table}, {rows} rows) for good, so nothing was changed. Make a "
            f"backup and, if it is meant: alembic -x {CONSENT}=yes downgrade ..."
        )
