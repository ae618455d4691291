"""The destination `filesystem`: files in a directory or a bucket. Pure."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from connectors.destinations.base import AnyDestination
from connectors.limits.closed_sets import ClosedSet
from connectors.sources.files import HostKey
from connectors.sources.secret_references import Credential, PlainUrl, refused


def _bucket(value: str) -> str:
    if not (value.startswith("/") or re.match(r"[a-z][a-z0-9+.-]*://.", value)):
        raise refused("{field} must be an absolute path or a bucket's address, such as 's3://lake/clinical'.")
    return value


def _no_iceberg(value: object) -> object:
    if value == "iceberg":
        # dlt holds the whole load in memory for it, and merges a thousand rows a commit: a run that dies is seen.
        raise refused("{field} iceberg can't be written exactly: use delta, which also merges.")
    return value


class DestinationFormat(ClosedSet):
    """What files are written."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    CSV = "csv"
    DELTA = "delta"


class FilesystemDestination(AnyDestination):
    """Files in a directory or a bucket."""

    type: Literal["filesystem"]
    url: Annotated[
        PlainUrl,
        AfterValidator(_bucket),
        Field(description="An absolute path, or a bucket's address such as `s3://lake/clinical`."),
    ]
    format: Annotated[
        DestinationFormat,
        BeforeValidator(_no_iceberg),
        Field(description="What the files are; only `delta` merges."),
    ] = DestinationFormat.PARQUET
    credentials: Annotated[Credential | None, Field(description="Of the bucket. null: none are needed.")] = None
    host_key: HostKey = None
