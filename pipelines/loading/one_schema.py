"""Staging tables beside the tables, for a PostgreSQL login that owns one schema and may make no other.

dlt merges through a second schema. Where the login may not make it, its tables stand in the dataset itself, under names
that begin with the connector's own prefix. dlt builds every name of a table in one place, and only there the second
schema is turned into the prefix; the rest of a load is the same.
"""

import hashlib
from typing import Any

from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import LoadJob
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema import Schema
from dlt.destinations.impl.postgres.configuration import PostgresClientConfiguration, PostgresCredentials
from dlt.destinations.impl.postgres.factory import postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresParquetCopyJob
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient

from pipelines.errors import ConfigurationError

LONGEST_NAME = 63
"""Bytes of a name in PostgreSQL: it cuts what is longer, and two tables could become one."""


_RIGHTS = (
    "SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE') "
    "FROM pg_namespace WHERE nspname = %s"
)
"""Whether the login may make tables in a schema; no row when there is none."""


def staged(staging: str, table: str) -> str:
    """The name of a staging table in a dataset that holds others too."""
    name = f"{staging}__{table}"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=5).hexdigest()
    return f"{name.encode()[: LONGEST_NAME - 11].decode(errors='ignore')}_{digest}"


def needs_one_schema(url: str, dataset: str, staging: str) -> bool:
    """Ask PostgreSQL whether the login can neither make the staging schema nor use one that is there.

    Raises:
        ConfigurationError: it can't make the dataset either, or may make no table in it.
        DatabaseException: it can't be asked.
    """
    # dlt's own client, so that the run's next question goes over the same session.
    with Psycopg2SqlClient(dataset, staging, PostgresCredentials(url), postgres().capabilities()) as client:
        found = client.execute_sql(
            f"SELECT has_database_privilege(current_database(), 'CREATE'), ({_RIGHTS}), ({_RIGHTS})", dataset, staging
        )
    may_make, in_dataset, in_staging = found[0] if found else (None, None, None)
    if in_dataset is None and not may_make:
        raise ConfigurationError(
            f"The destination's login may make no schema, and '{dataset}' is not there: have it made for that login, "
            f"or "
            "name one that it owns as dataset_name."
        )
    if in_dataset is False:
        raise ConfigurationError(
            f"The destination's login may make no table in the schema '{dataset}': grant it CREATE and USAGE there, or "
            "name a schema that it owns as dataset_name."
        )
    return not may_make and not in_staging


class OneSchemaSqlClient(Psycopg2SqlClient):
    """dlt's client, for which the staging dataset is a prefix of names in the dataset."""

    def __init__(self, dataset_name: str, staging_dataset_name: str, *more: Any) -> None:
        super().__init__(dataset_name, staging_dataset_name, *more)
        self._home = dataset_name

    def make_qualified_table_name_path(
        self,
        table_name: str | None,
        quote: bool = True,
        casefold: bool = True,
        dataset_name: str | None = None,
        catalog: str | None = None,
    ) -> list[str]:
        """Where a table is; a staging table is in the dataset."""
        if (dataset_name or self.dataset_name) == self.staging_dataset_name:
            dataset_name = self._home
            table_name = staged(self.staging_dataset_name, table_name) if table_name else table_name
        return super().make_qualified_table_name_path(table_name, quote, casefold, dataset_name, catalog)

    def has_dataset(self) -> bool:
        """Whether the dataset is there; of the staging dataset, whether its first table is."""
        if not self.is_staging_dataset_active:
            return super().has_dataset()
        path = self.make_qualified_table_name_path("_dlt_version", quote=False)[-2:]
        found = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
        return bool(self.execute_sql(found, *path))

    def create_dataset(self) -> None:
        """Make the dataset; the staging dataset begins with its first table."""
        if not self.is_staging_dataset_active:
            super().create_dataset()

    def drop_dataset(self) -> None:
        """Drop the dataset; the staging dataset is no schema of its own, and stays."""
        if not self.is_staging_dataset_active:
            super().drop_dataset()


class OneSchemaCopyJob(PostgresParquetCopyJob):
    """Copies a load file to where the client says that its table is."""

    def _path(self) -> list[str]:
        path = self._job_client.sql_client.make_qualified_table_name_path(super().load_table_name, quote=False)
        return path[-2:]

    @property
    def load_table_name(self) -> str:
        """The table that the rows go to."""
        return super().load_table_name if self._job_client is None else self._path()[1]

    def _set_catalog_and_schema(self) -> tuple[str, str]:
        catalog, _ = super()._set_catalog_and_schema()
        return catalog, self._path()[0]


class OneSchemaClient(PostgresClient):
    """dlt's job client with the SQL client from above."""

    def __init__(
        self, schema: Schema, config: PostgresClientConfiguration, capabilities: DestinationCapabilitiesContext
    ) -> None:
        super().__init__(schema, config, capabilities)
        theirs = self.sql_client
        self.sql_client = OneSchemaSqlClient(
            theirs.dataset_name, theirs.staging_dataset_name, config.credentials, capabilities
        )

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """As dlt's, with our way to copy."""
        job = super().create_load_job(table, file_path, load_id, restore)
        return OneSchemaCopyJob(file_path) if isinstance(job, PostgresParquetCopyJob) else job


class OneSchemaPostgres(postgres):
    """dlt's PostgreSQL destination with the client from above."""

    @property
    def client_class(self) -> type[OneSchemaClient]:
        """What a pipeline talks to the destination by."""
        return OneSchemaClient
