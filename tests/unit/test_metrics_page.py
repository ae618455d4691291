"""docs/metrics.md is what is exported, to the word."""

import os

from settings import ROOT
from tests.support.exported import Family, apis, controllers

PAGE = ROOT / "docs" / "metrics.md"

INTRODUCTION = """# Metrics

For Prometheus. No label names a connector, so what they cost does not grow with the fleet. Beside these, both processes
export `process_*`: memory, CPU, open files, start time.
"""
CONTROLLER = """## Controller

At `:CAI_METRICS_PORT/metrics` of `python -m flows.controller`, leading or standing by. Counted in memory, so a scrape
asks neither Prefect nor the database. What is said of connectors comes from the leader alone: of the tables every 15
seconds, of freshness every minute. A controller that runs as a flow run of Prefect's is not scraped; the ones in the
foreground then say that another holds the lease.
"""
API = """## REST API

At `:CAI_API_PORT/metrics`, without a token.
"""


def _table(families: list[Family]) -> list[str]:
    rows = []
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append(f"| `{family.name}` | {family.kind} | {labels} | {family.meaning} |")
    return ["| name | type | labels | meaning |", "|---|---|---|---|", *rows]


def page() -> str:
    """docs/metrics.md as the exporters have it."""
    return "\n".join([INTRODUCTION, CONTROLLER, *_table(controllers()), "", API, *_table(apis()), ""])


def test_every_metric_is_documented_as_it_is() -> None:
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "run WRITE_DOCS=1 pytest tests/unit/test_metrics_page.py"
