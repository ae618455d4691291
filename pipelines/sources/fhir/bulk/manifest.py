"""Manifests of exports that are complete: files, addresses and counts, of Bulk Data 1 to 4. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from pipelines.errors import ConfigurationError
from pipelines.sources.fhir.bulk.asking import checked_time

NDJSON = frozenset({"application/fhir+ndjson", "application/ndjson", "ndjson"})
"""The names of the one format that is read."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of an export."""

    kind: str
    url: str
    count: int | None
    """The resources in it, as far as the server says."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of an export, or of one page of its manifest."""

    time: str
    """The instant from which the next export goes on."""
    output: tuple[File, ...] = ()
    deleted: tuple[File, ...] = ()
    outcome: tuple[File, ...] = ()
    needs_token: bool = True
    next: str | None = None
    """Where the next page of it stands."""

    def joined(self, more: "Manifest") -> "Manifest":
        """The same with the files of its next page."""
        return Manifest(
            self.time,
            self.output + more.output,
            self.deleted + more.deleted,
            self.outcome + more.outcome,
            self.needs_token,
            more.next,
        )


def manifest_of(body: Any, seen_from: str) -> Manifest:
    """A manifest as a server wrote it. Its addresses may be relative to the one that it was found at.

    Raises:
        ConfigurationError: it is none, or of files that nobody here can read.
    """
    if not isinstance(body, dict) or not isinstance(body.get("output", []), list):
        raise ConfigurationError(
            "The server says that its export is complete and gives no manifest with the files: have its administrator "
            "look, or set mode to search."
        )
    said = body.get("outputFormat")
    if isinstance(said, str) and said.partition(";")[0].strip().lower() not in NDJSON:
        raise ConfigurationError("The files of the server's export are not NDJSON: set mode to search.")
    links = [each for each in _list(body.get("link")) if each.get("relation") == "next"]
    following = str(links[0].get("url") or "") if links else ""
    return Manifest(
        checked_time(body.get("transactionTime")),
        _files(body.get("output"), seen_from),
        _files(body.get("deleted"), seen_from),
        # Bulk Data 4 calls them otherwise.
        _files(body.get("error"), seen_from) + _files(body.get("outcome"), seen_from),
        needs_token=body.get("requiresAccessToken") is not False,
        next=urljoin(seen_from, following) if following else None,
    )


def _files(given: Any, seen_from: str) -> tuple[File, ...]:
    found = []
    for each in _list(given):
        url, count = each.get("url"), each.get("count")
        if not isinstance(url, str) or not url.strip():
            raise ConfigurationError(
                "The manifest of the server's export names a file without its address: have its administrator look."
            )
        whole = count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None
        found.append(File(str(each.get("type") or ""), urljoin(seen_from, url.strip()), whole))
    return tuple(found)


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
