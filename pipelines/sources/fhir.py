"""A FHIR R4 or R5 server: the search of each resource type, page by page along the Bundle's links.

Increments ask for `_lastUpdated`; rows are merged by the resource's id. Nested parts (names, codings, references) land
as JSON, since FHIR nests without end and a table for each part would be hundreds.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import dlt
from dlt.extract import DltResource, Incremental
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

from connectors.kinds import FhirSource
from pipelines.errors import ConfigurationError, Fields, TransientError
from pipelines.sources import Context
from pipelines.sources.http import Client, source_client
from pipelines.sources.rest_api import as_tables, between, first_rows, paged

CURSOR = "meta.lastUpdated"
FIELDS = Fields(
    url="source.base_url",
    place="source.base_url and source.resource_types",
    login="source.auth",
    request="source.resource_types, source.since and source.page_size",
)
NEXT = "link[?(@.relation=='next')].url"


def resources(source: FhirSource, context: Context) -> list[DltResource]:
    """One resource for each FHIR resource type."""
    headers = {"Accept": "application/fhir+json", **source.headers}
    client = source_client(source.base_url, headers, source.auth, context, FIELDS)
    return [_resource(client, source, kind, context) for kind in source.resource_types]


def latest(moments: Iterable[str]) -> str:
    """The latest of FHIR's instants, whatever their zones: as text the hour in which clocks go back would lose rows."""
    return max(moments, key=_instant)


def _instant(moment: str) -> datetime:
    parsed = datetime.fromisoformat(moment)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _resource(client: Client, source: FhirSource, kind: str, context: Context) -> DltResource:
    start, end = between(context.window, source.since)
    first = first_rows(context)
    # A limited run must leave the cursor alone: its few rows may hold the newest moment. A backfill does so anyway.
    incremental: Incremental[Any] | None = (
        None
        if first is not None and end is None
        else Incremental(
            CURSOR, initial_value=start, end_value=end, last_value_func=latest, on_cursor_value_missing="include"
        )
    )

    def search(cursor: Any = incremental) -> Iterator[Any]:
        params: dict[str, Any] = {"_count": source.page_size, "_sort": "_lastUpdated"}
        since = source.since if cursor is None else cursor.last_value
        if since is not None:
            params["_lastUpdated"] = [f"ge{since}"] if end is None else [f"ge{since}", f"lt{end}"]
        bundles = client.paginate(kind, params=params, paginator=JSONLinkPaginator(NEXT), data_selector="$")
        yield from paged((_resources(bundle[0], kind) for bundle in bundles), first)

    resource = dlt.resource(search, name=kind, primary_key="id", write_disposition="merge")
    return as_tables(resource, kind, first)


def _resources(bundle: Any, kind: str) -> list[dict[str, Any]]:
    """The resources that a search found; what a server reports about the search itself is left out."""
    if not isinstance(bundle, dict) or bundle.get("resourceType") not in {"Bundle", "OperationOutcome"}:
        raise ConfigurationError(f"The answer to the search of {kind} is no FHIR Bundle: check source.base_url.")
    if bundle["resourceType"] == "OperationOutcome":
        issues = bundle.get("issue") or [{}]
        code = issues[0].get("code", "unknown")
        if code in {"transient", "timeout", "throttled", "lock-error", "no-store", "exception"}:
            raise TransientError(f"The FHIR server can't search {kind} now ({code}).")
        raise ConfigurationError(f"The FHIR server refuses the search of {kind} ({code}): check source.resource_types.")
    return [
        entry["resource"]
        for entry in bundle.get("entry") or []
        if (entry.get("search") or {}).get("mode", "match") == "match"
        and (entry.get("resource") or {}).get("resourceType") == kind
    ]
