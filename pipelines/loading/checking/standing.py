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
import pyarrow.parquet

from pipelines.loading.columns.known_columns import delta_table
from pipelines.loading.comparing.deleting import DELETED_AT
from pipelines.loading.comparing.sessions import has_sessions, session
from pipelines.loading.job import Job
from pipelines.loading.opening import Opened, alone


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

    def put(self, name: str, files: Sequence[Path], columns: Sequence[str]) -> None:
        """Make a temporary table of these columns of Parquet files."""

    def table(self, name: str) -> str:
        """A table of the dataset, as a statement names it."""

    def column(self, name: str) -> str:
        """A column, as a statement names it."""

    def columns(self, table: str) -> list[str]:
        """The columns that a table has; none when it is not there."""


Asks = Callable[[str], AbstractContextManager[Asked | None]]
"""Opens a session in which a table's rows can be asked for; None where they can't be, or there is no such table."""


def asks(job: Job, opened: Opened, connection: Any) -> Asks:
    """What asks for the rows of a table that stand in the destination.

    Args:
        job: the load.
        opened: its destination.
        connection: a DuckDB in memory, which reads lakes.
    """

    @contextlib.contextmanager
    def ask(table: str) -> Iterator[Asked | None]:
        if table not in opened.known.tables:
            yield None
        elif has_sessions(job.destination):
            with alone(job, opened.target), session(opened.pipeline, job.destination) as there:
                yield there if there.columns(table) else None
        elif opened.target.table_format == "delta":
            yield _lake(opened.pipeline, table, connection)
        else:
            yield None

    return ask


def doubled(there: Asked, landing: Landing, columns: Sequence[str], file: Path) -> int:
    """How many values of these columns stand in the destination in a row that the load does not replace.

    `file`: Parquet with what different values columns and key have in the load.
    """
    known = there.columns(landing.table)
    if not set(columns) <= set(known):
        return 0  # no row there has a value
    there.put("checked_rows", [file], list(dict.fromkeys((*columns, *landing.key))))
    name, mark = there.table(landing.table), there.column(DELETED_AT)
    conditions = [f"t.{mark} IS NULL"] if DELETED_AT in known else []
    conditions += [f"t.{column} = k.{column}" for column in map(there.column, columns)]
    if landing.key:
        same = " AND ".join(f"o.{column} = t.{column}" for column in map(there.column, landing.key))
        conditions.append(f"NOT EXISTS (SELECT 1 FROM checked_rows o WHERE {same})")  # noqa: S608  # names, escaped
    ((count,),) = there.ask(
        f"SELECT count(*) FROM checked_rows k WHERE EXISTS (SELECT 1 FROM {name} t WHERE {' AND '.join(conditions)})"  # noqa: S608
    )
    there.ask("DROP TABLE checked_rows")
    return int(count)


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

    def put(self, name: str, files: Sequence[Path], columns: Sequence[str]) -> None:
        rows = pyarrow.parquet.read_table([str(path) for path in files], columns=list(columns))
        self._connection.register("put_rows", rows)
        self._connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM put_rows")  # noqa: S608  # a name of ours
        self._connection.unregister("put_rows")

    def table(self, name: str) -> str:
        del name
        return "standing_rows"

    def column(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def columns(self, table: str) -> list[str]:
        del table
        return self._columns


def _lake(pipeline: dlt.Pipeline, table: str, connection: Any) -> Asked | None:
    found = delta_table(pipeline, table)
    if found is None:
        return None
    connection.register("standing_rows", found.to_pyarrow_dataset())
    return _Lake(connection, [field.name for field in found.schema().fields])
