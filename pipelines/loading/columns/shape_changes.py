"""Changes of a table's shape at its source: what came in one load, and what stands in the destination. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from connectors.loads import ChangeKind
from connectors.sources.write_rules import BESIDE
from pipelines.wording import quoted

if TYPE_CHECKING:
    # Arrow, which a run that loads nothing does without.
    from pipelines.rows.fitting import Fitter

ENOUGH_ROWS = 100
"""Rows of which none has a value before a column counts as emptied: fewer may have none by chance."""


@dataclass(frozen=True, slots=True)
class Change:
    """One column that is not what it was."""

    table_name: str
    column_name: str
    kind: ChangeKind
    type_before: str | None = None
    type_after: str | None = None
    was: str | None = None
    """Of a column that seems to be renamed, its name before."""

    @property
    def words(self) -> str:
        """The change as a part of a sentence."""
        name = quoted([self.column_name])
        match self.kind:
            case ChangeKind.NEW:
                return f"{name} is new"
            case ChangeKind.RENAMED:
                return f"{quoted([self.was or ''])} seems to be called {name} now"
            case ChangeKind.RETYPED:
                if self.type_before == self.type_after:
                    return f"{name} has values of {self.type_after} that are larger than before"
                return f"{name} was {self.type_before} and has values that are {self.type_after}"
            case _:
                return name


def words_of(changes: Iterable[Change]) -> Iterator[str]:
    """Changes of a table as parts of a sentence: columns that are gone, or emptied, are one part."""
    lost: dict[ChangeKind, list[str]] = {ChangeKind.GONE: [], ChangeKind.EMPTIED: []}
    for each in changes:
        if each.kind in lost:
            lost[each.kind].append(each.column_name)
        else:
            yield each.words
    for kind, names in lost.items():
        is_one = len(names) == 1
        if names and kind is ChangeKind.GONE:
            yield f"{quoted(names)} {'is' if is_one else 'are'} gone"
        elif names:
            yield f"{quoted(names)} {'has' if is_one else 'have'} no values any more"


def changes_of(table: str, fitter: "Fitter", *, keeps_empty: bool) -> list[Change]:
    """What has changed of a table that has rows in the destination; nothing for one that is new.

    Args:
        table: as it lands.
        fitter: knows the columns that stand there, and those that came.
        keeps_empty: the source names its columns though they have no values (a database, Parquet), so that one which
            does not come is gone; else it has no values.
    """
    if not fitter.before or not fitter.rows:
        return []
    found = [*_new(table, fitter), *_missing(table, fitter, keeps_empty=keeps_empty)]
    new = [each for each in found if each.kind is ChangeKind.NEW]
    gone = [each for each in found if each.kind in {ChangeKind.GONE, ChangeKind.EMPTIED}]
    if len(new) == len(gone) == 1 and new[0].type_after == gone[0].type_before:
        renamed = Change(
            table, new[0].column_name, ChangeKind.RENAMED, gone[0].type_before, new[0].type_after, gone[0].column_name
        )
        return [*(each for each in found if each not in {new[0], gone[0]}), renamed]
    return found


def _new(table: str, fitter: "Fitter") -> list[Change]:
    found = []
    retyped: dict[str, str] = {}
    for name in sorted(fitter.new):
        base = fitter.base_of(name)
        if base != name and base in fitter.before:
            retyped.setdefault(base, name.rpartition(BESIDE)[2])
        else:
            found.append(Change(table, name, ChangeKind.NEW, None, fitter.known[name].kind))
    wider: Mapping[str, tuple[str, str]] = fitter.widened
    found += [Change(table, name, ChangeKind.RETYPED, fitter.known[name].kind, kind) for name, kind in retyped.items()]
    return found + [Change(table, name, ChangeKind.RETYPED, *wider[name]) for name in sorted(wider)]


def _missing(table: str, fitter: "Fitter", *, keeps_empty: bool) -> list[Change]:
    names = sorted(name for name in fitter.before if BESIDE not in name and not name.startswith(("_dlt", "_deleted")))
    if keeps_empty:
        lost = [name for name in names if name not in fitter.came]
        return [Change(table, name, ChangeKind.GONE, fitter.known[name].kind) for name in lost]
    if fitter.rows < ENOUGH_ROWS:
        return []
    lost = [name for name in names if name not in fitter.valued]
    return [Change(table, name, ChangeKind.EMPTIED, fitter.known[name].kind) for name in lost]
