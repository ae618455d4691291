"""Exactly once, whatever dies: what a load left half done is found and removed before the next one writes.

dlt writes a row with status 0 into its `_dlt_loads` when a load is complete. A run that is killed in mid-load leaves
rows without one, and an appended row has nothing that a second load would replace. So before it loads, a run announces
its load ids in the same table, under a status of ours and its own schema's name. The next run of the connector, which
holds the connector's lock, finds announced loads that never completed and deletes their rows.

Merged tables are left alone: the same rows come again, since the cursor in the destination only moves with status 0,
and replacing what is there is what a merge does. Replaced tables are written anew in any case.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from dlt import Pipeline, Schema
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.schema.utils import get_nested_tables
from dlt.destinations.job_client_impl import SqlJobClientBase

ANNOUNCED = 101
"""Status of a load that was about to begin."""

ANNOUNCED_REFRESH = 102
"""Status of a load that was about to begin and drops its tables first: until it completes, no cursor can be trusted."""


def announce(pipeline: Pipeline, load_ids: Iterable[str], *, full_refresh: bool) -> None:
    """Say in the destination that these loads begin now.

    If the process dies after this, the next run finds nothing of them, or half of them, and removes that.
    """
    pipeline.sync_schema()
    with _client(pipeline, pipeline.default_schema) as client:
        loads = client.sql_client.make_qualified_table_name(client.schema.loads_table_name)
        for load_id in load_ids:
            client.sql_client.execute_sql(
                f"INSERT INTO {loads}({client.loads_table_schema_columns}) VALUES(%s, %s, %s, %s, %s)",
                load_id,
                client.schema.name,
                ANNOUNCED_REFRESH if full_refresh else ANNOUNCED,
                datetime.now(UTC),
                client.schema.version_hash,
            )


def confirm(pipeline: Pipeline) -> None:
    """Withdraw the announcements of loads that are complete.

    If the process dies before this, the next run finds them complete and withdraws them itself.
    """
    with _client(pipeline, pipeline.default_schema) as client:
        _withdraw(client)


def recover(pipeline: Pipeline, schema_name: str) -> bool:
    """Remove the rows of loads that were announced and never completed.

    Returns whether one of them was a full refresh, which must then be done again. Needs the connector's lock.
    """
    with contextlib.suppress(DestinationUndefinedEntity), _client(pipeline, Schema(schema_name)) as client:
        statuses = _statuses(client)
        broken = [load_id for load_id, found in statuses.items() if 0 not in found]
        refresh = any(ANNOUNCED_REFRESH in statuses[load_id] for load_id in broken)
        if broken:
            stored = client.get_stored_schema(schema_name)
            if stored is not None:
                _delete_rows(client, Schema.from_dict(json.loads(stored.schema)), broken)
        if statuses:
            _withdraw(client)
        return refresh
    return False  # nothing was ever loaded there


@contextlib.contextmanager
def _client(pipeline: Pipeline, schema: Schema) -> Iterator[SqlJobClientBase]:
    # The public `sql_client()` knows no schema that a broken first load left only in the destination.
    client, _ = pipeline._get_destination_clients(schema)
    if not isinstance(client, SqlJobClientBase):
        raise TypeError(f"{type(client).__name__} has no SQL")
    with client:
        yield client


def _loads(client: SqlJobClientBase) -> tuple[str, str, str, str]:
    names = ("load_id", "schema_name", "status")
    columns = [client.sql_client.escape_column_name(client.schema.naming.normalize_identifier(name)) for name in names]
    return (client.sql_client.make_qualified_table_name(client.schema.loads_table_name), *columns)  # type: ignore[return-value]


def _statuses(client: SqlJobClientBase) -> dict[str, set[int]]:
    """The statuses of every load of this schema that has an announcement, by load id."""
    loads, load_id, schema_name, status = _loads(client)
    rows = client.sql_client.execute_sql(
        f"SELECT {load_id}, {status} FROM {loads} WHERE {schema_name} = %s AND {load_id} IN "  # noqa: S608
        f"(SELECT {load_id} FROM {loads} WHERE {schema_name} = %s AND {status} > %s)",
        client.schema.name,
        client.schema.name,
        ANNOUNCED - 1,
    )
    found: dict[str, set[int]] = {}
    for row in rows or ():
        found.setdefault(row[0], set()).add(int(row[1]))
    return found


def _withdraw(client: SqlJobClientBase) -> None:
    loads, _, schema_name, status = _loads(client)
    client.sql_client.execute_sql(
        f"DELETE FROM {loads} WHERE {schema_name} = %s AND {status} > %s",  # noqa: S608
        client.schema.name,
        ANNOUNCED - 1,
    )


def _delete_rows(client: SqlJobClientBase, schema: Schema, load_ids: list[str]) -> None:
    present = {name for name, columns in client.get_storage_tables(schema.data_table_names()) if columns}
    for table in schema.data_tables():
        name = table["name"]
        if "parent" in table or table.get("write_disposition") != "append" or name not in present:
            continue
        _delete_of_loads(client, schema, name, load_ids)
        for nested in get_nested_tables(schema.tables, name)[1:]:
            if nested["name"] in present:
                _delete_orphans(client, schema, nested)


def _delete_of_loads(client: SqlJobClientBase, schema: Schema, table: str, load_ids: list[str]) -> None:
    column = client.sql_client.escape_column_name(schema.naming.normalize_identifier("_dlt_load_id"))
    for load_id in load_ids:
        client.sql_client.execute_sql(
            f"DELETE FROM {client.sql_client.make_qualified_table_name(table)} WHERE {column} = %s",  # noqa: S608
            load_id,
        )


def _delete_orphans(client: SqlJobClientBase, schema: Schema, nested: Any) -> None:
    """Rows of a nested table whose parent row is gone, or never came."""
    parent, child = (client.sql_client.make_qualified_table_name(nested[key]) for key in ("parent", "name"))
    identity, parent_id = (
        client.sql_client.escape_column_name(schema.naming.normalize_identifier(name))
        for name in ("_dlt_id", "_dlt_parent_id")
    )
    client.sql_client.execute_sql(
        f"DELETE FROM {child} WHERE {parent_id} NOT IN (SELECT {identity} FROM {parent})"  # noqa: S608
    )
