"""Where a run's rows go: dlt's destinations, made from a connector's JSON and resolved credentials.

Everything is passed explicitly: no secrets.toml, no environment. The loader's file format is chosen here because dlt's
own choice for DuckDB and PostgreSQL (INSERT statements) is some hundred times slower than parquet.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from connectors.kinds import (
    Destination,
    DuckdbDestination,
    FilesystemDestination,
    OtherDestination,
    PostgresDestination,
)
from pipelines.buckets import KNOWN_HOSTS, as_json, bucket_of
from pipelines.credentials import Secrets
from pipelines.errors import ConfigurationError

if TYPE_CHECKING:
    from dlt.common.destination import Destination as DltDestination


REPLACE = "insert-from-staging"
"""A replaced table changes in one transaction: who reads it, or a run that dies, never finds it empty or half full.
(`staging-optimized` would be cheaper and drops the table, which fails as soon as a view uses it.)"""


DUCKDB = {
    # Rows of a table have no order, and keeping one costs threads and memory.
    "preserve_insertion_order": False,
    # Beyond this DuckDB writes to disk. Its own choice is 80% of the machine, of which a worker has only a part.
    "memory_limit": "450MB",
    # Each thread holds rows of its own: many of them would not fit into that.
    "threads": min(4, os.cpu_count() or 1),
}
"""How a run opens a DuckDB file."""

DUCKDB_FILE_BYTES = 64 * 1024 * 1024
"""Size of a load file for DuckDB."""

POSTGRES_FILE_BYTES = 32 * 1024 * 1024
"""Size of a load file for PostgreSQL: each costs a connection, and only several can be written at the same time."""

POSTGRES_JOBS = 3
"""Load files that are written to PostgreSQL at the same time. Each holds a row group in memory, twice."""


@dataclass(frozen=True, slots=True)
class Target:
    """A destination that is ready for a pipeline.

    `exclusive` names what only one run may have open at a time, or is None. `merges` says whether rows can be replaced
    by their key there.
    """

    destination: "DltDestination[Any, Any]"
    file_format: str | None
    exclusive: str | None = None
    table_format: str | None = None
    merges: bool = True


def open_target(destination: Destination, connector_id: int, secrets: Secrets, data_dir: Path) -> Target:
    """The dlt destination of a connector, with a staging dataset of the connector's own.

    Raises:
        ConfigurationError: when its credentials or the package that it needs are missing.
    """
    # Merges go through the staging dataset. Shared by two connectors, it would lose or double rows.
    staging = f"connector_{connector_id}_staging"
    match destination:
        case DuckdbDestination(path=path):
            return _duckdb(data_dir / path, staging)
        case PostgresDestination(credentials=reference):
            return _postgres(secrets.resolve(reference), staging)
        case FilesystemDestination():
            return _filesystem(destination, secrets, data_dir)
        case OtherDestination(type=kind, credentials=reference):
            return _other(kind, secrets.resolve(reference), staging)


def _duckdb(path: Path, staging: str) -> Target:
    import dlt  # noqa: PLC0415  # seconds: only in a run

    # dlt would open whatever stands there; a directory of clinical data is for its owner alone.
    path.parent.mkdir(parents=True, exist_ok=True)
    from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials  # noqa: PLC0415

    credentials = DuckDbCredentials(str(path), global_config=DUCKDB)
    target = dlt.destinations.duckdb(
        credentials=credentials,
        staging_dataset_name_layout=staging,
        replace_strategy=REPLACE,
        parquet_format=passing_files(),
        # What one transaction has written stays in memory: one file of millions of rows would fill up to the limit.
        recommended_file_size=DUCKDB_FILE_BYTES,
        # Each has all of DuckDB's threads.
        max_parallel_load_jobs=1,
    )
    return Target(target, "parquet", exclusive=f"duckdb:{path.resolve()}")


def _postgres(value: Any, staging: str) -> Target:
    import dlt  # noqa: PLC0415  # seconds: only in a run
    from dlt.destinations.impl.postgres.postgres import PostgresParquetCopyJob  # noqa: PLC0415

    # Else the driver first reads a whole file into memory. It stays one transaction a file.
    PostgresParquetCopyJob._ingest_per_rowgroup = True
    target = dlt.destinations.postgres(
        credentials=postgres_url(value),
        staging_dataset_name_layout=staging,
        replace_strategy=REPLACE,
        parquet_format=passing_files(),
        # The driver first encodes, then sends and waits: only another file's job uses that time.
        recommended_file_size=POSTGRES_FILE_BYTES,
        max_parallel_load_jobs=POSTGRES_JOBS,
    )
    return Target(target, "parquet")


def passing_files() -> Any:
    """The parquet of load files that are read once, here, and removed: nothing is won by making them small."""
    from dlt.common.destination.configuration import ParquetFormatConfiguration  # noqa: PLC0415

    return ParquetFormatConfiguration(compression="none")


def postgres_url(value: Any) -> str:
    """A resolved credential as the PostgreSQL address that dlt takes: without a driver, and with a password.

    Raises:
        ConfigurationError: when it is none.
    """
    url = database_url(value, "destination.credentials")
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    try:
        complete = scheme in {"postgresql", "postgres"} and parts.hostname and parts.port != 0
    except ValueError:
        complete = False
    if not complete:
        raise ConfigurationError(
            "destination.credentials must be a PostgreSQL address, such as postgresql://user:password@host:5432/database."
        )
    if parts.password is None:
        # dlt insists on one; an empty password lets libpq look into .pgpass or trust the host.
        user, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user}:@{host}")
    return urlunsplit(parts._replace(scheme="postgresql"))


def database_url(value: Any, field: str) -> str:
    """A resolved credential as a SQLAlchemy address: a text, or what a SqlAlchemyConnector block holds.

    Raises:
        ConfigurationError: when it is neither.
    """
    if isinstance(value, dict):
        value = value.get("connection_info", value.get("value", value))
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "driver" in value:
        import sqlalchemy  # noqa: PLC0415  # not needed for addresses

        return sqlalchemy.URL.create(
            str(value["driver"]),
            username=value.get("username"),
            password=value.get("password"),
            host=value.get("host"),
            port=int(value["port"]) if value.get("port") else None,
            database=value.get("database"),
            query=value.get("query") or {},
        ).render_as_string(hide_password=False)
    raise ConfigurationError(
        f"{field} must refer to a database address (a Secret block with postgresql://user:password@host/database) "
        "or to a SqlAlchemyConnector block."
    )


def _filesystem(destination: FilesystemDestination, secrets: Secrets, data_dir: Path) -> Target:
    import dlt  # noqa: PLC0415  # seconds: only in a run

    url = destination.url if "://" in destination.url else Path(destination.url).as_uri()
    value = None if destination.credentials is None else secrets.resolve(destination.credentials)
    bucket = bucket_of(
        url, value, "destination.credentials", host_key=destination.host_key, known_hosts=data_dir / KNOWN_HOSTS
    )
    target = dlt.destinations.filesystem(
        bucket_url=bucket.url, credentials=bucket.credentials, kwargs=bucket.options or None
    )
    if destination.format == "delta":
        return Target(target, "parquet", table_format="delta")
    return Target(target, destination.format, merges=False)


def _other(kind: str, value: Any, staging: str) -> Target:
    import dlt  # noqa: PLC0415  # seconds: only in a run
    from dlt.common.exceptions import MissingDependencyException  # noqa: PLC0415

    credentials = as_json(value)
    if isinstance(credentials, dict) and set(credentials) == {"value"}:
        credentials = as_json(credentials["value"])
    try:
        factory = getattr(dlt.destinations, kind)
        target = factory(credentials=credentials, staging_dataset_name_layout=staging)
        formats = list(target.capabilities().supported_loader_file_formats or ())
    except TypeError:
        # Vector stores have no staging dataset.
        target = getattr(dlt.destinations, kind)(credentials=credentials)
        formats = []
    except (ImportError, MissingDependencyException):
        raise ConfigurationError(
            f"The worker lacks what the destination {kind} needs: install dlt[{kind}] in the worker's image."
        ) from None
    return Target(target, "parquet" if "parquet" in formats else None)
