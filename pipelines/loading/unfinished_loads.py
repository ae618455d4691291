"""Exactly once, whatever dies: what a load left half done is found and removed before the next one writes.

dlt notes a load as complete when it is. A run that is killed in mid-load leaves rows without that note, and an appended
row has nothing that a second load would replace. So before it loads, a run announces its load ids in the destination.
The next run of the connector, which holds the connector's lock, finds announced loads that never completed and deletes
what they appended.

Merged tables are left alone: the same rows come again, since the cursor in the destination only moves with a complete
load, and replacing what is there is what a merge does. Replaced tables are written anew in any case.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from dlt import Pipeline, Schema
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.destinations.job_client_impl import SqlJobClientBase

from pipelines.loading.columns.adding import bring_tables_up_to_date
from pipelines.loading.load_markers import ANNOUNCED, ANNOUNCED_REFRESH, ledger_of
from pipelines.loading.measures.table_sizes import Look


def announce(
    pipeline: Pipeline,
    load_ids: Iterable[str],
    *,
    full_refresh: bool,
    swaps: bool = False,
    look: Look = lambda _: None,
) -> None:
    """Say in the destination that these loads begin now. `look` is given the client that does, while it is open.

    `swaps`: a full refresh changes no table before its end, so that one which dies needs no other to follow.

    If the process dies after this, the next run finds nothing of them, or half of them, and removes that.
    """
    if not full_refresh or not _makes_own_tables(pipeline, swaps=swaps):
        bring_tables_up_to_date(pipeline)
    with _client(pipeline, pipeline.default_schema) as client:
        if markers := ledger_of(client):
            for load_id in load_ids:
                markers.announce(load_id, ANNOUNCED_REFRESH if full_refresh and not swaps else ANNOUNCED)
        look(client)


def _makes_own_tables(pipeline: Pipeline, *, swaps: bool) -> bool:
    """Make the dataset and dlt's own tables alone; false where the destination has none that a refresh would change.

    In a full refresh the others are dropped as the load begins or swapped as it ends, and may not take what is new: a
    table with rows takes no column of a key.
    """
    client, _ = pipeline._get_destination_clients(pipeline.default_schema)
    if not isinstance(client, SqlJobClientBase) and not swaps:
        return False
    with client:
        client.initialize_storage()
        if not isinstance(client, SqlJobClientBase):
            return True  # of a lake: its directories are made as the load begins
        with client.maybe_ddl_transaction():
            # Without a note that the schema is there: its tables are yet to be made.
            client._execute_schema_update_sql(client.schema.dlt_table_names(), store_schema=False)
    return True


def confirm(pipeline: Pipeline, *, look: Look = lambda _: None) -> None:
    """Withdraw the announcements of loads that are complete. `look` is given the client that does, while it is open.

    If the process dies before this, the next run finds them complete and withdraws them itself.
    """
    with _client(pipeline, pipeline.default_schema) as client:
        if markers := ledger_of(client):
            markers.withdraw()
        look(client)


def recover(pipeline: Pipeline, schema_name: str) -> bool:
    """Remove what loads wrote that were announced and never completed. Needs the connector's lock.

    Comes before the state is restored from the destination: a broken load's state goes too.
    Returns whether one of them was a full refresh, which must then be done again.
    """
    with contextlib.suppress(DestinationUndefinedEntity), _client(pipeline, Schema(schema_name)) as client:
        ledger = ledger_of(client)
        statuses = ledger.statuses() if ledger else {}
        broken = [load_id for load_id, found in statuses.items() if 0 not in found]
        refresh = any(ANNOUNCED_REFRESH in statuses[load_id] for load_id in broken)
        if ledger and broken:
            ledger.undo(broken)
        # A broken full refresh stays announced until the run that repeats it is complete: it may die as well.
        if ledger and statuses and not refresh:
            ledger.withdraw()
        return refresh
    return False  # nothing was ever loaded there


@contextlib.contextmanager
def _client(pipeline: Pipeline, schema: Schema) -> Iterator[Any]:
    # The public ways to a client know no schema that a broken first load left only in the destination.
    client, _ = pipeline._get_destination_clients(schema)
    with client:
        yield client
