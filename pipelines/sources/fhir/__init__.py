"""A FHIR R4 or R5 server: the search of each resource type, page by page along the Bundle's links.

Increments ask for `_lastUpdated`; rows are merged by the resource's id. Nested parts (names, codings, references) land
as JSON, since FHIR nests without end and a table for each part would be hundreds.
"""

from collections.abc import Iterator
from typing import Any

import dlt
from dlt.extract import DltResource

from connectors.sources.fhir import FhirSource
from pipelines.errors import Fields
from pipelines.sources import Context
from pipelines.sources.cursors.asked import Asked, place_of
from pipelines.sources.cursors.incremental import Cursor, Increment
from pipelines.sources.cursors.windows import MOMENT
from pipelines.sources.fhir.bundles import resources_in, searched
from pipelines.sources.fhir.pages import by_last_updated
from pipelines.sources.http.client import Client, source_client
from pipelines.sources.rest_api import as_tables, first_rows, paged

CURSOR = "meta.lastUpdated"
FIELDS = Fields(
    url="source.base_url",
    place="source.base_url and source.resource_types",
    login="source.auth",
    request="source.resource_types, source.since and source.page_size",
)


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
        asked = Asked(same={"base_url": place_of(source.base_url)}, begins={"since": source.since})
        cursor = Cursor(CURSOR, asked, initial=source.since, lag=source.lag, setting="meta.lastUpdated", fhir=True)
        increment = Increment(cursor, context.remarks, window)

    def search() -> Iterator[Any]:
        params: dict[str, Any] = {"_count": source.page_size, "_sort": "_lastUpdated"}
        since = source.since if increment is None else increment.start
        until = None if increment is None or increment.bounds is None else increment.bounds.end.strftime(MOMENT)

        def bundles(start: Any) -> Iterator[Any]:
            moments = {} if start is None else {"_lastUpdated": [f"ge{start}", *([f"lt{until}"] if until else [])]}
            return searched(client, kind, params | moments)

        def moved() -> None:
            client.remark(
                f"Resources of {kind} were updated between pages, each time that these were read, and the server finds "
                "pages by offset: some may be missing. A full refresh in a quiet hour brings them."
            )

        found = by_last_updated(
            bundles,
            lambda bundle: resources_in(bundle, kind),
            since,
            moved,
            merges=dlt.current.resource().write_disposition == "merge",
        )
        yield from paged(found, first)

    resource = dlt.resource(search, name=kind, primary_key="id", write_disposition="merge")
    if increment is not None:
        resource.add_step(increment)
    return as_tables(resource, kind, first, keeps_digits=True, types=source.types)
