"""`python -m benchmarks.data`: the data plane beside the fastest that one can do by hand, memory included.

Each side runs in a process of its own, and the two sides take turns. The source is a real PostgreSQL with a table of
thirteen columns, and a web server in a process of its own with pages of a thousand records.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import psycopg2  # type: ignore[import-untyped]

from benchmarks.data_sides import COLUMNS, SOURCE, TABLE, WAREHOUSE
from benchmarks.figures import Figure, in_turns, median_ratio, shown, table
from local.embedded_postgres import EmbeddedPostgres
from settings import ROOT
from tests.migrated import migrate

MOST_MB = 700
PAGES, PAGE_ROWS = 200, 1_000


def data(rows: int) -> list[Figure]:
    """The figures for a table of so many rows."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(EmbeddedPostgres(directory / "postgres", throwaway=True))
        source, warehouse, platform = (postgres.create_database(name) for name in ("source", "warehouse", "platform"))
        migrate(platform)
        _fill(source, rows)
        api = subprocess.Popen([sys.executable, "-m", "benchmarks.data", "--serve"], cwd=ROOT, stdout=subprocess.PIPE)
        stack.callback(api.terminate)
        assert api.stdout is not None
        environment = {
            **os.environ,
            "CAI_DATABASE_URL": platform,
            "CAI_DATA_DIR": str(directory / "data"),
            SOURCE: source,
            WAREHOUSE: warehouse,
            "BENCH_API": f"http://127.0.0.1:{int(api.stdout.readline())}",
        }
        runner = Runner(environment)
        hand = "scanner" if runner.works("scanner") else "adbc"
        return [
            runner.figure(f"{rows:,} rows PostgreSQL to DuckDB", "to-duckdb", hand, 2.2),
            runner.figure(f"{rows:,} rows PostgreSQL to PostgreSQL", "to-postgres", "copy", 2.2),
            runner.figure(f"{PAGES * PAGE_ROWS:,} REST records to DuckDB", "rest-to-duckdb", "script", 2.0),
            runner.memory(f"most memory, {rows:,} rows", "to-duckdb"),
        ]


class Runner:
    """Runs sides in processes of their own, and remembers the most memory of each."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._most: dict[str, float] = {}

    def seconds(self, side: str) -> float:
        """Run a side once."""
        answer = subprocess.run(
            [sys.executable, "-m", "benchmarks.data_sides", side],
            cwd=ROOT, env=self._environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds, megabytes = json.loads(answer.stdout.splitlines()[-1])
        self._most[side] = max(megabytes, self._most.get(side, 0))
        return float(seconds)

    def works(self, side: str) -> bool:
        """Whether a side can be run here at all."""
        try:
            self.seconds(side)
        except subprocess.CalledProcessError:
            return False
        return True

    def figure(self, name: str, ours: str, baseline: str, bar: float) -> Figure:
        """Both sides in turns."""
        mine, theirs = in_turns(lambda: self.seconds(ours), lambda: self.seconds(baseline))
        ratio = median_ratio(mine, theirs)
        return Figure(name, shown(mine), f"{baseline} {shown(theirs)}", ratio, f"at most {bar}", ratio <= bar)

    def memory(self, name: str, side: str) -> Figure:
        """The most memory that a side took so far."""
        most = self._most[side]
        return Figure(name, f"{most:.0f} MB", "", None, f"at most {MOST_MB} MB", most <= MOST_MB)


def _fill(url: str, rows: int) -> None:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} ({COLUMNS})")
        cursor.execute(
            f"INSERT INTO {TABLE} SELECT i, mod(i, 50000), mod(i, 3000), date '2020-01-01' + mod(i, 1000), "
            "timestamp '2020-01-01' + i * interval '1 minute', random() * 100, random() * 100, mod(i, 7), "
            "'unit' || mod(i, 20), md5(i::text), mod(i, 2) = 0, 'note ' || mod(i, 1000), "
            f"timestamptz '2021-01-01' + i * interval '1 second' FROM generate_series(1, {rows}) i"
        )


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench-data")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve()
    else:
        print(table(data(given.rows)))
