"""Random tables of all types of PostgreSQL, MySQL and SQLite, changed at random between loads: no silent difference.

A round is a table that is loaded, changed and loaded again, twice. What fails is told with the seed of its walk:
`CAI_RANDOM_SEED=n make soak` walks it again. Many tables share a connector, as loads cost seconds and tables do not.
"""

import contextlib
import os
import random
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg2  # type: ignore[import-untyped]
import pymysql
import pytest

from local.embedded_postgres import EmbeddedPostgres
from pipelines.errors import RunError
from pipelines.sources.sql.dialects import sync_url
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.random_tables import Landed, Server, Table, differences
from tests.support.data_plane.random_values import MYSQL, MYSQL_WIDER, POSTGRES, POSTGRES_TYPES, POSTGRES_WIDER, SQLITE
from tests.support.servers.peers import mysql_server

SOURCE, WAREHOUSE = "CAI_SECRET_RANDOM", "CAI_SECRET_WAREHOUSE"
TABLES, LONG_TABLES, CHANGES = 10, 200, 2
"""Tables of a walk in CI and on the long one, and how often they are changed."""
LONG_ROUNDS = int(os.environ.get("CAI_RANDOM_ROUNDS", "10000"))

Cells = dict[int, dict[str, Landed | None]]
Read = Callable[[str, str], Cells]
"""All cells of a table, given its dataset and its name."""
Open = Callable[[], contextlib.AbstractContextManager[Read]]
"""A connection to a destination, which is no one's while a load writes."""


@contextlib.contextmanager
def postgres_source(postgres: EmbeddedPostgres, name: str) -> Iterator[tuple[str, Server]]:
    """A PostgreSQL database of random tables, and its address."""
    url = postgres.create_database(name)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SET timezone TO 'UTC'; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        cursor.execute(POSTGRES_TYPES)

        def execute(statement: str) -> Any:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

        yield url, Server(execute, POSTGRES, POSTGRES_WIDER)


@contextlib.contextmanager
def mysql_source(url: str, name: str) -> Iterator[tuple[str, Server]]:
    """A MySQL database of random tables, and its address."""
    address = sync_url(url)
    with (
        closing(
            pymysql.connect(
                host=address.host,
                port=address.port or 0,
                user=address.username,
                password=address.password or "",
                database=address.database,
                autocommit=True,
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SET time_zone = '+00:00', sql_mode = 'NO_BACKSLASH_ESCAPES'")
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'emr'")
        for (table,) in cursor.fetchall():
            cursor.execute(f"DROP TABLE `{table}`")

        def execute(statement: str) -> Any:
            cursor.execute(statement)
            return cursor.fetchall()

        yield (
            url,
            Server(execute, MYSQL, MYSQL_WIDER, "ALTER TABLE {table} MODIFY {column} {kind}", "CAST({} AS CHAR)"),
        )


@contextlib.contextmanager
def sqlite_source(path: Path) -> Iterator[tuple[str, Server]]:
    """A SQLite file of random tables, and its address."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield f"sqlite:///{path}", Server(lambda sql, *given: connection.execute(sql, given).fetchall(), SQLITE)


_DUCKDB = {
    "BLOB": ("bytes", "hex({})"),
    "TIMESTAMP WITH TIME ZONE": ("moment", "make_timestamp(epoch_us({}))::varchar"),
    **dict.fromkeys(("TIMESTAMP", "DATE", "TIME"), ("moment", "{}::varchar")),
    "DOUBLE": ("double", "{}::varchar"),
    "BIGINT": ("number", "{}::varchar"),
    "BOOLEAN": ("truth", "{}::varchar"),
    "JSON": ("json", "{}::varchar"),
}


def of_duckdb(path: Path) -> Open:
    """Reads tables of a DuckDB file."""

    @contextlib.contextmanager
    def opened() -> Iterator[Read]:
        with duckdb.connect(str(path), read_only=True) as warehouse:

            def read(dataset: str, table: str) -> Cells:
                columns = warehouse.execute(
                    "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = ? AND table_name = ?",
                    [dataset, table],
                ).fetchall()
                known = {
                    name: _DUCKDB.get(kind, ("number" if kind.startswith("DECIMAL") else "text", "{}::varchar"))
                    for name, kind in columns
                    if not name.startswith("_dlt")
                }
                return _cells(
                    known, lambda asked: warehouse.execute(f"SELECT {asked} FROM {dataset}.{table}").fetchall()
                )

            yield read

    return opened


_POSTGRES = {
    "bytea": ("bytes", "encode({}, 'hex')"),
    **dict.fromkeys(
        ("timestamp with time zone", "timestamp without time zone", "date", "time without time zone"),
        ("moment", "{}::text"),
    ),
    "double precision": ("double", "{}::text"),
    **dict.fromkeys(("bigint", "numeric"), ("number", "{}::text")),
    "boolean": ("truth", "{}::text"),
    **dict.fromkeys(("json", "jsonb"), ("json", "{}::text")),
}


def of_postgres(url: str) -> Open:
    """Reads tables of a PostgreSQL database."""

    @contextlib.contextmanager
    def opened() -> Iterator[Read]:
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SET timezone TO 'UTC'")

            def rows(asked: str) -> list[Any]:
                cursor.execute(asked)
                return list(cursor.fetchall())

            def read(dataset: str, table: str) -> Cells:
                cursor.execute(
                    "SELECT column_name, data_type FROM information_schema.columns "
                    "WHERE table_schema = %s AND table_name = %s",
                    (dataset, table),
                )
                known = {
                    name: _POSTGRES.get(kind, ("text", "{}::text"))
                    for name, kind in cursor.fetchall()
                    if not name.startswith("_dlt")
                }
                return _cells(known, lambda asked: rows(f"SELECT {asked} FROM {dataset}.{table}"))

            yield read

    return opened


def _cells(known: dict[str, tuple[str, str]], rows: Callable[[str], list[Any]]) -> Cells:
    if "id" not in known:
        return {}
    asked = ", ".join(expression.format(f'"{name}"') for name, (_, expression) in known.items())
    found: Cells = {}
    for row in rows(asked):
        cells = {
            name: None if text is None else Landed(kind, text)
            for (name, (kind, _)), text in zip(known.items(), row, strict=True)
        }
        found[int(str(cells["id"].text if cells["id"] else 0))] = cells
    return found


def walk(seed: int, server: Server, platform: Platform, destination: dict[str, Any], opened: Open, count: int) -> None:
    """So many tables, loaded, changed, loaded again, and compared each time."""
    rng = random.Random(seed)
    tables = [Table(f"t{number}", server, rng) for number in range(count)]
    for table in tables:
        table.make()
    connector = platform.add(
        {
            "type": "sql_database",
            "credentials": {"env": SOURCE},
            "tables": [
                {"name": table.name, "primary_key": "id"}
                | ({"cursor_column": "changed", "lag": 0} if table.cursor else {})
                for table in tables
            ],
        },
        **destination,
    )
    for load in range(CHANGES + 1):
        try:
            platform.run(connector)
        except RunError as error:
            raise AssertionError(f"Seed {seed}, load {load + 1}: {error}\n{_told(tables)}") from error
        with opened() as read:
            for table in tables:
                different = list(differences(table, read(f"connector_{connector}", table.name)))
                told = f"Seed {seed}, load {load + 1}:\n" + "\n".join(different[:5])
                assert not different, f"{told}\n{_told([table])}"
        for table in tables if load < CHANGES else ():
            table.change()


def _told(tables: list[Table]) -> str:
    return "\n".join(statement for table in tables for statement in table.statements)


@pytest.fixture(scope="module")
def mysql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MySQL database."""
    with mysql_server(tmp_path_factory.mktemp("mysql")) as url:
        yield url


WALKS = [("postgres", "duckdb"), ("postgres", "postgres"), ("mysql", "postgres"), ("sqlite", "duckdb")]
ALL_WALKS = [
    (source, destination) for source in ("postgres", "mysql", "sqlite") for destination in ("duckdb", "postgres")
]


def _one(
    source: str, destination: str, seed: int, count: int, platform: Platform, postgres: EmbeddedPostgres,
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    opened: Any = {
        "postgres": lambda: postgres_source(postgres, "random_source"),
        "mysql": lambda: mysql_source(request.getfixturevalue("mysql_url"), "emr"),
        "sqlite": lambda: sqlite_source(tmp_path / "random.db"),
    }[source]()
    warehouse = postgres.create_database("random_warehouse")
    monkeypatch.setenv(WAREHOUSE, warehouse)
    place: dict[str, Any] = {}
    if destination == "postgres":
        place = {"destination": {"type": "postgres", "credentials": {"env": WAREHOUSE}}}
    file = platform.settings.data_dir / "warehouse.duckdb"
    file.unlink(missing_ok=True)  # of the walk before
    opens = of_postgres(warehouse) if place else of_duckdb(file)
    with opened as (url, server):
        monkeypatch.setenv(SOURCE, url)
        walk(seed, server, platform, place, opens, count)


@pytest.mark.parametrize(("source", "destination"), WALKS)
def test_the_destination_holds_what_the_source_does(
    platform: Platform, postgres: EmbeddedPostgres, request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, source: str, destination: str,
) -> None:  # fmt: skip
    # The same walk each time: a new one that fails belongs into a soak, not into somebody's unrelated change.
    _one(source, destination, 1, TABLES, platform, postgres, request, tmp_path, monkeypatch)


@pytest.mark.soak
@pytest.mark.timeout(12 * 3600)
def test_the_destination_holds_what_the_source_does_on_any_walk(
    platform: Platform, postgres: EmbeddedPostgres, request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first = int(os.environ.get("CAI_RANDOM_SEED", secrets.randbelow(2**31)))
    print(f"CAI_RANDOM_SEED={first}", flush=True)
    failed = []
    for number in range(-(-LONG_ROUNDS // LONG_TABLES)):
        seed = first + number
        source, destination = ALL_WALKS[seed % len(ALL_WALKS)]
        try:
            _one(source, destination, seed, LONG_TABLES, platform, postgres, request, tmp_path, monkeypatch)
        except AssertionError as error:
            failed.append(str(error))
        print(f"{source} to {destination}: {(number + 1) * LONG_TABLES} rounds, {len(failed)} walks failed", flush=True)
    assert not failed, "\n\n".join(failed)
