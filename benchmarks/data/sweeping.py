"""Rows that are gone, and one that was lost: a sweep beside a full refresh, a comparison beside reading both sides.

Started by `benchmarks.data`; each act is a process of its own (`python -m benchmarks.data.sweeping ACT CONNECTOR`),
for its memory is measured too, and the acts take turns. Imports are not counted. Beside the clock stands the processor
time of that process and of the database's server, which both sides are in.
"""

import argparse
import contextlib
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import psutil
import psycopg2  # type: ignore[import-untyped]

from benchmarks.data.sides import COLUMNS
from benchmarks.rig.bench import QUIET, SERVER, bench
from benchmarks.rig.figures import Figure, shown
from connectors.runs import Options
from connectors.sources.write_rules import Comparison
from settings import ROOT, Settings

ROUNDS = 3
SWEPT, SWEPT_MB = 0.2, 450
"""Of a full refresh, what a sweep may take; and its memory."""
PROVED = 2.0
"""Times as long as reading both sides that finding one lost row may take."""
FILLED_AT_ONCE = 1_000_000
GONE = 10
"""Rows that are gone in each round."""

SOURCE, WAREHOUSE = "CAI_SECRET_BENCH_SOURCE", "CAI_SECRET_BENCH_WAREHOUSE"
POSTGRES = {"type": "postgres", "credentials": {"env": WAREHOUSE}}


def sweeping(rows: int, rounds: int = ROUNDS) -> list[Figure]:
    """The figures for a table of so many rows, from PostgreSQL to PostgreSQL and to DuckDB."""
    with bench(QUIET) as made:
        source, warehouse = made.database("source"), made.database("warehouse")
        _ask(source, f"CREATE TABLE measurement ({COLUMNS})")
        for first in range(1, rows + 1, FILLED_AT_ONCE):
            last = min(first + FILLED_AT_ONCE - 1, rows)
            _ask(source, _filled(first, last))
            _say(f"{last:,} of {rows:,} rows made")
        _ask(source, "ALTER TABLE measurement ADD PRIMARY KEY (id)", "VACUUM ANALYZE measurement")
        environment = made.environment(**{SOURCE: source, WAREHOUSE: warehouse})
        return [
            figure
            for name, destination in (("PostgreSQL", POSTGRES), ("DuckDB", None))
            for connector in [_add(made.own, destination)]
            for figure in _figures(f"{rows:,} rows PostgreSQL to {name}", environment, connector, rounds)
        ]


def _say(words: str) -> None:
    """A line for whoever waits: the figures come at the very end, after an hour where rows are many."""
    print(f"{datetime.now(UTC):%H:%M:%S} {words}", file=sys.stderr, flush=True)


def _figures(name: str, environment: dict[str, str], connector: int, rounds: int) -> Iterator[Figure]:
    taken: dict[str, list[dict[str, float]]] = defaultdict(list)

    def act(what: str) -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks.data.sweeping", what, str(connector)]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        taken[what].append(found)
        _say(f"{name}: {what} " + ", ".join(f"{value:.1f} {unit}" for unit, value in found.items()))
        return found

    for _ in range(rounds):
        act("refresh")
        some = f"SELECT id FROM measurement ORDER BY random() LIMIT {GONE}"
        _ask(environment[SOURCE], f"DELETE FROM measurement WHERE id IN ({some})")
        left = act("sweep")["deleted"]
        assert left > 0, "a sweep found nothing of what is gone"
        act("scan")
        assert act("loss")["missing"] == 1, "the one row that was lost was not found"
    yield _beside(f"{name}: sweep", taken["sweep"], "full refresh", taken["refresh"], SWEPT)
    most, bar = max(each["megabytes"] for each in taken["sweep"]), f"at most {SWEPT_MB} MB"
    yield Figure(f"{name}: most memory of a sweep", f"{most:.0f} MB", "", None, bar, most <= SWEPT_MB)
    yield _beside(f"{name}: loss", taken["loss"], "reading both sides", taken["scan"], PROVED)
    most = max(each["megabytes"] for each in taken["loss"])
    yield Figure(f"{name}: most memory of a comparison", f"{most:.0f} MB", "", None, "", True)


def _beside(name: str, ours: list[dict[str, float]], what: str, theirs: list[dict[str, float]], bar: float) -> Figure:
    def ratio(of: str) -> float:
        return statistics.median(a[of] / b[of] for a, b in zip(ours, theirs, strict=True))

    mine, other = ([each["seconds"] for each in side] for side in (ours, theirs))
    mine_cpu, other_cpu = (statistics.median(each["cpu"] for each in side) for side in (ours, theirs))
    note = f"{ratio('cpu'):.2f} by processor: {mine_cpu:.2f} s beside {other_cpu:.2f} s of process and server."
    of_clock = ratio("seconds")
    return Figure(name, shown(mine), f"{what} {shown(other)}", of_clock, f"at most {bar}", of_clock <= bar, note)


def _filled(first: int, last: int) -> str:
    return (
        "INSERT INTO measurement SELECT i, mod(i, 50000), mod(i, 3000), date '2020-01-01' + mod(i, 1000), "
        "timestamp '2020-01-01' + i * interval '1 minute', random() * 100, random() * 100, mod(i, 7), "
        "'unit' || mod(i, 20), md5(i::text), mod(i, 2) = 0, 'note ' || mod(i, 1000), "
        f"timestamptz '2021-01-01' + i * interval '1 second' FROM generate_series({first}, {last}) i"
    )


def _ask(url: str, *statements: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def _add(own: str, destination: dict[str, Any] | None) -> int:
    table = {"name": "measurement", "primary_key": ["id"], "cursor_column": "updated_at", "deletes": "remove"}
    source = {"type": "sql_database", "credentials": {"env": SOURCE}, "tables": [table]}
    there = "NULL" if destination is None else f"'{json.dumps(destination)}'"
    insert = "INSERT INTO cai_connectors (name, source, destination) VALUES (gen_random_uuid(), "
    ((number,),) = _ask(own, f"{insert} '{json.dumps(source)}', {there}) RETURNING id")
    return int(number)


def _of_server() -> float:
    """Seconds of processor so far of the database's server and its sessions."""
    server = psutil.Process(int(os.environ[SERVER]))
    own = server.cpu_times()
    spent = own.children_user + own.children_system  # of those that have ended
    for session in server.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = session.cpu_times()
            spent += times.user + times.system
    return float(spent)


def _measured(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    began, own, server = time.perf_counter(), time.process_time(), _of_server()
    found = work()
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - own + _of_server() - server,
        **found,
    }


def _refresh(connector: int) -> dict[str, float]:
    from pipelines.run import run_connector  # noqa: PLC0415  # imports are not counted

    def work() -> dict[str, float]:
        run_connector(connector, Options(full_refresh=True), Settings())
        return {}

    return _measured(work)


def _sweep(connector: int) -> dict[str, float]:
    """A load that finds nothing new, of which the sweep is measured."""
    from pipelines.loading.pipeline import LoadPipeline  # noqa: PLC0415
    from pipelines.run import run_connector  # noqa: PLC0415

    original, taken = LoadPipeline.sweep, {}

    def sweep(self: LoadPipeline) -> None:
        def work() -> dict[str, float]:
            original(self)
            return {"deleted": float(sum(self._after.gone.values()))}

        taken.update(_measured(work))

    LoadPipeline.sweep = sweep  # type: ignore[method-assign]
    run_connector(connector, Options(), Settings())
    return taken


def _loss(connector: int) -> dict[str, float]:
    """One row is lost in the destination, and all of it compared with the source."""
    from pipelines.run import Skipped, Waiting, run_connector  # noqa: PLC0415

    table = f"connector_{connector}.measurement"
    which = f"WHERE id = (SELECT max(id) FROM {table})"
    if _is_in_postgres(connector):
        _ask(os.environ[WAREHOUSE], f"DELETE FROM {table} {which}")
    else:
        import duckdb  # noqa: PLC0415

        with duckdb.connect(str(Path(os.environ["CAI_DATA_DIR"]) / "warehouse.duckdb")) as warehouse:
            warehouse.execute(f"DELETE FROM {table} {which}")

    def work() -> dict[str, float]:
        found = run_connector(connector, Options(reconcile=Comparison.SUMS), Settings())
        assert not isinstance(found, Skipped | Waiting)
        return {"missing": float("; 1 are missing, 0 are too many, 0 are different" in " ".join(found.compared))}

    return _measured(work)


def _is_in_postgres(connector: int) -> bool:
    query = f"SELECT destination IS NOT NULL FROM cai_connectors WHERE id = {connector}"
    return bool(_ask(os.environ["CAI_DATABASE_URL"], query)[0][0])


def _scan(connector: int) -> dict[str, float]:
    """All rows of both sides, read and thrown away."""

    def read(url: str, table: str) -> None:
        with adbc_driver_postgresql.dbapi.connect(url) as there, there.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table}")
            for _ in cursor.fetch_record_batch():
                pass

    def work() -> dict[str, float]:
        read(os.environ[SOURCE], "measurement")
        table = f"connector_{connector}.measurement"
        if _is_in_postgres(connector):
            read(os.environ[WAREHOUSE], table)
            return {}
        import duckdb  # noqa: PLC0415

        with duckdb.connect(str(Path(os.environ["CAI_DATA_DIR"]) / "warehouse.duckdb"), read_only=True) as warehouse:
            rows: Any = warehouse.execute(f"SELECT * FROM {table}").to_arrow_reader()
            for _ in rows:
                pass
        return {}

    return _measured(work)


ACTS = {"refresh": _refresh, "sweep": _sweep, "loss": _loss, "scan": _scan}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("act", choices=ACTS)
    parser.add_argument("connector", type=int)
    given = parser.parse_args()
    for module in ("loading.pipeline", "sources.sql_database", "loading.comparing.sweeping"):
        importlib.import_module(f"pipelines.{module}")
    answer = ACTS[given.act](given.connector)
    answer["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(answer))
