"""Destinations of dlt, made from a connector's JSON and resolved credentials.

Everything is passed explicitly: no secrets.toml, no environment. The loader's file format is chosen here because dlt's
own choice for DuckDB and PostgreSQL (INSERT statements) is some hundred times slower than parquet.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectors.destinations import Destination
from connectors.destinations.duckdb import DuckdbDestination
from connectors.destinations.filesystem import DestinationFormat, FilesystemDestination
from connectors.destinations.other import OtherDestination
from connectors.destinations.places import Places, is_below, local_path, outside, path_of
from connectors.destinations.postgres import PostgresDestination
from pipelines.access import tunnels
from pipelines.access.buckets import KNOWN_HOSTS, as_json, bucket_of, host_of
from pipelines.access.database_urls import one_place, postgres_places, postgres_through, postgres_url
from pipelines.access.denied_hosts import DeniedHosts, check_credentials
from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError

if TYPE_CHECKING:
    from dlt.common.destination import Destination as DltDestination


REPLACE = "insert-from-staging"
"""A replaced table changes in one transaction: who reads it, or a run that dies, never finds it empty or half full.
(`staging-optimized` would be cheaper and drops the table, which fails as soon as a view uses it.)"""


LEAST_MB, COLUMN_KB, MOST_MB = 64, 170, 450
"""DuckDB's memory where it goes by a table's columns: some, and some more for each. It keeps all that it may, and a
piece of each column while rows are written (with 2,050 columns 200 MB are enough for 500 rows, and 300 for 3,000)."""

DUCKDB = {
    # Rows of a table have no order, and keeping one costs threads and memory.
    "preserve_insertion_order": False,
    # Beyond this DuckDB writes to disk. Its own choice is 80% of the machine, of which a worker has only a part.
    "memory_limit": f"{MOST_MB}MB",
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
    swaps: bool = False
    """Whether a full refresh loads beside the old rows (`pipelines.loading.replacing`), or drops its tables first."""
    fit: Callable[[int], None] = lambda widest: None
    """Told how many columns the widest table has that is about to be loaded."""
    make: Callable[[], None] = lambda: None
    """Makes what must be there before a pipeline opens it. Called by a run that has the destination for itself."""
    kept: Callable[[], AbstractContextManager[None]] = nullcontext
    """Leaves open what is opened in this block, which a run enters that has the destination for itself."""


def open_target(
    destination: Destination,
    connector_id: int,
    secrets: Secrets,
    data_dir: Path,
    *,
    roots: tuple[Path, ...] | None = None,
    dataset: str | None = None,
    denied: DeniedHosts | None = None,
    one_thread: bool = False,
    by_width: bool = False,
) -> Target:
    """The dlt destination of a connector, with a staging dataset of the connector's own.

    Args:
        destination: where the rows go.
        connector_id: whose rows.
        secrets: resolves its credentials.
        data_dir: where relative paths start.
        dataset: the dataset, whose rights are looked at where that matters; None: as if the login had all of them.
        roots: the directories, besides `data_dir`, that a local destination may be in. None: it may be anywhere.
        denied: the hosts that it may not be on; None: it may be on any.
        one_thread: rows are large (mostly JSON, or of many columns), and each thread of DuckDB gathers some.
        by_width: DuckDB has as much memory as the widest table needs.

    Raises:
        ConfigurationError: when its credentials or the package that it needs are missing, or its place is forbidden.
        TransientError: it is behind an SSH server, and there is no way through now.
    """
    if roots is not None:
        hold_below(destination, (data_dir, *roots))
    denied = denied or DeniedHosts()
    # Merges go through the staging dataset. Shared by two connectors, it would lose or double rows.
    staging = f"connector_{connector_id}_staging"
    match destination:
        case DuckdbDestination(path=path, storage_version=version):
            return _duckdb(data_dir / path, staging, version, one_thread=one_thread, by_width=by_width)
        case PostgresDestination():
            return _postgres(address_of(destination, secrets, data_dir, denied), staging, dataset)
        case FilesystemDestination():
            return _filesystem(destination, secrets, data_dir, denied)
        case OtherDestination(type=kind, credentials=reference):
            value = secrets.resolve(reference)
            return _other(kind, value, staging, None if roots is None else (data_dir, *roots), denied)


def address_of(destination: PostgresDestination, secrets: Secrets, data_dir: Path, denied: DeniedHosts) -> str:
    """The address of a PostgreSQL that rows may go to, with its login; of one behind an SSH server, that of a tunnel.

    Raises:
        ConfigurationError: it is none, or on a host that is denied or that its credential is not for; or the SSH server
            lets nobody through.
        TransientError: the SSH server, or the database behind it, does not answer.
    """
    url = postgres_url(secrets.resolve(destination.credentials))
    for host, port, database in postgres_places(url):
        secrets.hold_to(destination.credentials, host)
        denied.check(host, port, database)
    ssh = destination.ssh
    if ssh is None:
        return url
    to, key = one_place(url, "destination"), secrets.resolve(ssh.private_key)
    here = tunnels.through(tunnels.Way("destination", ssh, key, to, denied, data_dir))
    return postgres_through(url, tunnels.LOOPBACK, here)


def hold_below(destination: Destination, roots: tuple[Path, ...]) -> None:
    """Refuse a local destination outside of these directories, wherever links lead.

    Raises:
        ConfigurationError: it is outside.
    """
    path = local_path(destination, roots[0])
    if path is not None and not is_below(path.resolve(), tuple(root.resolve() for root in roots)):
        raise ConfigurationError(outside(destination, Places()) or OUTSIDE)


OUTSIDE = (
    "destination.credentials names a place on the worker's own disk that is neither below CAI_DATA_DIR nor below one "
    "of "
    "CAI_LOCAL_DESTINATION_ROOTS: name a place there, or have operations add its directory."
)


def _duckdb(path: Path, staging: str, version: str, *, one_thread: bool, by_width: bool) -> Target:
    from pipelines.access.duckdb_connections import KeptConnection  # noqa: PLC0415  # dlt costs seconds: only in a run
    from pipelines.loading.replacing.refresh import RefreshedDuckDb  # noqa: PLC0415

    # dlt would open whatever stands there; a directory of clinical data is for its owner alone.
    path.parent.mkdir(parents=True, exist_ok=True)
    from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials  # noqa: PLC0415

    config = DUCKDB | ({"threads": 1} if one_thread else {})
    credentials = DuckDbCredentials(str(path), global_config=config)
    target = RefreshedDuckDb(
        credentials=credentials,
        staging_dataset_name_layout=staging,
        replace_strategy=REPLACE,
        parquet_format=passing_files(),
        # What one transaction has written stays in memory: one file of millions of rows would fill up to the limit.
        recommended_file_size=DUCKDB_FILE_BYTES,
        # Each has all of DuckDB's threads.
        max_parallel_load_jobs=1,
    )
    target.pool = KeptConnection(credentials)

    def fit(widest: int) -> None:
        if by_width:
            config["memory_limit"] = f"{memory_for(widest)}MB"

    exclusive = f"duckdb:{path.resolve()}"
    make = lambda: make_duckdb_file(path, version)  # noqa: E731
    return Target(target, "parquet", exclusive=exclusive, swaps=True, fit=fit, make=make, kept=target.pool.kept)


def memory_for(widest: int) -> int:
    """The megabytes that DuckDB needs for tables of so many columns at the most."""
    return min(MOST_MB, LEAST_MB + widest * COLUMN_KB // 1024)


def make_duckdb_file(path: Path, version: str) -> None:
    """Make a DuckDB file that older versions read too, unless there is one: only its first opening decides.

    If the process dies in between, the file is there and empty, with the version that was asked for.

    Raises:
        ConfigurationError: this DuckDB does not know the version.
    """
    if path.exists():
        return
    import duckdb  # noqa: PLC0415  # only in a run

    place = str(path).replace("'", "''")
    with duckdb.connect() as memory:
        try:
            memory.execute(f"ATTACH '{place}' AS made (STORAGE_VERSION '{version}')")
        except duckdb.InvalidInputException:
            raise ConfigurationError(
                f"destination.storage_version {version} is no version that this worker's DuckDB ({duckdb.__version__}) "
                "can write: name an older one, such as v1.4.0, or latest."
            ) from None


def _postgres(url: str, staging: str, dataset: str | None) -> Target:
    from dlt.destinations.impl.postgres.postgres import PostgresParquetCopyJob  # noqa: PLC0415  # only in a run

    from pipelines.access.postgres_sessions import connect_for_copy  # noqa: PLC0415
    from pipelines.loading.replacing.refresh import RefreshedOneSchema, RefreshedPostgres  # noqa: PLC0415

    # Else the driver first reads a whole file into memory. It stays one transaction a file.
    PostgresParquetCopyJob._ingest_per_rowgroup = True
    PostgresParquetCopyJob._connect = connect_for_copy  # type: ignore[method-assign]
    kind: type[RefreshedPostgres | RefreshedOneSchema] = RefreshedPostgres
    if dataset is not None:
        from pipelines.loading.one_schema import needs_one_schema  # noqa: PLC0415  # only in a run

        kind = RefreshedOneSchema if needs_one_schema(url, dataset, staging) else kind
    target = kind(
        credentials=url,
        staging_dataset_name_layout=staging,
        replace_strategy=REPLACE,
        parquet_format=passing_files(),
        # The driver first encodes, then sends and waits: only another file's job uses that time.
        recommended_file_size=POSTGRES_FILE_BYTES,
        max_parallel_load_jobs=POSTGRES_JOBS,
    )
    return Target(target, "parquet", swaps=True)


def passing_files() -> Any:
    """The parquet of load files that are read once, here, and removed: nothing is won by making them small."""
    from dlt.common.destination.configuration import ParquetFormatConfiguration  # noqa: PLC0415

    return ParquetFormatConfiguration(compression="none")


def _filesystem(destination: FilesystemDestination, secrets: Secrets, data_dir: Path, denied: DeniedHosts) -> Target:
    import dlt  # noqa: PLC0415  # seconds: only in a run

    url = destination.url if "://" in destination.url else Path(destination.url).as_uri()
    value = None if destination.credentials is None else secrets.resolve(destination.credentials)
    bucket = bucket_of(
        url, value, "destination.credentials", host_key=destination.host_key, known_hosts=data_dir / KNOWN_HOSTS
    )
    denied.check(*host_of(bucket))
    if destination.format is DestinationFormat.DELTA:
        from pipelines.loading.replacing.lakes import RefreshedLake  # noqa: PLC0415

        lake = RefreshedLake(bucket_url=bucket.url, credentials=bucket.credentials, kwargs=bucket.options or None)
        return Target(lake, "parquet", table_format="delta", swaps=True)
    target = dlt.destinations.filesystem(
        bucket_url=bucket.url, credentials=bucket.credentials, kwargs=bucket.options or None
    )
    return Target(target, destination.format.value, merges=False)


def _other(kind: str, value: Any, staging: str, roots: tuple[Path, ...] | None, denied: DeniedHosts) -> Target:
    import dlt  # noqa: PLC0415  # seconds: only in a run
    from dlt.common.exceptions import MissingDependencyException  # noqa: PLC0415

    credentials = as_json(value)
    if isinstance(credentials, dict) and set(credentials) == {"value"}:
        credentials = as_json(credentials["value"])
    check_credentials(credentials, denied)
    if roots is not None:
        allowed = tuple(root.resolve() for root in roots)
        if any(not is_below(path.resolve(), allowed) for path in local_paths(credentials)):
            raise ConfigurationError(OUTSIDE)
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


def local_paths(credentials: Any) -> Iterator[Path]:
    """The paths on the worker's own disk in what an embedded destination (a lake's catalog, SQLite) is opened with."""
    if isinstance(credentials, dict):
        for item in credentials.values():
            yield from local_paths(item)
    elif isinstance(credentials, str):
        embedded = re.fullmatch(r"(?:sqlite|duckdb|ducklake)[^:]*:/{2,3}(?P<path>[^?]+)(\?.*)?", credentials.strip())
        path = Path(embedded.group("path")) if embedded else path_of(credentials.strip())
        if path is not None:
            yield path
