"""One table under `protect`: the step of its pipe in which rows that may leave become what may land of them.

After the cursor's step, which compares the values that the source wrote, and before rows become tables with names,
types and counts: so nothing after it, no load file, no sample and no sentence, ever has another value. Nothing is kept
here but counts; if the process dies, the next run reads again.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any, ClassVar

import dlt
import pyarrow as pa
from dlt.extract.items_transform import ItemTransform

from connectors.sources.protection.methods import AS_TEXT, DISTINCT, Method
from connectors.sources.protection.paths import column_of, top_of
from connectors.sources.protection.rules import Rule
from connectors.sources.write_rules import BESIDE, letters_and_digits
from pipelines.errors import ConfigurationError
from pipelines.protection.arrow_columns import ArrowColumns, inner_of
from pipelines.protection.conditions import May
from pipelines.protection.json_rows import JsonRows
from pipelines.protection.matching import Matcher, State, finder, spelled, spelling, word_of
from pipelines.protection.methods.arrow_hashes import Known, offsets, once_each
from pipelines.protection.methods.hashing import as_text, hashing
from pipelines.protection.methods.values import OF_PATIENT, REMEMBERED, days_of, id_of, offset
from pipelines.protection.treating import Treating
from pipelines.rows.marks import is_beside
from pipelines.rows.to_arrow import END
from pipelines.wording import quoted

STATE = "protected"
"""Where a resource's state has the mark of what protected its rows."""


class Patients:
    """Where a row says whose it is: the first of some paths with a value."""

    def __init__(self, paths: Sequence[str], key: bytes, days: int) -> None:
        """`days`: by how many dates move at most."""
        self.columns = tuple(column for path in paths if (column := top_of(path)) is not None)
        """The columns in which the paths begin."""
        self.column = column_of(paths[0]) if len(paths) == 1 else None
        """The column that says it, where one alone does."""
        self.found = bool(paths)
        self._finders = tuple(map(finder, paths))
        self._key, self._days = key, days
        self._known: dict[int | str, int] = {}
        self.known = Known()
        """The days of a column's patients."""

    def offset_of(self, row: Any) -> int | None:
        """By how many days the dates of a row move; None when it doesn't say whose it is."""
        # Neither a truth nor a decimal, which may equal a number and is written otherwise.
        if self.column is not None and ((kind := type(who := row.get(self.column))) is int or kind is str):
            known = self._known.get(who)
            return self.of_patient(who) if known is None else known
        for find in self._finders:
            if found := find(row):
                return self.of_patient(found[0])
        return None

    def of_patient(self, patient: Any) -> int:
        """By how many days the dates of a patient move."""
        who = as_text(patient)
        found = self._known.get(who)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[who] = offset(self._key, who, self._days)
        if type(patient) is int:
            self._known[patient] = found
        return found

    def offsets(self, patients: pa.Array) -> pa.Array:
        """The same for a column of patients."""
        return offsets(patients, hashing(self._key), self._days, OF_PATIENT, id_of)


class Protecting(ItemTransform[Any, dict[str, Any]]):
    """The step of one resource's pipe."""

    # After the cursor's step and the one for the first rows, before the one that makes tables.
    placement_affinity: ClassVar[float] = 1.5

    def __init__(
        self,
        table: str,
        matcher: Matcher,
        key: bytes,
        today: date,
        *,
        may: May | None,
        asked: Iterable[str] = (),
        patients: Patients | None,
        keys: Iterable[str],
        mark: str | None,
        json: Iterable[str] = (),
        note_text: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`may`: whether a row may leave, by the columns `asked`. `keys`: the primary key. `json`: columns of JSON.

        `note_text` is told of each column that is text from now on, whatever it looks like.
        """
        super().__init__(lambda page: page)
        self.table = table
        self.matcher = matcher
        self.treating = Treating(matcher, key, today)
        self.rows_kept_back = 0
        self.rows = 0
        self.columns: dict[str, str] = {}
        """What becomes of each column that is not as it was, in a word, by the source's name."""
        self._rows = JsonRows(matcher, self.treating, self.look)
        self._arrow = ArrowColumns(matcher, self.treating, self._rows, today)
        self._may, self._asked = may, tuple(asked)
        self._patients = patients
        self._keys = frozenset(map(letters_and_digits, keys))
        self._looks_at_keys = bool(matcher.values) or any(rule.method is Method.TOKENIZE for rule in matcher.rules)
        self._json = frozenset(json)
        self._note_text = note_text
        self._noted: set[str] = set()
        self._mark = mark
        self._marked = False

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """The page or table as it lands; nothing when none of its rows may leave."""
        if item is END:
            return item
        if not self._marked:
            # Kept with the rows in the same load: if the process dies, neither is there.
            dlt.current.resource_state(self.table)[STATE] = self._mark
            self._marked = True
        if isinstance(item, pa.RecordBatch):
            item = pa.Table.from_batches([item])
        if isinstance(item, pa.Table):
            return self._of_table(item)
        rows = item if isinstance(item, list) else [item]
        found = self._of_rows([row if isinstance(row, dict) else {"value": row} for row in rows])
        return found or None

    def remember(self) -> Callable[[], None]:
        """Note the counts by now; what is given takes them back to that, when rows that were read do not land."""
        counts, kept_back, rows = self.treating.remember(), self.rows_kept_back, self.rows

        def forget() -> None:
            counts()
            self.rows_kept_back, self.rows = kept_back, rows

        return forget

    def look(self, name: str, *, beside: bool = False) -> State:
        """What is known of a column, which from now on is one of the table's. `beside`: a reader has made it so."""
        state = self.matcher.beside(name) if beside else self.matcher.child(self.matcher.first, name)
        if name not in self._noted:
            self._noted.add(name)
            if word := word_of(self.matcher, state):
                self.columns[name] = word
            if state.rule is not None and self.matcher.rules[state.rule].method in AS_TEXT:
                self._note_text(name)
        return state

    # --- rows of JSON ---------------------------------------------------------------------------------------------

    def _of_rows(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self._may is not None:
            may = self._may
            allowed = [row for row in rows if may(row)]
            self.rows_kept_back += len(rows) - len(allowed)
            rows = allowed
        self.rows += len(rows)
        treated = self._rows.treated
        if self._patients is None:
            found = [treated(row, None) for row in rows]
        else:
            offset_of = self._patients.offset_of
            found = [treated(row, offset_of(row)) for row in rows]
        if self._keys and self._looks_at_keys:
            self._check_keys(rows, found)
        return found

    def _check_keys(self, rows: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]) -> None:
        for row, treated in zip(rows, found, strict=True):
            for name in row:
                if spelled(name) in self._keys and row[name] is not None:
                    if treated.get(name) is None:
                        self._refuse_lost(name)
                    number = self.treating.rule_of(row[name], self.look(name))
                    if number is not None and treated.get(name) is not row[name]:
                        refuse_key(self.table, name, self.matcher.rules[number])

    # --- Arrow tables ---------------------------------------------------------------------------------------------

    def _of_table(self, table: pa.Table) -> Any:
        if self._may is not None:
            may = self._may
            allowed = [may(row) for row in _rows_of(table, self._asked)]
            self.rows_kept_back += allowed.count(False)
            if not any(allowed) and allowed:
                return None
            table = table if all(allowed) else table.filter(pa.array(allowed, pa.bool_()))
        self.rows += table.num_rows
        days = self._days(table)
        fields, columns = [], []
        for field, values in zip(table.schema, table.columns, strict=True):
            state = self._state_of(field, table.column_names)
            if state.passed:
                fields.append(field)
                columns.append(values)
                continue
            treated = self._arrow.treated(values, state, days, is_json=field.name in self._json)
            if self._keys and treated is not values and letters_and_digits(field.name) in self._keys:
                if self.matcher.values:
                    self._check_key(field.name, values, state)
                if treated is not None and treated.null_count > values.null_count:
                    self._refuse_lost(field.name)
            if treated is not None:
                fields.append(field.with_type(treated.type))
                columns.append(treated)
        if not columns:
            return pa.table({"none": pa.nulls(table.num_rows)}).select([])
        return pa.Table.from_arrays(columns, schema=pa.schema(fields))

    def _state_of(self, field: pa.Field, names: Sequence[str]) -> State:
        """What is known of a column; of one that stands beside another, what is of that."""
        base = field.name.partition(BESIDE)[0]
        if base != field.name and is_beside(field):
            return self.look(field.name, beside=True)
        state = self.look(field.name)
        beside = base != field.name and base in names
        return self.matcher.child(self.matcher.first, base) if beside and (state.passed or not state.kept) else state

    def _check_key(self, name: str, values: pa.ChunkedArray, state: State) -> None:
        for value in values.to_pylist():
            number = None if value is None else self.treating.rule_of(value, state)
            if number is not None:
                refuse_key(self.table, name, self.matcher.rules[number])

    def _refuse_lost(self, name: str) -> None:
        raise ConfigurationError(
            f"{quoted([name])} is part of the key of {self.table}, and has a value of which source.protect can make no "
            "token: it has fewer than a million others of its form, or signs beyond ASCII. Hash it instead."
        )

    def _days(self, table: pa.Table) -> pa.Array | None:
        patients = self._patients
        if patients is None:
            return None
        name = None if patients.column is None else spelling(table.column_names, patients.column)
        if name is not None and not pa.types.is_nested(table.schema.field(name).type):
            return once_each(table.column(name), patients.offsets, patients.known).combine_chunks()
        return pa.array([patients.offset_of(row) for row in _rows_of(table, patients.columns)], pa.int32())


def refuse_key(table: str, name: str, rule: Rule) -> None:
    """Refuse a rule that would make two keys one.

    Raises:
        ConfigurationError: it does.
    """
    if rule.method not in DISTINCT:
        raise ConfigurationError(
            f"{quoted([name])} is part of the key of {table}, and source.protect ({rule.label}) treats it by "
            f"{rule.method.value}, after which rows can't be told apart: hash it by a rule of the connector's own."
        )


def patients_of(paths: Sequence[str], rules: Sequence[Rule], key: bytes) -> Patients | None:
    """Where rows say whose they are, if a rule needs to know."""
    moving = next((rule for rule in rules if rule.method is Method.SHIFT_DATES), None)
    return None if moving is None else Patients(paths, key, days_of(moving))


def _rows_of(table: pa.Table, columns: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of some columns, texts of JSON read."""
    wanted = set(map(letters_and_digits, columns))
    names = [name for name in table.column_names if letters_and_digits(name) in wanted]
    if not names:
        return [{}] * table.num_rows
    lists = [[inner_of(value) for value in table.column(name).to_pylist()] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def mark_of(*said: Any) -> str:
    """A mark of what is said of a table, which is another when that is."""
    return hashlib.blake2b(repr(said).encode(), digest_size=9).hexdigest()
