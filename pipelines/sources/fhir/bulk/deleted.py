"""Deleted resources, as an export names them: ids by type, in Parquet of the run's directory."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pipelines.remarks import Remarks
from pipelines.sources.fhir.bulk.files import Files
from pipelines.sources.fhir.bulk.manifest import File
from pipelines.wording import counted

_ADDRESS = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]*)?")
KEY = "id"


def gathered(files: Files, deleted: Iterable[File], directory: Path, remarks: Remarks) -> dict[str, list[Path]]:
    """The ids of all resources that an export says were deleted, by type. Raises what reading the files does."""
    found: dict[str, list[Path]] = {}
    unread = 0
    for number, file in enumerate(deleted):
        ids: dict[str, list[str]] = {}
        for bundles in files.values(file):
            for bundle in bundles:
                unread += _add(bundle, ids)
        for kind, of_kind in ids.items():
            path = directory / f"deleted.{kind}.{number}.parquet"
            pyarrow.parquet.write_table(pa.table({KEY: pa.array(of_kind, pa.string())}), path)
            found.setdefault(kind, []).append(path)
    if unread:
        remarks.add(
            f"The server's export names {counted(unread, 'deletion')} by no id, so their rows stay: a full refresh "
            "leaves what the server has."
        )
    return found


def _add(bundle: Any, ids: dict[str, list[str]]) -> int:
    """Add what one Bundle deletes; how many of its entries say that in another way."""
    entries = bundle.get("entry") if isinstance(bundle, Mapping) else None
    if not isinstance(entries, list):
        return 1
    unread = 0
    for entry in entries:
        request = entry.get("request") if isinstance(entry, dict) else None
        named = _address(request) if isinstance(request, dict) and request.get("method") == "DELETE" else None
        if named is None:
            unread += 1
        else:
            ids.setdefault(named[1], []).append(named[2])
    return unread


def named_in(request: Mapping[str, Any]) -> str | None:
    """The id of the resource that an entry's request is about."""
    found = _address(request)
    return found[2] if found else None


def _address(request: Mapping[str, Any]) -> re.Match[str] | None:
    url = request.get("url")
    return _ADDRESS.fullmatch(url) if isinstance(url, str) else None
