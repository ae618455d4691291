"""A FHIR R4 or R5 server: its exports (`bulk`), or the search of each resource type, page by page along the links.

Increments ask for `_lastUpdated`; rows are merged by the resource's id. Nested parts (names, codings, references) land
as JSON, since FHIR nests without end and a table for each part would be hundreds.
"""

from collections.abc import Iterator
from typing import Any

import dlt
from dlt.extract import DltResource

from connectors.sources.deletes import Deletes
from connectors.sources.fhir import FhirSource
from connectors.sources.fhir_offers import unoffered
from pipelines.errors import ConfigurationError, Fields, RunError
from pipelines.sources import Context
from pipelines.sources.cursors.asked import Asked, place_of
from pipelines.sources.cursors.incremental import Cursor, Increment
from pipelines.sources.cursors.windows import MOMENT
from pipelines.sources.fhir import bulk
from pipelines.sources.fhir.bulk import CURSOR
from pipelines.sources.fhir.bundles import MORE, resources_in, searched
from pipelines.sources.fhir.capability import Offered, asked_once
from pipelines.sources.fhir.deletions import deleted_since
from pipelines.sources.fhir.pages import by_last_updated
from pipelines.sources.fhir.patients import Patients
from pipelines.sources.fhir.views import digest_of, with_views
from pipelines.sources.http.client import Client, source_client
from pipelines.sources.rest_api import as_tables, first_rows, paged

FIELDS = Fields(
    url="source.base_url",
    place="source.base_url and source.resource_types",
    login="source.auth",
    request="source.resource_types, source.since and source.page_size",
)


def client_of(source: FhirSource, context: Context) -> Client:
    """The client of a server, with the connector's headers and login."""
    headers = {"Accept": "application/fhir+json", **source.headers}
    return source_client(source.base_url, headers, source.auth, context, FIELDS, also=source.next_hosts)


def look_first(source: FhirSource, context: Context) -> None:
    """Look at an export that is under way. Raises what `bulk.look_first` does."""
    if context.exports is not None and source.exports:
        bulk.look_first(source, client_of(source, context), context.exports)


def resources(source: FhirSource, context: Context) -> list[DltResource]:
    """One resource for each FHIR resource type, and one for each view of them."""
    return with_views(_of_types(source, context), source, context)


def _of_types(source: FhirSource, context: Context) -> list[DltResource]:
    client = client_of(source, context)
    offered = asked_once(client)
    if bulk.is_wanted(source, offered, context):
        return bulk.resources(source, client, offered, context)
    if context.exports is not None:
        bulk.end_left_over(client, context.exports)
    if context.rehearsal:
        refuse_unoffered(source, client, offered)
    if source.patients is not None:
        return Patients(source, client, offered, context).resources()
    return [_resource(client, source, kind, context) for kind in source.resource_types]


def refuse_unoffered(source: FhirSource, client: Client, offered: Offered) -> None:
    """Refuse what the server does not offer, and say of which types it can't tell what was updated, by its own word.

    A server that gives no CapabilityStatement is asked for the resources themselves.

    Raises:
        ConfigurationError: it does not offer a search that is wanted.
    """
    try:
        capability = offered()
    except RunError:
        return
    if refusals := list(unoffered(source, capability)):
        raise ConfigurationError(" ".join(refusal.message for refusal in refusals))
    searches = capability.searches
    if source.patients is None and (
        silent := [kind for kind in source.resource_types if (of := searches.get(kind)) and "_lastUpdated" not in of]
    ):
        client.remark(
            f"The server does not say that it offers _lastUpdated for {' and '.join(silent)}: if it heeds none, each "
            "run reads all of them."
        )


def _resource(client: Client, source: FhirSource, kind: str, context: Context) -> DltResource:
    first = first_rows(context)
    window = context.window.bounds() if context.window else None
    increment = None
    # A limited run must leave the cursor alone: its few rows may hold the newest moment. A backfill does so anyway.
    if first is None or window is not None:
        same = {"base_url": place_of(source.base_url), "export": None}
        asked = Asked(same=same, made={"views": digest_of(source, kind)}, begins={"since": source.since})
        cursor = Cursor(CURSOR, asked, initial=source.since, lag=source.lag, setting="meta.lastUpdated", fhir=True)
        increment = Increment(cursor, context.remarks, window)

    def search() -> Iterator[Any]:
        params: dict[str, Any] = {"_count": source.page_size, "_sort": "_lastUpdated"}
        since = source.since if increment is None else increment.start
        until = None if increment is None or increment.bounds is None else increment.bounds.end.strftime(MOMENT)

        def bundles(start: Any, **others: Any) -> Iterator[Any]:
            moments = {} if start is None else {"_lastUpdated": [f"ge{start}", *([f"lt{until}"] if until else [])]}
            check = source.check_complete and not others
            return searched(client, kind, params | moments | others, check=check)

        def newest(start: Any) -> dict[str, Any] | None:
            try:
                bundle = next(bundles(start, _count=1, _sort="-_lastUpdated"))
            except (RunError, StopIteration):
                return None  # it does not sort so
            return next(iter(resources_in(bundle, kind)), None)

        def moved() -> None:
            client.remark(
                f"Resources of {kind} were updated between pages, each time that these were read, and the server finds "
                "pages by offset: some may be missing. A full refresh in a quiet hour brings them."
            )

        def short(counted: int, came: int) -> None:
            if source.check_complete:
                raise ConfigurationError(
                    f"The server says that there are {counted} resources of {kind}, and {came} came: its Bundles link "
                    f"to no others, and it does not sort by _lastUpdated: {MORE}"
                )

        found = by_last_updated(
            bundles,
            lambda bundle: resources_in(bundle, kind),
            since,
            moved,
            merges=dlt.current.resource().write_disposition == "merge",
            short=short,
            newest=newest,
        )
        yield from paged(found, first)
        if since is not None and increment is not None and window is None and not context.full_refresh:
            _note_deleted(client, source, kind, str(since), context)

    resource = dlt.resource(search, name=kind, primary_key="id", write_disposition="merge")
    if increment is not None:
        resource.add_step(increment)
    return as_tables(resource, kind, first, keeps_digits=True, types=source.types)


def _note_deleted(client: Client, source: FhirSource, kind: str, since: str, context: Context) -> None:
    """Note what was deleted since a moment, which goes before the rows of this load land."""
    if source.deletes is Deletes.IGNORE or context.exports is None or context.directory is None:
        return
    if ids := deleted_since(client, kind, since, context.directory, check=source.check_complete):
        context.exports.gone.setdefault(kind, []).extend(ids)
