"""Full refresh beside the old rows: everything is loaded into staging tables and takes their place in one transaction.

dlt's own refresh drops the tables before it loads: whoever reads meanwhile finds nothing, a view on a table keeps it
from being dropped, and a run that dies leaves neither the old rows nor the new ones. So DuckDB and PostgreSQL get
clients that drop nothing: all rows go to the connector's staging tables, and where dlt would note that the load is
complete, the same transaction deletes the old rows, fits the tables' shape, copies the new rows, stores the schema
and makes that note (a lake has no such transaction: `lakes`). The state with the cursors counts only from the note on.
If the process dies anywhere before, old rows, old schema and old cursors stand.

Rows are deleted and copied rather than tables renamed, as in PostgreSQL a view belongs to a table and not to a name.
"""

import copy
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from dlt import Pipeline
from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.destination.client import FollowupJobRequest, LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.normalizers.naming import NamingConvention
from dlt.common.schema.typing import TSchemaTables
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.destinations.impl.duckdb.factory import duckdb
from dlt.destinations.impl.postgres.factory import postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient
from dlt.destinations.job_client_impl import SqlJobClientBase

from pipelines.access.duckdb_connections import KeptConnection
from pipelines.errors import ConfigurationError
from pipelines.loading.columns.widening import LOCK_SECONDS
from pipelines.loading.one_schema import OneSchemaClient, OneSchemaPostgres
from pipelines.loading.streaming.streams import is_direct, job_of
from pipelines.remarks import Remarks
from pipelines.wording import quoted

Shape = dict[str, tuple[str, bool]]
"""The columns of a table as they stand: type in SQL, and whether an empty value is taken."""


@dataclass
class Swap:
    """The tables of one full refresh."""

    written: frozenset[str] = frozenset()
    """Those of which new rows were read."""
    before: set[str] = field(default_factory=set)
    """Those that the refreshed resources had filled before."""
    files: dict[str, list[str]] = field(default_factory=dict)
    """Of lakes: the load files of each table, which wait for the end."""
    kept: dict[str, list[str]] = field(default_factory=dict)
    """Columns that the source no longer has and a view still shows, by table: they stay, without values."""

    @property
    def remarks(self) -> list[str]:
        """What people must know of the tables that were refreshed."""
        return [
            f"The source no longer has {quoted(columns)} of table {quoted([table])}: since a view in the destination "
            "uses it, it stays there without values."
            for table, columns in sorted(self.kept.items())
        ]


LITTLE_BYTES = 4 * 1024 * 1024
"""Load files that one thread writes in a moment."""

MANY_WORKERS = 20
"""dlt's own number of threads."""

SWAP: ContextVar[Swap | None] = ContextVar("swap", default=None)
"""That of the full refresh that is being loaded; None in any other load."""


class Refresh:
    """The full refresh of one run, over all tries of its load."""

    def __init__(self) -> None:
        self._swap: Swap | None = None

    def load(self, pipeline: Pipeline, remarks: Remarks, *, workers: int, beside: bool) -> None:
        """Let a pipeline load what it has ready, by so many threads.

        `beside`: beside the old rows; else as in any other load.
        """
        if beside and self._swap is None:
            self._swap = Swap(_written(pipeline))
        token = SWAP.set(self._swap if beside else None)
        try:
            pipeline.load(workers=workers)
        finally:
            SWAP.reset(token)
        for sentence in self._swap.remarks if self._swap else ():
            remarks.add(sentence)


def workers_for(kind: str, *, little: bool) -> int:
    """How many threads load what a pipeline has ready, by the kind of the destination: one for little in PostgreSQL.

    Each thread needs sessions of its own, and to open one takes as long as to copy thousands of rows.
    """
    return 1 if kind == "postgres" and little else MANY_WORKERS


def is_little(pipeline: Pipeline) -> bool:
    """Whether what a pipeline has ready is loaded in a moment."""
    size = sum(
        job.file_size
        for load_id in pipeline.list_normalized_load_packages()
        for jobs in pipeline.get_load_package_info(load_id).jobs.values()
        for job in jobs
    )
    return size <= LITTLE_BYTES


def _written(pipeline: Pipeline) -> frozenset[str]:
    """The tables of which there are load files. Those that were there before are learnt as the load begins."""
    names = {
        job.job_file_info.table_name
        for load_id in pipeline.list_normalized_load_packages()
        for jobs in pipeline.get_load_package_info(load_id).jobs.values()
        for job in jobs
    }
    return frozenset(name for name in names if not name.startswith("_dlt"))


class SwappingClient(SqlJobClientBase):
    """What dlt's client does otherwise in a full refresh. In any other load it changes nothing."""

    def drop_tables(self, *tables: str, delete_schema: bool = True) -> None:
        """Drop staging tables, which are made anew with the new shape; of the others take note alone."""
        if (swap := SWAP.get()) is None or self.sql_client.is_staging_dataset_active:
            super().drop_tables(*tables, delete_schema=delete_schema)
        else:
            swap.before.update(tables)

    def update_stored_schema(
        self,
        only_tables: Iterable[str] | None = None,
        expected_update: TSchemaTables | None = None,
        force: bool = False,
    ) -> TSchemaTables | None:
        """Make dlt's own tables alone: the others get their new shape with their new rows."""
        if SWAP.get() is None or self.sql_client.is_staging_dataset_active:
            return super().update_stored_schema(only_tables, expected_update, force)  # type: ignore[arg-type]
        with self.maybe_ddl_transaction():
            self._execute_schema_update_sql(self.schema.dlt_table_names(), store_schema=False)
        return {}

    def should_load_data_to_staging_dataset(self, table_name: str) -> bool:
        """All tables with rows of the source are loaded beside."""
        if SWAP.get() is None:
            staged = bool(super().should_load_data_to_staging_dataset(table_name))  # type: ignore[misc]
            return staged and not is_direct(table_name)
        return table_name in self.schema.data_table_names()

    def create_table_chain_completed_followup_jobs(
        self, table_chain: Sequence[PreparedTableSchema], completed_table_chain_jobs: Any = None
    ) -> list[FollowupJobRequest]:
        """Nothing follows when a table's files are loaded: all tables change at the end."""
        if SWAP.get() is None and not is_direct(str(table_chain[0]["name"])):
            return super().create_table_chain_completed_followup_jobs(table_chain, completed_table_chain_jobs)
        return []

    def complete_load(self, load_id: str) -> None:
        """Put the new rows in the place of the old ones, in the transaction that notes the load as complete."""
        if (swap := SWAP.get()) is None:
            super().complete_load(load_id)
            return
        with self.sql_client.begin_transaction():
            self._wait_no_longer()
            for table in sorted(swap.before - swap.written):
                self._empty(table)
            for table in sorted(swap.written):
                self._take_place(table, swap)
            # A version of before would say that its tables and columns are there, once rows make the schema it again.
            self._delete_schema_in_storage(self.schema)
            self._update_schema_in_storage(self.schema)
            super().complete_load(load_id)

    def _take_place(self, table: str, swap: Swap) -> None:
        old, new = self._shape(table), self._shape(table, beside=True)
        name = self.sql_client.make_qualified_table_name(table)
        if old:
            self.sql_client.execute_sql(f"DELETE FROM {name}")  # noqa: S608  # names of dlt's own tables
            if kept := self._fit(table, old, new):
                swap.kept[table] = kept
        self._execute_schema_update_sql([table], store_schema=False)
        with self.sql_client.with_staging_dataset():
            beside = self.sql_client.make_qualified_table_name(table)
        columns = ", ".join(map(self.sql_client.escape_column_name, new))
        self.sql_client.execute_sql(f"INSERT INTO {name}({columns}) SELECT {columns} FROM {beside}")  # noqa: S608

    def _wait_no_longer(self) -> None:
        """Limit how long the transaction waits for others, and have what may wait for its end do so."""

    def _shape(self, table: str, *, beside: bool = False) -> Shape:
        """The columns of a table, or of the one beside it; none when it is not there."""
        raise NotImplementedError

    def _empty(self, table: str) -> None:
        """Empty a table of which the source has no rows; one that no resource fills any more is removed."""
        if self._shape(table):
            how = "DELETE FROM" if table in self.schema.tables or self._is_shown(table) else "DROP TABLE"
            self.sql_client.execute_sql(f"{how} {self.sql_client.make_qualified_table_name(table)}")

    def _is_shown(self, table: str) -> bool:
        """Whether a view shows a table."""
        raise NotImplementedError

    def _fit(self, table: str, old: Shape, new: Shape) -> list[str]:
        """Take from an emptied table what the new one has not, or has otherwise; returns the columns that stay."""
        raise NotImplementedError


class SwappingDuckDb(SwappingClient, DuckDbClient):
    """DuckDB, where a view belongs to a name: a table of another shape is made anew."""

    def _shape(self, table: str, *, beside: bool = False) -> Shape:
        dataset = self.sql_client.staging_dataset_name if beside else self.sql_client.dataset_name
        rows = self.sql_client.execute_sql(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_schema = %s "
            "AND table_name = %s AND table_catalog = current_database() ORDER BY ordinal_position",
            dataset,
            table,
        )
        return {name: (kind, nullable == "YES") for name, kind, nullable in rows or ()}

    def _is_shown(self, table: str) -> bool:
        views = "SELECT 1 FROM duckdb_views() WHERE NOT internal AND contains(sql, %s) LIMIT 1"
        return bool(self.sql_client.execute_sql(views, table))

    def _fit(self, table: str, old: Shape, new: Shape) -> list[str]:
        more = [nullable for name, (_, nullable) in new.items() if name not in old]
        if old == {name: new.get(name) for name in old} and all(more):
            return []  # dlt adds what is new
        name = self.sql_client.make_qualified_table_name(table)
        self.sql_client.execute_sql(f"DROP TABLE {name}")
        kept = [column for column in old if column not in new] if self._is_shown(table) else []
        self._execute_schema_update_sql([table], store_schema=False)
        for column in kept:
            escaped = self.sql_client.escape_column_name(column)
            self.sql_client.execute_sql(f"ALTER TABLE {name} ADD COLUMN {escaped} {old[column][0]}")
        return kept


_SHOWN = (
    "SELECT DISTINCT a.attname FROM pg_depend d "
    "JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.ev_class <> d.refobjid "
    "JOIN pg_attribute a ON a.attrelid = d.refobjid AND (a.attnum = d.refobjsubid OR d.refobjsubid = 0) "
    "WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(%s) AND a.attnum > 0"
)
"""The columns of a table that views use."""

_SHAPE = (
    "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute "
    "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)


class SwappingPostgres(SwappingClient, PostgresClient):
    """PostgreSQL, where a view belongs to a table: it stays and changes its shape. Who reads never waits for rows."""

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """As dlt's, or the copying of a stream."""
        return job_of(str(table["name"]), file_path) or super().create_load_job(table, file_path, load_id, restore)

    def _wait_no_longer(self) -> None:
        self.sql_client.execute_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        self.sql_client.execute_sql("SET CONSTRAINTS ALL DEFERRED")  # keys of others' tables, where rows come again

    def _shape(self, table: str, *, beside: bool = False) -> Shape:
        if beside:
            with self.sql_client.with_staging_dataset():
                name = self.sql_client.make_qualified_table_name(table)
        else:
            name = self.sql_client.make_qualified_table_name(table)
        return {column: (kind, nullable) for column, kind, nullable in self.sql_client.execute_sql(_SHAPE, name) or ()}

    def _shown(self, table: str) -> set[str]:
        name = self.sql_client.make_qualified_table_name(table)
        return {column for (column,) in self.sql_client.execute_sql(_SHOWN, name) or ()}

    def _is_shown(self, table: str) -> bool:
        return bool(self._shown(table))

    def _fit(self, table: str, old: Shape, new: Shape) -> list[str]:
        gone = [column for column in old if column not in new]
        retyped = [column for column in old if column in new and old[column][0] != new[column][0]]
        shown = self._shown(table) if gone or retyped else set()
        if blocked := sorted(shown & set(retyped)):
            raise ConfigurationError(
                f"The full refresh gives {quoted(blocked)} of table {quoted([table])} another type, and a view in the "
                "destination uses it, so nothing was changed: drop the view, run the full refresh again, and make the "
                "view anew."
            )
        kept = [column for column in gone if column in shown]
        changes = [f"DROP COLUMN {self._escaped(column)}" for column in (*gone, *retyped) if column not in kept]
        for column, (_, nullable) in old.items():
            if column in kept or (column in new and column not in retyped and new[column][1] and not nullable):
                changes += [] if nullable else [f"ALTER COLUMN {self._escaped(column)} DROP NOT NULL"]
            elif column in new and column not in retyped and nullable and not new[column][1]:
                changes.append(f"ALTER COLUMN {self._escaped(column)} SET NOT NULL")
        if changes:
            name = self.sql_client.make_qualified_table_name(table)
            self.sql_client.execute_sql(f"ALTER TABLE {name} {', '.join(changes)}")
        return kept

    def _escaped(self, column: str) -> str:
        return str(self.sql_client.escape_column_name(column))


class SwappingOneSchema(SwappingPostgres, OneSchemaClient):
    """The same for a login that owns one schema only."""


class KnownCapabilities:
    """A destination whose capabilities are worked out once: dlt asks some fifty times a load, of settings that stay."""

    def capabilities(
        self, config: Any = None, naming: NamingConvention | None = None
    ) -> DestinationCapabilitiesContext:
        """What the destination can: by a configuration, or by what was passed to it."""
        if config is not None:
            return super().capabilities(config, naming)  # type: ignore[misc, no-any-return]
        known = self.__dict__.setdefault("_known", {})
        key = naming and (type(naming), naming.max_length)
        if key not in known:
            known[key] = super().capabilities(None, naming)  # type: ignore[misc]
        return copy.deepcopy(known[key])  # type: ignore[no-any-return]


class RefreshedDuckDb(KnownCapabilities, duckdb):
    """dlt's DuckDB destination, whose full refresh is a swap, and whose clients share one connection."""

    pool: KeptConnection

    def configuration(self, initial_config: Any, accept_partial: bool = False) -> Any:
        """The resolved configuration of a client, which borrows from the destination's pool."""
        config = super().configuration(initial_config, accept_partial)
        config.credentials.conn_pool = self.pool
        return config

    @property
    def client_class(self) -> type[DuckDbClient]:
        """What a pipeline talks to the destination by."""
        return SwappingDuckDb


class RefreshedPostgres(KnownCapabilities, postgres):
    """dlt's PostgreSQL destination, whose full refresh is a swap."""

    @property
    def client_class(self) -> type[PostgresClient]:
        """What a pipeline talks to the destination by."""
        return SwappingPostgres


class RefreshedOneSchema(KnownCapabilities, OneSchemaPostgres):
    """The same for a login that owns one schema only."""

    @property
    def client_class(self) -> type[OneSchemaClient]:
        """What a pipeline talks to the destination by."""
        return SwappingOneSchema
