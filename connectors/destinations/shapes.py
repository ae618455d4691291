"""The kinds of destinations a connector may name: the shapes of their JSON, typed.

As in `connectors.sources.kinds`: one union, chosen by `type`; models are frozen and refuse unknown keys. This module is
pure.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, Tag

from connectors.sources.files import HostKey
from connectors.sources.http import by_type
from connectors.sources.secret_references import Credential, PlainUrl, Strict, refused
from connectors.sources.write_rules import Contract


class AnyDestination(Strict):
    """What every kind of destination takes."""

    schema_contract: Contract = None
    shared_tables: Annotated[
        bool,
        Field(
            description="Whether other connectors may write the same tables of this dataset. Each of them must say so; "
            "false: two that would are refused."
        ),
    ] = False


def _duckdb_path(value: str) -> str:
    if "://" in value or value.startswith(("md:", ":")):
        raise refused("{field} must be the path of a DuckDB file, such as '/data/warehouse.duckdb'.")
    return value


def _storage_version(value: str) -> str:
    if value != "latest" and not re.fullmatch(r"v[1-9]\d*\.\d+\.\d+", value):
        raise refused("{field} must be a version of DuckDB, such as 'v1.4.0', or 'latest'.")
    return value


class DuckdbDestination(AnyDestination):
    """A DuckDB file; a relative path starts in the data directory."""

    type: Literal["duckdb"]
    path: Annotated[
        PlainUrl, AfterValidator(_duckdb_path), Field(description="The file's path, such as `labs.duckdb`.")
    ]
    storage_version: Annotated[
        str,
        AfterValidator(_storage_version),
        Field(
            description="The oldest DuckDB that is to read the file, such as `v1.4.0`, or `latest`: the worker's "
            "own. It "
            "counts when the file is made; a file that is there stays as it is."
        ),
    ] = "v1.4.0"

    def clash(self, dataset: str) -> str | None:
        """Why a dataset can't be in this file, or None: DuckDB calls the file's catalog by the file's name."""
        catalog = PurePosixPath(self.path).stem
        if dataset.lower() != catalog.lower():
            return None
        return (
            f"dataset_name must not be '{catalog}', the name of the DuckDB file, for DuckDB could not tell the two "
            "apart: choose another one."
        )


class PostgresDestination(AnyDestination):
    """A PostgreSQL database."""

    type: Literal["postgres"]
    credentials: Annotated[Credential, Field(description="Its address, with user and password.")]


def _bucket(value: str) -> str:
    if not (value.startswith("/") or re.match(r"[a-z][a-z0-9+.-]*://.", value)):
        raise refused("{field} must be an absolute path or a bucket's address, such as 's3://lake/clinical'.")
    return value


def _no_iceberg(value: object) -> object:
    if value == "iceberg":
        # dlt holds the whole load in memory for it, and merges a thousand rows a commit: a run that dies is seen.
        raise refused("{field} iceberg can't be written exactly: use delta, which also merges.")
    return value


class FilesystemDestination(AnyDestination):
    """Files in a directory or a bucket."""

    type: Literal["filesystem"]
    url: Annotated[
        PlainUrl,
        AfterValidator(_bucket),
        Field(description="An absolute path, or a bucket's address such as `s3://lake/clinical`."),
    ]
    format: Annotated[
        Literal["parquet", "jsonl", "csv", "delta"],
        BeforeValidator(_no_iceberg),
        Field(description="What the files are; only `delta` merges."),
    ] = "parquet"
    credentials: Annotated[Credential | None, Field(description="Of the bucket. null: none are needed.")] = None
    host_key: HostKey = None


OTHER_DESTINATIONS = (
    "athena",
    "bigquery",
    "clickhouse",
    "databricks",
    "dremio",
    "ducklake",
    "fabric",
    "lance",
    "lancedb",
    "motherduck",
    "mssql",
    "qdrant",
    "redshift",
    "snowflake",
    "sqlalchemy",
    "synapse",
    "weaviate",
)
"""The destinations that dlt has besides those with a model of their own here."""


class OtherDestination(AnyDestination):
    """Any other destination of dlt, by its name there, with credentials as dlt takes them (an address or JSON)."""

    type: Annotated[
        str,
        StringConstraints(pattern="|".join(OTHER_DESTINATIONS)),
        Field(description=f"dlt's name of it, one of: {', '.join(OTHER_DESTINATIONS)}."),
    ]
    credentials: Annotated[Credential, Field(description="As dlt takes them: an address, or JSON.")]


def _destination_tag(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    if kind in OTHER_DESTINATIONS:
        return "<other>"
    return f"<{kind}>" if kind in ("duckdb", "postgres", "filesystem") else None


Destination = Annotated[
    Annotated[DuckdbDestination, Tag("<duckdb>")]
    | Annotated[PostgresDestination, Tag("<postgres>")]
    | Annotated[FilesystemDestination, Tag("<filesystem>")]
    | Annotated[OtherDestination, Tag("<other>")],
    by_type(_destination_tag, "duckdb, postgres, filesystem, " + ", ".join(OTHER_DESTINATIONS)),
]
"""Where a connector's rows go."""
