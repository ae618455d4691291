"""Rows of JSON under `protect`: each value as its rule has it, and nothing that is not kept.

What is not touched is the very object that came, with the digits of its numbers; what is touched is made anew, for a
reader may still compare the rows that it gave.
"""

from collections.abc import Iterable
from typing import Any

from connectors.sources.protection.methods import Method
from pipelines.protection.matching import Matcher, Plan, State, meets
from pipelines.protection.treating import GONE, Treating
from pipelines.rows.json_values import dump, parse

MOST_PLANS = 1000
"""Shapes of objects at one place that are remembered."""


class JsonRows:
    """What becomes of the rows of one table."""

    def __init__(self, matcher: Matcher, treating: Treating) -> None:
        self._matcher = matcher
        self._treating = treating

    def treated(self, row: dict[str, Any], days: int | None) -> dict[str, Any]:
        """A row as it lands. `days`: by how many its patient's dates move."""
        return self._members(row, self._matcher.first, days)

    def value(self, value: Any, state: State, days: int | None) -> Any:
        """What becomes of a value, with all that is in it; `GONE` for nothing at all."""
        if state.passed:
            return value
        kind = type(value)
        if kind is dict or isinstance(value, dict):
            return self._object(value, state, days)
        if kind is list or isinstance(value, list | tuple):
            return self._list(value, state, days)
        if value is None:
            return None if state.kept and not self._drops(state) else GONE
        if state.on_path and isinstance(value, str):
            return self._of_text(value, state, days)
        return self._treating.leaf(value, state, days)

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
        found = [each for each in (self.value(item, state, days) for item in value) if each is not GONE]
        return found if found or (state.kept and not self._drops(state)) else GONE

    def _members(self, value: dict[str, Any], state: State, days: int | None) -> dict[str, Any]:
        shape = tuple(value)
        plan = state.plans.get(shape)
        if plan is None:
            plan = self._planned(shape, state)
        found = value.copy()
        for name in plan.gone:
            del found[name]
        treat = self.value
        for name, below in plan.treated:
            treated = treat(value[name], below, days)
            if treated is GONE:
                del found[name]
            else:
                found[name] = treated
        return found

    def _planned(self, shape: tuple[str, ...], state: State) -> Plan:
        """What becomes of objects with these names: found out once, for most rows have the same."""
        below = {name: self._matcher.child(state, name) for name in shape}
        plan = Plan(
            tuple(name for name, each in below.items() if each.nothing),
            tuple((name, each) for name, each in below.items() if not (each.nothing or each.passed)),
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
