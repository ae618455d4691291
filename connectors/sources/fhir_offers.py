"""Offers of a FHIR server, by its CapabilityStatement: types, search parameters, exports. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from connectors.refusals import Refusal
from connectors.sources.fhir import FhirSource, Mode


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


def is_statement(said: Any) -> bool:
    """Whether a JSON value is a CapabilityStatement."""
    return isinstance(said, dict) and said.get("resourceType") == "CapabilityStatement"


def read(statement: Mapping[str, Any]) -> Capability:
    """A CapabilityStatement, read."""
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


def unoffered(source: FhirSource, offered: Capability) -> Iterator[Refusal]:
    """What a connector asks for that the server does not offer. A server that says nothing of searches offers all."""
    if not offered.searches or (source.mode is Mode.AUTO and offered.exports):
        return
    if source.mode is not Mode.BULK and (
        missing := [kind for kind in source.resource_types if kind not in offered.searches]
    ):
        yield Refusal(
            "/source/resource_types",
            f"The server does not offer the search of {' and '.join(missing)}, by its CapabilityStatement: take them "
            "out of source.resource_types.",
        )
    for place, asked in enumerate(source.type_filters):
        kind, _, query = asked.partition("?")
        names = [each.partition("=")[0] for each in query.split("&")]
        yield from _parameters(offered, kind, names, f"/source/type_filters/{place}")
    if source.patients is not None:
        yield from _parameters(offered, "Patient", source.patients.search, "/source/patients/search")
        for kind in (each for each in source.resource_types if each != "Patient"):
            named = offered.searches.get(kind)
            if named and not named & {"patient", "subject"}:
                yield Refusal(
                    "/source/resource_types",
                    f"The server offers no search of {kind} by patient, by its CapabilityStatement: load it by a "
                    "connector without source.patients.",
                )


def _parameters(offered: Capability, kind: str, names: Iterable[str], pointer: str) -> Iterator[Refusal]:
    """Search parameters of a type that the server does not name. Those with an underscore are of all types."""
    known = offered.searches.get(kind)
    if not known:
        return
    bare = [name.partition(":")[0].partition(".")[0] for name in names]
    if missing := [name for name in bare if name and name[0] != "_" and name not in known]:
        field_name = pointer.lstrip("/").replace("/", ".")
        yield Refusal(
            pointer,
            f"{field_name} asks for {kind} by {' and '.join(missing)}, which the server does not offer, by its "
            "CapabilityStatement: use one of the parameters that it names.",
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
