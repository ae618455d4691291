"""`make bench`: measures, prints one table, and writes benchmarks/RESULTS.md."""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import ROUNDS, Figure, table
from benchmarks.pure import cold_start, plan_at_scale, spread
from benchmarks.quiet import quiet

BENCHES: dict[str, Callable[[], list[Figure]]] = {
    "quiet": quiet,
    "plan": plan_at_scale,
    "spread": spread,
    "import": cold_start,
}

RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> int:
    """Entry point; the exit code is 0 whatever the verdicts say: they are to be read."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure, and print every figure beside its bar.")
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="which to measure; all when none is named")
    names = parser.parse_args().names or list(BENCHES)
    figures = []
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        figures += BENCHES[name]()
    print(table(figures))
    if set(names) == set(BENCHES):
        packages = ", ".join(f"{name} {version(name)}" for name in ("prefect", "dlt", "sqlalchemy", "duckdb"))
        RESULTS.write_text(
            f"# Results\n\n{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"{packages}.\nMade by `make bench`; medians of {ROUNDS} with their spread.\n\n{table(figures)}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
