"""Reading all cells of a destination's tables: DuckDB, PostgreSQL and Delta, as types and texts."""

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import psycopg2  # type: ignore[import-untyped]
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from tests.support.data_plane.random_tables import Landed

Cells = dict[int, list[dict[str, Landed | None]]]
"""Rows by their `id`; several of one id, where another column is part of the key."""
Read = Callable[[str, str], Cells]
"""All cells of a table, given its dataset and its name."""
Open = Callable[[], contextlib.AbstractContextManager[Read]]
"""A connection to a destination, which is no one's while a load writes."""


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


def of_delta(lake: Path) -> Open:
    """Reads Delta tables of a directory."""

    @contextlib.contextmanager
    def opened() -> Iterator[Read]:
        @cache
        def known(dataset: str) -> dict[str, Any]:
            # A lake has no type for JSON: which texts are JSON is in the schema that stands beside the tables.
            stored = [json.loads(file.read_text()) for file in (lake / dataset / "_dlt_version").glob("*.jsonl")]
            newest = max(stored, key=lambda each: int(each["version"]))
            tables: dict[str, Any] = json.loads(newest["schema"])["tables"]
            return tables

        def read(dataset: str, table: str) -> Cells:
            place = str(lake / dataset / table)
            if not DeltaTable.is_deltatable(place):
                return {}
            # Not through pyarrow's datasets: they sometimes abort Python as it ends.
            rows = pa.table(QueryBuilder().register("t", DeltaTable(place)).execute("SELECT * FROM t").read_all())
            columns = known(dataset)[table]["columns"]
            found: Cells = {}
            for row in rows.to_pylist():
                cells = {name: _told(value) for name, value in row.items() if not name.startswith("_dlt")}
                for name, cell in cells.items():
                    if cell is not None and columns.get(name, {}).get("data_type") == "json":
                        cells[name] = Landed("json", cell.text)
                found.setdefault(row["id"], []).append(cells)
            return found

        yield read

    return opened


def _told(value: Any) -> Landed | None:
    if value is None:
        return None
    kind, text = next(told for cls, told in _OF_PYTHON.items() if isinstance(value, cls))
    return Landed(kind, text(value))


_OF_PYTHON: dict[type, tuple[str, Callable[[Any], str]]] = {
    bool: ("truth", lambda value: str(value).lower()),
    int: ("number", str),
    Decimal: ("number", lambda value: format(value, "f")),
    float: ("double", repr),
    bytes: ("bytes", bytes.hex),
    datetime: ("moment", lambda value: value.replace(tzinfo=None).isoformat(" ")),
    date: ("moment", date.isoformat),
    time: ("moment", time.isoformat),
    str: ("text", str),
}
"""Values as Python has them; the first class that fits."""


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
        found.setdefault(int(str(cells["id"].text if cells["id"] else 0)), []).append(cells)
    return found
