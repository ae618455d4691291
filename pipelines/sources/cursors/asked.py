"""The question behind a cursor's last value, which counts for that (address, columns, beginning) and no other.

Another address, more forms, an earlier beginning or further columns mean rows of the past that no load has brought. So
the state keeps what was asked for beside the cursor, and a run compares. Addresses and the like are kept as hashes:
they may hold what is nobody's business.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.sources.cursors.values import comparable, instant_of


@dataclass(frozen=True, slots=True)
class Asked:
    """The question that one table is asked for with, each part by the name that it has in the connector."""

    same: Mapping[str, Any] = field(default_factory=dict)
    """Of these each change brings other rows."""
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of these more brings more; nothing chosen is all."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """Of these each change brings other rows, and so does one that was not there; None is none."""
    begins: Mapping[str, Any] = field(default_factory=dict)
    """Of these an earlier one brings more; None is the very first."""

    def kept(self, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As the state keeps it. A later beginning than before takes back nothing that was loaded."""
        earliest = (before or {}).get("begins", {})
        return {
            "same": {
                **{name: _hash(value) for name, value in self.same.items()},
                **{name: _hash(value) for name, value in self.made.items() if value is not None},
            },
            "chosen": {name: sorted(values) for name, values in self.chosen.items()},
            "begins": {
                name: earliest[name] if name in earliest and not _before(value, earliest[name]) else value
                for name, value in self.begins.items()
            },
        }

    def widened(self, before: Mapping[str, Any]) -> list[str]:
        """The parts that bring rows of the past which what was kept has not brought."""
        now = self.kept()
        same, chosen, begins = (before.get(part, {}) for part in ("same", "chosen", "begins"))
        found = [
            name
            for name, value in now["same"].items()
            if (name in same or name in self.made) and same.get(name) != value
        ]
        for name, values in now["chosen"].items():
            had = set(chosen.get(name, ()))
            if name in chosen and had and (not values or set(values) - had):
                found.append(name)
        found += [name for name, value in self.begins.items() if name in begins and _before(value, begins[name])]
        return found


def place_of(url: str) -> str:
    """An address without what can change while it stays the same place: whether it is encrypted, and a slash."""
    return url.partition("://")[2].rstrip("/")


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _before(one: Any, other: Any) -> bool:
    """Whether one beginning is earlier than another."""
    if other is None or one == other:
        return False
    if one is None:
        return True
    first, second = instant_of(one), instant_of(other)
    # What can't be compared is another beginning: it is read anew.
    return first < second if comparable(first, second) else True
