"""A choice among the items that a source has, as the source's JSON says it. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connectors.discovery.files import file_tables

Picked = Mapping[str, Any]
"""What is to be loaded of one item: its `name`, and as wished `primary_key`, `cursor_column`, the `columns` that are
loaded (none: all), those that it `has`, and which of them are `left_out`."""


def chosen(source: Mapping[str, Any], items: Iterable[Picked]) -> dict[str, Any]:
    """A source's JSON with these of its items, as the source's kind names them.

    Tables of a database name the columns that are read. Of other sources a column that is left out is dropped by a rule
    of `protect`: their servers and files give whole rows, or more than was asked for.

    Args:
        source: the JSON of a source, whatever it names so far.
        items: what is to be loaded.

    Returns:
        A new JSON. Settings of an item that it had before under the same name, and that are not given, stay.
    """
    picked = list(items)
    match source.get("type"):
        case "sql_database":
            before = {each.get("name"): each for each in source.get("tables") or [] if isinstance(each, Mapping)}
            settings = ("name", "primary_key", "cursor_column", "columns")
            tables = [{key: each[key] for key in settings if each.get(key)} for each in picked]
            return {**source, "tables": [{**before.get(each["name"], {}), **each} for each in tables]}
        case "fhir":
            found = {**source, "resource_types": [each["name"] for each in picked]}
        case "redcap":
            found = {**source, "forms": [each["name"] for each in picked]}
        case "files":
            found = file_tables(source, picked)
        case "rest_api":
            keys = {each["name"]: {"primary_key": each["primary_key"]} for each in picked if each.get("primary_key")}
            resources = [each for each in source.get("resources") or [] if isinstance(each, Mapping)]
            found = {**source, "resources": [{**each, **keys.get(each.get("name"), {})} for each in resources]}
        case _:
            return dict(source)
    return _without(found, picked)


def left_out(source: Mapping[str, Any]) -> frozenset[str]:
    """The columns that `protect` of a source drops, each as `chosen` says it."""
    return frozenset(name for rule in _rules(source) if (name := _dropped(rule)) is not None)


def _without(source: Mapping[str, Any], picked: Sequence[Picked]) -> dict[str, Any]:
    """The source with a rule for each column that is left out, and none for one that is loaded."""
    loaded = {name for each in picked for name in each.get("has") or () if name not in (each.get("left_out") or ())}
    gone = dict.fromkeys(name for each in picked for name in each.get("left_out") or () if name not in loaded)
    rules = [rule for rule in _rules(source) if (name := _dropped(rule)) is None or name not in {*loaded, *gone}]
    rules += [{"path": path_of(name), "method": "drop"} for name in gone]
    protect = source.get("protect")
    said = {**(protect if isinstance(protect, Mapping) else {}), "rules": rules}
    if rules == [] and set(said) == {"rules"}:
        return {key: value for key, value in source.items() if key != "protect"}
    if rules == []:
        said.pop("rules")
    return {**source, "protect": said}


def path_of(name: str) -> str:
    """A column's name as a path of `protect`."""
    return name if re.fullmatch(r"[^.\[\]'*]+", name) else f"['{name}']"


def _rules(source: Mapping[str, Any]) -> list[Any]:
    protect = source.get("protect")
    rules = protect.get("rules") if isinstance(protect, Mapping) else None
    return list(rules) if isinstance(rules, list | tuple) else []


def _dropped(rule: Any) -> str | None:
    """The column that a rule drops from all tables; None where it says anything else."""
    if not isinstance(rule, Mapping) or set(rule) != {"path", "method"} or rule["method"] != "drop":
        return None
    found = re.fullmatch(r"([^.\[\]'*]+)|\['([^']+)'\]", str(rule["path"]))
    return None if found is None else found[1] or found[2]
