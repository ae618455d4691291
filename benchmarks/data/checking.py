"""Cost of checks and the ledger for a load, in processor time: 200,000 rows x 8 columns into DuckDB and PostgreSQL.

A process that has everything imported, as a warm worker has, loads the same rows by a connector with every kind of
check and by one with none, in turns. What is compared is processor time and not the clock: of that process, and of
the database's server, which reads and lands the rows and which checks ask. Beside it, what of the checked loads was
spent by the process within the checks, and what within the ledger.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import psutil
import psycopg2  # type: ignore[import-untyped]

from benchmarks.rig.bench import QUIET, SERVER, bench
from benchmarks.rig.figures import ROUNDS, Figure, spread
from connectors.runs import Options
from pipelines.load_history import LoadRecord
from pipelines.loading.checking.passing import Passing
from pipelines.loading.measures.row_counts import RowCounts, RowsRead
from pipelines.loading.measures.table_loads import Measured
from pipelines.loading.pipeline import LoadPipeline
from pipelines.run import run_connector
from settings import ROOT, Settings

ROWS = 200_000

MOST = 0.03
"""Of a load's processor time that checks and ledger may take."""

COLUMNS = (
    "id int PRIMARY KEY, mrn text, sex text, kind int, site int, value double precision, note text, at timestamptz"
)
VALUES = (
    "i, 'm' || i, CASE WHEN i % 2 = 0 THEN 'f' ELSE 'm' END, i % 3, i % 20, random() * 100, md5(i::text), "
    "now() - i * interval '1 second'"
)
CHECKS = {
    "min_rows": 1,
    "max_drop_percent": 50,
    "not_null": ["mrn", "value"],
    "unique": ["id", "mrn"],
    "accepted": {"sex": ["m", "f"], "kind": [0, 1, 2]},
    "freshness": {"column": "at", "max_age": 864_000},
}
SOURCE, WAREHOUSE = "CAI_SECRET_BENCH_SOURCE", "CAI_SECRET_BENCH_WAREHOUSE"
POSTGRES = {"type": "postgres", "credentials": {"env": WAREHOUSE}}

CHECKED: tuple[tuple[type, str], ...] = ((LoadPipeline, "check"), (Passing, "take"))
LEDGER: tuple[tuple[type, str], ...] = (
    (LoadRecord, "started"),
    (LoadRecord, "noted"),
    (LoadRecord, "succeeded"),
    (Measured, "tables"),
    (RowCounts, "check"),
    (RowsRead, "__call__"),
    (LoadPipeline, "_size_before"),
    (LoadPipeline, "_size_after"),
)
"""What is done for checks, and what for the ledger."""


@dataclass
class Taken:
    """Seconds of processor, a round each."""

    plain: list[float] = field(default_factory=list)
    checked: list[float] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)
    """Of the checked load, within the checks."""
    ledger: list[float] = field(default_factory=list)
    """Of the same, within the ledger."""


def checking(rows: int = ROWS) -> list[Figure]:
    """The figures of checks and of the ledger."""
    with bench(QUIET) as made:
        source, warehouse = made.database("source"), made.database("warehouse")
        with psycopg2.connect(source) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE visit ({COLUMNS})")
            cursor.execute(f"INSERT INTO visit SELECT {VALUES} FROM generate_series(1, {rows}) i")
        environment = made.environment(**{SOURCE: source, WAREHOUSE: warehouse})
        command = [sys.executable, "-m", "benchmarks.data.checking"]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return [one for name, taken in found.items() for one in _figures(f"{rows:,} rows x 8, {name}", Taken(**taken))]


def _figures(name: str, taken: Taken) -> Iterator[Figure]:
    more = statistics.median(a / b for a, b in zip(taken.checked, taken.plain, strict=True))
    note = f"Processor time of process and server in {len(taken.plain)} rounds in turns."
    yield Figure(f"{name}: with checks", _shown(taken.checked), _shown(taken.plain), more, "", True, note)
    for part, seconds in (("within the checks", taken.checks), ("within the ledger", taken.ledger)):
        share = statistics.median(a / b for a, b in zip(seconds, taken.checked, strict=True))
        yield Figure(f"{name}: {part}", _shown(seconds), "", share, f"at most {MOST}", share <= MOST)


def _shown(seconds: list[float]) -> str:
    middle, around = spread(seconds, 1000)
    return f"{middle} ms ({around})"


def _of_server() -> float:
    """Seconds of processor so far of the sessions of the database's server."""
    server = psutil.Process(int(os.environ[SERVER]))
    own = server.cpu_times()
    spent = [own.children_user, own.children_system]  # of sessions that have ended
    for session in server.children():
        with suppress(psutil.NoSuchProcess):
            if "127.0.0.1" in " ".join(session.cmdline()):  # not what the server does for itself at any time
                times = session.cpu_times()
                spent += [times.user, times.system]
    return sum(spent)


@contextmanager
def _spending(spent: Counter[str], name: str, *, of_server: bool) -> Iterator[None]:
    """Add the processor time of what is done inside; looking at the server's takes some that does not count."""
    server = _of_server() if of_server else 0.0
    began = time.process_time()
    try:
        yield
    finally:
        taken = time.process_time() - began
        spent[name] += taken + (_of_server() - server if of_server else 0.0)  # type: ignore[assignment]


@contextmanager
def _timed(parts: tuple[tuple[type, str], ...], spent: Counter[str], name: str) -> Iterator[None]:
    """Add the processor time of these methods in this process to what is spent under a name while this lasts."""
    originals = [(owner, method, getattr(owner, method)) for owner, method in parts]

    def measured(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(*arguments: Any, **keywords: Any) -> Any:
            with _spending(spent, name, of_server=False):
                return original(*arguments, **keywords)

        return call

    for owner, method, original in originals:
        setattr(owner, method, measured(original))
    try:
        yield
    finally:
        for owner, method, original in originals:
            setattr(owner, method, original)


def _add(connection: Any, disposition: str, checks: Mapping[str, Any] | None, destination: Any) -> int:
    table = {"name": "visit", "primary_key": "id", "write_disposition": disposition}
    source = {
        "type": "sql_database",
        "credentials": {"env": SOURCE},
        "tables": [table if checks is None else {**table, "checks": checks}],
    }
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO cai_connectors (name, source, destination) VALUES (gen_random_uuid(), %s, %s) RETURNING id",
            (json.dumps(source), None if destination is None else json.dumps(destination)),
        )
        return int(cursor.fetchone()[0])


def _load(connector: int) -> Counter[str]:
    """A load's seconds of processor, and those within its parts."""
    spent: Counter[str] = Counter()
    # Of this process alone: the session by which rows were read ends as the checks begin, and its time shows only then.
    with (
        _timed(CHECKED, spent, "checks"),
        _timed(LEDGER, spent, "ledger"),
        _spending(spent, "load", of_server=True),
    ):
        run_connector(connector, Options(), Settings())
    return spent


def measure() -> dict[str, Any]:
    """Run both sides of each figure in turns, in this process."""
    found: dict[str, Any] = {}
    connection = psycopg2.connect(os.environ["CAI_DATABASE_URL"])
    for destination in (None, POSTGRES):
        for disposition in ("replace", "merge"):
            plain, checked = (_add(connection, disposition, each, destination) for each in (None, CHECKS))
            taken = Taken()
            for number in range(ROUNDS + 1):
                without, spent = _load(plain), _load(checked)
                if number:  # the first makes the tables
                    taken.plain.append(without["load"])
                    taken.checked.append(spent["load"])
                    taken.checks.append(spent["checks"])
                    taken.ledger.append(spent["ledger"])
            found[f"{disposition} into {'PostgreSQL' if destination else 'DuckDB'}"] = vars(taken)
    connection.close()
    return found


if __name__ == "__main__":
    print(json.dumps(measure()))
