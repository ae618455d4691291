"""Columns added to tables that stand in PostgreSQL: by a login that may, and without waiting for others for ever.

dlt compares its schema with the tables and adds what is new, all in one transaction: if the process dies here, or a
column can't be added, none was. But ALTER TABLE waits for whoever uses the table, and everybody who comes later waits
behind it; and only the table's owner may do it.
"""

import contextlib
from collections.abc import Iterator

from dlt import Pipeline
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.impl.postgres.postgres import PostgresClient

from pipelines.error_causes.chain import chain
from pipelines.error_causes.rules import Reason, reason_of
from pipelines.errors import ConfigurationError, TransientError
from pipelines.loading.columns.widening import LOCK_SECONDS
from pipelines.wording import quoted

_OWNERS = (
    "SELECT c.relname, pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = %s AND c.relname = ANY(%s) AND NOT pg_has_role(c.relowner, 'USAGE')"
)
"""The tables that the login does not own, also by no role that it is a member of, and who does."""


def bring_tables_up_to_date(pipeline: Pipeline) -> None:
    """Make the tables and columns of the pipeline's schema that the destination does not have yet.

    Raises:
        ConfigurationError: when the login may not add a column to a table.
        TransientError: when somebody else has held a table too long.
    """
    client, _ = pipeline._get_destination_clients(pipeline.default_schema)
    if not isinstance(client, PostgresClient):
        pipeline.sync_schema()
        return
    with client:
        client.initialize_storage()
        added = _added(client)
        _refuse_tables_of_others(client, added)
        _limit_waiting(client)
        try:
            client.update_stored_schema()
        except DatabaseException as error:
            if not added or Reason.BUSY not in map(reason_of, chain(error)):
                raise
            raise TransientError(
                f"New {_shown(added)} could not be added within {LOCK_SECONDS} seconds, since another session of the "
                "destination's database uses the table, so nothing was loaded."
            ) from None


def _added(client: PostgresClient) -> dict[str, list[str]]:
    """The columns that tables which are there are to get."""
    names = [str(table["name"]) for table in client.schema.data_tables()]
    found = {
        name: [str(column["name"]) for column in client._create_table_update(name, columns)]
        for name, columns in client.get_storage_tables(names)
        if columns
    }
    return {name: columns for name, columns in found.items() if columns}


def _refuse_tables_of_others(client: PostgresClient, added: dict[str, list[str]]) -> None:
    rows = client.sql_client.execute_sql(_OWNERS, client.sql_client.dataset_name, list(added)) if added else ()
    for table, owner in rows or ():
        raise ConfigurationError(
            f"The destination's login can't add {_shown({table: added[table]})}, since the table belongs to "
            f"{quoted([owner])}, so nothing was loaded: let that role be granted to the login (GRANT), make the login "
            "the table's owner (ALTER TABLE ... OWNER TO), or have the owner add the column."
        )


def _limit_waiting(client: PostgresClient) -> None:
    """Let the transaction in which the client changes tables wait for no lock longer than so many seconds."""
    without_limit = client.maybe_ddl_transaction

    @contextlib.contextmanager
    def limited() -> Iterator[None]:
        with without_limit():
            client.sql_client.execute_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            yield

    client.maybe_ddl_transaction = limited  # type: ignore[method-assign]


def _shown(added: dict[str, list[str]]) -> str:
    return "; ".join(
        f"{'column' if len(columns) == 1 else 'columns'} {quoted(sorted(columns))} of table {quoted([table])}"
        for table, columns in sorted(added.items())
    )
