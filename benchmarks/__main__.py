"""`make bench`: measures, prints one table, and writes benchmarks/RESULTS.md."""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import LONG_ROUNDS, ROUNDS, Figure, table
from benchmarks.first_sync import first_sync
from benchmarks.fleet import audit, changes
from benchmarks.pure import cold_start, plan_at_scale, spread
from benchmarks.quiet import quiet
from benchmarks.stage import Stage

BENCHES: dict[str, Callable[[Stage], list[Figure]]] = {
    "quiet": lambda _: quiet(),
    "plan": lambda _: plan_at_scale(),
    "spread": lambda _: spread(),
    "import": lambda _: cold_start(),
    "audit": audit,
    "sync": first_sync,
    "changes": changes,
}

RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> int:
    """Entry point; the exit code is 0 whatever the verdicts say: they are to be read."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure, and print every figure beside its bar.")
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="which to measure; all when none is named")
    parser.add_argument("--scale", type=float, default=1.0, help="makes fleets smaller, to see that all of it works")
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHES)
    figures: list[Figure] = []
    began = time.monotonic()
    with Stage(arguments.scale) as stage:
        for name in names:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            measured = BENCHES[name](stage)
            print(table(measured), file=sys.stderr, flush=True)
            figures += measured
    minutes = (time.monotonic() - began) / 60
    print(f"\n{table(figures)}\n\n{minutes:.1f} minutes.")
    if set(names) == set(BENCHES) and arguments.scale == 1:
        packages = ", ".join(f"{name} {version(name)}" for name in ("prefect", "dlt", "sqlalchemy", "duckdb"))
        RESULTS.write_text(
            f"# Results\n\n{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"{packages}, PostgreSQL 18.\nMade by `make bench` in {minutes:.0f} minutes. Medians of {ROUNDS} rounds, or "
            f"of {LONG_ROUNDS} long ones, with their\nspread; both sides of a figure take turns.\n\n"
            f"{table(figures)}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
