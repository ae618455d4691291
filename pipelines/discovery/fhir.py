"""Discovery of a FHIR server: the resource types that its CapabilityStatement says can be searched."""

from typing import Any

from connectors.discovery import Discovery, Item, ItemKind
from connectors.sources.fhir import FhirSource
from pipelines.errors import ConfigurationError
from pipelines.sources import Context
from pipelines.sources.fhir import FIELDS
from pipelines.sources.http.client import source_client

IDENTIFYING = frozenset({"Patient", "RelatedPerson", "Person", "Practitioner"})
"""Types that tell who a person is in almost every field."""


def discover(source: FhirSource, context: Context, cursor: str | None) -> Discovery:
    """The types, in the server's order. `cursor` is not used: a CapabilityStatement is one answer."""
    client = source_client(source.base_url, source.headers, source.auth, context, FIELDS)
    said = client.answer(client.request("metadata")).json()
    if not isinstance(said, dict) or said.get("resourceType") != "CapabilityStatement":
        raise ConfigurationError(
            "source.base_url answers no CapabilityStatement at /metadata: check that it is the base address of a FHIR "
            "server, such as https://fhir.example.org/r4."
        )
    rest: dict[str, Any] = next((each for each in said.get("rest") or [] if each.get("mode", "server") == "server"), {})
    types = [each for each in rest.get("resource") or [] if isinstance(each, dict) and each.get("type")]
    return Discovery(
        tuple(
            Item(
                str(each["type"]),
                ItemKind.RESOURCE_TYPE,
                primary_key=("id",),
                cursor_candidates=("_lastUpdated",) if _searches(each, "_lastUpdated") else (),
            )
            for each in types
            if _offers_search(each)
        )
    )


def _offers_search(resource: dict[str, object]) -> bool:
    codes = {each.get("code") for each in _list(resource.get("interaction"))}
    return not codes or "search-type" in codes


def _searches(resource: dict[str, object], name: str) -> bool:
    return any(each.get("name") == name for each in _list(resource.get("searchParam")))


def _list(value: object) -> list[dict[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
