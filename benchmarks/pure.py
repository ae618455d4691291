"""Figures that need no server: the plan at scale, the spread of `H`, and what importing the pipeline's flow costs."""

import gc
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from benchmarks.rig.figures import ROUNDS, Figure, in_turns, median_ratio, shown
from connectors.connector import ConnectorRow
from connectors.schedules.cron import parse
from connectors.schedules.dates import next_runs
from deployments.planning.plan import Desired, Observation, Policy, desire, plan
from deployments.planning.spec import Platform
from prefect_api.deployment import Observed, Spec

PLATFORM = Platform("bench", "default", "default", {"command": "python -m prefect.engine"}, {"type": "object"})
POLICY = Policy(tag=PLATFORM.tag)
COLD_ROUNDS = 9
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIZES = (1_000, 10_000, 100_000)


def fleet(size: int) -> tuple[dict[int, Desired], Observation]:
    """`size` connectors and the deployments they ask for, a hundredth of which have drifted."""
    desired: dict[int, Desired] = {}
    held: dict[int, Observed] = {}
    source = {"type": "files", "url": "/data", "format": "csv", "table": "labs"}
    for number in range(1, size + 1):
        schedule = "0 * * * *" if number % 100 else "5 * * * *"
        row = ConnectorRow(
            number, f"c{number}", None, schedule, "UTC", True, source, None, None, {}, None, None, None, 1
        )
        wanted = desire(row, PLATFORM)
        assert isinstance(wanted.wants, Spec)
        desired[number] = wanted
        fields = wanted.wants.fields
        if number % 100 == 0:
            drifted = desire(replace(row, schedule="6 * * * *"), PLATFORM).wants
            assert isinstance(drifted, Spec)
            fields = drifted.fields
        held[number] = Observed(UUID(int=number), wanted.wants.name, fields, (UUID(int=number),))
    return desired, Observation(held)


def plan_at_scale() -> list[Figure]:
    """The time of a plan grows with the fleet and no faster."""
    fleets = {size: fleet(size) for size in SIZES}
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    gc.freeze()  # the largest fleet lies in memory while the smallest is planned, and is not to be collected for it
    for _ in range(ROUNDS):
        for size, (desired, observation) in fleets.items():
            times = max(1, SIZES[1] // size)
            # CPU time: others on the machine don't count.
            began = time.process_time()
            for _ in range(times):
                planned = plan(desired, {}, observation, POLICY, scope=desired, fleet_size=size, now=NOW)
            seconds[size].append((time.process_time() - began) / times)
            assert sum(decision.action is not None for decision in planned.decisions) == size // 100
    gc.unfreeze()
    each = {size: statistics.median(times) / size for size, times in seconds.items()}
    growth = max(each.values()) / each[SIZES[0]]
    largest = seconds[SIZES[-1]]
    return [
        Figure(
            f"pure plan, {SIZES[-1]:,} connectors",
            shown(largest),
            "",
            None,
            "at most 2 s",
            statistics.median(largest) <= 2,
        ),
        Figure(
            "pure plan, time a connector, 1,000 to 100,000",
            ", ".join(f"{value * 1e6:.1f} µs" for value in each.values()),
            f"{each[SIZES[0]] * 1e6:.1f} µs",
            growth,
            "at most 1.3",
            growth <= 1.3,
        ),
    ]


def spread() -> list[Figure]:
    """A thousand hourly connectors: starts a minute, with `H` and without."""
    peaks = {}
    for cron in ("H * * * *", "0 * * * *"):
        minutes = Counter(next_runs(parse(cron, "UTC", number), NOW, 1)[0].minute for number in range(1, 1001))
        peaks[cron] = max(minutes.values()) / (1000 / 60)
    return [
        Figure(
            "H-spread, 1,000 hourly connectors: starts a minute, max/mean",
            f"{peaks['H * * * *']:.2f}",
            f"{peaks['0 * * * *']:.0f} (all at minute 0)",
            peaks["H * * * *"] / peaks["0 * * * *"],
            "at most 1.1",
            peaks["H * * * *"] <= 1.1,
        )
    ]


def cold_start() -> list[Figure]:
    """Importing the pipeline's flow beside importing Prefect alone, in CPU time: others on the machine don't count."""
    smallest = "from prefect import flow\n@flow\ndef f(connector_id: int): pass"

    def running(code: str) -> float:
        child = subprocess.Popen([sys.executable, "-c", code])
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        return used.ru_utime + used.ru_stime

    ours, baseline = in_turns(
        lambda: running("import flows.dlt_pipeline_flow"), lambda: running("import prefect"), COLD_ROUNDS
    )
    floor, beside = in_turns(lambda: running(smallest), lambda: running("import prefect"))
    more, least = (
        statistics.median(a - b for a, b in zip(one, other, strict=True))
        for one, other in ((ours, baseline), (floor, beside))
    )
    return [
        Figure(
            "cold start: import of the pipeline's flow, CPU time",
            shown(ours),
            f"import prefect {shown(baseline)}",
            median_ratio(ours, baseline),
            f"at most 0.3 s more (is {more:+.2f} s)",
            more <= 0.3,
            f"The smallest flow that Prefect takes, with one parameter, costs {least:+.2f} s.",
        )
    ]
