"""Baselines of the data plane: the same work by hand, and as a plain dlt script, in a process of its own.

Started by `benchmarks.data` as a script; prints a line of JSON, as `benchmarks.data.loads` does. Imports are not
counted.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import dlt
import duckdb
import httpx
import orjson
import psycopg2  # type: ignore[import-untyped]
import pyarrow as pa

from benchmarks.data.loads import SOURCE, SQL, TABLE, WAREHOUSE, begin, change_a_tenth, measured, scratch
from connectors.destinations.duckdb import DuckdbDestination
from connectors.sources.sql_database import SqlDatabaseSource
from pipelines.access.secrets import Secrets
from pipelines.loading import pipeline as engine
from pipelines.loading.destinations import open_target
from pipelines.sources import Context, sql_database
from pipelines.sources.as_one import source_of


def scanner() -> float:
    """DuckDB's own postgres scanner."""
    with duckdb.connect(str(scratch("scanner.duckdb"))) as warehouse:
        warehouse.execute("LOAD postgres")
        started = begin()
        warehouse.execute(f"ATTACH '{os.environ[SOURCE]}' AS clinic (TYPE postgres, READ_ONLY)")
        warehouse.execute(f"CREATE TABLE {TABLE} AS SELECT * FROM clinic.public.{TABLE}")
    return time.perf_counter() - started


def adbc() -> float:
    """ADBC into DuckDB, nothing between: what stands in where the scanner can't be installed."""
    started = begin()
    with (
        adbc_driver_postgresql.dbapi.connect(os.environ[SOURCE]) as clinic,
        clinic.cursor() as cursor,
        duckdb.connect(str(scratch("adbc.duckdb"))) as warehouse,
    ):
        columns = (
            "id, person_id, concept_id, on_day, at, value, cost::float8, level, unit, code, normal, note, updated_at"
        )
        cursor.execute(f"SELECT {columns} FROM {TABLE}")
        batches = cursor.fetch_record_batch()
        warehouse.register("batches", batches)
        warehouse.execute(f"CREATE TABLE {TABLE} AS SELECT * FROM batches")
    return time.perf_counter() - started


def copy() -> float:
    """Binary COPY from one database into the other."""
    warehouse = psycopg2.connect(os.environ[WAREHOUSE])
    with warehouse.cursor() as writing:
        writing.execute(f"DROP TABLE IF EXISTS copied; CREATE TABLE copied ({COLUMNS})")
        # A load's table is there before its rows; in one transaction with them, PostgreSQL could leave out its log.
        warehouse.commit()
        started = begin()
        _piped(TABLE, writing, "copied")
        warehouse.commit()
        return time.perf_counter() - started


def _piped(what: str, writing: Any, into_table: str) -> None:
    """COPY of a table or query of the source, piped into one of a table of the warehouse."""
    ends = os.pipe()
    with (
        psycopg2.connect(os.environ[SOURCE]) as source,
        source.cursor() as reading,
        os.fdopen(ends[0], "rb") as out,
        os.fdopen(ends[1], "wb") as into,
    ):

        def read() -> None:
            reading.copy_expert(f"COPY {what} TO STDOUT (FORMAT binary)", into)
            into.close()

        thread = threading.Thread(target=read)
        thread.start()
        writing.copy_expert(f"COPY {into_table} FROM STDIN (FORMAT binary)", out)
        thread.join()


def merge() -> float:
    """A tenth of the rows copied into a table of their own, and one MERGE."""
    copy()
    warehouse = psycopg2.connect(os.environ[WAREHOUSE])
    with warehouse, warehouse.cursor() as cursor:
        cursor.execute("ALTER TABLE copied ADD PRIMARY KEY (id); SELECT max(updated_at) FROM copied")
        newest = cursor.fetchone()[0]
    change_a_tenth()
    names = [column.split()[0] for column in COLUMNS.split(", ")]
    started = begin()
    with warehouse, warehouse.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS changed; CREATE TABLE changed (LIKE copied)")
        _piped(f"(SELECT * FROM {TABLE} WHERE updated_at > '{newest.isoformat()}')", cursor, "changed")
        cursor.execute(
            "MERGE INTO copied USING changed ON copied.id = changed.id WHEN MATCHED THEN UPDATE SET "
            + ", ".join(f"{name} = changed.{name}" for name in names)
            + f" WHEN NOT MATCHED THEN INSERT VALUES ({', '.join(f'changed.{name}' for name in names)})"
        )
    return time.perf_counter() - started


COLUMNS = (
    "id bigint, person_id int, concept_id int, on_day date, at timestamp, value float8, cost numeric(10,2), "
    "level smallint, unit text, code text, normal boolean, note text, updated_at timestamptz"
)
"""The thirteen columns of the table that is loaded."""


def script() -> float:
    """What one writes by hand for a REST API: httpx, orjson, pyarrow, DuckDB."""
    started = begin()
    tables, number = [], 0
    with httpx.Client() as client:
        while True:
            page = orjson.loads(client.get(f"{os.environ['BENCH_API']}/visits?page={number}").content)["items"]
            if not page:
                break
            for row in page:
                row["who"] = orjson.dumps(row["who"]).decode()
            tables.append(pa.Table.from_pylist(page))
            number += 1
    with duckdb.connect(str(scratch("script.duckdb"))) as warehouse:
        warehouse.register("rows", pa.concat_tables(tables))
        warehouse.execute("CREATE TABLE visits AS SELECT * REPLACE (seen::timestamptz AS seen) FROM rows")
    return time.perf_counter() - started


def ndjson() -> float:
    """What one writes by hand for the files of a FHIR export: httpx, orjson, pyarrow, DuckDB, a part at a time."""
    home, started = os.environ["BENCH_FHIR"], begin()
    with httpx.Client() as client, duckdb.connect(str(scratch("ndjson.duckdb"))) as warehouse:
        for number, file in enumerate(client.get(f"{home}/job").json()["output"]):
            with client.stream("GET", file["url"]) as response:
                for part, rows in enumerate(_rows(response.iter_bytes(1 << 20))):
                    for row in rows:
                        for name, value in row.items():
                            if isinstance(value, dict | list):
                                row[name] = orjson.dumps(value).decode()
                    warehouse.register("rows", pa.Table.from_pylist(rows))
                    into = "INSERT INTO observation" if number or part else "CREATE TABLE observation AS"
                    moment = "effectiveDateTime::timestamptz AS effectiveDateTime"
                    warehouse.execute(f"{into} SELECT * REPLACE ({moment}) FROM rows")
    return time.perf_counter() - started


def _rows(blocks: Iterator[bytes]) -> Iterator[list[dict[str, Any]]]:
    """The resources in blocks of bytes, some 20,000 at a time."""
    rest, rows = b"", list[dict[str, Any]]()
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        rows += map(orjson.loads, lines)
        if len(rows) >= 20_000:
            yield rows
            rows = []
    if rows:
        yield rows


def plain() -> float:
    """The same reader, writer and settings as a plain dlt script: what locks, ledger and cleaning up cost on top."""
    scratch("plain.duckdb")
    shutil.rmtree(Path(os.environ["CAI_DATA_DIR"]) / "plain", ignore_errors=True)
    started = begin()
    engine.configure()
    secrets, data_dir = Secrets(), Path(os.environ["CAI_DATA_DIR"])
    target = open_target(DuckdbDestination(type="duckdb", path="plain.duckdb"), 0, secrets, data_dir)
    source = SqlDatabaseSource.model_validate(SQL)
    pipeline = dlt.pipeline(
        "plain", pipelines_dir=str(data_dir / "plain"), destination=target.destination, dataset_name="clinic"
    )
    resources = sql_database.resources(source, Context(secrets=secrets))
    pipeline.run(source_of("plain", resources, None), loader_file_format="parquet")
    return time.perf_counter() - started


def pyreadstat_xpt() -> float:
    """The reader of transport files alone: the rows land nowhere."""
    import pyreadstat  # noqa: PLC0415  # no other side's

    started = begin()
    pyreadstat.read_xport(f"{os.environ['BENCH_FILES']}/xpt/advs.xpt", output_format="dict")
    return time.perf_counter() - started


def openpyxl_xlsx() -> float:
    """The reader of workbooks alone, which streams: the rows land nowhere."""
    import openpyxl  # noqa: PLC0415  # no other side's

    started = begin()
    book = openpyxl.load_workbook(f"{os.environ['BENCH_FILES']}/xlsx/advs.xlsx", read_only=True)
    for _ in book.worksheets[0].iter_rows(values_only=True):
        pass
    return time.perf_counter() - started


SIDES: dict[str, Callable[[], float]] = {
    "scanner": scanner,
    "adbc": adbc,
    "copy": copy,
    "merge": merge,
    "script": script,
    "ndjson": ndjson,
    "plain": plain,
    "pyreadstat": pyreadstat_xpt,
    "openpyxl": openpyxl_xlsx,
}

if __name__ == "__main__":
    print(measured(SIDES[sys.argv[1]]))
