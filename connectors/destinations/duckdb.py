"""The destination `duckdb`: a file of DuckDB's. Pure."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from connectors.destinations.base import AnyDestination
from connectors.sources.secret_references import PlainUrl, refused


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
