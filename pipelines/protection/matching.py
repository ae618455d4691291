"""Matching of a table's names with the rules that are for them: once a name, however many rows have it.

All paths of a table become one machine. Its states are what is known on the way into a row: which paths go on from
here, which rule counts so far, and whether what stands here is kept. A step into a name is a look-up after the first
time, so that a row costs as many look-ups as it has names on the way of a path. This module is pure.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.sources.protection.methods import Method
from connectors.sources.protection.paths import Anything, Deep, Named, Step, Where, parse
from connectors.sources.protection.rules import EVERY_TABLE, Kind, Rule, Treatment
from connectors.sources.write_rules import BESIDE, letters_and_digits, normalised, snake_case

KEPT = 10**6
"""The number of what is no rule but a path that is kept."""


@dataclass(frozen=True, slots=True)
class Spelled:
    """A step to a name that has these words."""

    words: tuple[str, ...]

    def matches(self, name: str) -> bool:
        """Whether they are in a name, one after the other."""
        there = words_of(name)
        return any(there[at : at + len(self.words)] == self.words for at in range(len(there)))


@functools.lru_cache(10_000)
def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, in small letters: of `patientBirthDate2` they are patient, birth, date and 2."""
    spaced = "".join(f"_{sign}" if sign.isdigit() and before.isalpha() else sign for before, sign in _pairs(name))
    return tuple(part for part in snake_case(normalised(spaced)).split("_") if part)


def _pairs(name: str) -> Iterable[tuple[str, str]]:
    return zip(f" {name}", name, strict=False)


AnyStep = Step | Spelled


@dataclass(frozen=True, slots=True)
class Pattern:
    """A way into a row, and the rule that counts at its end."""

    rule: int
    steps: tuple[AnyStep, ...]


Position = tuple[int, int]
"""A pattern, and how many of its steps are taken."""


Walk = Callable[[Any, int | None], Any]
"""What makes of a value, and by how many days its patient's dates move (None: nobody knows whose it is), what lands."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of the members of an object: names that go, and those that are treated; the others stay."""

    gone: tuple[str, ...]
    treated: tuple[tuple[str, "Walk"], ...]


@dataclass(slots=True, eq=False)
class State:
    """What is known at one place of a row."""

    positions: frozenset[Position]
    rule: int | None
    """The rule that counts for what stands here."""
    kept: bool
    children: dict[str, "State"] = field(default_factory=dict)
    elements: dict[tuple[bool, ...], "State"] = field(default_factory=dict)
    plans: dict[tuple[str, ...], Plan] = field(default_factory=dict)
    conditions: tuple[Where, ...] = ()
    """What an object here must meet for some of the paths to go on."""
    passed: bool = False
    """Whatever stands here, with all that is in it, lands as it is."""
    nothing: bool = False
    """Whatever stands here, nothing of it lands."""
    ends: bool = False
    """Nothing that stands in here is treated otherwise than what stands here."""
    on_path: bool = False
    """A path that was written out goes on from here, so that a text here must be JSON."""
    walk: Walk | None = None
    """What becomes of whatever stands here, once somebody has made that."""


class Matcher:
    """The machine of one table. `values`: the rules for values by what they are, in their order."""

    def __init__(self, rules: Sequence[Rule], keep: Iterable[str] | None) -> None:
        self.rules = tuple(rules)
        self.keeps = keep is not None
        self.values = tuple(number for number, rule in enumerate(rules) if rule.values is not None)
        self.hit: set[int] = set()
        """The rules that have found something."""
        self._patterns = [*_of_rules(rules), *(Pattern(KEPT, parse(path)) for path in keep or ())]
        self._states: dict[tuple[frozenset[Position], int | None, bool], State] = {}
        self.first = self._state({(number, 0) for number in range(len(self._patterns))}, None, kept=not self.keeps)

    @property
    def says_nothing(self) -> bool:
        """Whether rows go through as they are."""
        return not self.rules and not self.keeps

    def child(self, state: State, name: str) -> State:
        """What is known of what stands under a name."""
        found = state.children.get(name)
        base = name.partition(BESIDE)[0]
        if found is None and state is self.first and base != name:
            # What did not fit its column stands beside it, and has its rules where it has none of its own.
            own, of_base = self._into_name(state, name), self.child(state, base)
            found = state.children[name] = own if own.rule is not None and own.kept else of_base
        if found is None:
            found = state.children[name] = self._into_name(state, name)
        return found

    def beside(self, name: str) -> State:
        """What is known of a column that a reader has put beside another: what is of that, for the words at the end of
        its name are the reader's. A path that names it is meant."""
        own = self._into_name(self.first, name)
        is_meant = own.rule is not None and own.kept and self.rules[own.rule].path is not None
        return own if is_meant else self.child(self.first, name.partition(BESIDE)[0])

    def _into_name(self, state: State, name: str) -> State:
        spelled = letters_and_digits(name)
        taken = {after for position in state.positions for after in self._into(position, name, spelled)}
        return self._state(taken, state.rule, kept=state.kept)

    def element(self, state: State, met: tuple[bool, ...]) -> State:
        """What is known of an object that meets these of the state's conditions."""
        found = state.elements.get(met)
        if found is None:
            truth = dict(zip(state.conditions, met, strict=True))
            taken: set[Position] = set()
            for number, at in state.positions:
                step = self._step(number, at)
                if not isinstance(step, Where):
                    taken.add((number, at))
                elif truth[step]:
                    taken.add((number, at + 1))
            found = state.elements[met] = self._state(taken, state.rule, kept=state.kept)
        return found

    def of_dates(self, state: State) -> int | None:
        """The rule for dates, by what they are, that counts at a place before any other there; None: there is none."""
        for number in self.values:
            if (state.rule is None or number < state.rule) and self.rules[number].values is Kind.DATES:
                return number
        return None

    def along(self, path: str) -> State:
        """What is known at a path of plain names."""
        state = self.first
        for step in parse(path):
            if isinstance(step, Named):
                state = self.child(state, step.name)
        return state

    def _step(self, number: int, at: int) -> AnyStep | None:
        steps = self._patterns[number].steps
        return steps[at] if at < len(steps) else None

    def _into(self, position: Position, name: str, spelled: str) -> Iterable[Position]:
        number, at = position
        step = self._step(number, at)
        match step:
            case Named():
                if letters_and_digits(step.name) == spelled:
                    yield number, at + 1
            case Spelled():
                if step.matches(name):
                    yield number, at + 1
            case Anything():
                yield number, at + 1
            case Deep():
                yield number, at
            case _:
                pass

    def _state(self, taken: set[Position], rule: int | None, *, kept: bool) -> State:
        # "At any depth" has none, too.
        taken |= {(number, at + 1) for number, at in taken if isinstance(self._step(number, at), Deep)}
        done = {self._patterns[number].rule for number, at in taken if self._step(number, at) is None}
        kept = kept or KEPT in done
        rules = {found for found in done if found != KEPT}
        self.hit |= rules
        if rule is not None:
            rules.add(rule)
        rule = min(rules, default=None)
        # A later rule changes nothing in here, nor does what is kept already.
        going = frozenset(
            (number, at)
            for number, at in taken
            if self._step(number, at) is not None and self._matters(self._patterns[number].rule, rule, kept=kept)
        )
        known = self._states.get((going, rule, kept))
        if known is None:
            known = self._states[going, rule, kept] = self._made(going, rule, kept=kept)
        return known

    @staticmethod
    def _matters(other: int, rule: int | None, *, kept: bool) -> bool:
        """Whether what a path may still find changes anything."""
        return not kept if other == KEPT else rule is None or other < rule

    def _made(self, going: frozenset[Position], rule: int | None, *, kept: bool) -> State:
        steps = [self._step(number, at) for number, at in going]
        conditions = tuple(dict.fromkeys(step for step in steps if isinstance(step, Where)))
        as_is = rule is None or self.rules[rule].method is Method.AS_IS
        looked_at = any(rule is None or number < rule for number in self.values)
        whole = rule is not None and self.rules[rule].method in {Method.DROP, Method.REDACT}
        written = any(self._is_written(number) for number, _ in going)
        return State(
            going,
            rule,
            kept,
            conditions=tuple(sorted(conditions, key=repr)),
            passed=kept and as_is and not going and not looked_at,
            nothing=(not kept and not going)
            or (rule is not None and kept and not going and not looked_at and self.rules[rule].method is Method.DROP),
            ends=(not kept and not going) or (whole and kept and not written),
            on_path=written,
        )

    def _is_written(self, number: int) -> bool:
        """Whether a pattern is a path, and not names at any depth."""
        return not isinstance(self._patterns[number].steps[0], Deep)


def _of_rules(rules: Sequence[Rule]) -> Iterable[Pattern]:
    for number, rule in enumerate(rules):
        if rule.path is not None:
            yield Pattern(number, parse(rule.path))
        for words in rule.names:
            yield Pattern(number, (Deep(), Spelled(tuple(words.split("_")))))


def matcher_of(treatment: Treatment, table: str) -> Matcher:
    """The machine of one table, by its name at the source or as it lands."""
    rules = [rule for rule in treatment.rules if not rule.tables or normalised(table) in map(normalised, rule.tables)]
    return Matcher(rules, None if treatment.keep is None else said_of(treatment.keep, table) or ())


def word_of(matcher: Matcher, state: State) -> str | None:
    """What becomes of what stands at a place, in a word; None when it lands as it is."""
    if state.passed:
        return None
    if state.rule is not None and state.kept:
        return matcher.rules[state.rule].method.value
    if not state.kept:
        return "in part" if state.positions else Method.DROP.value
    return "in part" if state.on_path else None


def said_of(by_table: Mapping[str, Any] | None, table: str) -> Any:
    """What is said of a table, or of all others; None where nothing is."""
    if by_table is None:
        return None
    found = {normalised(name): said for name, said in by_table.items() if name != EVERY_TABLE}
    return found.get(normalised(table), by_table.get(EVERY_TABLE))


Find = Callable[[Any], list[Any]]


def finder(path: str) -> Find:
    """What finds the values at a path in a row, lists gone through; those that are nothing are left out."""
    steps = parse(path)

    def find(row: Any) -> list[Any]:
        found = [row]
        for step in steps:
            found = [below for value in found for below in _below(value, step)]
        return [value for each in found for value in _items(each) if value is not None]

    return find


def _items(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [item for each in value for item in _items(each)]
    return [value]


def _below(value: Any, step: Step) -> list[Any]:
    found: list[Any] = []
    for each in _items(value):
        if not isinstance(each, dict):
            continue
        match step:
            case Named():
                found += [] if (name := spelling(each, step.name)) is None else [each[name]]
            case Anything():
                found += each.values()
            case Where():
                found += [each] if meets(each, step) else []
            case Deep():
                found += [each, *(below for inner in each.values() for below in _below(inner, step))]
    return found


def meets(value: Any, condition: Where) -> bool:
    """Whether an object meets a condition of a path."""
    if not isinstance(value, dict):
        return False
    name = spelling(value, condition.key)
    there = [] if name is None else [str(item) for item in _items(value[name])]
    return (condition.value in there) == condition.equal


def spelling(row: Collection[str], name: str) -> str | None:
    """How a row spells a name, if it has it."""
    if name in row:
        return name
    wanted = letters_and_digits(name)
    return next((each for each in row if spelled(each) == wanted), None)


spelled = functools.lru_cache(10_000)(letters_and_digits)
"""`letters_and_digits`, remembered."""
