"""Discovery of a FHIR server: the resource types that its CapabilityStatement says can be searched."""

from connectors.discovery import Discovery, Item, ItemKind
from connectors.discovery.fhir import columns_of
from connectors.sources.fhir import FhirSource
from pipelines.sources import Context
from pipelines.sources.fhir import client_of
from pipelines.sources.fhir.capability import capability_of


def discover(source: FhirSource, context: Context, cursor: str | None) -> Discovery:
    """The types, in the server's order. `cursor` is not used: a CapabilityStatement is one answer."""
    found = capability_of(client_of(source, context))
    return Discovery(
        tuple(
            Item(
                name,
                ItemKind.RESOURCE_TYPE,
                columns_of(name),
                primary_key=("id",),
                cursor_candidates=("_lastUpdated",) if "_lastUpdated" in parameters else (),
            )
            for name, parameters in found.searches.items()
        )
    )
