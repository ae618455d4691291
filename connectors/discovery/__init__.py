"""Questions about a source before anything is saved: what it has, and whether it can be read.

Tables, types, forms or files are told with their columns. What is found is offered, never taken for granted: keys come
from constraints, cursors from indexes and types, and whether a column identifies a person from its name or the source's
own flag. No value of a row is ever in it.
This room is pure; `pipelines.discovery` asks the sources, and `choosing` says what a choice among the items is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from connectors.limits.closed_sets import ClosedSet


class Probe(ClosedSet):
    """Who looks at a source that is not saved."""

    API = "api"
    WORKER = "worker"


class Question(StrEnum):
    """What can be asked of a source, saved or not."""

    DISCOVER = "discover"
    TEST = "test"
    TEST_BOTH = "test_both"
    """Of the destination too: whether it can be written."""


class ItemKind(StrEnum):
    """Things that a source has, each of which lands as a table."""

    TABLE = "table"
    VIEW = "view"
    RESOURCE_TYPE = "resource_type"
    FORM = "form"
    FILE = "file"
    SHEET = "sheet"
    RESOURCE = "resource"


@dataclass(frozen=True, slots=True)
class Column:
    """One column or field: its type in the source's own words, and whether it may tell who a person is."""

    name: str
    type: str
    nullable: bool = True
    identifying: bool = False
    protection: str | None = None
    """What becomes of it by `protect`: a method, `in part` or `drop`; None: it lands as it is."""


@dataclass(frozen=True, slots=True)
class Item:
    """One table, type, form or file, with what was found out about it."""

    name: str
    kind: ItemKind
    columns: tuple[Column, ...] = ()
    rows: int | None = None
    """Roughly, by the source's own statistics; None: it keeps none."""
    primary_key: tuple[str, ...] = ()
    cursor_candidates: tuple[str, ...] = ()
    """Columns that seem to grow with each change, the likeliest first."""

    @property
    def proposed_cursor(self) -> str | None:
        """The cursor to propose: only a column whose name says that it moves with each change.

        One that is set when a row is made would miss every change after it, without a word.
        """
        return next((name for name in self.cursor_candidates if _moves(name)), None)

    @property
    def identifying(self) -> tuple[str, ...]:
        """The columns that may tell who a person is."""
        return tuple(column.name for column in self.columns if column.identifying)


@dataclass(frozen=True, slots=True)
class Discovery:
    """A page of what a source has. `cursor` asks for the next page; None: that was all."""

    items: tuple[Item, ...]
    cursor: str | None = None


_IDENTIFYING = re.compile(
    r"(^|_)(name|names|first_?name|last_?name|family|given|surname|maiden|birth_?name|initials"
    r"|dob|birth_?date|date_?of_?birth|geburtsdatum|death_?date"
    r"|ssn|nhs|nino|mrn|insurance_?(no|number)|passport|license|licence|account|iban"
    r"|phone|telephone|mobile|fax|e_?mail|address|street|zip|postal_?code|postcode|plz|city"
    r"|ip_?address|device_?(id|serial)|url|photo|image|fingerprint)(_|$)",
    re.IGNORECASE,
)


def may_identify(name: str) -> bool:
    """Whether a column of this name usually tells who a person is: the classes of the HIPAA Safe Harbor, by name.

    Source: 45 CFR 164.514(b)(2)(i). A guess, shown as one: a column `note` may hold a name as well.
    """
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return _IDENTIFYING.search(re.sub(r"[^A-Za-z0-9]+", "_", spaced)) is not None


_MOVING = ("updated", "modified", "changed", "last_update", "lastupdate", "mtime", "rowversion")
_CURSOR_NAMES = (*_MOVING, "created", "inserted")


def _moves(name: str) -> bool:
    return any(word in name.lower() for word in _MOVING)


def cursor_order(names: Iterable[str]) -> tuple[str, ...]:
    """Columns by how likely their name says that they grow with each change, the likeliest first."""

    def rank(name: str) -> tuple[int, str]:
        low = name.lower()
        return next((place for place, word in enumerate(_CURSOR_NAMES) if word in low), len(_CURSOR_NAMES)), low

    return tuple(sorted(names, key=rank))
