"""Changes that a filled-in update form asks for: only what is filled in, and nothing is lost in silence. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.connector import ConnectorRow, validate
from connectors.limits.closed_sets import ClosedSet
from connectors.sources.write_rules import normalised
from flows.forms.shapes import BEARER, DestinationForm, JsonForm, SourceForm, label


class Removable(ClosedSet):
    """What a connector can go without."""

    SCHEDULE = "schedule"
    DESCRIPTION = "description"
    DESTINATION = "destination"
    DATASET_NAME = "dataset_name"


@dataclass(frozen=True, slots=True)
class Changes:
    """A form as it is filled in: columns, parts of the run policy, and the tabs that columns came from."""

    columns: Mapping[str, Any]
    policy: Mapping[str, Any]
    source: SourceForm | None
    destination: DestinationForm | None

    def of(self, row: ConnectorRow) -> dict[str, Any]:
        """The columns to change: the run policy is one, and what the form leaves out of it stays."""
        if not self.policy:
            return dict(self.columns)
        old = row.run_policy if isinstance(row.run_policy, dict) else {}
        new = {key: value for key, value in {**old, **self.policy}.items() if (key, value) != ("timeout_seconds", 0)}
        return {**self.columns, "run_policy": new}

    def lost(self, row: ConnectorRow) -> list[str]:
        """What the connector would silently lack because tabs have no field for it, or an empty one.

        Raises:
            InvalidConnectorError: it can't be saved so anyway.
        """
        connector = validate(replace(row, **self.of(row)))
        sides = (
            ("Source", self.source, row.source, connector.source),
            ("Destination", self.destination, row.destination, connector.destination),
        )
        return [
            f"{side}, {label(form, way)}"
            for side, form, saved, meant in sides
            if form is not None and meant is not None and not isinstance(form, JsonForm)
            for way in lost(saved, form.connector_json(), meant.model_dump(mode="json", by_alias=True))
        ]


_EVERY_KIND = ("mask", "schema_contract")
"""Keys that mean the same in every kind of source or destination."""


def lost(old: Any, said: Mapping[str, Any], meant: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """What is saved and would be gone once a form's JSON stands in its place: most settings have no field.

    Tables and resources are what the form is about: one that it does not name is gone because the user wants that.

    Args:
        old: the JSON as it is saved, which anybody may have written.
        said: the form's.
        meant: the form's with every default, as it is once it has been validated.

    Yields:
        The way to each such setting in the form's JSON, such as `("tables", "0", "columns")`.
    """
    if not isinstance(old, Mapping):
        return
    for key in old if old.get("type") == said.get("type") else _EVERY_KIND:
        value = old.get(key)
        if key not in said:
            if key in meant and value not in (None, "", [], {}, meant[key]):
                yield BEARER if isinstance(value, Mapping) and value.get("type") == "bearer" else (key,)
        elif key == "ssh":
            for way in lost(value, said[key], meant[key]):
                yield (key, *way)
        elif key in ("tables", "resources") and isinstance(value, list):
            known = {normalised(str(item.get("name"))): item for item in value if isinstance(item, Mapping)}
            for index, (item, whole) in enumerate(zip(said[key], meant[key], strict=True)):
                for way in lost(known.get(normalised(item["name"])), item, whole):
                    yield (key, str(index), *way)


def filled_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that somebody filled in: a field of a form that is left empty is not given."""
    return {key: value for key, value in values.items() if value not in (None, "")}


def refusal(taken_away: Sequence[Removable], given: Mapping[str, Any], policy: Mapping[str, Any]) -> str | None:
    """Why a form cannot be meant as it is filled in, or None."""
    if both := [field for field in taken_away if field in given]:
        return (
            f"You filled in {' and '.join(both)}, and chose the same under take_away, so nothing was changed: "
            "do one of the two."
        )
    return None if given or policy or taken_away else "You filled in nothing, so nothing was changed."
