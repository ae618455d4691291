"""Full refresh of Delta tables: each takes its new rows by one commit, once all tables were read and stand ready.

dlt's own refresh deletes a table's files and its log before it loads: whoever reads meanwhile finds nothing, and a run
that dies leaves neither the old rows nor the new ones. Here nothing is dropped. The load's files wait on the worker's
disk, and where dlt would note that the load is complete each table is overwritten, rows and shape, by one commit, whose
metadata name the load; then schema and state are stored and the load is noted.

If the process dies before the first commit, nothing has changed. If it dies between that and the note, tables stand
either old or new, each of them whole, and the next run takes them back to the version before (`take_back`): old rows,
old schema and old cursors stand. Who has read an old version goes on reading it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from dlt.common.configuration.specs import CredentialsConfiguration
from dlt.common.destination.client import LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TSchemaTables
from dlt.common.schema.utils import get_columns_names_with_prop
from dlt.destinations.impl.filesystem.factory import filesystem
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.destinations.job_impl import FinalizedLoadJob, ReferenceFollowupJobRequest

from pipelines.loading.replacing.refresh import SWAP

LOAD = "cai_load"
"""The name in a commit's metadata under which stands whose load it is."""

COMMITS = 100
"""How far back a table's log is looked at: nobody has written since the load that died."""


class SwappingLake(FilesystemClient):
    """What dlt's client of a lake does otherwise in a full refresh. In any other load it changes nothing."""

    def drop_tables(self, *tables: str, delete_schema: bool = True) -> None:
        """Take note of the tables alone."""
        if (swap := SWAP.get()) is None:
            super().drop_tables(*tables, delete_schema=delete_schema)
        else:
            swap.before.update(tables)

    def truncate_tables(self, table_names: list[str]) -> None:
        """The same."""
        if (swap := SWAP.get()) is None:
            super().truncate_tables(table_names)
        else:
            swap.before.update(table_names)

    def update_stored_schema(
        self,
        only_tables: Iterable[str] | None = None,
        expected_update: TSchemaTables | None = None,
        force: bool = False,
    ) -> TSchemaTables:
        """Make directories alone: the schema is stored with the rows."""
        if SWAP.get() is None:
            return super().update_stored_schema(only_tables, expected_update, force)  # type: ignore[arg-type]
        for directory in self.get_table_dirs(self.schema.tables.keys()):
            self.fs_client.makedirs(directory, exist_ok=True)
        return expected_update or {}

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """The files of a table wait for the end."""
        swap = SWAP.get()
        if swap is None or table.get("table_format") != "delta" or not _names_files(file_path):
            return super().create_load_job(table, file_path, load_id, restore)
        swap.files[str(table["name"])] = ReferenceFollowupJobRequest.resolve_references(file_path)
        return FinalizedLoadJob(file_path)

    def complete_load(self, load_id: str) -> None:
        """Put the new rows in the place of the old ones, table by table, and note the load as complete."""
        if (swap := SWAP.get()) is None:
            super().complete_load(load_id)
            return
        for table in sorted(swap.before - swap.written):
            self._empty(table, load_id)
        for table, files in sorted(swap.files.items()):
            self._take_place(table, files, load_id)
        before = [path for path, (name, *_) in self._iter_stored_schema_files() if name == self.schema.name]
        self._update_schema_in_storage(self.schema)
        super().complete_load(load_id)
        for (
            path
        ) in before:  # rows that make the schema what it was before would find it there, and not make it the newest
            self._delete_file(path)

    def _take_place(self, table: str, files: Sequence[str], load_id: str) -> None:
        from deltalake import CommitProperties, write_deltalake  # noqa: PLC0415  # an extra
        from dlt.common.libs.deltalake import ensure_delta_compatible_arrow_data  # noqa: PLC0415
        from dlt.common.libs.pyarrow import get_local_dataset_reader  # noqa: PLC0415

        prepared: Any = self.prepare_load_table(table)
        partitions = get_columns_names_with_prop(prepared, "partition")
        with get_local_dataset_reader(files) as rows:
            write_deltalake(
                self.get_open_table_location("delta", table),
                ensure_delta_compatible_arrow_data(rows, partitions),
                mode="overwrite",
                schema_mode="overwrite",
                partition_by=partitions or None,
                storage_options=_options(self),
                configuration=self.config.deltalake_configuration,
                commit_properties=CommitProperties(custom_metadata={LOAD: load_id}),
            )

    def _empty(self, table: str, load_id: str) -> None:
        from deltalake import CommitProperties  # noqa: PLC0415  # an extra

        if (found := table_at(self, table)) is not None:
            found.delete(commit_properties=CommitProperties(custom_metadata={LOAD: load_id}))


def table_at(client: FilesystemClient, table: str) -> Any:
    """A Delta table by its name in the dataset; None where there is none."""
    from deltalake import DeltaTable  # noqa: PLC0415  # an extra

    location, options = client.get_open_table_location("delta", table), _options(client)
    return DeltaTable(location, storage_options=options) if DeltaTable.is_deltatable(location, options) else None


def take_back(client: FilesystemClient, load_ids: Sequence[str], tables: Iterable[str]) -> set[str]:
    """Let Delta tables have the rows that they had before full refreshes which never completed.

    Args:
        client: open, of the connector that these loads are of.
        load_ids: of loads that never completed.
        tables: that may have been changed.

    Returns:
        Those that were.
    """
    changed = set()
    for name in tables:
        found = table_at(client, name)
        commits = found.history(COMMITS) if found is not None else []
        if versions := [commit["version"] for commit in commits if commit.get(LOAD) in load_ids]:
            changed.add(name)
            if min(versions):
                found.restore(min(versions) - 1)
            else:  # it was not there before
                found.delete()
    return changed


def _names_files(file_path: str) -> bool:
    return bool(ReferenceFollowupJobRequest.is_reference_job(file_path))


def _options(client: FilesystemClient) -> dict[str, str]:
    from dlt.common.libs.deltalake import deltalake_storage_options  # noqa: PLC0415  # an extra

    credentials: CredentialsConfiguration | None = client.config.credentials
    return deltalake_storage_options(credentials, client.config.deltalake_storage_options)


class RefreshedLake(filesystem):
    """dlt's destination of files, whose full refresh of Delta tables is one commit a table."""

    @property
    def client_class(self) -> type[FilesystemClient]:
        """What a pipeline talks to the destination by."""
        return SwappingLake
