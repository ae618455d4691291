"""Rows of JSON under `protect`: each value as its rule has it, and nothing that is not kept.

What is not touched is the very object that came, with the digits of its numbers; what is touched is made anew, for a
reader may still compare the rows that it gave. What becomes of a place is found out once, as a function.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from connectors.sources.protection.methods import Method
from pipelines.protection.matching import Matcher, Plan, State, Walk, meets
from pipelines.protection.methods.values import REMEMBERED, UNTREATABLE
from pipelines.protection.treating import GONE, Treating
from pipelines.rows.json_values import dump, parse

MOST_PLANS = 1000
"""Shapes of objects at one place that are remembered."""

LONG = 200
"""Characters above which a text is not remembered: notes don't repeat, and are many."""

_PLAIN = (str, int, bool)
"""Types of which two equal values are written alike, so that what became of one becomes of the other."""

_NUMBERS = frozenset({int, float, bool})

_NEW = object()


class JsonRows:
    """What becomes of the rows of one table. `noted` is told each name that a row has, once at least."""

    def __init__(self, matcher: Matcher, treating: Treating, noted: Callable[[str], Any] = lambda _: None) -> None:
        self._matcher = matcher
        self._treating = treating
        self._noted = noted

    def treated(self, row: dict[str, Any], days: int | None) -> dict[str, Any]:
        """A row as it lands. `days`: by how many its patient's dates move."""
        return self._members(row, self._matcher.first, days)

    def value(self, value: Any, state: State, days: int | None) -> Any:
        """What becomes of a value, with all that is in it; `GONE` for nothing at all."""
        if state.passed:
            return value
        if isinstance(value, dict):
            return self._object(value, state, days)
        if isinstance(value, list | tuple):
            return self._list(value, state, days)
        if value is None:
            return None if state.kept and not self._drops(state) else GONE
        if state.on_path and isinstance(value, str):
            return self._of_text(value, state, days)
        return self._treating.leaf(value, state, days)

    def _walk(self, state: State) -> Walk:
        """`value` for one place."""
        if state.walk is None:
            state.walk = self._made(state)
        return state.walk

    def _made(self, state: State) -> Walk:
        """What becomes of any value at a place: of plain ones at once where that is known, else by `value`."""
        known: Mapping[type, dict[Any, Any]] = {}
        shifts: Walk | None = None
        untouched: frozenset[type] = frozenset()
        if state.kept and not state.on_path:
            candidates = [number for number in self._matcher.values if state.rule is None or number < state.rule]
            if state.rule is None:
                untouched = _NUMBERS  # which no rule for values finds
            numbers = candidates if state.rule is None else [*candidates, state.rule]
            if all(self._matcher.rules[number].method is not Method.SHIFT_DATES for number in numbers):
                known = {kind: {} for kind in _PLAIN}
            elif not candidates and state.rule is not None:
                shifts = self._shifting(state.rule)
        of_object, of_any, of_plain = self._object, self.value, self._remembering

        def walk(value: Any, days: int | None) -> Any:
            kind = type(value)
            if kind in known:
                found = known[kind].get(value, _NEW)
                return found if found is not _NEW else of_plain(value, state, days, known[kind])
            if kind in untouched:
                return value
            if shifts is not None and kind is str:
                return shifts(value, days)
            return of_object(value, state, days) if kind is dict else of_any(value, state, days)

        return walk

    def _remembering(self, value: Any, state: State, days: int | None, known: dict[Any, Any]) -> Any:
        """The same for a plain value, which is then known. One that can't be treated is counted each time it comes."""
        failed, self._treating.failed = self._treating.failed, None
        found = self._treating.leaf(value, state, days)
        if self._treating.failed is None:
            self._treating.failed = failed
            if type(value) is not str or len(value) <= LONG:
                if len(known) >= REMEMBERED:
                    known.clear()
                known[value] = found
        return found

    def _shifting(self, number: int) -> Walk:
        """What moves texts by a rule."""
        moved, untreated = functools.lru_cache(REMEMBERED)(self._treating.treats[number]), self._treating.untreated

        def shift(value: Any, days: int | None) -> Any:
            found = moved(value, days)
            return untreated(number) if found is UNTREATABLE else found

        return shift

    def _object(self, value: dict[str, Any], state: State, days: int | None) -> Any:
        if state.conditions:
            state = self._matcher.element(state, tuple(meets(value, each) for each in state.conditions))
        if state.passed:
            return value
        if state.ends:
            return self._treating.whole(state)
        found = self._members(value, state, days)
        # Of what is not kept, or dropped, nothing lands when no part of it does.
        return found if found or not value or (state.kept and not self._drops(state)) else GONE

    def _list(self, value: Iterable[Any], state: State, days: int | None) -> Any:
        if state.ends and not state.conditions:
            return self._treating.whole(state)
        walk = self._walk(state)
        found = [each for each in [walk(item, days) for item in value] if each is not GONE]
        return found if found or (state.kept and not self._drops(state)) else GONE

    def _members(self, value: dict[str, Any], state: State, days: int | None) -> dict[str, Any]:
        shape = tuple(value)
        plan = state.plans.get(shape)
        if plan is None:
            plan = self._planned(shape, state)
        found = value.copy()
        for name in plan.gone:
            del found[name]
        for name, walk in plan.treated:
            treated = walk(value[name], days)
            if treated is GONE:
                del found[name]
            else:
                found[name] = treated
        return found

    def _planned(self, shape: tuple[str, ...], state: State) -> Plan:
        """What becomes of objects with these names: found out once, for most rows have the same."""
        if state is self._matcher.first:
            for name in shape:
                self._noted(name)
        below = {name: self._matcher.child(state, name) for name in shape}
        plan = Plan(
            tuple(name for name, each in below.items() if each.nothing),
            tuple((name, self._walk(each)) for name, each in below.items() if not (each.nothing or each.passed)),
        )
        if len(state.plans) >= MOST_PLANS:
            state.plans.clear()
        state.plans[shape] = plan
        return plan

    def _drops(self, state: State) -> bool:
        return state.rule is not None and self._matcher.rules[state.rule].method is Method.DROP

    def _of_text(self, value: str, state: State, days: int | None) -> Any:
        """A text into which a path goes: JSON, or nothing that could be treated."""
        if state.rule is not None:
            return self._treating.leaf(value, state, days)
        try:
            inner = parse(value.encode(), lambda _: None)
        except ValueError:
            inner = None
        if not isinstance(inner, dict | list):
            return self._treating.none(state)
        found = self.value(inner, state, days)
        return found if found is GONE or found is None else dump(found).decode()
