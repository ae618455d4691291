"""Rows that stand in the destination, as far as checks must know them: values that may not come twice, newest moments.

DuckDB and PostgreSQL are asked in a session of their own, a Delta table is read by DuckDB, column by column. Elsewhere
nobody can be asked, and a check is of the load's own rows.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from pipelines.loading.checking.rows_of_load import Duck, RowsOfLoad
from pipelines.loading.columns.known_columns import delta_table
from pipelines.loading.comparing.deleting import DELETED_AT
from pipelines.loading.comparing.sessions import has_sessions, questions
from pipelines.loading.job import Job
from pipelines.loading.opening import Opened, alone
from pipelines.sources.sql.names import quoted_name


@dataclass(frozen=True, slots=True)
class Landing:
    """How a table's rows land: appended, or merged by these columns."""

    table: str
    key: tuple[str, ...]
    """Empty: they are appended."""


class Asked(Protocol):
    """A session in a destination, as far as checks need one."""

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute a statement; the rows that it answers with."""

    def show(self, name: str, files: Sequence[Path], columns: Sequence[str]) -> None:
        """Let statements of this session read these columns of Parquet files under a name."""

    def read(self, query: str) -> pa.Table:
        """The rows of a query."""

    def table(self, name: str) -> str:
        """A table of the dataset, as a statement names it."""

    def column(self, name: str) -> str:
        """A column, as a statement names it."""

    def columns(self, table: str) -> list[str]:
        """The columns that a table has; none when it is not there."""


MOST_KEYS = 2_000_000
"""Rows of a load up to which the keys that stand there are compared in memory."""

Asks = Callable[[str], AbstractContextManager[Asked | None]]
"""Opens a session in which a table's rows can be asked for; None where they can't be, or there is no such table."""


def asks(job: Job, opened: Opened, duck: Duck) -> Asks:
    """What asks for the rows of a table that stand in the destination.

    Args:
        job: the load.
        opened: its destination.
        duck: opens a DuckDB in memory, which reads lakes.
    """

    @contextlib.contextmanager
    def ask(table: str) -> Iterator[Asked | None]:
        if table not in opened.known.tables:
            yield None
        elif has_sessions(job.destination):
            with alone(job, opened.target), questions(opened.pipeline, job.destination) as there:
                yield there if there.columns(table) else None
        elif opened.target.table_format == "delta":
            yield _lake(opened.pipeline, table, duck())
        else:
            yield None

    return ask


def doubled(there: Asked, landing: Landing, names: Sequence[tuple[str, ...]], rows: RowsOfLoad) -> Iterator[int]:
    """How many values of these columns stand in the destination in a row that the load does not replace.

    Args:
        there: a session.
        landing: how the rows land.
        names: the columns, as many together as must not come twice.
        rows: of the load.
    """
    known = there.columns(landing.table)
    mark = there.column(DELETED_AT)
    alive = [f"t.{mark} IS NULL"] if DELETED_AT in known else []
    named = [columns for columns in names if set(columns) <= set(known)]  # else no row there has a value
    if named and not _replaces_all(there, landing, alive, rows):
        compared = list(dict.fromkeys((*(name for columns in named for name in columns), *landing.key)))
        there.show("checked_rows", rows.files_with(compared), compared)
    else:
        named = []
    name, of_key = there.table(landing.table), [there.column(column) for column in landing.key]
    for columns in names:
        if columns not in named:
            yield 0
            continue
        of_values = [there.column(column) for column in columns]
        conditions = [*alive, *(f"t.{column} = k.{column}" for column in of_values)]
        if landing.key:
            same = " AND ".join(f"o.{column} = t.{column}" for column in of_key)
            conditions.append(f"NOT EXISTS (SELECT 1 FROM checked_rows o WHERE {same})")  # noqa: S608  # names, escaped
        ((count,),) = there.ask(
            f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(dict.fromkeys((*of_values, *of_key)))} "  # noqa: S608
            f"FROM checked_rows k WHERE EXISTS (SELECT 1 FROM {name} t WHERE {' AND '.join(conditions)})) found"
        )
        yield int(count)


def _replaces_all(there: Asked, landing: Landing, alive: Sequence[str], rows: RowsOfLoad) -> bool:
    """Whether the load replaces every row that stands there, as one of a whole table does, found out by keys alone.

    Where the load has all numbers between two, the destination is asked for a key beyond these. Else no more rows are
    read than the load has, and one: False also when that says nothing.
    """
    if len(landing.key) != 1 or not rows.has(landing.key):
        return False
    (key,) = landing.key
    if (bounds := rows.gapless(key)) is not None:
        beyond = f"(t.{there.column(key)} BETWEEN {bounds[0]} AND {bounds[1]}) IS NOT TRUE"
        where = " AND ".join([*alive, beyond])
        return not there.ask(f"SELECT 1 FROM {there.table(landing.table)} t WHERE {where} LIMIT 1")  # noqa: S608
    if rows.rows > MOST_KEYS:
        return False
    condition = f" WHERE {' AND '.join(alive)}" if alive else ""
    asked = f"SELECT t.{there.column(key)} FROM {there.table(landing.table)} t{condition} LIMIT {rows.rows + 1}"  # noqa: S608
    standing = there.read(asked)
    if standing.num_rows > rows.rows:
        return False
    own = rows.column(key)
    try:
        found = standing.column(0).cast(own.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return False  # a type of the destination's own
    return bool(pc.all(pc.is_in(found.combine_chunks(), value_set=own)).as_py() is not False)


def newest(there: Asked, table: str, column: str, kind: str) -> float | None:
    """The newest moment of a column, in seconds since 1970, of those not far ahead; None: it holds none.

    `kind`: the column's, as dlt calls it.
    """
    if kind not in {"timestamp", "date", "text"} or column not in there.columns(table):
        return None
    named = there.column(column)
    near = "" if kind == "text" else f" WHERE {named} <= now() + INTERVAL '1 day'"
    ((found,),) = there.ask(f"SELECT CAST(max({named}) AS varchar) FROM {there.table(table)}{near}")  # noqa: S608
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(str(found))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class _Lake:
    """A Delta table, asked by DuckDB."""

    def __init__(self, connection: Any, columns: list[str]) -> None:
        self._connection = connection
        self._columns = columns

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(statement).fetchall())

    def show(self, name: str, files: Sequence[Path], columns: Sequence[str]) -> None:
        self._connection.register(
            name, pyarrow.parquet.read_table([str(path) for path in files], columns=list(columns))
        )

    def read(self, query: str) -> pa.Table:
        return self._connection.sql(query).to_arrow_table()

    def table(self, name: str) -> str:
        del name
        return "standing_rows"

    def column(self, name: str) -> str:
        return quoted_name(name)

    def columns(self, table: str) -> list[str]:
        del table
        return self._columns


def _lake(pipeline: dlt.Pipeline, table: str, connection: Any) -> Asked | None:
    found = delta_table(pipeline, table)
    if found is None:
        return None
    connection.register("standing_rows", found.to_pyarrow_dataset())
    return _Lake(connection, [field.name for field in found.schema().fields])
