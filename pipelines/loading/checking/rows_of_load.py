"""Rows of a load as they would land, looked at in the files that were extracted.

What is checked was counted in Arrow (`tallies`) while the files were written; else the columns are read once, batch by
batch. What can't be counted so, a value's look of a rare type or the columns of very many rows, DuckDB counts, with a
limit on memory.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from connectors.sources.checks import Checks
from connectors.sources.write_rules import normalised
from pipelines.loading.checking.counts import Counts, counts_of, places_of
from pipelines.loading.checking.findings import Finding
from pipelines.loading.checking.passing import Passing
from pipelines.loading.checking.tallies import A_DAY, number, shown
from pipelines.sources.sql.names import quoted_name
from pipelines.wording import counted, quoted

MEMORY = "200MB"
"""Beyond this DuckDB writes to disk."""

THREADS = 2

BATCH_ROWS = 65_536

Duck = Callable[[], Any]
"""Opens a DuckDB in memory, or gives the one that is open."""

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT", "UINTEGER", "FLOAT", "DOUBLE", "DECIMAL")


class RowsOfLoad:
    """The rows of one table in one load."""

    def __init__(self, duck: Duck, table: str, files: Sequence[Path], directory: Path) -> None:
        """`directory`: for a file of columns that are compared elsewhere."""
        self._duck = duck
        self._directory = directory
        self.table = table
        self.files = files
        self._footers = [pyarrow.parquet.read_metadata(path) for path in files]
        self.rows = sum(footer.num_rows for footer in self._footers)
        self.types: dict[str, pa.DataType | None] = {}
        """Of each column that the files have; None: it has several."""
        for footer in self._footers:
            for column in footer.schema.to_arrow_schema():
                known = self.types.setdefault(column.name, column.type)
                self.types[column.name] = column.type if known == column.type else None
        self._counts = Counts()

    def count(self, checks: Checks, key: Sequence[str], now: float, passing: Passing | None = None) -> None:
        """Count the checks: as it was done while the rows were written, or by reading the columns once.

        Args:
            checks: of the table.
            key: what no two rows of the load have the same values of.
            now: in seconds since 1970.
            passing: has counted them, perhaps.
        """
        if not self.rows:
            return
        by_name = {path.name: footer for path, footer in zip(self.files, self._footers, strict=True)}
        counted_along = None if passing is None else passing.counts(self.table, key, by_name)
        if counted_along is None:
            self._counts = counts_of(checks, self.types, key, now)
            self._pass()
        else:
            self._counts = counted_along

    def failing(self, checks: Checks) -> Iterator[Finding]:
        """The checks of columns that fail among these rows alone, of those that were counted."""
        if not self.rows:
            return
        for name in checks.not_null:
            empty = self._counts.empty.get(name)
            if count := empty.count if empty else self.rows:
                words = f"{counted(count, 'row')} without {quoted([name])} (not_null)"
                yield Finding(self.table, "not_null", (name,), words)
        for name, values in checks.accepted.items():
            of_others = self._counts.others[name]
            if count := of_others.count if of_others else self._other_in_duckdb(name, values):
                words = f"{counted(count, 'row')} whose {quoted([name])} is none of the accepted values"
                yield Finding(self.table, "accepted", (name,), words)
        for names, of_doubled in self._counts.doubled.items():
            count = of_doubled.count if of_doubled else None
            if count := self._doubled_in_duckdb(names) if count is None else count:
                words = f"{counted(count, 'row')} whose {quoted(names)} another row of the load has too (unique)"
                yield Finding(self.table, "unique", names, words)

    def newest(self, name: str, now: float) -> float | None:
        """The newest moment of a column, in seconds since 1970, of those not far ahead of now; None: there is none."""
        if self._counts.newest is not None:
            return self._counts.newest.seconds
        column = normalised(name)
        kind = self._kind(column) if column in self.types else ""
        if kind == "VARCHAR":
            moment = f"epoch(TRY_CAST({quoted_name(column)} AS TIMESTAMPTZ))"
        elif kind.startswith(("TIMESTAMP", "DATE")):
            moment = f"epoch({quoted_name(column)})"
        else:
            return None
        found = self._ask(f"max({moment}) FILTER (WHERE {moment} <= {now + A_DAY})")
        return None if found is None else float(found)

    def has(self, names: Sequence[str]) -> bool:
        """Whether some row may have values of all these columns."""
        return all(normalised(name) in self.types for name in names)

    def files_with(self, names: Sequence[str]) -> Sequence[Path]:
        """Parquet files that all have these columns, of the same types."""
        in_each = (set(footer.schema.to_arrow_schema().names) for footer in self._footers)
        if all(self.types[name] for name in names) and all(there >= set(names) for there in in_each):
            return self.files
        path = self._directory / f"checked_{self.table}.parquet"
        columns = ", ".join(map(quoted_name, names))
        self._duck().execute(f"COPY (SELECT {columns} FROM {self._source}) TO {_text(str(path))} (FORMAT parquet)")  # noqa: S608
        return [path]

    def column(self, name: str) -> pa.ChunkedArray:
        """The values of a column that all files have."""
        return pa.chunked_array(
            [
                chunk
                for path in self.files
                for chunk in pyarrow.parquet.read_table(path, columns=[name], use_threads=False)[name].chunks
            ]
        )

    def gapless(self, name: str) -> tuple[int, int] | None:
        """The least and the greatest of a key of whole numbers that has all between them; None for any other.

        No two rows may have the same value of it.
        """
        kind = self.types[name]
        if kind is None or not pa.types.is_integer(kind):
            return None
        column = self.column(name)
        bounds = pc.min_max(column).as_py()
        if column.null_count or bounds["min"] is None or bounds["max"] - bounds["min"] + 1 != len(column):
            return None
        return bounds["min"], bounds["max"]

    def _pass(self) -> None:
        """Show the rows to what counts. A file without a column has no value of it."""
        names = self._counts.columns
        if not names:
            return
        for path, footer in zip(self.files, self._footers, strict=True):
            there = set(footer.schema.to_arrow_schema().names)
            with pyarrow.parquet.ParquetFile(path, metadata=footer) as file:
                for batch in file.iter_batches(
                    BATCH_ROWS, columns=[name for name in names if name in there], use_threads=False
                ):
                    rows = pa.Table.from_batches([batch])
                    for name in names:
                        if name not in there:
                            rows = rows.append_column(name, pa.nulls(batch.num_rows, self.types[name] or pa.null()))
                    self._counts.take(rows)

    @property
    def _source(self) -> str:
        listed = ", ".join(_text(str(path)) for path in self.files)
        return f"read_parquet([{listed}], union_by_name = true)"

    def _ask(self, expression: str) -> Any:
        ((found,),) = self._duck().execute(f"SELECT {expression} FROM {self._source}").fetchall()  # noqa: S608
        return found

    def _kind(self, column: str) -> str:
        """DuckDB's type of a column."""
        described = self._duck().execute(f"DESCRIBE SELECT {quoted_name(column)} FROM {self._source}")  # noqa: S608
        return str(described.fetchall()[0][1])

    def _other_in_duckdb(self, name: str, values: Sequence[Any]) -> int:
        parts = [_none_of(quoted_name(place), self._kind(place), values) for place in places_of(name, self.types)]
        return int(self._ask(f"count(*) FILTER (WHERE {' OR '.join(f'({part})' for part in parts)})"))

    def _doubled_in_duckdb(self, names: Sequence[str]) -> int:
        places = [places_of(name, self.types) for name in names]
        there = " AND ".join(
            f"({' OR '.join(f'{quoted_name(place)} IS NOT NULL' for place in found)})" for found in places
        )
        columns = ", ".join(quoted_name(place) for found in places for place in found)
        ((count,),) = (
            self._duck()
            .execute(
                f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM {self._source} WHERE {there} "  # noqa: S608
                f"GROUP BY {columns} HAVING count(*) > 1)"
            )
            .fetchall()
        )
        return int(count)


@contextlib.contextmanager
def lazily(directory: Path) -> Iterator[Duck]:
    """A DuckDB in memory, opened when it is first asked for. `directory`: for what outgrows it."""
    with contextlib.ExitStack() as stack:
        made: list[Any] = []

        def duck() -> Any:
            if not made:
                import duckdb  # noqa: PLC0415  # most loads do without

                connection = stack.enter_context(contextlib.closing(duckdb.connect()))
                connection.execute(
                    f"SET memory_limit = '{MEMORY}'; SET threads = {THREADS}; SET preserve_insertion_order = false"
                )
                connection.execute("SET TimeZone = 'UTC'")  # of texts that name none
                connection.execute("SET temp_directory = ?", [str(directory / "checks")])
                made.append(connection)
            return made[0]

        yield duck


def _none_of(column: str, kind: str, values: Sequence[Any]) -> str:
    """The condition that a column of this type has a value which is none of these."""
    if kind == "BOOLEAN":
        accepted = [word for word in ("true", "false") if word in map(shown, values)]
    elif kind.startswith(_NUMBERS):
        accepted = [str(found) for found in map(number, values) if found is not None]
    else:
        column = column if kind == "VARCHAR" else f"CAST({column} AS VARCHAR)"
        accepted = [_text(shown(value)) for value in values]
    return f"{column} NOT IN ({', '.join(accepted)})" if accepted else f"{column} IS NOT NULL"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
