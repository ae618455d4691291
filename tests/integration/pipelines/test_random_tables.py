"""Random tables of all types of PostgreSQL, MySQL and SQLite, changed at random between loads: no silent difference.

A round is a table that is made or changed at random, loaded and compared cell by cell; each goes through three. What is
different is told with the seed of its walk: `CAI_RANDOM_SEED=n make soak` walks it again. Many tables share a
connector, as loads cost seconds and tables do not: a round costs a tenth of a second of one core and about as much in
the databases, 10,000 of them half an hour to an hour of a quiet machine.
"""

import contextlib
import os
import random
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import pymysql
import pytest

from local.embedded_postgres import EmbeddedPostgres
from pipelines.errors import RunError
from pipelines.sources.sql.dialects import sync_url
from tests.support.data_plane.landed_cells import Open, of_delta, of_duckdb, of_postgres
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.random_tables import Server, Table, differences
from tests.support.data_plane.random_values import (
    MYSQL,
    MYSQL_KEYS,
    MYSQL_WIDER,
    POSTGRES,
    POSTGRES_KEYS,
    POSTGRES_TYPES,
    POSTGRES_WIDER,
    SQLITE,
    SQLITE_KEYS,
)
from tests.support.servers.peers import mysql_server

SOURCE, WAREHOUSE = "CAI_SECRET_RANDOM", "CAI_SECRET_WAREHOUSE"
TABLES, LONG_TABLES, CHANGES = 10, 100, 2
"""Tables of a walk in CI and on the long one, and how often they are changed."""
_MODIFY = "ALTER TABLE {table} MODIFY {column} {kind}"
LONG_ROUNDS = int(os.environ.get("CAI_RANDOM_ROUNDS", "10000"))


def new_database(postgres: EmbeddedPostgres, name: str) -> str:
    """The address of a database in which nothing of an earlier walk is left."""
    with closing(psycopg2.connect(postgres.url("postgres"))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    return postgres.create_database(name)


@contextlib.contextmanager
def postgres_source(postgres: EmbeddedPostgres, name: str) -> Iterator[tuple[str, Server]]:
    """A PostgreSQL database of random tables, and its address."""
    url = new_database(postgres, name)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"SET timezone TO 'UTC'; {POSTGRES_TYPES}")

        def execute(statement: str) -> Any:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

        yield url, Server(execute, POSTGRES, POSTGRES_KEYS, POSTGRES_WIDER)


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
            Server(execute, MYSQL, MYSQL_KEYS, MYSQL_WIDER, _MODIFY, "CAST({} AS CHAR)"),
        )


@contextlib.contextmanager
def sqlite_source(path: Path) -> Iterator[tuple[str, Server]]:
    """A SQLite file of random tables, and its address."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield (
            f"sqlite:///{path}",
            Server(lambda sql, *given: connection.execute(sql, given).fetchall(), SQLITE, SQLITE_KEYS),
        )


def walk(
    seed: int, server: Server, platform: Platform, destination: dict[str, Any], opened: Open, count: int
) -> Iterator[list[str]]:
    """So many tables, loaded, changed, loaded again, and compared each time: what is different after each load."""
    rng = random.Random(seed)
    tables = [Table(f"t{number}", server, rng) for number in range(count)]
    for table in tables:
        table.make()
    connector = platform.add(
        {
            "type": "sql_database",
            "credentials": {"env": SOURCE},
            "tables": [
                {"name": table.name, "primary_key": table.key}
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
        wrong = []
        with opened() as read:
            for table in tables:
                if different := list(differences(table, read(f"connector_{connector}", table.name))):
                    told = f"Seed {seed}, load {load + 1}:\n" + "\n".join(different[:5])
                    wrong.append(f"{told}\n{_told([table])}")
        yield wrong
        for table in tables if load < CHANGES else ():
            table.change()


def _told(tables: list[Table]) -> str:
    return "\n".join(statement for table in tables for statement in table.statements)


@pytest.fixture(scope="module")
def mysql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MySQL database."""
    with mysql_server(tmp_path_factory.mktemp("mysql")) as url:
        yield url


WALKS = [
    ("postgres", "duckdb"),
    ("postgres", "postgres"),
    ("mysql", "postgres"),
    ("sqlite", "duckdb"),
    ("postgres", "delta"),
]
ALL_WALKS = [
    (source, destination)
    for source in ("postgres", "mysql", "sqlite")
    for destination in ("duckdb", "postgres", "delta")
]


def _one(
    source: str, destination: str, seed: int, count: int, platform: Platform, postgres: EmbeddedPostgres,
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> Iterator[list[str]]:  # fmt: skip
    opened: Any = {
        "postgres": lambda: postgres_source(postgres, "random_source"),
        "mysql": lambda: mysql_source(request.getfixturevalue("mysql_url"), "emr"),
        "sqlite": lambda: sqlite_source(tmp_path / "random.db"),
    }[source]()
    warehouse = new_database(postgres, "random_warehouse")  # the connectors of two tests have the same numbers
    monkeypatch.setenv(WAREHOUSE, warehouse)
    file, lake = platform.settings.data_dir / "warehouse.duckdb", platform.settings.data_dir / "lake"
    file.unlink(missing_ok=True)  # of the walk before
    shutil.rmtree(lake, ignore_errors=True)
    places: dict[str, tuple[dict[str, Any], Open]] = {
        "duckdb": ({}, of_duckdb(file)),
        "postgres": ({"destination": {"type": "postgres", "credentials": {"env": WAREHOUSE}}}, of_postgres(warehouse)),
        "delta": ({"destination": {"type": "filesystem", "format": "delta", "url": str(lake)}}, of_delta(lake)),
    }
    place, opens = places[destination]
    with opened as (url, server):
        monkeypatch.setenv(SOURCE, url)
        yield from walk(seed, server, platform, place, opens, count)


@pytest.mark.parametrize(("source", "destination"), WALKS)
def test_the_destination_holds_what_the_source_does(
    platform: Platform, postgres: EmbeddedPostgres, request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, source: str, destination: str,
) -> None:  # fmt: skip
    # The same walk each time: a new one that fails belongs into a soak, not into somebody's unrelated change.
    for different in _one(source, destination, 1, TABLES, platform, postgres, request, tmp_path, monkeypatch):
        assert not different, different[0]


@pytest.mark.soak
@pytest.mark.timeout(12 * 3600)
def test_the_destination_holds_what_the_source_does_on_any_walk(
    platform: Platform, postgres: EmbeddedPostgres, request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first = int(os.environ.get("CAI_RANDOM_SEED", secrets.randbelow(2**31)))
    print(f"CAI_RANDOM_SEED={first}", flush=True)
    failed: list[str] = []
    rounds, number, told, began = 0, 0, 0, time.monotonic()
    while rounds < LONG_ROUNDS:
        source, destination = ALL_WALKS[(first + number) % len(ALL_WALKS)]
        try:
            for different in _one(
                source, destination, first + number, LONG_TABLES, platform, postgres, request, tmp_path, monkeypatch
            ):
                rounds += LONG_TABLES
                failed.extend(different)
        except AssertionError as error:
            failed.append(str(error))
        number += 1
        took = f"{number * LONG_TABLES} tables, {round(time.monotonic() - began)} s"
        print(f"{source} to {destination}: {rounds} rounds, {took}, {len(failed)} differences", flush=True)
        for each in failed[told:]:
            print(each, flush=True)
        told = len(failed)
    assert not failed, "\n\n".join(failed)
