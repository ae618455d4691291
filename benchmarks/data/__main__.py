"""`make bench-data`: the data plane beside the fastest that one can do by hand, beside plain dlt, and beside peers.

Each side runs in a process of its own, and the two sides take turns. The source is a real PostgreSQL with tables of
thirteen columns, and a web server in a process of its own with pages of a thousand records.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import psycopg2  # type: ignore[import-untyped]

from benchmarks.data.checking import checking
from benchmarks.data.files import write_xlsx, write_xpt
from benchmarks.data.loads import LOADS, SOURCE, WAREHOUSE
from benchmarks.data.peers import PEERS, Peer, installed
from benchmarks.data.redcap_project import TOKEN
from benchmarks.data.sides import COLUMNS
from benchmarks.data.sweeping import sweeping
from benchmarks.rig.bench import bench
from benchmarks.rig.figures import LONG_ROUNDS, ROUNDS, Figure, in_turns, median_ratio, shown, table
from settings import ROOT

MOST_MB = 700
STREAM_MB = 250
MORE = 5
"""How many times as many rows the large table has."""
FLAT = 1.15
"""Memory for the large table over that for the small one, up to which it counts as flat: Python's own spread."""
PAGES, PAGE_ROWS = 200, 1_000
REDCAP_RECORDS, REDCAP_FIELDS, REDCAP_MB = 20_000, 2_000, 300
FILES_MB, FILES_RATIO = 450, 1.3
FHIR_RESOURCES, FHIR_MB, FHIR_RATIO = 1_000_000, 410, 1.3

BEFORE = "8b20790"
"""The last build that took a row's first version, a cast value or a short page for what was there."""
COMPARED = (
    *("to-duckdb", "to-postgres", "merge-to-duckdb", "merge-to-postgres", "rest-to-duckdb"),
    *("files-to-duckdb", "quoted-files-to-duckdb", "narrow-files-to-duckdb", "jsonl-to-duckdb"),
)
SLOWER = 1.05

PROTECTED = round(1 / 0.7, 2)
"""How many times as long a load may take whose rows are protected: 0.7 of the throughput."""

FILES = {
    "wide/measurement.csv": "COPY measurement TO STDOUT (FORMAT csv, HEADER)",
    "quoted/measurement.csv": "COPY measurement TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *)",
    "narrow/measurement.csv": "COPY (SELECT id, value, updated_at FROM measurement) TO STDOUT (FORMAT csv, HEADER)",
    "lines/measurement.jsonl": "COPY (SELECT row_to_json(measurement) FROM measurement) TO STDOUT",
}
"""The small table as files, a directory each: all columns, the same in quotes, three of them, and lines of JSON."""

RESULTS = Path(__file__).parents[1] / "RESULTS-DATA.md"


def redcap(records: int) -> list[Figure]:
    """The memory of a load of a REDCap project of so many records, whose server answers for 500 of them at once."""
    with bench() as made:
        address = made.served("benchmarks.data.redcap_project", str(records), str(REDCAP_FIELDS))
        runner = Runner(made.environment(BENCH_REDCAP=f"{address}/api/", CAI_SECRET_BENCH_REDCAP=TOKEN))
        return [
            runner.once(
                f"REDCap, {records:,} records of {REDCAP_FIELDS:,} fields, {layout}", f"redcap-{layout}", REDCAP_MB
            )
            for layout in ("by_instrument", "wide")
        ]


def fhir(resources: int) -> list[Figure]:
    """The figures for an export of a FHIR server with so many resources."""
    with bench() as made:
        address = made.served("benchmarks.data.fhir_export", str(resources))
        runner = Runner(made.environment(BENCH_FHIR=f"{address}/fhir"))
        name = f"FHIR export, {resources:,} resources to DuckDB"
        return [
            runner.figure(name, "fhir-export", "ndjson", FHIR_RATIO),
            runner.memory(f"most memory, {name}", "fhir-export", FHIR_MB),
            runner.once(f"{name}, with views and history", "fhir-views", FHIR_MB),
        ]


def files(rows: int) -> list[Figure]:
    """The figures for a workbook and a transport file of so many rows: whole loads beside readers alone."""
    with bench() as made:
        inbox = made.data / "inbox"
        for form, write in (("xpt", write_xpt), ("xlsx", write_xlsx)):
            (inbox / form).mkdir(parents=True)
            write(inbox / form / f"advs.{form}", rows)
            os.utime(inbox / form / f"advs.{form}", (1_700_000_000, 1_700_000_000))
        runner = Runner(made.environment(BENCH_FILES=str(inbox), CAI_LOCAL_FILE_ROOTS=str(inbox)))
        figures = []
        for form, reader in (("xpt", "pyreadstat"), ("xlsx", "openpyxl")):
            side = f"{form}-to-duckdb"
            figures.append(runner.processor(f"{rows:,} rows of {form} to DuckDB, processor", side, reader, FILES_RATIO))
            figures.append(runner.memory(f"most memory, {rows:,} rows of {form} to DuckDB", side, FILES_MB))
            # What is there stays there, should someone not wait for the rest.
            print(table(figures[-2:]), file=sys.stderr, flush=True)
        return figures


def data(rows: int) -> list[Figure]:
    """The figures for tables of so many rows and of five times as many."""
    with bench() as made:
        source, warehouse, before = (made.database(name) for name in ("source", "warehouse", "before"))
        _fill(source, "measurement", rows)
        _fill(source, "measurement_large", MORE * rows)
        inbox = str(_files(made.data / "inbox", source))
        databases = {SOURCE: source, WAREHOUSE: warehouse}
        address = made.served("benchmarks.data", "--serve")
        runner = Runner(made.environment(BENCH_FILES=inbox, CAI_LOCAL_FILE_ROOTS=inbox, BENCH_API=address, **databases))
        hand = "scanner" if runner.works("scanner") else "adbc"
        figures = [
            runner.figure(f"{rows:,} rows PostgreSQL to DuckDB", "to-duckdb", hand, 2.2),
            runner.figure(f"{rows:,} rows PostgreSQL to PostgreSQL", "to-postgres", "copy", 1.25),
            runner.figure(f"{rows:,} rows merged for the first time", "merge-to-postgres", "copy", 1.25),
            runner.figure(f"a merge of {rows // 10:,} of {rows:,} rows", "merge-tenth-to-postgres", "merge", 1.5),
            runner.figure(f"{PAGES * PAGE_ROWS:,} REST records to DuckDB", "rest-to-duckdb", "script", 2.0),
            runner.figure(f"{rows:,} rows to DuckDB, protected", "protected-to-duckdb", "to-duckdb", PROTECTED),
            runner.figure(f"{rows:,} rows to DuckDB, safe_harbor", "safe-harbor-to-duckdb", "to-duckdb", PROTECTED),
            runner.figure(
                f"{PAGES * PAGE_ROWS:,} REST records, protected",
                "protected-rest",
                "rest-to-duckdb",
                PROTECTED,
            ),
            *runner.peers(f"{rows:,} rows PostgreSQL to PostgreSQL", source, warehouse),
            runner.on_top(f"{MORE * rows:,} rows PostgreSQL to DuckDB"),
            runner.memory(f"most memory, {rows:,} rows to DuckDB", "to-duckdb"),
            runner.memory(f"most memory, {rows:,} rows to PostgreSQL", "to-postgres", STREAM_MB),
            runner.flat(f"most memory, {MORE * rows:,} rows to DuckDB", "to-duckdb"),
            runner.flat(f"most memory, {MORE * rows:,} rows to PostgreSQL", "to-postgres"),
        ]
        figures += runner.beside_before(made.directory, before)
        if hand == "adbc":
            figures[0] = _without_scanner(figures[0])
        return figures


def _without_scanner(figure: Figure) -> Figure:
    return replace(figure, note=f"DuckDB's postgres scanner can't be installed here: ADBC stands in. {figure.note}")


class Runner:
    """Runs sides in processes of their own, and remembers what each took."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._taken: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def seconds(self, side: str, *, large: bool = False) -> float:
        """Run a side once, on the large table or on the small one."""
        taken = self._run(side, ROOT, large)
        self._taken[_key(side, large)].append(taken)
        return float(taken["seconds"])

    def _run(self, side: str, root: Path, large: bool, **environment: str) -> dict[str, Any]:
        """Run a side of this file's making with the program that stands below `root`."""
        table = "measurement_large" if large else "measurement"
        script = "loads.py" if side in LOADS else "sides.py"
        # What it says of an error goes where ours goes.
        answer = subprocess.run(
            [sys.executable, ROOT / "benchmarks" / "data" / script, side],
            cwd=root,
            env={**self._environment, "BENCH_TABLE": table, "PYTHONPATH": str(root), **environment},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        taken: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
        return taken

    def beside_before(self, directory: Path, platform: str) -> list[Figure]:
        """Loads of this build beside the same loads of the build before values, keys and pages were checked.

        `platform`: an empty database, which gets that build's tables: it records its loads as this one does.
        """
        before = directory / "before"
        before.mkdir()
        archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode:
            return [Figure(f"loads beside {BEFORE}", "", "", None, "", True, "This clone does not have that commit.")]
        subprocess.run(["tar", "-x", "-C", before], input=archive.stdout, check=True)
        environment = {"CAI_DATABASE_URL": platform, "PYTHONPATH": str(before)}
        command = [sys.executable, "-m", "alembic", "upgrade", "head"]
        subprocess.run(
            command, cwd=before, env={**self._environment, **environment}, check=True, stdout=subprocess.DEVNULL
        )
        return [self._beside_before(side, before, environment) for side in COMPARED]

    def _beside_before(self, side: str, before: Path, environment: dict[str, str]) -> Figure:
        """By the time of the processor, as `processor` has it; by the clock beside it."""
        clock: list[tuple[float, float]] = []

        def theirs() -> float:
            taken = self._run(side, before, large=False, **environment)
            clock.append((float(self._taken[_key(side, large=False)][-1]["seconds"]), float(taken["seconds"])))
            return float(taken["cpu"])

        spent, spent_before = in_turns(lambda: self._spent(side), theirs)
        ratio = median_ratio(spent, spent_before)
        seconds = f"By the clock {median_ratio(*zip(*clock[1:], strict=True)):.2f}."
        return Figure(
            f"{side}, beside the build {BEFORE}, processor",
            *(shown(spent), shown(spent_before), ratio, f"at most {SLOWER}", ratio <= SLOWER),
            f"{seconds} {self._where(side)}",
        )

    def works(self, side: str) -> bool:
        """Whether a side can be run here at all."""
        try:
            self.seconds(side)
        except subprocess.CalledProcessError:
            return False
        return True

    def figure(self, name: str, ours: str, baseline: str, bar: float, why: str = "") -> Figure:
        """Both sides in turns; `why` tells what the difference is."""
        mine, theirs = in_turns(lambda: self.seconds(ours), lambda: self.seconds(baseline))
        ratio = median_ratio(mine, theirs)
        note = f"{why} {self._where(ours)}".strip()
        return Figure(name, shown(mine), f"{baseline} {shown(theirs)}", ratio, f"at most {bar}", ratio <= bar, note)

    def processor(self, name: str, ours: str, baseline: str, bar: float) -> Figure:
        """Both sides in turns, by the time of the processor: other work on the machine counts for less.

        No round before them: a workbook of a million rows takes a minute, and eight of them beside other work an hour.
        """
        mine, theirs = in_turns(lambda: self._spent(ours), lambda: self._spent(baseline), LONG_ROUNDS, warm=False)
        ratio = median_ratio(mine, theirs)
        baseline_shown = f"{baseline} {shown(theirs)}, {self._most(baseline):.0f} MB"
        return Figure(name, shown(mine), baseline_shown, ratio, f"at most {bar}", ratio <= bar, self._where(ours))

    def _spent(self, side: str) -> float:
        """Run a side once; the seconds of the processor that its work took, without imports."""
        self.seconds(side)
        return float(self._taken[_key(side, large=False)][-1]["cpu"])

    def on_top(self, name: str) -> Figure:
        """What a run costs beside the same work as a plain dlt script."""
        mine, theirs = in_turns(
            lambda: self.seconds("to-duckdb", large=True), lambda: self.seconds("plain", large=True), LONG_ROUNDS
        )
        over = statistics.median(a - 1.05 * b for a, b in zip(mine, theirs, strict=True))
        note = f"{over:+.2f} s beside 1.05 times plain dlt. {self._where('to-duckdb', large=True)}"
        ratio = median_ratio(mine, theirs)
        return Figure(name, shown(mine), f"plain dlt {shown(theirs)}", ratio, "at most 1.05 and 2 s", over <= 2, note)

    def peers(self, name: str, source: str, warehouse: str) -> list[Figure]:
        """Whole processes, theirs and ours: a worker starts one for each run."""
        return [self._peer(name, peer, source, warehouse) for peer in PEERS]

    def _peer(self, name: str, peer: Peer, source: str, warehouse: str) -> Figure:
        program = installed(peer)
        if isinstance(program, str):
            return Figure(f"{name}, beside {peer.name}", "", "", None, "", True, program)
        command = peer.command(program.path, source, warehouse)

        def theirs() -> float:
            return _whole(command.arguments, {**os.environ, **command.environment})

        def ours() -> float:
            return _whole([sys.executable, "-m", "benchmarks.data.loads", "to-postgres"], self._environment)

        mine, others = in_turns(ours, theirs, LONG_ROUNDS)
        label = f"{peer.name} {program.version}"
        ratio = median_ratio(mine, others)
        note = "Whole processes: some two seconds of ours are Python's imports, which a worker pays once a run."
        return Figure(f"{name}, beside {peer.name}", shown(mine), f"{label} {shown(others)}", ratio, "", True, note)

    def memory(self, name: str, side: str, bar: int = MOST_MB) -> Figure:
        """The most memory that a side took so far."""
        most = self._most(side)
        return Figure(name, f"{most:.0f} MB", "", None, f"at most {bar} MB", most <= bar)

    def once(self, name: str, side: str, bar: int) -> Figure:
        """The most memory of one run, which takes minutes."""
        seconds = self.seconds(side)
        most = self._most(side)
        note = f"{seconds:.0f} s: {self._where(side)}"
        return Figure(name, f"{most:.0f} MB", "", None, f"at most {bar} MB", most <= bar, note)

    def flat(self, name: str, side: str) -> Figure:
        """The same for the large table, beside the small one."""
        if not self._taken[_key(side, large=True)]:
            self.seconds(side, large=True)
        less, most = self._most(side), self._most(side, large=True)
        ratio = most / less
        bar = f"at most {FLAT} and {MOST_MB} MB"
        holds = ratio <= FLAT and most <= MOST_MB
        return Figure(name, f"{most:.0f} MB", f"small table {less:.0f} MB", ratio, bar, holds)

    def _most(self, side: str, *, large: bool = False) -> float:
        return max(float(taken["megabytes"]) for taken in self._taken[_key(side, large)])

    def _where(self, side: str, *, large: bool = False) -> str:
        """Medians: seconds of each step, and of the processor in our process."""
        taken = self._taken[_key(side, large)]
        steps = {step: statistics.median(one["steps"][step] for one in taken) for step in taken[0]["steps"]}
        cpu = statistics.median(one["cpu"] for one in taken)
        spent = ", ".join(f"{step} {seconds:.2f} s" for step, seconds in steps.items())
        return f"{spent}; {cpu:.1f} s of processor in our process."


def _key(side: str, large: bool) -> str:
    return f"{side} large" if large else side


def _whole(command: list[str], environment: dict[str, str]) -> float:
    """Seconds of a process from its start to its end."""
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    return time.perf_counter() - started


def _fill(url: str, name: str, rows: int) -> None:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} ({COLUMNS}, PRIMARY KEY (id))")
        cursor.execute(
            f"INSERT INTO {name} SELECT i, mod(i, 50000), mod(i, 3000), date '2020-01-01' + mod(i, 1000), "
            "timestamp '2020-01-01' + i * interval '1 minute', random() * 100, random() * 100, mod(i, 7), "
            "'unit' || mod(i, 20), md5(i::text), mod(i, 2) = 0, 'note ' || mod(i, 1000), "
            f"timestamptz '2021-01-01' + i * interval '1 second' FROM generate_series(1, {rows}) i"
        )
    connection.close()


def _files(directory: Path, url: str) -> Path:
    """The directory of the small table as files, made long before they are read."""
    connection = psycopg2.connect(url)
    for name, copied in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True)
        with connection, connection.cursor() as cursor, path.open("wb") as file:
            cursor.copy_expert(copied, file)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    connection.close()
    return directory


def serve() -> None:
    """The REST API: its port on the first line, then pages until it is ended."""
    pages = [
        orjson.dumps(
            {
                "items": [
                    {
                        "id": page * PAGE_ROWS + row, "person": row % 500, "code": f"C{row % 300}", "value": row / 7,
                        "seen": f"2024-01-01T00:{row // 60 % 60:02}:{row % 60:02}Z", "flag": row % 2 == 0, "unit": "mg",
                        "note": f"note {row}", "who": {"a": 1, "b": "x"}, "n": row,
                    }
                    for row in range(PAGE_ROWS)
                ]
            }
        )
        for page in range(PAGES)
    ]  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            number = int(self.path.partition("page=")[2].partition("&")[0] or 0)
            body = pages[number] if number < PAGES else b'{"items": []}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def main() -> int:
    """Entry point; the exit code is 0 whatever the verdicts say: they are to be read."""
    parser = argparse.ArgumentParser(prog="make bench-data")
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="rows of the small table; the large one has 5 times"
    )
    parser.add_argument("--redcap", type=int, help="only the REDCap figures, for a project of so many records")
    parser.add_argument("--fhir", type=int, help="only the figures of a FHIR export, of so many resources")
    parser.add_argument("--sweep", type=int, help="only the figures of sweeps and of one lost row, for so many rows")
    parser.add_argument("--rounds", type=int, default=LONG_ROUNDS, help="how often, of --sweep")
    parser.add_argument("--checks", action="store_true", help="only the figures of checks and of the ledger")
    parser.add_argument(
        "--files", type=int, help="only the figures of a workbook and a transport file, of so many rows"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve()
        return 0
    alone: list[tuple[Any, Callable[[], list[Figure]]]] = [
        (given.redcap, lambda: redcap(given.redcap)),
        (given.fhir, lambda: fhir(given.fhir)),
        (given.sweep, lambda: sweeping(given.sweep, given.rounds)),
        (given.checks, checking),
        (given.files, lambda: files(given.files)),
    ]
    for asked, figures in alone:
        if asked:
            print(table(figures()))
            return 0
    began = time.monotonic()
    shown_table = table(
        checking()
        + data(given.rows)
        + files(given.rows)
        + sweeping(given.rows)
        + redcap(REDCAP_RECORDS)
        + fhir(FHIR_RESOURCES)
    )
    print(shown_table)
    if given.rows == parser.get_default("rows"):
        packages = ", ".join(
            f"{name} {version(name)}" for name in ("dlt", "duckdb", "pyarrow", "adbc-driver-postgresql")
        )
        minutes = (time.monotonic() - began) / 60
        # What was measured alone, under a heading of its own, stays.
        alone_before = "".join(RESULTS.read_text().partition("\n## ")[1:])
        RESULTS.write_text(
            f"# Results of the data plane\n\n{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}, {packages}, PostgreSQL 18.\n"
            f"Made by `make bench-data` in {minutes:.0f} minutes; medians of {ROUNDS} rounds with their spread, of "
            f"{LONG_ROUNDS} beside peers and for the large\ntable. Both sides of a figure take turns; a ratio is the "
            "median of the rounds' own. Where the time goes:\ndocs/sources.md, *How fast*.\n\n"
            f"{shown_table}\n{alone_before}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
