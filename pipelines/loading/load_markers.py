"""Load markers: a destination's own notes of which loads began and which are complete.

dlt notes the complete ones: rows of `_dlt_loads` with status 0, or files there. What began is noted here beside them,
under the name of the connector's schema, so that connectors which share a dataset never touch each other's loads.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from dlt import Schema
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.destinations.job_client_impl import SqlJobClientBase

ANNOUNCED = 101
"""Status of a load that was about to begin."""

ANNOUNCED_REFRESH = 102
"""Status of a load that was about to begin and drops its tables first: until it completes, no cursor can be trusted."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A schema that is stored as a file."""

    stored: float
    """When, in seconds since 1970, as the ids of loads are."""
    path: str
    tables: Schema


class Ledger(Protocol):
    """Notes of one schema's loads in one destination."""

    def announce(self, load_id: str, status: int) -> None:
        """Note that a load begins."""

    def statuses(self) -> dict[str, set[int]]:
        """The statuses of every announced load by its id; 0 is among them when it is complete."""

    def undo(self, load_ids: list[str]) -> None:
        """Remove what these loads appended."""

    def withdraw(self) -> None:
        """Remove all announcements."""


def ledger_of(client: Any) -> Ledger | None:
    """The ledger that a destination's client can keep; None where dlt's destination has neither tables nor files."""
    if isinstance(client, FilesystemClient):
        return FileLedger(client)
    return SqlLedger(client) if isinstance(client, SqlJobClientBase) else None


class SqlLedger:
    """Announcements as rows of `_dlt_loads` with a status of ours."""

    def __init__(self, client: SqlJobClientBase) -> None:
        self._client = client
        self._sql = client.sql_client
        self._schema = client.schema
        self._loads = self._sql.make_qualified_table_name(self._schema.loads_table_name)
        self._load_id, self._schema_name, self._status = map(self._column, ("load_id", "schema_name", "status"))

    def _column(self, name: str) -> str:
        return str(self._sql.escape_column_name(self._schema.naming.normalize_identifier(name)))

    def announce(self, load_id: str, status: int) -> None:
        """Note that a load begins."""
        self._sql.execute_sql(
            f"INSERT INTO {self._loads}({self._client.loads_table_schema_columns}) VALUES(%s, %s, %s, %s, %s)",
            load_id,
            self._schema.name,
            status,
            datetime.now(UTC),
            self._schema.version_hash,
        )

    def statuses(self) -> dict[str, set[int]]:
        """The statuses of every announced load by its id."""
        rows = self._sql.execute_sql(
            f"SELECT {self._load_id}, {self._status} FROM {self._loads} "  # noqa: S608  # names of dlt's own tables
            f"WHERE {self._schema_name} = %s AND {self._load_id} IN "
            f"(SELECT {self._load_id} FROM {self._loads} WHERE {self._schema_name} = %s AND {self._status} >= %s)",
            self._schema.name,
            self._schema.name,
            ANNOUNCED,
        )
        found: dict[str, set[int]] = {}
        for load_id, status in rows or ():
            found.setdefault(load_id, set()).add(int(status))
        return found

    def undo(self, load_ids: list[str]) -> None:
        """Delete the rows that these loads appended."""
        stored = self._client.get_stored_schema(self._schema.name)
        if stored is None:
            return
        schema = Schema.from_dict(json.loads(stored.schema))
        present = {name for name, columns in self._client.get_storage_tables(schema.data_table_names()) if columns}
        for table in schema.data_tables():
            name = table["name"]
            if table.get("write_disposition") == "append" and name in present:
                self._delete_of_loads(name, load_ids)

    def _delete_of_loads(self, table: str, load_ids: Iterable[str]) -> None:
        name, column = self._sql.make_qualified_table_name(table), self._column("_dlt_load_id")
        for load_id in load_ids:
            self._sql.execute_sql(f"DELETE FROM {name} WHERE {column} = %s", load_id)  # noqa: S608  # as above

    def withdraw(self) -> None:
        """Remove all announcements of this schema."""
        self._sql.execute_sql(
            f"DELETE FROM {self._loads} WHERE {self._schema_name} = %s AND {self._status} >= %s",  # noqa: S608
            self._schema.name,
            ANNOUNCED,
        )


class FileLedger:
    """Announcements as empty files: `_cai_loads/{schema}__{load}__{status}` in the dataset's directory."""

    def __init__(self, client: FilesystemClient) -> None:
        self._client = client
        self._files = client.fs_client
        self._dataset = str(client.dataset_path).rstrip("/")
        self._name = client.schema.name
        self._loads = client.schema.loads_table_name
        self._states = client.schema.state_table_name

    def _announcements(self) -> list[tuple[str, str, int]]:
        """Path, load id and status of each."""
        # Object stores answer from a cache what another process has changed since.
        self._files.invalidate_cache()
        if not self._files.isdir(f"{self._dataset}/_cai_loads"):
            return []
        found = []
        for path in self._files.find(f"{self._dataset}/_cai_loads"):
            schema, load_id, status = path.rpartition("/")[2].rsplit("__", 2)
            if schema == self._name:
                found.append((path, load_id, int(status)))
        return found

    def announce(self, load_id: str, status: int) -> None:
        """Note that a load begins."""
        self._files.makedirs(f"{self._dataset}/_cai_loads", exist_ok=True)
        self._files.pipe_file(f"{self._dataset}/_cai_loads/{self._name}__{load_id}__{status}", b"")

    def statuses(self) -> dict[str, set[int]]:
        """The statuses of every announced load by its id."""
        found: dict[str, set[int]] = {}
        for _, load_id, status in self._announcements():
            found.setdefault(load_id, set()).add(status)
            if self._files.exists(f"{self._dataset}/{self._loads}/{self._name}__{load_id}.jsonl"):
                found[load_id].add(0)
        return found

    def undo(self, load_ids: list[str]) -> None:
        """Delete the files of these loads, and the state that dlt writes just before it calls a load complete."""
        for path in self._files.find(self._dataset):
            directory, _, name = path.rpartition("/")
            of_rows = any(name.startswith(f"{load_id}.") for load_id in load_ids)
            of_state = directory.endswith(f"/{self._states}") and any(f"__{load_id}__" in name for load_id in load_ids)
            if of_rows or of_state:
                self._files.rm_file(path)
        self._undo_in_lakes(load_ids)

    def _undo_in_lakes(self, load_ids: list[str]) -> None:
        """Take full refreshes back, and delete what other loads appended: files of Delta tables belong to no load."""
        schemas = self._schemas()
        tables = {str(table["name"]): table for schema in schemas[-2:] for table in schema.tables.data_tables()}
        lakes = {name: table for name, table in tables.items() if table.get("table_format") == "delta"}
        if not lakes:
            return
        from pipelines.loading.replacing.lakes import table_at, take_back  # noqa: PLC0415  # an extra

        taken_back = take_back(self._client, load_ids, lakes)
        if taken_back:  # the schema was stored with their rows
            for schema in schemas:
                if schema.stored > min(map(float, load_ids)):
                    self._files.rm_file(schema.path)
        for name, table in lakes.items():
            found = table_at(self._client, name) if table.get("write_disposition") == "append" else None
            if found is not None and name not in taken_back:
                ids = ", ".join(f"'{load_id}'" for load_id in load_ids)
                found.delete(f"_dlt_load_id IN ({ids})")

    def _schemas(self) -> list[Stored]:
        """The schemas that are stored, the newest last."""
        found = [
            Stored(float(moment), path, Schema.from_dict(json.loads(json.loads(self._files.cat_file(path))["schema"])))
            for path, (name, moment, _) in self._client._iter_stored_schema_files()
            if name == self._name
        ]
        return sorted(found, key=lambda schema: schema.stored)

    def withdraw(self) -> None:
        """Remove all announcements of this schema."""
        for path, _, _ in self._announcements():
            self._files.rm_file(path)
