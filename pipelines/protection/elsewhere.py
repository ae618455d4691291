"""Values of columns in other places than the column: in a codebook, and in a list of repetitions.

A codebook may quote what `protect` or `mask` hides: SPSS makes numbers of names, and the names their labels. And of a
field that is there several times the first is in the columns, and all are in `..._all`, which has a name of its own.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import pyarrow as pa

from connectors.sources.protection.methods import Method
from connectors.sources.protection.paths import top_of
from connectors.sources.write_rules import letters_and_digits, normalised
from pipelines.protection.matching import Matcher, State
from pipelines.protection.methods.values import is_a

ALL = "_all"
"""After the name of a column: that of the one with all repetitions, as JSON."""


class Elsewhere:
    """What may stand elsewhere of the columns of some tables."""

    def __init__(self, masked: Collection[str], matchers: Iterable[Matcher | None]) -> None:
        """`masked`: the columns that are. `matchers`: the rules of each table; None where there are none."""
        self._masked = tuple(masked)
        self._matchers = tuple(matchers)

    # --- codebooks ------------------------------------------------------------------------------------------------

    def of_codebook(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """The lines that may land: none of a variable that doesn't, and no value of one that lands otherwise."""
        return [line for row in rows if (line := self._line(row)) is not None]

    def values_stand(self, column: str) -> bool:
        """Whether values of a column may be quoted, which lands as it is in every table."""
        return not self._is_masked(column) and all(
            _lands(found, state) and (state.rule is None or _is_left(found, state.rule)) and not state.on_path
            for found, state in self._states(column)
        )

    def _line(self, row: dict[str, Any]) -> dict[str, Any] | None:
        column = row["variable"] or ""
        states = self._states(column)
        if len(states) == len(self._matchers) and states and not any(_lands(*each) for each in states):
            return None
        if not self.values_stand(column):
            return None if row["value"] else {**row, "missing_values": None}
        named = {name: row[name] for name in ("value", "label", "missing_values") if row[name]}
        told = {name for name, text in named.items() if any(_looks_like_more(*each, text) for each in states)}
        if told and row["value"]:
            return None
        return {**row, **dict.fromkeys(told)} if told else row

    # --- repetitions ----------------------------------------------------------------------------------------------

    def without_repetitions(self, pages: Iterable[pa.Table], tell: Callable[[str], None]) -> Iterator[pa.Table]:
        """Pages without lists of repetitions in which something is that a rule may be for. `tell` is told of them."""
        told: set[str] = set()
        for page in pages:
            hidden = [name for name in page.column_names if self._is_hidden(name)]
            for name in hidden:
                if name not in told:
                    told.add(name)
                    tell(
                        f"repeats {name.removesuffix(ALL)}, of which source.protect or source.mask may hide something: "
                        f"{name} does not land, unless a rule of source.protect names it"
                    )
            yield page.drop_columns(hidden) if hidden else page

    def _is_hidden(self, name: str) -> bool:
        if not name.endswith(ALL) or name == ALL:
            return False
        base = normalised(name.removesuffix(ALL))
        if any(_is_within(each, base) for each in self._masked) and not self._is_masked(name):
            return True
        return any(state.rule is None and _may_be_within(found, base) for found, state in self._states(name))

    def without_mask(self) -> "Elsewhere":
        """The same by the rules alone."""
        return Elsewhere((), self._matchers)

    def misses(self, column: str, twin: str) -> bool:
        """Whether a column is hidden, and another of its name, which lands under one with a number, would not be."""
        if self._is_masked(column) and not self._is_masked(twin):
            return True
        return any(
            (state.rule is not None and not _is_left(found, state.rule)) and other.kept and other.rule is None
            for (found, state), (_, other) in zip(self._states(column), self._states(twin), strict=True)
        )

    # --- both -----------------------------------------------------------------------------------------------------

    def _is_masked(self, column: str) -> bool:
        return letters_and_digits(column) in map(letters_and_digits, self._masked)

    def _states(self, column: str) -> list[tuple[Matcher, State]]:
        """What the tables that have rules know of a column."""
        return [(found, found.child(found.first, column)) for found in self._matchers if found is not None]


def _lands(found: Matcher, state: State) -> bool:
    return state.kept and (state.rule is None or found.rules[state.rule].method is not Method.DROP)


def _is_left(found: Matcher, rule: int) -> bool:
    return found.rules[rule].method is Method.AS_IS


def _looks_like_more(found: Matcher, state: State, text: str) -> bool:
    """Whether a text is what a rule for values by what they are is for."""
    rules = [found.rules[number] for number in found.values if state.rule is None or number < state.rule]
    return any(rule.values is not None and is_a(rule.values, text) for rule in rules)


def _is_within(column: str, base: str) -> bool:
    """Whether a column is that of a name, or of a part of it."""
    name = normalised(column)
    return name == base or name.startswith(f"{base}_")


def _may_be_within(found: Matcher, base: str) -> bool:
    """Whether a rule may be for something in the repetitions of a name: one without a column's path may be for all."""
    for rule in found.rules:
        if rule.method is Method.AS_IS:
            continue
        top = None if rule.path is None else top_of(rule.path)
        if top is None or _is_within(top, base):
            return True
    return False
