"""Questions for an export: what a connector wants of a server, and the request that begins it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from connectors.sources.fhir import ExportLevel, FhirSource
from connectors.sources.fhir_offers import Level
from pipelines.errors import ConfigurationError
from pipelines.sources.cursors.values import Kind, earlier, instant_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a connector wants exported. `since`: only what has changed from that instant on; None: everything."""

    place: str
    path: str
    types: tuple[str, ...]
    filters: tuple[str, ...] = ()
    since: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as the platform's database keeps it."""
        return asdict(self)

    def query(self) -> dict[str, Any]:
        """The parameters of a GET, with one list of types: some servers refuse a name that comes twice."""
        asked: dict[str, Any] = {"_type": ",".join(self.types)}
        if self.since is not None:
            asked["_since"] = self.since
        if self.filters:
            asked["_typeFilter"] = list(self.filters)
        return asked

    def parameters(self) -> dict[str, Any]:
        """The body of a POST, a member for each value."""
        given: list[dict[str, Any]] = [{"name": "_type", "valueString": each} for each in self.types]
        if self.since is not None:
            given.append({"name": "_since", "valueInstant": self.since})
        given += [{"name": "_typeFilter", "valueString": each} for each in self.filters]
        return {"resourceType": "Parameters", "parameter": given}


def wanted_by(source: FhirSource, path: str, types: Sequence[str], since: str | None, place: str) -> Wanted:
    """What a connector wants of these types."""
    filters = tuple(each for each in source.type_filters if each.partition("?")[0] in types)
    return Wanted(place, path, tuple(types), filters, since)


def covers(asked: Mapping[str, Any], wanted: Wanted) -> bool:
    """Whether an export that was asked for brings all that is wanted, and of the same place."""
    same = all(asked.get(name) == value for name, value in (("place", wanted.place), ("path", wanted.path)))
    if not same or list(asked.get("filters") or ()) != list(wanted.filters):
        return False
    since = asked.get("since")
    begins = since is None or (wanted.since is not None and instant_of(since) <= instant_of(wanted.since))
    return begins and set(wanted.types) <= set(asked.get("types") or ())


def level_of(source: FhirSource, offered: frozenset[Level]) -> Level:
    """The level on which a connector has a server export."""
    if source.group:
        return Level.GROUP
    if source.export_level is not None:
        return Level(source.export_level.value)
    return Level.PATIENT if Level.PATIENT in offered and Level.SYSTEM not in offered else Level.SYSTEM


def path_of(source: FhirSource, level: Level) -> str:
    """The path of the operation on a level."""
    return {Level.GROUP: f"Group/{source.group}/$export", Level.PATIENT: "Patient/$export", Level.SYSTEM: "$export"}[
        level
    ]


def scope_of(source: FhirSource) -> list[Any] | None:
    """What the exports of a connector are narrowed down to; None for what a search would find as well."""
    narrowed = [
        source.group,
        *([source.export_level.value] if source.export_level is ExportLevel.PATIENT else []),
        *source.type_filters,
    ]
    return narrowed if any(narrowed) else None


def as_instant(value: str) -> str:
    """A FHIR date or moment as the instant at which it begins: `2024` is 2024-01-01T00:00:00Z."""
    day, mark, clock = value.partition("T")
    day = f"{day}-01-01"[:10] if len(day) == 4 else f"{day}-01"[:10]
    if not mark:
        return f"{day}T00:00:00Z"
    bare = clock.removesuffix("Z").partition("+")[0].partition("-")[0]
    zone = clock[len(bare) :] or "Z"
    return f"{day}T{bare}{':00' if bare.count(':') == 1 else ''}{zone}"


def begins_at(state: Mapping[str, Any], lag: float | None) -> str | None:
    """The instant from which a type is wanted, by what its loads before have kept; None: there was none.

    An export names the time that the next one goes on from. What a search has found last may not be all of its time.
    """
    value = state.get("value")
    if value is None:
        return None
    return str(value) if state.get("exported") == value else as_instant(str(earlier(value, lag)))


def earliest(moments: Sequence[str | None]) -> str | None:
    """The earliest of some instants; None, the very first, if one is that."""
    return None if None in moments else min((each for each in moments if each is not None), key=instant_of)


def checked_time(value: Any) -> str:
    """The transactionTime of a manifest.

    Raises:
        ConfigurationError: it is none, so nobody would know where the next export goes on.
    """
    if not isinstance(value, str) or instant_of(value).kind is not Kind.MOMENT:
        raise ConfigurationError(
            "The manifest of the server's export has no transactionTime, from which the next one would go on: have "
            "its administrator correct it, or set mode to search."
        )
    return value
