"""Protection of one run: the steps of its tables, and afterwards what has to be said of them.

A path that no row had is told, and one of a column that no table has ends the run before anything is written: then the
column that was meant would land in clear.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from connectors.sources import Source
from connectors.sources.protection.methods import AS_TEXT, KEYED, Method
from connectors.sources.protection.paths import top_of
from connectors.sources.protection.rules import Condition, Profile, Rule, Treatment, combined
from connectors.sources.write_rules import letters_and_digits
from pipelines.errors import ConfigurationError
from pipelines.protection.conditions import may_leave
from pipelines.protection.masking import masking_key
from pipelines.protection.matching import Matcher, matcher_of, said_of, word_of
from pipelines.protection.methods.texts import check_installed
from pipelines.protection.stored import profile_of
from pipelines.remarks import Remarks
from pipelines.wording import counted, quoted
from settings import Settings

if TYPE_CHECKING:
    from dlt.extract import DltResource

    from pipelines.protection.table import Protecting

FHIR_PATIENTS = ("subject.reference", "patient.reference", "beneficiary.reference", "individual.reference")
_LIMITS = {
    Method.TOKENIZE: " A token is made of values that have a million others of their form, such as six digits or five "
    "letters, all of them signs of ASCII: hash takes any.",
    Method.TEXT: " A text may have 100,000 characters.",
}
"""What methods do not take, where a sentence is due."""
logger = logging.getLogger("prefect.pipelines")


class Protection:
    """What a run does to the rows of a connector's tables beyond its mask."""

    def __init__(
        self,
        treatment: Treatment | None = None,
        where: tuple[Condition, ...] = (),
        key: bytes = b"",
        *,
        own: tuple[Rule, ...] = (),
        kind: str = "",
        describing: Callable[[str], bool] = lambda _: False,
        today: date | None = None,
    ) -> None:
        """`own`: the connector's own rules, of which one that finds nothing is told. `describing`: whether a table
        describes data and has no rows of people."""
        self._treatment = treatment or Treatment()
        self._where = where
        self._key = key
        self._own = own
        self._kind = kind
        self._describing = describing
        self._today = today or datetime.now(UTC).date()
        self._steps: dict[str, Protecting] = {}
        self._declared: set[str] = set()
        self._first: dict[str, bool] = {}
        """Of each table, whether no load before has filled it."""

    # --- into the pipes -------------------------------------------------------------------------------------------

    def matcher(self, table: str) -> Matcher | None:
        """The rules of a table; None where rows go through as they are."""
        treatment = self._treatment
        if self._describing(table):
            # Rules that name it are meant.
            treatment = Treatment(rules=tuple(rule for rule in treatment.rules if rule.tables))
        found = matcher_of(treatment, table)
        return None if found.says_nothing else found

    def mark(self, table: str) -> str | None:
        """A mark of what is done to a table's rows, which is another when that is; None where nothing is."""
        from pipelines.protection.table import mark_of  # noqa: PLC0415  # dlt costs seconds

        found, where = self.matcher(table), self._conditions(table)
        if found is None and may_leave(where, table) is None:
            return None
        keep = None if found is None or not found.keeps else said_of(self._treatment.keep, table)
        return mark_of(found.rules if found is not None else (), keep, where, self._patients(table))

    def chooses(self, table: str) -> bool:
        """Whether some rows of a table may not leave the source."""
        return may_leave(self._conditions(table), table) is not None

    def _conditions(self, table: str) -> tuple[Condition, ...]:
        """The conditions that may be for a table. One that describes data has no columns of theirs, but is named."""
        return tuple(each for each in self._where if each.tables) if self._describing(table) else self._where

    def treats(self, table: str, column: str) -> bool:
        """Whether values of a column, or of a path in one, may land otherwise than they are, or not at all."""
        found = self.matcher(table)
        return bool(column) and found is not None and not found.along(column).passed

    def hidden(self, columns: Iterable[str]) -> frozenset[str]:
        """Of these columns those that a rule treats in any table, by their letters and digits: nothing that is made of
        their values may stand beside them."""
        found = Matcher(self._treatment.rules, None)
        states = {name: found.child(found.first, name) for name in columns}
        return frozenset(
            letters_and_digits(name)
            for name, state in states.items()
            if state.rule is not None and found.rules[state.rule].method is not Method.AS_IS
        )

    def foreseen(self, table: str, columns: Mapping[str, str]) -> dict[str, str]:
        """What becomes of columns, in a word each, as far as their names and the source's words for their types tell.

        Args:
            table: the table's name at the source.
            columns: the types, in the source's own words, by name.

        Returns:
            The columns that do not land as they are.
        """
        found = self.matcher(table)
        if found is None:
            return {}
        words: dict[str, str] = {}
        for name, kind in columns.items():
            state = found.child(found.first, name)
            number = found.of_dates(state) if re.search("date|time", kind, re.IGNORECASE) else None
            word = word_of(found, state) if number is None else found.rules[number].method.value
            if word is not None:
                words[name] = word
        return words

    def declare(self, columns: Iterable[str], *, complete: bool = False) -> None:
        """Take note of columns that the source says it has, read now or not. `complete`: it has no others.

        Raises:
            ConfigurationError: when it has no others, and a rule of the connector names one.
        """
        self._declared.update(map(letters_and_digits, columns))
        if complete and (missed := [label for label, top in self._named() if top not in self._declared]):
            self._refuse(missed, "or remove it")

    def remember(self) -> Callable[[], None]:
        """Note what was counted by now; what is given takes it back to that, when rows that were read do not land."""
        notes = [step.remember() for step in self._steps.values()]

        def forget() -> None:
            for note in notes:
                note()

        return forget

    def put_into(self, resource: "DltResource", loaded: Collection[str] = ()) -> None:
        """Let a resource's pipe protect its rows. `loaded`: the columns that its table has from loads before.

        Raises:
            ConfigurationError: when rows could then not be told apart, or nothing of them would land.
        """
        matcher, may = self.matcher(resource.name), may_leave(self._conditions(resource.name), resource.name)
        if matcher is None and may is None:
            return
        from pipelines.protection.table import Protecting, patients_of  # noqa: PLC0415  # dlt costs seconds
        from pipelines.rows.to_arrow import ToArrow  # noqa: PLC0415

        matcher = matcher or Matcher((), None)
        if matcher.keeps and not said_of(self._treatment.keep, resource.name):
            raise ConfigurationError(
                f"source.protect keeps nothing of {resource.name}: add what may land of it to source.protect.keep, as "
                f'{{"{resource.name}": ["id"]}}, or don\'t load it.'
            )
        hint = (resource._hints or {}).get("primary_key")
        keys = [hint] if isinstance(hint, str) else list(hint) if isinstance(hint, list | tuple) else []
        declared = resource.columns if isinstance(resource.columns, dict) else {}
        to_arrow = next((step for step in resource._pipe.steps if isinstance(step, ToArrow)), None)
        patients = patients_of(self._patients(resource.name), matcher.rules, self._key)
        if patients is not None and not patients.found:
            raise ConfigurationError(
                f"source.protect moves dates of {resource.name}, and nothing says whose a row is: set "
                "source.protect.patient to the path of the patient's number."
            )
        step = Protecting(
            resource.name,
            matcher,
            self._key,
            self._today,
            may=may,
            asked=[top for each in self._where if (top := top_of(each.path)) is not None],
            patients=patients,
            keys=keys,
            mark=self.mark(resource.name),
            json=[name for name, said in declared.items() if said.get("data_type") == "json"],
            note_text=lambda name: None if to_arrow is None else to_arrow.declare_text(name),
        )
        for name in keys:
            _check_key(step, name)
        for name in list(declared):
            _adapt(step, name, declared)
        for name in loaded:
            step.matcher.child(step.matcher.first, name)
        self._first[resource.name] = not loaded
        self._steps[resource.name] = step
        resource.add_step(step)

    def _patients(self, table: str) -> tuple[str, ...]:
        said = said_of(self._treatment.patient, table)
        if said is not None:
            return (said,)
        if self._kind != "fhir":
            return ()
        return ("id",) if table == "Patient" else FHIR_PATIENTS

    # --- afterwards -----------------------------------------------------------------------------------------------

    @property
    def treated(self) -> tuple[str, ...]:
        """The columns that did not land as they were, each with what became of it."""
        found = {f"{name} ({word})": None for step in self._steps.values() for name, word in step.columns.items()}
        return tuple(found)

    def words(self, table: str) -> Mapping[str, str]:
        """What became of a table's columns, in a word each."""
        return self._steps[table].columns if table in self._steps else {}

    def check(self, remarks: Remarks, *, every_table: bool) -> None:
        """Compare the rules with the rows that were read, and say what could not be treated, or may not leave.

        Raises:
            ConfigurationError: when there were rows, and none has had a column that a rule of the connector names.
        """
        for step in self._steps.values():
            self._remark(step, remarks)
        read = [step for step in self._steps.values() if step.rows]
        if not read or not every_table or len(read) < len(self._steps):
            return
        hit = {step.matcher.rules[number] for step in self._steps.values() for number in step.matcher.hit}
        unmet = [rule.label for rule in self._own if rule.path is not None and rule not in hit]
        if not unmet:
            return
        there = self._declared.union(*(map(letters_and_digits, step.matcher.first.children) for step in read))
        missed = [label for label, top in self._named() if label in unmet and top not in there]
        if missed and self._kind != "fhir" and all(self._first.values()):
            self._refuse(missed, "or run it again when a row has it")
        remarks.add(
            f"source.protect names {quoted(unmet)}, which no row of this run had: compare it with the source, for a "
            "misspelt path protects nothing."
        )

    def _named(self) -> list[tuple[str, str]]:
        """The rules of the connector's own whose column must be there, by their label."""
        return [
            (rule.label, letters_and_digits(top))
            for rule in self._own
            if rule.path is not None and rule.method is not Method.AS_IS and (top := top_of(rule.path)) is not None
            if self._treatment.keep is None
        ]

    def _refuse(self, missed: list[str], way_out: str) -> NoReturn:
        dotted = next((label for label in missed if re.fullmatch(r"[\w.]+\.[\w.]+", label)), None)
        hint = "" if dotted is None else f" (a name that has dots in it is written ['{dotted}'])"
        raise ConfigurationError(
            f"source.protect names {quoted(missed)}, which no table of this connector has: "
            f"correct the spelling{hint}, {way_out}. Nothing was loaded."
        )

    def _remark(self, step: "Protecting", remarks: Remarks) -> None:
        if step.rows_kept_back:
            remarks.add(
                f"{counted(step.rows_kept_back, 'row')} of {step.table} may not leave the source, by "
                "source.protect.where, and did not."
            )
        for number, count in sorted(step.treating.untreatable.items()):
            rule = None if number < 0 else step.matcher.rules[number]
            how = "is no JSON" if rule is None else f"can't be treated by {rule.method.value} ({rule.label})"
            why = "" if rule is None else _LIMITS.get(rule.method, "")
            remarks.add(
                f"{counted(count, 'value')} of {step.table} landed as nothing: what {how} never lands as it is.{why}"
            )


def _check_key(step: "Protecting", name: str) -> None:
    from pipelines.protection.table import refuse_key  # noqa: PLC0415  # dlt costs seconds

    state = step.matcher.child(step.matcher.first, name)
    if not state.kept:
        raise ConfigurationError(
            f"source.protect keeps {quoted([name])} of {step.table} back, which is part of its key: add it to "
            "source.protect.keep."
        )
    if state.rule is not None:
        refuse_key(step.table, name, step.matcher.rules[state.rule])


def _adapt(step: "Protecting", name: str, declared: Any) -> None:
    """Give a column that a source has declared the type that it lands with."""
    state = step.matcher.child(step.matcher.first, name)
    if state.passed:
        return
    said = declared[name]
    rule = None if state.rule is None else step.matcher.rules[state.rule]
    if said.get("data_type") in {"date", "timestamp"}:
        number = step.matcher.of_dates(state)
        rule = rule if number is None else step.matcher.rules[number]
    if (not state.kept and not state.positions) or (rule is not None and rule.method is Method.DROP):
        del declared[name]
    elif rule is not None and rule.method in AS_TEXT:
        # Of whatever type it was, with whatever precision.
        declared[name] = {"name": name, "data_type": "text"}


def protection_of(source: Source, settings: Settings, profile: Profile | None = None) -> Protection:
    """The protection of a connector for one run. `profile`: the one that it names, where that is none of the shipped.

    Raises:
        ConfigurationError: when there is no key, and none may be made here; or no such profile, or no recogniser.
    """
    treatment = _treatment_of(source, profile)
    if any(rule.method is Method.TEXT for rule in treatment.rules):
        check_installed()
    keyed = any(rule.method in KEYED for rule in treatment.rules)
    key = masking_key(settings.data_dir, required=settings.mask_key_required) if keyed else b""
    return _protection(source, treatment, key)


def foreseeing(source: Source, profile: Profile | None) -> Protection:
    """The same to be asked what would become of columns: it has no key, and treats no row."""
    return _protection(source, _treatment_of(source, profile), b"")


def _treatment_of(source: Source, profile: Profile | None) -> Treatment:
    said = source.protect
    if said is None:
        return Treatment()
    if said.profile is not None and profile is None:
        profile = profile_of(None, source, None)
    return combined(said, None if profile is None else profile.of(source.type, source.segments()))


def _protection(source: Source, treatment: Treatment, key: bytes) -> Protection:
    said = source.protect
    where, own = ((), ()) if said is None else (said.where, said.rules)
    return Protection(treatment, where, key, own=own, kind=source.type, describing=source.describes)
