"""Rows of a load as they would land, looked at by DuckDB in the files that were extracted, with a limit on memory."""

import contextlib
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from connectors.sources.checks import Checks
from connectors.sources.write_rules import BESIDE, normalised
from pipelines.loading.checking.findings import Finding
from pipelines.wording import counted, quoted

MEMORY = "200MB"
"""Beyond this DuckDB writes to disk."""

THREADS = 2

A_DAY = 86_400
"""A moment that lies further ahead than this says nothing of how old the data is."""

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT", "UINTEGER", "FLOAT", "DOUBLE", "DECIMAL")


class RowsOfLoad:
    """The rows of one table in one load."""

    def __init__(self, connection: Any, table: str, files: Sequence[Path]) -> None:
        self._connection = connection
        self.table = table
        self.kinds: dict[str, str] = {}
        """DuckDB's type of each column that the files have."""
        self.rows = 0
        if files:
            listed = ", ".join(_text(str(path)) for path in files)
            self._source = f"read_parquet([{listed}], union_by_name = true)"
            described = connection.execute(f"DESCRIBE SELECT * FROM {self._source}").fetchall()  # noqa: S608
            self.kinds = {name: kind for name, kind, *_ in described}
            ((self.rows,),) = connection.execute(f"SELECT count(*) FROM {self._source}").fetchall()  # noqa: S608

    def failing(self, checks: Checks) -> Iterator[Finding]:
        """The checks of columns that fail among these rows alone."""
        if not self.rows:
            return
        empty = {name: self._is_empty(name) for name in checks.not_null}
        other = {name: self._is_other(name, values) for name, values in checks.accepted.items()}
        conditions = [*empty.values(), *other.values()]
        if conditions:
            parts = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in conditions)
            counts = list(self._connection.execute(f"SELECT {parts} FROM {self._source}").fetchone())  # noqa: S608
            for name, count in zip(empty, counts, strict=False):
                if count:
                    words = f"{counted(count, 'row')} without {quoted([name])} (not_null)"
                    yield Finding(self.table, "not_null", (name,), words)
            for name, count in zip(other, counts[len(empty) :], strict=True):
                if count:
                    words = f"{counted(count, 'row')} whose {quoted([name])} is none of the accepted values"
                    yield Finding(self.table, "accepted", (name,), words)
        for names in checks.unique:
            if count := self._doubled(names):
                words = f"{counted(count, 'row')} whose {quoted(names)} another row of the load has too (unique)"
                yield Finding(self.table, "unique", names, words)

    def newest(self, name: str, now: float) -> float | None:
        """The newest moment of a column, in seconds since 1970, of those not far ahead of now; None: there is none."""
        column = normalised(name)
        kind = self.kinds.get(column, "")
        if kind == "VARCHAR":
            moment = f"epoch(TRY_CAST({_name(column)} AS TIMESTAMPTZ))"
        elif kind.startswith(("TIMESTAMP", "DATE")):
            moment = f"epoch({_name(column)})"
        else:
            return None
        asked = f"SELECT max({moment}) FILTER (WHERE {moment} <= {now + A_DAY}) FROM {self._source}"  # noqa: S608
        found = self._connection.execute(asked).fetchone()[0]
        return None if found is None else float(found)

    def has(self, names: Sequence[str]) -> bool:
        """Whether some row may have values of all these columns."""
        return all(normalised(name) in self.kinds for name in names)

    def save(self, names: Sequence[str], path: Path) -> None:
        """Write what different values these columns have to a Parquet file."""
        columns = ", ".join(_name(name) for name in dict.fromkeys(names))
        self._connection.execute(
            f"COPY (SELECT DISTINCT {columns} FROM {self._source}) TO {_text(str(path))} (FORMAT parquet)"  # noqa: S608
        )

    def _places(self, name: str) -> list[str]:
        """The columns that hold a column's values: itself, and those beside it."""
        column = normalised(name)
        return [found for found in self.kinds if found == column or found.startswith(f"{column}{BESIDE}")]

    def _is_empty(self, name: str) -> str:
        return " AND ".join(f"{_name(place)} IS NULL" for place in self._places(name)) or "TRUE"

    def _is_other(self, name: str, values: Sequence[Any]) -> str:
        parts = [_none_of(_name(place), self.kinds[place], values) for place in self._places(name)]
        return " OR ".join(f"({part})" for part in parts) or "FALSE"

    def _doubled(self, names: Sequence[str]) -> int:
        if not self.has(names):
            return 0
        places = [self._places(name) for name in names]
        there = " AND ".join(f"({' OR '.join(f'{_name(place)} IS NOT NULL' for place in found)})" for found in places)
        columns = ", ".join(_name(place) for found in places for place in found)
        ((count,),) = self._connection.execute(
            f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM {self._source} WHERE {there} "  # noqa: S608
            f"GROUP BY {columns} HAVING count(*) > 1)"
        ).fetchall()
        return int(count)


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Any]:
    """A DuckDB in memory. `directory`: for what outgrows it."""
    import duckdb  # noqa: PLC0415  # a connector without checks does without

    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute(
            f"SET memory_limit = '{MEMORY}'; SET threads = {THREADS}; SET preserve_insertion_order = false"
        )
        connection.execute("SET TimeZone = 'UTC'")  # of texts that name none
        connection.execute("SET temp_directory = ?", [str(directory / "checks")])
        yield connection


def _none_of(column: str, kind: str, values: Sequence[Any]) -> str:
    """The condition that a column of this type has a value which is none of these."""
    if kind == "BOOLEAN":
        accepted = [word for word in ("true", "false") if word in map(_shown, values)]
    elif kind.startswith(_NUMBERS):
        accepted = [str(number) for number in map(_number, values) if number is not None]
    else:
        column = column if kind == "VARCHAR" else f"CAST({column} AS VARCHAR)"
        accepted = [_text(_shown(value)) for value in values]
    return f"{column} NOT IN ({', '.join(accepted)})" if accepted else f"{column} IS NOT NULL"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
