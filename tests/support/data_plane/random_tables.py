"""Random tables that change at random, and whether a destination holds what their source does, cell by cell."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from tests.support.data_plane.random_values import Family, Kind, Random

Execute = Callable[..., Any]

PART = "part"
"""The column that a key may have beside `id`."""

COLUMNS, ROWS = 5, 6
"""The most that a table has at first."""


@dataclass(frozen=True, slots=True)
class Server:
    """A database that is a source. `execute`: SQL and its parameters, to rows."""

    execute: Execute
    kinds: Sequence[Kind]
    keys: Sequence[Kind]
    """Types that are part of a key as well."""
    wider: Mapping[str, Sequence[str]] = field(default_factory=dict)
    alter: str = "ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind}"
    as_text: str = "({})::text"

    def kind(self, declared: str) -> Kind:
        """A type by its name."""
        return next(kind for kind in self.kinds if kind.declared == declared)


@dataclass
class Table:
    """A table of a source, as it is now."""

    name: str
    server: Server
    rng: Random
    columns: dict[str, Kind] = field(default_factory=dict)
    rows: int = 0
    cursor: bool = False
    """Only rows that changed are read again."""
    part: Kind | None = None
    """The type of a column that the key has beside `id`."""
    statements: list[str] = field(default_factory=list)
    _made: int = 0
    _changes: int = 0

    @property
    def key(self) -> list[str]:
        """The columns by which rows merge."""
        return ["id"] if self.part is None else ["id", PART]

    @property
    def kinds(self) -> dict[str, Kind]:
        """The types of all columns whose values are compared."""
        return self.columns if self.part is None else {PART: self.part, **self.columns}

    def make(self) -> None:
        """Create it, with some rows."""
        self.cursor = self.rng.random() < 0.5
        self.part = self.rng.choice(self.server.keys) if self.rng.random() < 0.3 else None
        for _ in range(self.rng.randint(1, COLUMNS)):
            self._new_column()
        columns = "".join(f", {name} {kind.declared}" for name, kind in self.kinds.items())
        self._execute(f"CREATE TABLE {self.name} (id int PRIMARY KEY, changed bigint{columns})")
        for _ in range(self.rng.randint(0, ROWS)):
            self._insert()

    def change(self) -> None:
        """Change rows, types or columns, or nothing."""
        steps = [
            self._insert,
            self._update,
            self._update,
            self._delete,
            self._another_id,
            self._another_row,
            self._add,
            self._drop,
            self._retype,
            self._widen,
        ]
        for step in self.rng.choices(steps, k=self.rng.randint(0, 5)):
            step()

    def found(self) -> dict[int, dict[str, Any]]:
        """All cells, by the row's key: texts; of SQLite, values of the driver."""
        asked = [
            self.server.as_text.format(kind.asked.format(name)) if kind.family is not Family.ANY else name
            for name, kind in self.kinds.items()
        ]
        rows = self.server.execute(f"SELECT {', '.join(['id', *asked])} FROM {self.name}")
        return {row[0]: dict(zip(self.kinds, row[1:], strict=True)) for row in rows}

    # --- changes --------------------------------------------------------------------------------------------------

    def _execute(self, statement: str, *parameters: Any) -> None:
        self.statements.append(statement)
        self.server.execute(statement, *parameters)

    def _new_column(self) -> tuple[str, Kind]:
        name = f"c{self._made}"
        self._made += 1
        self.columns[name] = self.rng.choice(self.server.kinds)
        return name, self.columns[name]

    def _insert(self) -> None:
        self.rows += 1
        self._insert_at(self.rows)

    def _insert_at(self, row: int) -> None:
        self._changes += 1
        names, values = ["id", "changed"], [str(row), str(self._changes)]
        given: list[Any] = []
        if self.part is not None:
            value = self.part.value(self.rng)
            names.append(PART)
            values.append("?" if self.part.family is Family.ANY else value)
            given = [value] if self.part.family is Family.ANY else []
        self._execute(f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({', '.join(values)})", *given)
        for name in self.columns:
            self._fill(name, row)

    def _fill(self, column: str, row: int) -> None:
        kind = self.columns[column]
        value = None if self.rng.random() < 0.15 else kind.value(self.rng)
        any_class = kind.family is Family.ANY
        given = "?" if any_class else "NULL" if value is None else value
        self._changes += 1
        self._execute(
            f"UPDATE {self.name} SET changed = {self._changes}, {column} = {given} WHERE id = {row}",
            *([value] if any_class else []),
        )

    def _update(self) -> None:
        if self.rows and self.columns:
            self._fill(self.rng.choice([*self.columns]), self.rng.randint(1, self.rows))

    def _delete(self) -> None:
        if self.rows:
            self._execute(f"DELETE FROM {self.name} WHERE id = {self.rng.randint(1, self.rows)}")

    def _another_id(self) -> None:
        """A row gets another key: at the destination the one of before stays, as one that is gone does."""
        if self.rows:
            row = self.rng.randint(1, self.rows)
            self.rows += 1
            self._changes += 1
            self._execute(f"UPDATE {self.name} SET id = {self.rows}, changed = {self._changes} WHERE id = {row}")

    def _another_row(self) -> None:
        """Another row under the `id` of one that is there or was."""
        if self.rows:
            row = self.rng.randint(1, self.rows)
            self._execute(f"DELETE FROM {self.name} WHERE id = {row}")
            self._insert_at(row)

    def _add(self) -> None:
        name, kind = self._new_column()
        self._execute(f"ALTER TABLE {self.name} ADD COLUMN {name} {kind.declared}")
        self._fill_all(name)

    def _fill_all(self, name: str) -> None:
        for row in range(1, self.rows + 1):
            self._fill(name, row)

    def _drop(self) -> None:
        if self.columns:
            name = self.rng.choice([*self.columns])
            del self.columns[name]
            self._execute(f"ALTER TABLE {self.name} DROP COLUMN {name}")

    def _retype(self) -> None:
        """Another type under the same name, with other values."""
        if self.columns:
            name = self.rng.choice([*self.columns])
            self.columns[name] = self.rng.choice(self.server.kinds)
            self._execute(f"ALTER TABLE {self.name} DROP COLUMN {name}")
            self._execute(f"ALTER TABLE {self.name} ADD COLUMN {name} {self.columns[name].declared}")
            self._fill_all(name)

    def _widen(self) -> None:
        """The same values in a wider type, and some that only that one holds."""
        for name, kind in self.columns.items():
            if wider := self.server.wider.get(kind.declared):
                self.columns[name] = self.server.kind(self.rng.choice(wider))
                self._execute(self.server.alter.format(table=self.name, column=name, kind=self.columns[name].declared))
                for row in range(1, self.rows + 1, 2):
                    self._fill(name, row)
                return


@dataclass(frozen=True, slots=True)
class Landed:
    """A cell of the destination: the column's type, and the value as text."""

    kind: str
    text: str


def differences(table: Table, landed: Mapping[int, Sequence[Mapping[str, Landed | None]]]) -> Iterator[str]:
    """Each row and each cell that is other than in the source, in a sentence."""
    for row, cells in table.found().items():
        standing = [*landed.get(row, ())]
        if table.part is not None:
            # Rows of this `id` that are gone are told from it by the rest of the key.
            standing = [each for each in standing if _has(table.part, cells[PART], PART, each)]
        if not standing:
            yield f"{table.name}: row {row} is missing"
        elif len(standing) > 1:
            yield f"{table.name}: row {row} is there {len(standing)} times"
        else:
            yield from _differences(table, row, cells, standing[0])


def _differences(
    table: Table, row: int, cells: Mapping[str, Any], landed: Mapping[str, Landed | None]
) -> Iterator[str]:
    expected: set[str] = {"id", "changed"}
    for column, value in cells.items():
        there = _beside(column, landed)
        expected |= there.keys()
        kind = table.kinds[column]
        told = f"{table.name}.{column} ({kind.declared}), row {row}"
        if value is None and there:
            yield f"{told}: NULL is there as {there}"
        elif value is not None and not there:
            yield f"{told}: {value!r} is not there"
        elif value is not None and len(there) > 1:
            yield f"{told}: {value!r} is there twice, as {there}"
        elif value is not None and not same(kind.family, value, *there.values()):
            yield f"{told}: {value!r} is there as {there}"
    for name, cell in landed.items():
        # A row that is not read again keeps what its table has lost.
        if cell is not None and name not in expected and not table.cursor:
            yield f"{table.name}: column {name}, which the source has no more, still holds a value in row {row}"


def _beside(column: str, landed: Mapping[str, Landed | None]) -> dict[str, Landed]:
    """The values of a column, where it is and in those beside it."""
    return {
        name: cell
        for name, cell in landed.items()
        if cell is not None and (name == column or name.startswith(f"{column}__v_"))
    }


def _has(kind: Kind, value: Any, column: str, landed: Mapping[str, Landed | None]) -> bool:
    return any(same(kind.family, value, cell) for cell in _beside(column, landed).values())


def same(family: Family, value: Any, cell: Landed) -> bool:
    """Whether a cell of the destination is the value of the source."""
    if cell.kind == "json" and family is Family.ANY and _parsed(str(value)) == _parsed(cell.text):
        return True
    if cell.kind == "json" and family is not Family.JSON:
        # The column held JSON before: a text is one in quotes there.
        inside = json.loads(cell.text, parse_float=str, parse_int=str, parse_constant=str)
        if isinstance(inside, str):
            cell = Landed("text" if cell.text.startswith('"') else "number", inside)
        elif isinstance(inside, bool):
            cell = Landed("truth", cell.text)
    return _SAME[family](value, cell)


def _number(text: str) -> Decimal | str:
    plain = {"nan": "nan", "inf": "inf", "infinity": "inf", "-inf": "-inf", "-infinity": "-inf"}.get(text.lower())
    if plain is not None:
        return plain
    try:
        return Decimal({"true": "1", "false": "0"}.get(text.lower(), text))
    except InvalidOperation:
        return text


def _same_number(value: str, cell: Landed) -> bool:
    if _number(value) == _number(cell.text):
        return True
    return cell.kind == "double" and _number(value) == Decimal(float(cell.text))


def _same_double(value: float, cell: Landed) -> bool:
    try:
        there = float(cell.text)
    except ValueError:
        return False
    return there == value or (math.isnan(there) and math.isnan(value))


_WRITTEN = re.compile(
    r"(?P<day>\d{4,}-\d\d-\d\d)(?:[ T](?P<clock>\d\d:\d\d(?::\d\d(?:\.\d+)?)?))?"
    r"(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?(?P<era> BC)?"
)


def _moment(text: str) -> str:
    """A day, a time or a moment, written in one way: a day is its first moment, and no zone is UTC."""
    if re.fullmatch(r"\d\d:\d\d(:\d\d(\.\d+)?)?", text):
        return _clock(text)
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return text
    clock, zone = _clock(found["clock"] or "00:00:00"), found["zone"] or "Z"
    if zone not in {"Z", "+00", "+00:00"} and not found["era"]:
        moment = datetime.fromisoformat(f"{found['day']}T{clock}{zone}")
        shifted = moment.replace(tzinfo=None) - (moment.utcoffset() or (moment - moment))
        return f"{shifted.date()} {_clock(shifted.time().isoformat())}"
    return f"{found['day']} {clock}{found['era'] or ''}"


def _clock(text: str) -> str:
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return (whole + ":00" if whole.count(":") == 1 else whole) + (f".{fraction}" if fraction else "")


def _truth(text: str) -> str:
    return {"true": "1", "t": "1", "false": "0", "f": "0"}.get(text.lower(), text)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        return text


def _same_of_sqlite(value: Any, cell: Landed) -> bool:
    if isinstance(value, bytes):
        return cell.text.lower() == value.hex() or cell.text.encode() == value
    if isinstance(value, float):
        return _same_double(value, cell)
    if isinstance(value, int):
        return _same_number(str(value), cell)
    if cell.kind == "bytes":
        return bytes.fromhex(cell.text) == str(value).encode()
    return (
        value == cell.text
        or (cell.kind == "moment" and _day_or_moment(value) == _day_or_moment(cell.text))
        or (cell.kind in {"number", "double"} and _same_number(value, cell))
    )


def _day_or_moment(text: str) -> str:
    try:
        return _moment(date.fromisoformat(text).isoformat())
    except ValueError:
        return _moment(text)


def _same_bytes(value: Any, cell: Landed) -> bool:
    given = str(value).lower()
    return cell.text.lower() == given or (cell.kind == "text" and cell.text.encode() == bytes.fromhex(given))


_SAME: dict[Family, Callable[[Any, Landed], bool]] = {
    Family.NUMBER: lambda value, cell: _same_number(str(value), cell),
    Family.DOUBLE: lambda value, cell: _same_double(float(value), cell),
    Family.MOMENT: lambda value, cell: _moment(str(value)) == _moment(cell.text),
    Family.TRUTH: lambda value, cell: _truth(str(value)) == _truth(cell.text),
    Family.BYTES: _same_bytes,
    Family.JSON: lambda value, cell: bool(_parsed(str(value)) == _parsed(cell.text)),
    Family.TEXT: lambda value, cell: bool(value == cell.text),
    Family.ANY: _same_of_sqlite,
}
"""How values of each family are compared."""
