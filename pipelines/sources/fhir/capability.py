"""Capabilities of a FHIR server, by its CapabilityStatement: types, search parameters, exports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipelines.errors import ConfigurationError
from pipelines.sources.http.client import Client


class Level(StrEnum):
    """What an export is of."""

    SYSTEM = "system"
    PATIENT = "patient"
    GROUP = "group"


_LEVELS: Mapping[str, Level] = {
    "export": Level.SYSTEM,
    "patient-export": Level.PATIENT,
    "group-export": Level.GROUP,
}
"""By the names of the operations' definitions."""

_OF_RESOURCES: Mapping[str, Level] = {"Patient": Level.PATIENT, "Group": Level.GROUP}
_BULK_DATA = "/uv/bulkdata/CapabilityStatement/bulk-data"
_GUIDE = "/uv/bulkdata"


@dataclass(frozen=True, slots=True)
class Capability:
    """What a server says of itself."""

    searches: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The types that can be searched, in the server's order, each with its search parameters."""
    exports: frozenset[Level] = frozenset()
    posts: bool = False
    """Exports are asked for by POST alone, as Bulk Data 4 has it."""


def capability_of(client: Client) -> Capability:
    """Ask a server what it can.

    Raises:
        RunError: it does not answer, or is no FHIR server.
    """
    said = client.answer(client.request("metadata")).json()
    if not isinstance(said, dict) or said.get("resourceType") != "CapabilityStatement":
        raise ConfigurationError(
            "source.base_url answers no CapabilityStatement at /metadata: check that it is the base address of a FHIR "
            "server, such as https://fhir.example.org/r4."
        )
    return read(said)


def read(statement: Mapping[str, Any]) -> Capability:
    """A CapabilityStatement, read. Pure."""
    rest = next((each for each in _list(statement.get("rest")) if each.get("mode", "server") == "server"), {})
    types = [each for each in _list(rest.get("resource")) if each.get("type")]
    exports = {level for each in _list(rest.get("operation")) if (level := _level(each, Level.SYSTEM))}
    for each in types:
        if (of_type := _OF_RESOURCES.get(str(each["type"]))) is not None:
            exports |= {level for one in _list(each.get("operation")) if (level := _level(one, of_type))}
    guides = [str(each) for name in ("instantiates", "implementationGuide") for each in _texts(statement.get(name))]
    if not exports and any(_BULK_DATA in each for each in guides):
        exports = set(_LEVELS.values())
    return Capability(
        {
            str(each["type"]): frozenset(str(one.get("name")) for one in _list(each.get("searchParam")))
            for each in types
            if _offers_search(each)
        },
        frozenset(exports),
        posts=any(_GUIDE in each and _version(each) >= 4 for each in guides),
    )


def _level(operation: Mapping[str, Any], of_place: Level) -> Level | None:
    """The level of an export that an operation is; None for any other."""
    definition = str(operation.get("definition", "")).partition("|")[0].rpartition("/")[2]
    if definition in _LEVELS:
        return _LEVELS[definition]
    name = str(operation.get("name", "")).removeprefix("$")
    return of_place if name == "export" else _LEVELS.get(name)


def _version(canonical: str) -> int:
    """The first number of the version that a canonical address ends with; 0 where it has none."""
    number = canonical.partition("|")[2].partition(".")[0]
    return int(number) if number.isdecimal() else 0


def _offers_search(resource: Mapping[str, Any]) -> bool:
    codes = {each.get("code") for each in _list(resource.get("interaction"))}
    return not codes or "search-type" in codes


def _list(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _texts(value: object) -> list[object]:
    return value if isinstance(value, list) else []
