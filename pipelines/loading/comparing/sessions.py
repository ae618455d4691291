"""Sessions with a destination that take Parquet files beside statements: DuckDB and PostgreSQL, in one way.

Everything in a session is one transaction: it is committed at its end, and rolled back by any error and by a death.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import dlt
import pyarrow as pa
import pyarrow.parquet

from connectors.destinations import Destination
from connectors.destinations.duckdb import DuckdbDestination
from connectors.destinations.postgres import PostgresDestination
from pipelines.access import postgres_sessions
from pipelines.access.database_urls import checked
from pipelines.access.destination_clients import sql_client

BATCH_ROWS = 50_000


class Session(Protocol):
    """One transaction in a destination."""

    row_place: str
    """The name of the column that says where a row stands; no two rows have one."""
    duck: Any
    """The connection of a DuckDB; None where the destination is none."""

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute a statement; the rows that it answers with."""

    def change(self, statement: str) -> int:
        """Execute a statement that changes rows; how many."""

    def put(self, name: str, files: Sequence[Path], columns: Sequence[str]) -> None:
        """Make a temporary table of these columns of Parquet files."""

    def show(self, name: str, files: Sequence[Path], columns: Sequence[str]) -> None:
        """Let statements of this session read these columns of Parquet files under a name."""

    def hashed(self, columns: Sequence[str]) -> str | None:
        """The hash of columns, the same for values of files and of tables; None where files are not read in place."""

    def read(self, query: str) -> pa.Table:
        """The rows of a query."""

    def save(self, query: str, path: Path) -> None:
        """Write the rows of a query to a Parquet file, batch by batch, which is read once or twice: so, as it is."""

    def table(self, name: str) -> str:
        """A table of the dataset, as a statement names it."""

    def column(self, name: str) -> str:
        """A column, as a statement names it."""

    def columns(self, table: str) -> list[str]:
        """The columns that a table has; none when it is not there."""

    def kinds(self, table: str) -> dict[str, str]:
        """The same with their types in SQL."""

    def views_on(self, table: str, column: str) -> list[str]:
        """The views because of which a column takes no other type."""

    def study(self, table: str) -> None:
        """Let the planner know a table's values, where it knows nothing of them yet."""


def has_sessions(destination: Destination) -> bool:
    """Whether a destination is one of those."""
    return isinstance(destination, DuckdbDestination | PostgresDestination)


@contextmanager
def session(pipeline: dlt.Pipeline, destination: Destination) -> Iterator[Session]:
    """Open a session on a pipeline's dataset. Needs a DuckDB file to itself."""
    with sql_client(pipeline) as client:
        if isinstance(destination, DuckdbDestination):
            with client.begin_transaction():
                yield _DuckDb(client)
            return
        credentials: Any = client.credentials
        url = checked(credentials.to_native_representation(), "destination.credentials")
        with _postgres(client, url) as there:
            yield there


@contextmanager
def questions(pipeline: dlt.Pipeline, destination: Destination) -> Iterator[Session]:
    """The same for whoever may only have a question or two, and changes nothing.

    In PostgreSQL a session that reads whole columns is opened when it is needed: that takes longer than many questions.
    """
    if isinstance(destination, DuckdbDestination):
        with session(pipeline, destination) as there:
            yield there
        return
    with sql_client(pipeline) as client, ExitStack() as stack:
        url = checked(client.credentials.to_native_representation(), "destination.credentials")
        yield _Questions(client, lambda: stack.enter_context(_postgres(client, url)))


@contextmanager
def _postgres(client: Any, url: str) -> Iterator["_Postgres"]:
    with postgres_sessions.adbc(url) as connection:
        there = _Postgres(client, connection)
        # Moments as text are the same wherever the database is.
        there.ask("SET LOCAL TimeZone = 'UTC'")
        yield there
        there.ask("DISCARD TEMP")  # the session is used again
        connection.commit()


class _Named:
    duck: Any = None

    def __init__(self, client: Any) -> None:
        self._client = client

    def table(self, name: str) -> str:
        return str(self._client.make_qualified_table_name(name))

    def column(self, name: str) -> str:
        return str(self._client.escape_column_name(name))

    def columns(self, table: str) -> list[str]:
        return [*self.kinds(table)]

    def kinds(self, table: str) -> dict[str, str]:
        raise NotImplementedError


class _DuckDb(_Named):
    row_place = "rowid"

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.duck = client.native_connection

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return list(self._client.native_connection.execute(statement).fetchall())

    def change(self, statement: str) -> int:
        ((count,),) = self.ask(statement)
        return int(count)

    def put(self, name: str, files: Sequence[Path], columns: Sequence[str]) -> None:
        connection = self._client.native_connection
        wanted = ", ".join(map(self.column, columns))
        made = f"CREATE TEMP TABLE {name} AS SELECT {wanted} FROM read_parquet(?)"  # noqa: S608  # names, escaped
        connection.execute(made, [list(map(str, files))])

    def show(self, name: str, files: Sequence[Path], columns: Sequence[str]) -> None:
        wanted = ", ".join(map(self.column, columns))
        places = ", ".join("'" + str(path).replace("'", "''") + "'" for path in files)
        self._client.native_connection.execute(
            f"CREATE TEMP VIEW {name} AS SELECT {wanted} FROM read_parquet([{places}])"  # noqa: S608  # names, escaped
        )

    def hashed(self, columns: Sequence[str]) -> str | None:
        return f"hash({', '.join(columns)})"

    def read(self, query: str) -> pa.Table:
        return self._client.native_connection.sql(query).to_arrow_table()

    def save(self, query: str, path: Path) -> None:
        place = str(path).replace("'", "''")
        self._client.native_connection.execute(
            f"COPY ({query}) TO '{place}' (FORMAT parquet, COMPRESSION uncompressed)"
        )

    def kinds(self, table: str) -> dict[str, str]:
        found = self._client.native_connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = ? AND table_name = ? "
            "AND table_catalog = current_database() ORDER BY ordinal_position",
            [self._client.dataset_name, table],
        )
        return dict(found.fetchall())

    def views_on(self, table: str, column: str) -> list[str]:
        del table, column
        return []  # a view belongs to a name there, and takes whatever has it

    def study(self, table: str) -> None:
        del table  # it keeps what it needs with the rows


class _Postgres(_Named):
    row_place = "ctid"

    def __init__(self, client: Any, connection: Any) -> None:
        super().__init__(client)
        self._connection = connection

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def put(self, name: str, files: Sequence[Path], columns: Sequence[str]) -> None:
        import pyarrow.dataset  # noqa: PLC0415  # only for PostgreSQL

        rows = pyarrow.dataset.dataset([str(path) for path in files], format="parquet")
        scanner = rows.scanner(columns=list(columns), batch_size=BATCH_ROWS, use_threads=False)
        with self._connection.cursor() as cursor:
            cursor.adbc_ingest(name, scanner.to_reader(), mode="create", temporary=True)
        self.ask(f"ANALYZE {name}")

    show = put

    def hashed(self, columns: Sequence[str]) -> str | None:
        del columns
        return None

    def read(self, query: str) -> pa.Table:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetch_arrow_table()

    def save(self, query: str, path: Path) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            rows = cursor.fetch_record_batch()
            plain: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_statistics": False}
            with pa.parquet.ParquetWriter(path, rows.schema, **plain) as writer:
                for batch in rows:
                    writer.write_batch(batch)

    def change(self, statement: str) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return int(cursor.rowcount)

    def kinds(self, table: str) -> dict[str, str]:
        name = self.table(table).replace("'", "''")
        rows = self.ask(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "  # noqa: S608
            f"WHERE attrelid = to_regclass('{name}') AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
        return dict(rows)

    def views_on(self, table: str, column: str) -> list[str]:
        name = self.table(table).replace("'", "''")
        rows = self.ask(
            "SELECT DISTINCT r.ev_class::regclass::text FROM pg_depend d "  # noqa: S608  # names
            "JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.ev_class <> d.refobjid "
            "JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
            f"WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass('{name}') "
            f"AND a.attname = '{column}' ORDER BY 1"
        )
        return [view for (view,) in rows]

    def study(self, table: str) -> None:
        name = self.table(table)
        place = name.replace("'", "''")
        if self.ask(f"SELECT 1 FROM pg_class WHERE oid = to_regclass('{place}') AND reltuples <= 0"):  # noqa: S608
            self.ask(f"ANALYZE {name}")


class _Questions(_Postgres):
    """PostgreSQL by the session that dlt has of it, and by another once columns are read or shown."""

    def __init__(self, client: Any, opens: Callable[[], _Postgres]) -> None:
        super().__init__(client, None)
        self._opens = opens
        self._is_open = False

    @cached_property
    def _other(self) -> _Postgres:
        self._is_open = True  # and from here on all is asked there: it alone sees what is shown to it
        return self._opens()

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return self._other.ask(statement) if self._is_open else list(self._client.execute_sql(statement) or ())

    def put(self, name: str, files: Sequence[Path], columns: Sequence[str]) -> None:
        self._other.put(name, files, columns)

    show = put

    def read(self, query: str) -> pa.Table:
        return self._other.read(query)

    def save(self, query: str, path: Path) -> None:
        self._other.save(query, path)

    def change(self, statement: str) -> int:
        return self._other.change(statement)
