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

from benchmarks.cancelling import cancelling
from benchmarks.discovering import discovering
from benchmarks.first_line import first_line
from benchmarks.first_sync import first_sync
from benchmarks.fleet import audit, changes
from benchmarks.latency import follow_ups, latency
from benchmarks.memory import memory
from benchmarks.page import page
from benchmarks.pure import cold_start, plan_at_scale, spread
from benchmarks.quiet import quiet
from benchmarks.rig.figures import LONG_ROUNDS, ROUNDS, Figure, table
from benchmarks.rig.stage import Stage
from benchmarks.saving import saving
from benchmarks.scheduler import scheduler
from benchmarks.small_run import small_run

BENCHES: dict[str, Callable[[Stage], list[Figure]]] = {
    "quiet": lambda _: quiet(),
    "plan": lambda _: plan_at_scale(),
    "spread": lambda _: spread(),
    "import": lambda _: cold_start(),
    "saving": saving,
    "scheduler": scheduler,
    "audit": audit,
    "sync": first_sync,
    "changes": changes,
    "latency": latency,
    "follow-ups": follow_ups,
    "memory": memory,
    "first-line": first_line,
    "small-run": small_run,
    "page": page,
    "discovering": discovering,
    "cancelling": cancelling,
}

RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> int:
    """Entry point; the exit code is 0 whatever the verdicts say: they are to be read."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure, and print every figure beside its bar.")
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="which to measure; all when none is named")
    parser.add_argument("--scale", type=float, default=1.0, help="makes fleets smaller, to see that all of it works")
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHES)
    whole = set(names) == set(BENCHES) and arguments.scale == 1
    figures: list[Figure] = []
    began = time.monotonic()
    with Stage(arguments.scale) as stage:
        for name in names:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            measured = BENCHES[name](stage)
            print(table(measured), file=sys.stderr, flush=True)
            figures += measured
            if whole:  # after each: what was measured stays, whatever becomes of the rest
                RESULTS.write_text(_results(figures, time.monotonic() - began))
    print(f"\n{table(figures)}\n\n{(time.monotonic() - began) / 60:.1f} minutes.")
    return 0


def _results(figures: list[Figure], seconds: float) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("prefect", "dlt", "sqlalchemy", "duckdb"))
    machine = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"""# Results

{machine}, {packages}, PostgreSQL 18.

Made by `make bench` in {seconds / 60:.0f} minutes. Medians of {ROUNDS} rounds, of {LONG_ROUNDS} where they are long,
with their spread. Both sides of a figure take turns; a ratio is the median of the rounds' own. What they mean for a
fleet: docs/scale.md.

{table(figures)}
"""


if __name__ == "__main__":
    sys.exit(main())
