"""Tables of a PostgreSQL source that change at random, and what must stand in a destination after each load.

Rows come, change, go, get another key and come again; columns come, go and become wider. There is a table of each
mode of `deletes`, with and without a cursor and a history; what a load has to leave of each is known here, row by row.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

Sql = Callable[[str], list[tuple[Any, ...]]]
Row = dict[str, Any]
Rows = dict[int, Row]

WIDER = {"smallint": "int", "int": "bigint", "bigint": "numeric(22,2)", "numeric(22,2)": "numeric(28,4)",
         "varchar(12)": "text", "date": "timestamp"}  # fmt: skip
"""What a column's type becomes."""

_WHOLE = {"smallint": 2**15 - 1, "int": 2**31 - 1, "bigint": 2**63 - 1}

NEW_KINDS = ("smallint", "int", "varchar(12)", "date", "boolean", "timestamptz", "numeric(22,2)", "double precision")


@dataclass
class Changing:
    """One table of the source, and what was landed of it."""

    name: str
    emr: Sql
    rng: random.Random
    deletes: str
    cursor: bool
    history: bool
    columns: dict[str, str] = field(default_factory=lambda: {"note": "varchar(12)", "weight": "smallint"})
    landed: Rows = field(default_factory=dict)
    """By key, the last version that a load has seen, gone ones included."""
    perhaps: dict[int, list[Row]] = field(default_factory=dict)
    """By key, versions since then that a run which died may have landed."""
    seen: list[tuple[datetime, Rows]] = field(default_factory=list)
    """After each load: a moment, and the rows that stood there."""
    statements: list[str] = field(default_factory=list)
    held: frozenset[str] = frozenset()
    """Columns of which nothing lands, since nobody has approved them."""
    unsure: frozenset[str] = frozenset()
    """Columns that values may be missing of, since nobody has approved their type."""
    _came: int = 2
    """How many columns there have been."""

    @property
    def definition(self) -> dict[str, Any]:
        """The table in a connector."""
        cursor = {"cursor_column": "changed", "lag": self.rng.choice([0, 300])} if self.cursor else {}
        return {"name": self.name, "primary_key": "id", "deletes": self.deletes, "history": self.history, **cursor}

    def make(self) -> None:
        """The table with its first rows."""
        columns = "".join(f", {name} {kind}" for name, kind in self.columns.items())
        self._do(f"CREATE TABLE {self.name} (id bigint PRIMARY KEY, changed timestamptz, extra jsonb{columns})")
        self._insert(self.rng.randrange(0, 40))

    def change(self) -> None:
        """Some changes."""
        for _ in range(self.rng.randrange(0, 5)):
            self.rng.choice(
                [self._some_come, self._some_change, self._some_go, self._some_have_other_keys, self._all_go,
                 self._some_come_again, self._some_change, self._a_column_comes, self._a_column_becomes_wider,
                 self._a_column_goes]
            )()  # fmt: skip

    def source(self) -> Rows:
        """The rows that the source has."""
        names = ("id", "changed", "extra", *self.columns)
        return _rows(names, self.emr(f"SELECT {', '.join(names)} FROM {self.name}"))

    def note(self) -> None:
        """A run that may die reads what the source has now."""
        for key, row in self.source().items():
            self.perhaps.setdefault(key, []).append(row)

    def forget(self) -> None:
        """A full refresh leaves nothing of before."""
        self.landed.clear()
        self.perhaps.clear()

    def unequal(self, place: str, wanted: Row, found: Row | None) -> Iterator[str]:
        """A difference of a row of the source and what stands there, but for what waits for a person."""
        if found is not None:
            lost = {name for name in self.unsure if found.get(name) is None}
            wanted = {name: value for name, value in wanted.items() if name not in {*self.held, *lost}}
        yield from _unequal(place, wanted, found)

    def _do(self, statement: str) -> None:
        self.statements.append(statement)
        self.emr(statement)

    def _insert(self, count: int, first: int | None = None) -> None:
        for number in range(count):
            key = self.rng.randrange(1, 400) if first is None else first + number
            names = ", ".join(("id", "changed", "extra", *self.columns))
            values = ", ".join((str(key), "clock_timestamp()", self._json(), *map(self._value, self.columns.values())))
            self._do(f"INSERT INTO {self.name} ({names}) VALUES ({values}) ON CONFLICT DO NOTHING")

    def _some(self) -> str:
        return f"id % {self.rng.choice([2, 3, 5, 9])} = {self.rng.randrange(0, 2)}"

    def _some_come(self) -> None:
        self._insert(self.rng.randrange(1, 12))

    def _some_change(self) -> None:
        name = self.rng.choice([*self.columns, "extra"])
        value = self._json() if name == "extra" else self._value(self.columns[name])
        self._do(f"UPDATE {self.name} SET {name} = {value}, changed = clock_timestamp() WHERE {self._some()}")

    def _some_go(self) -> None:
        self._do(f"DELETE FROM {self.name} WHERE {self._some()}")

    def _all_go(self) -> None:
        if self.rng.random() < 0.2:
            self._do(f"DELETE FROM {self.name}")

    def _some_have_other_keys(self) -> None:
        step = self.rng.randrange(400, 4000) * 1000
        self._do(f"UPDATE {self.name} SET id = id + {step}, changed = clock_timestamp() WHERE {self._some()}")

    def _some_come_again(self) -> None:
        for key in self.rng.sample(sorted(self.landed), min(3, len(self.landed))):
            self._insert(1, key)

    def _a_column_comes(self) -> None:
        if len(self.columns) < 9:
            name, kind = f"c{self._came}", self.rng.choice(NEW_KINDS)
            self._came += 1
            self._do(f"ALTER TABLE {self.name} ADD COLUMN {name} {kind}")
            self.columns[name] = kind
            self._do(
                f"UPDATE {self.name} SET {name} = {self._value(kind)}, changed = clock_timestamp() WHERE {self._some()}"
            )

    def _a_column_goes(self) -> None:
        # Rows that a cursor does not read again keep what they had.
        if not self.cursor and len(self.columns) > 1:
            name = self.rng.choice([*self.columns])
            del self.columns[name]
            self._do(f"ALTER TABLE {self.name} DROP COLUMN {name}")

    def _a_column_becomes_wider(self) -> None:
        if narrow := [name for name, kind in self.columns.items() if kind in WIDER]:
            name = self.rng.choice(narrow)
            self.columns[name] = WIDER[self.columns[name]]
            self._do(f"ALTER TABLE {self.name} ALTER COLUMN {name} TYPE {self.columns[name]}")
            self._do(
                f"UPDATE {self.name} SET {name} = {self._value(self.columns[name])}, changed = clock_timestamp() "
                f"WHERE {self._some()}"
            )

    def _json(self) -> str:
        value: Any = self.rng.choice([None, {"a": self.rng.randrange(9)}, {"b": [1, {"c": "ü'"}], "a": None}, [], "x"])
        return "NULL" if value is None else "'" + json.dumps(value).replace("'", "''") + "'"

    def _value(self, kind: str) -> str:
        rng = self.rng
        if rng.random() < 0.2:
            return "NULL"
        if kind in _WHOLE:
            return str(rng.choice([0, _WHOLE[kind], -_WHOLE[kind], rng.randrange(100)]))
        if kind in {"date", "timestamp", "timestamptz"}:
            return f"{kind} '{rng.randrange(1, 9999):04}-{rng.randrange(1, 13):02}-01'"
        some = {
            "varchar(12)": ["''", "'a'", "'it''s ü'", f"'n{rng.randrange(99)}'"],
            "text": [f"repeat('x', {rng.randrange(0, 40)})"],
            "boolean": ["true", "false"],
            "double precision": ["0.1", "1e300", "'infinity'", str(rng.random())],
        }
        if kind in some:
            return rng.choice(some[kind])
        scale = int(kind.rstrip(")").partition(",")[2])
        return str(Decimal(rng.randrange(10**6)).scaleb(-scale))


def _plain(name: str, value: Any) -> Any:
    """A value as both sides tell it: numbers by their value, moments in UTC, JSON as what it means."""
    if name == "extra" and isinstance(value, str):
        try:
            return _plain(name, json.loads(value))
        except ValueError:
            return value
    if name == "extra" and isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, datetime):
        return value.replace(tzinfo=None) - (value.utcoffset() or _NONE)
    if type(value).__name__ == "date":
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  # both sides without a zone
    return value


_NONE = timedelta()


def _rows(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Rows:
    found: Rows = {}
    for row in rows:
        values = {name: _plain(name, value) for name, value in zip(names, row, strict=True)}
        assert values["id"] not in found, f"key {values['id']} twice"
        found[values["id"]] = values
    return found


@dataclass(frozen=True)
class Landed:
    """A dataset of the destination."""

    ask: Sql
    dataset: str

    def columns(self, table: str) -> tuple[str, ...]:
        """The columns of a table, without dlt's own."""
        found = self.ask(
            f"SELECT column_name FROM information_schema.columns WHERE table_schema = '{self.dataset}' "
            f"AND table_name = '{table}' ORDER BY 1"
        )
        return tuple(name for (name,) in found if not name.startswith("_dlt"))

    def rows(self, table: str, condition: str = "TRUE") -> Rows:
        """The rows of a table."""
        if not (names := self.columns(table)):
            return {}
        quoted = ", ".join(f'"{name}"' for name in names)
        return _rows(names, self.ask(f"SELECT {quoted} FROM {self.dataset}.{table} WHERE {condition}"))

    def as_of(self, table: str, moment: datetime) -> Rows:
        """The rows that a history has at a moment."""
        at = moment.isoformat()
        return self.rows(f"{table}__history", f"valid_from <= '{at}' AND (valid_to IS NULL OR valid_to > '{at}')")


def differences(table: Changing, there: Landed) -> Iterator[str]:
    """What is not as it must be after a load of everything, which knows what the source had."""
    source = table.source()
    standing = there.rows(table.name)
    for key, row in source.items():
        yield from table.unequal(f"{table.name} {key}", row, standing.get(key))
        if key in standing and standing[key].get("_deleted_at") is not None:
            yield f"{table.name} {key}: is marked"
    for key, row in standing.items():
        if key in source:
            continue
        if table.deletes == "remove" or (table.deletes == "mark" and row.get("_deleted_at") is None):
            yield f"{table.name} {key}: is gone at the source"
        known = [table.landed[key]] if key in table.landed else []
        versions = [
            [*table.unequal(f"{table.name} {key}, gone", each, row)] for each in (*known, *table.perhaps.get(key, ()))
        ]
        if not versions:
            yield f"{table.name} {key}: nobody knows it"
        elif all(versions):
            yield from versions[-1]
    if table.deletes != "remove":
        yield from (f"{table.name} {key}: is lost" for key in table.landed if key not in standing)
    table.landed = {
        key: {name: value for name, value in row.items() if name != "_deleted_at"} for key, row in standing.items()
    }
    table.perhaps.clear()


def _unequal(place: str, wanted: Row | None, found: Row | None) -> Iterator[str]:
    """A difference of two rows; a column that one of them does not have is empty there."""
    if wanted is None or found is None:
        yield f"{place}: {'nobody knows it' if wanted is None else 'is not there'}"
        return
    for name in {*wanted, *found} - {"_deleted_at", "valid_from", "valid_to"}:
        if wanted.get(name) != found.get(name):
            yield f"{place}.{name}: {wanted.get(name)!r} is {found.get(name)!r}"


def wrong_answers(table: Changing, there: Landed) -> Iterator[str]:
    """What a history answers otherwise than it was seen."""
    for moment, rows in table.seen:
        found = there.as_of(table.name, moment)
        for key in {*rows, *found}:
            yield from _unequal(f"{table.name} {key} as of {moment}", rows.get(key), found.get(key))
