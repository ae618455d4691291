"""The draft of a connector while the wizard is filled in: each step adds to what the steps before have said. Pure.

It travels in the page itself, for there is nothing secret in it (a login is stored on its own and only named here): no
server keeps it, going back loses nothing, and two drafts in two windows don't meet.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from connectors.discovery import Item
from connectors.discovery.choosing import chosen, left_out
from connectors.discovery.files import FileTable, name_of, named_file, offered, spread
from web.when import cron_of


class Step(StrEnum):
    """The steps, in their order."""

    KIND = "kind"
    LOGIN = "login"
    TABLES = "tables"
    DESTINATION = "destination"
    WHEN = "when"


TITLES = {
    Step.KIND: "What it is",
    Step.LOGIN: "Where it is",
    Step.TABLES: "What to load",
    Step.DESTINATION: "Where it goes",
    Step.WHEN: "When and under which name",
}


NAMED = ("name", "description", "dataset_name", "team", "owner")
"""Columns that the last step asks for as text."""

CARRIED = ("run_policy", "tags", "work_pool_name", "work_queue_name")
"""Columns that no step asks for: a copy has them from what it is a copy of."""

COLUMNS = frozenset({"schedule", "timezone", *NAMED, *CARRIED})
"""All that a draft may say beside its source and destination."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What was said so far, as columns of the connector. What all tables of files say alike is said once."""

    source: Mapping[str, Any] = field(default_factory=dict)
    destination: Mapping[str, Any] | None = None
    rest: Mapping[str, Any] = field(default_factory=dict)
    """Name, schedule, time zone and the like, by column."""

    @classmethod
    def read(cls, text: str) -> Self:
        """The draft that a page carried; an empty one for what is none."""
        try:
            said = json.loads(text)
            rest = {name: each for name, each in dict(said["rest"]).items() if name in COLUMNS}
            return cls(dict(said["source"]), said["destination"], rest)
        except (ValueError, KeyError, TypeError):
            return cls()

    def written(self) -> str:
        """As a page carries it."""
        return json.dumps({"source": self.source, "destination": self.destination, "rest": self.rest})

    @property
    def kind(self) -> str:
        """The kind of its source; empty before it is chosen."""
        return str(self.source.get("type", ""))

    def columns(self) -> dict[str, Any]:
        """The connector, as the use cases take it."""
        return {"timezone": "UTC", **self.rest, "source": spread(self.source), "destination": self.destination}

    def with_items(self, picked: Sequence[Mapping[str, Any]], mask: Sequence[str]) -> Self:
        """The same with what is to be loaded, and the columns that are hashed on the way."""
        has = {name for each in picked for name in each.get("has") or ()}
        # Names of nested or other columns that were typed, and that no look has shown.
        typed = [name for name in self.source.get("mask") or [] if self.kind == "rest_api" and name not in has]
        source = {**chosen(self.source, picked), "mask": [*typed, *mask]}
        return replace(self, source={key: value for key, value in source.items() if value != []})

    @property
    def profile(self) -> str:
        """The profile of what may land; empty where none is named."""
        said = self.source.get("protect")
        return str(said.get("profile") or "") if isinstance(said, Mapping) else ""

    def with_profile(self, name: str) -> Self:
        """The same with the profile of what may land; an empty name for none. Rules of its own stay."""
        said = self.source.get("protect")
        rules = {key: value for key, value in said.items() if key != "profile"} if isinstance(said, Mapping) else {}
        protect = {**rules, "profile": name} if name else rules
        source = {key: value for key, value in self.source.items() if key != "protect"}
        return replace(self, source={**source, "protect": protect} if protect else source)

    def with_schedule(self, sent: Mapping[str, str]) -> Self:
        """The same with when it runs, and under which name."""
        said: dict[str, Any] = {name: self.rest[name] for name in CARRIED if name in self.rest}
        said |= {"schedule": cron_of(sent), "timezone": sent.get("timezone", "").strip() or "UTC"}
        for name in NAMED:
            if (text := sent.get(name, "").strip()) or name == "name":
                said[name] = text
        return replace(self, rest=said)


@dataclass(frozen=True, slots=True)
class Offer:
    """One item as it is offered to be ticked, with what is proposed for it and what was chosen so far."""

    item: Item
    ticked: bool
    primary_key: str
    cursor_column: str
    masked: frozenset[str]
    left_out: frozenset[str]
    label: str = ""
    """What it is called for people."""


def offers(items: Sequence[Item], draft: Draft) -> list[Offer]:
    """The items of a source, with the proposals of discovery where nothing was chosen yet.

    Columns that may identify a person are proposed to be hashed: whoever wants them in clear must untick them.
    """
    source = draft.source
    of_files = draft.kind == "files"
    tables = [each for each in source.get("tables") or [] if isinstance(each, Mapping)]
    before = {name_of(each, source) if of_files else str(each.get("name")): each for each in tables}
    named = {*before, *(source.get("resource_types") or []), *(source.get("forms") or [])}
    fresh = not (named or source.get("mask"))
    if draft.kind == "rest_api":
        resources = [each for each in source.get("resources") or [] if isinstance(each, Mapping)]
        before = {str(each.get("name")): each for each in resources if each.get("primary_key")}
        named, fresh = {str(each.get("name")) for each in resources}, not source.get("mask")
    if of_files and not tables and (file := named_file(source)):
        # Its only table, said without a choice.
        before, named = {file: source} if source.get("primary_key") else {}, {file}
    masked, gone = set(source.get("mask") or []), left_out(source)
    shown = offered(items) if of_files else [FileTable(item, item.name) for item in items]
    found = []
    for item, label in ((one.item, one.label) for one in shown):
        offer = _offer(item, before.get(item.name, {}), item.name in named, masked, fresh=fresh)
        found.append(replace(offer, label=label, left_out=offer.left_out | (gone & _names(item))))
    return found


def _offer(item: Item, said: Mapping[str, Any], ticked: bool, masked: set[str], *, fresh: bool) -> Offer:
    proposed = not said
    key = item.primary_key if proposed else said.get("primary_key") or ()
    cursor = item.proposed_cursor or "" if proposed else said.get("cursor_column") or ""
    only = set(said.get("columns") or [])
    return Offer(
        item,
        ticked,
        ", ".join([key] if isinstance(key, str) else key),
        cursor if cursor not in item.identifying else "",
        frozenset(item.identifying) if fresh or (proposed and not ticked) else frozenset(masked & _names(item)),
        frozenset(_names(item) - only) if only else frozenset(),
    )


def _names(item: Item) -> set[str]:
    return {column.name for column in item.columns}


def picked(sent: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[str]]:
    """What a form has ticked: the items with their settings, and the columns that are hashed.

    Controls are `item.N` (the name, when ticked), `item.N.key`, `item.N.cursor`, and of each column `item.N.in.C`
    (its name, when it is to be loaded), `item.N.mask.C` (its name, when it is hashed), `item.N.has.C` (its name) and
    `item.N.all` (how many columns the item has: all of them ticked is no choice, and so takes in what the source will
    have tomorrow).
    """
    items: list[dict[str, Any]] = []
    mask: dict[str, None] = {}
    numbers = [name.removeprefix("item.") for name in sent if name.startswith("item.") and name.count(".") == 1]
    for number in sorted(numbers, key=lambda each: int(each) if each.isdigit() else 0):
        of = f"item.{number}."
        columns = [text for name, text in sent.items() if name.startswith(f"{of}in.")]
        every = sent.get(f"{of}all", "") == str(len(columns))
        items.append(
            {
                "name": sent[f"item.{number}"],
                "primary_key": [each.strip() for each in sent.get(f"{of}key", "").split(",") if each.strip()],
                "cursor_column": sent.get(f"{of}cursor", "").strip(),
                "columns": [] if every else columns,
                "has": [text for name, text in sent.items() if name.startswith(f"{of}has.")],
                "left_out": [
                    text for name, text in sent.items() if name.startswith(f"{of}has.") and text not in columns
                ],
            }
        )
        mask |= {text: None for name, text in sent.items() if name.startswith(f"{of}mask.") and text in columns}
    return items, list(mask)
