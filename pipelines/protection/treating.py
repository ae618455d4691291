"""Treating of single values by the rules of a table, and the count of those that could not be."""

from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Any

from connectors.sources.protection.methods import Method
from connectors.sources.protection.rules import Rule
from pipelines.protection.matching import Matcher, State
from pipelines.protection.methods.values import EMPTY, UNTREATABLE, Treat, is_a, treatment

GONE = object()
"""What becomes of a value that does not land at all."""

NOT_JSON = -1
"""The number of the rule where a text had to be JSON and was not."""


class Treating:
    """The rules of one table, applied to its values."""

    def __init__(self, matcher: Matcher, key: bytes, today: date) -> None:
        self._matcher = matcher
        self.key = key
        self.treats: list[Treat] = [treatment(rule, key, today) for rule in matcher.rules]
        self.untreatable: Counter[int] = Counter()
        """How many values landed as nothing since their rule could not treat them, by the rule's number."""
        self.failed: int | None = None
        """The number of the rule that could not treat the last value, until somebody takes it away."""

    def rule_of(self, value: Any, state: State) -> int | None:
        """The number of the rule that counts for a value: by its place, or before that by what it is."""
        for number in self._matcher.values:
            if state.rule is not None and number > state.rule:
                break
            kind = self._matcher.rules[number].values
            if kind is not None and is_a(kind, value):
                self._matcher.hit.add(number)
                return number
        return state.rule

    def leaf(self, value: Any, state: State, days: int | None) -> Any:
        """What becomes of a value that is neither list nor object."""
        if not state.kept:
            return GONE
        number = self.rule_of(value, state)
        return value if number is None else self.by(number, value, days)

    def by(self, number: int, value: Any, days: int | None) -> Any:
        """What a rule makes of a value."""
        if self._matcher.rules[number].method is Method.DROP:
            return GONE
        found = self.treats[number](value, days)
        if found is UNTREATABLE:
            return self.untreated(number)
        return None if found is EMPTY else found

    def untreated(self, number: int) -> None:
        """Count a value that a rule could not treat: nothing lands of it."""
        self.untreatable[number] += 1
        self.failed = number

    def whole(self, state: State) -> Any:
        """What becomes of a list or object of which no part is treated by itself."""
        redacts = state.kept and state.rule is not None and self._matcher.rules[state.rule].method is Method.REDACT
        return None if redacts else GONE

    def none(self, state: State) -> Any:
        """What becomes of a text that had to be JSON: nothing, and that is counted."""
        self.untreatable[NOT_JSON] += 1
        self.failed = NOT_JSON
        return None if state.kept else GONE

    def remember(self) -> Callable[[], None]:
        """Note the counts by now; what is given takes them back to that, when rows that were read do not land."""
        noted = self.untreatable.copy()

        def forget() -> None:
            self.untreatable.clear()
            self.untreatable.update(noted)

        return forget


def moves_dates(rules: tuple[Rule, ...]) -> bool:
    """Whether a rule needs to know whose a row is."""
    return any(rule.method is Method.SHIFT_DATES for rule in rules)
