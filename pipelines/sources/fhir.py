"""A FHIR R4 or R5 server: the search of each resource type, page by page along the Bundle's links.

Increments ask for `_lastUpdated`; rows are merged by the resource's id. Nested parts (names, codings, references) land
as JSON, since FHIR nests without end and a table for each part would be hundreds.
"""

from collections.abc import Iterator
from typing import Any

import dlt
from dlt.extract import DltResource
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

from connectors.kinds import FhirSource
from pipelines.errors import ConfigurationError, Fields, TransientError
from pipelines.sources import Context
from pipelines.sources.asked import Asked
from pipelines.sources.fhir_pages import by_last_updated
from pipelines.sources.http import Client, source_client
from pipelines.sources.incremental import Cursor, Increment
from pipelines.sources.rest_api import as_tables, first_rows, paged
from pipelines.sources.windows import MOMENT

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


def _resource(client: Client, source: FhirSource, kind: str, context: Context) -> DltResource:
    first = first_rows(context)
    window = context.window.bounds() if context.window else None
    increment = None
    # A limited run must leave the cursor alone: its few rows may hold the newest moment. A backfill does so anyway.
    if first is None or window is not None:
        asked = Asked(same={"base_url": source.base_url}, begins={"since": source.since})
        cursor = Cursor(CURSOR, asked, initial=source.since, lag=source.lag, setting="meta.lastUpdated", fhir=True)
        increment = Increment(cursor, context.remarks, window)

    def search() -> Iterator[Any]:
        params: dict[str, Any] = {"_count": source.page_size, "_sort": "_lastUpdated"}
        since = source.since if increment is None else increment.start
        until = None if increment is None or increment.bounds is None else increment.bounds.end.strftime(MOMENT)

        def bundles(start: Any) -> Iterator[Any]:
            if start is not None:
                params["_lastUpdated"] = [f"ge{start}", *([f"lt{until}"] if until else [])]
            pages = client.paginate(kind, params=dict(params), paginator=JSONLinkPaginator(NEXT), data_selector="$")
            for page in pages:
                yield page[0]

        yield from paged(by_last_updated(bundles, lambda bundle: _resources(bundle, kind), since), first)

    resource = dlt.resource(search, name=kind, primary_key="id", write_disposition="merge")
    if increment is not None:
        resource.add_step(increment)
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
