"""Landed names of the columns of one table: each name of the source has one of its own, the same in every load.

Destinations know names of small Latin letters, digits and underscores, so different names of a source can become one:
`CD4+` and `CD4-`, `pain_1` and `pain___1`, `ID` and `id`. Values of two columns in one are lost or taken for the
other's, so both land: one of them owns the plain name, and the other has six digits of a hash of its own name behind
it. The owner is the column that the connector names as key or cursor, else the one that has had it before, else the one
that is spelled as it lands, else the first.

What a later load can't tell from the names it sees is kept in the state that dlt stores with the rows: which name owns
a column that is spelled otherwise. If the process dies before that, none of its rows are there either.
"""

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlt.common.normalizers.naming.snake_case import NamingConvention

from connectors.sources.write_rules import BESIDE, normalised, snake_case

OWN = frozenset({"_dlt_load_id"})
"""Columns that each table gets from dlt."""

_DIGITS = 6

UNNAMED = "column"
"""Where a column lands whose name is empty or has no letter that a destination takes."""


class Rule:
    """The rule by which one name becomes another, when it is the only one that becomes that."""

    def __init__(self, longest: int | None = None, *, of_arrow: bool = False) -> None:
        """`longest`: the most characters that the destination takes in a name.

        `of_arrow`: of Arrow tables as a reader made them, where dlt takes two underscores for a path and keeps them.
        """
        self._longest = longest
        self._of_arrow = of_arrow
        self._convention = NamingConvention(longest or 0)

    def landed(self, name: str) -> str:
        """The plain name, short enough for the destination in the way that dlt makes it."""
        return self._short(self._plain(name))

    def landed_before(self, name: str) -> str:
        """The name by the rule of earlier versions, which knew no other script."""
        return self._short(name if self._of_arrow else snake_case(name))

    def told_apart(self, name: str, digits: int) -> str:
        """The plain name with digits of a hash of the source's name, which is another for each."""
        tag = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()[:digits]
        plain = self._plain(name)
        if self._longest is not None:
            plain = plain[: self._longest - digits - 1].rstrip("_")
        return f"{plain}_{tag}"

    def _plain(self, name: str) -> str:
        parts = name.split("__") if self._of_arrow else [name]
        return "__".join(normalised(part) for part in parts if part.strip()) or UNNAMED

    def _short(self, name: str) -> str:
        return self._convention.normalize_path(name) if name.strip() else ""


class ColumnNames:
    """The names of one table's columns.

    `keys` are the columns that the connector names as key or cursor, as it writes them, and `columns` those that the
    table has in the destination. `recorded` is what is kept for the next load: the caller stores it when it changes.
    """

    def __init__(
        self,
        rule: Rule,
        *,
        keys: Iterable[str] = (),
        columns: Iterable[str] = (),
        recorded: Mapping[str, Any] | None = None,
    ) -> None:
        self._rule = rule
        self._keys = frozenset(keys)
        self._key_columns = frozenset(map(rule.landed, self._keys))
        self._columns = frozenset(column for column in columns if BESIDE not in column) - OWN
        self._landed: dict[str, str] = {}
        self._page: Sequence[str] = ()
        self._by_name_before: dict[str, list[str]] = {}
        self._owners: dict[str, str | None] = dict.fromkeys(OWN)
        self.told_apart: dict[str, str] = {}
        """Of this run: names that came to land otherwise than plainly, since another has that column."""
        self.changed = False
        """Whether there is something to record; set back by whoever has done it."""
        # Without a record it is the first load under this rule: whoever comes first owns what the table has so far.
        known: Mapping[str, Any] = {"names": {}, "free": self._columns} if recorded is None else recorded
        self._free = set(known.get("free", ())) & self._columns
        for name, landed in known.get("names", {}).items():
            self._take(name, landed)
        for landed in self._columns - self._free - self._owners.keys():
            # Not recorded, so it is spelled as it lands.
            self._take(landed, landed)
        self.changed = recorded is None

    def copied(self) -> "ColumnNames":
        """Another that knows the same, and learns by itself."""
        other = copy.copy(self)
        other._landed, other._owners = dict(self._landed), dict(self._owners)
        other.told_apart, other._free = dict(self.told_apart), set(self._free)
        return other

    @property
    def recorded(self) -> dict[str, Any]:
        """What the next load must know: the names that are spelled otherwise, and columns that nobody owns so far."""
        names = {name: landed for name, landed in sorted(self._landed.items()) if name != landed}
        return {"names": names, "free": sorted(self._free)} if self._free else {"names": names}

    def of(self, names: Sequence[str]) -> tuple[str, ...]:
        """The landed names of the columns of one page, file or table, in their order. None is there twice."""
        missing = [name for name in names if name not in self._landed]
        for name in sorted(missing, key=self._rank):
            self._take(name, self._choose(name, names))
        landed = tuple(self._landed[name] for name in names)
        if len(set(landed)) < len(landed):
            self._part(names)
            return self.of(names)
        return landed

    def _rank(self, name: str) -> int:
        return 0 if name in self._keys else 1 if name == self._rule.landed(name) else 2

    def _choose(self, name: str, page: Sequence[str]) -> str:
        plain, before = self._rule.landed(name), self._rule.landed_before(name)
        # An older table has it by its older name, if that isn't what many names were made to be.
        if (
            plain != before
            and plain not in self._columns
            and before in self._free
            and (name in self._keys or self._before(page).get(before) == [name])
        ):
            return before
        if (apart := self._rule.told_apart(name, _DIGITS)) in self._free:
            return apart  # from before the record was lost
        if plain not in self._owners:
            return plain
        owner = self._owners[plain]
        if plain in self._key_columns and owner is not None:
            if name in self._keys and owner not in self._keys:
                self._move(owner)
                return plain
            if owner not in page:
                # A key lands as the key, however a file spells it.
                return plain
        return self._apart(name)

    def _before(self, page: Sequence[str]) -> dict[str, list[str]]:
        """The names of a page by what earlier versions made of them; looked at once, for pages may have thousands."""
        if self._page is not page:
            self._page, self._by_name_before = page, {}
            for name in page:
                self._by_name_before.setdefault(self._rule.landed_before(name), []).append(name)
        return self._by_name_before

    def _apart(self, name: str) -> str:
        """The first name with a hash that no other has."""
        self.told_apart[name] = found = next(
            apart
            for digits in range(_DIGITS, 41)
            if (apart := self._rule.told_apart(name, digits)) not in self._owners
            and (apart not in self._columns or apart in self._free)
        )
        return found

    def _take(self, name: str, landed: str) -> None:
        self._landed[name] = landed
        self.changed = True
        self._owners.setdefault(landed, name)
        self._free.discard(landed)

    def _move(self, name: str) -> None:
        """Let go of a name's column, which another has from now on."""
        self._owners.pop(self._landed[name], None)
        self._take(name, self._apart(name))

    def _part(self, page: Sequence[str]) -> None:
        """Give each of the spellings of a key that come together a column of its own."""
        for landed, spelled in _by_column(page, self._landed).items():
            owner = min(spelled, key=lambda name: (self._rank(name), name != self._owners.get(landed)))
            for name in spelled:
                if name != owner:
                    self._move(name)
            self._owners[landed] = owner


def _by_column(page: Sequence[str], landed: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of each column that has more than one."""
    found: dict[str, list[str]] = {}
    for name in page:
        found.setdefault(landed[name], []).append(name)
    return {column: names for column, names in found.items() if len(names) > 1}
