"""Metrics of the controller, for Prometheus: docs/metrics.md has them all.

Counted in memory as things happen, and read from memory by a scrape, in a thread of its own: a scrape asks neither
Prefect nor the database, and holds up no cycle. No label names a connector: what a series costs does not grow with the
fleet. Whatever happens here, the controller goes on.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.freshness import Freshness, Judgement
from connectors.loads import Outcome
from connectors.status import Phase
from database.fleet import NEVER, Ended, Totals
from prefect_api.calls import CallKind, CallResult
from prefect_api.deployment import ActionKind
from prefect_api.errors import result_of
from prefect_api.event_feed import Events

logger = logging.getLogger(__name__)

CYCLE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
"""Seconds: from a quiet cycle's one query to the first roll-out of a large fleet."""

CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds: up to the longest that a call may take, a third of the lease's TTL."""


class Cycle(StrEnum):
    """What came of a cycle."""

    QUIET = "quiet"
    """There was nothing to do in Prefect."""
    CHANGES = "changes"
    AUDIT = "audit"
    SERVER_DOWN = "server_down"
    FAILED = "failed"
    """It broke off: the database did not answer, say. The next one sees the same."""


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The fleet as it was last read, by our own clock."""

    totals: Totals
    read_at: float


class _CycleNumbers:
    """What cycles did."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.cycles = Histogram(
            "cai_controller_cycle_seconds",
            f"Seconds that a cycle took, by what came of it: {_words(Cycle)}.",
            ["result"],
            buckets=CYCLE_BUCKETS,
            registry=registry,
        )
        self.actions = Counter(
            "cai_controller_actions",
            "Actions on deployments: create, patch, pause, delete; done, refused, unanswered, unavailable or failed.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.runs = Counter(
            "cai_controller_runs",
            "Scheduled runs that were swept (nothing asks for them any more) or caught_up (Prefect never made them).",
            ["kind"],
            registry=registry,
        )
        self.depth = Gauge(
            "cai_controller_queue_depth",
            "Connectors that wait for their next try or their turn in a roll-out.",
            registry=registry,
        )
        self.withheld = Gauge(
            "cai_controller_withheld_deletes",
            "Deletes that the guard withholds until a run with allow_mass_prune.",
            registry=registry,
        )


class _CallNumbers:
    """How calls to Prefect ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "cai_controller_prefect_calls",
            "Calls to Prefect by result: the status's class, refused (our credentials: 401, 403), busy (429, 503), "
            "timeout, unreachable, broken, unreadable or cancelled.",
            ["result"],
            registry=registry,
        )
        self.call_seconds = Histogram(
            "cai_controller_prefect_call_seconds",
            "Seconds that calls to Prefect took, by kind.",
            ["kind"],
            buckets=CALL_BUCKETS,
            registry=registry,
        )


class _LoadNumbers:
    """Loads that ended while this controller led."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.loads = Counter(
            "cai_connector_loads",
            "Loads that ended while this controller led: completed or failed.",
            ["outcome"],
            registry=registry,
        )
        for outcome in (Outcome.COMPLETED, Outcome.FAILED):
            self.loads.labels(outcome)  # from 0 on: a rate does not see what a series begins with
        self.rows = Counter("cai_connector_rows_loaded", "Rows that these loads brought.", registry=registry)
        self.rejected = Counter(
            "cai_connector_rows_rejected", "Rows that schema contracts kept out of these loads.", registry=registry
        )


class Metrics(Collector):
    """The numbers of one controller process, over all its terms of leading."""

    def __init__(
        self,
        events: Events,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`events` are those that this controller sends to Prefect."""
        self.registry = CollectorRegistry()
        self._events = events
        self._monotonic = monotonic
        self._clock = clock
        self._holds: Callable[[], bool] | None = None
        self._led_by_another = False
        self._prefect_up: bool | None = None
        self._fleet: _Fleet | None = None
        self._judgements: tuple[Judgement, ...] | None = None
        self._ended: dict[int, Ended] | None = None
        self._of_cycles = _CycleNumbers(self.registry)
        self._of_calls = _CallNumbers(self.registry)
        self._of_loads = _LoadNumbers(self.registry)
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def cycle(self, result: Cycle, seconds: float, *, waiting: int) -> None:
        """A cycle has ended; `waiting` connectors wait for their next try or turn."""
        self._of_cycles.cycles.labels(result).observe(seconds)
        self._of_cycles.depth.set(waiting)

    def acted(self, kind: ActionKind, error: Exception | None) -> None:
        """An action of a plan was carried out, or an error prevented it."""
        self._of_cycles.actions.labels(kind, result_of(error)).inc()

    def runs(self, *, swept: int, caught_up: int) -> None:
        """Scheduled runs were removed or made."""
        self._of_cycles.runs.labels("swept").inc(swept)
        self._of_cycles.runs.labels("caught_up").inc(caught_up)

    def withheld(self, count: int) -> None:
        """So many deletes are withheld now."""
        self._of_cycles.withheld.set(count)

    def called(self, kind: CallKind, result: CallResult, seconds: float) -> None:
        """A call to Prefect has ended."""
        self._of_calls.calls.labels(result).inc()
        if kind is CallKind.PROBE and result is not CallResult.CANCELLED:
            self._prefect_up = result is CallResult.ANSWERED
        self._of_calls.call_seconds.labels(kind).observe(seconds)

    def led_by_another(self, led: bool) -> None:
        """Whether another controller was seen to lead, at this one's last look."""
        self._led_by_another = led

    def leads(self, holds: Callable[[], bool]) -> None:
        """This controller leads from now on; `holds` says whether the lease is ours still."""
        self._led_by_another = False
        self._holds = holds

    def leads_no_more(self) -> None:
        """What a standby remembers of the fleet is old, and would be counted beside what the leader says of it."""
        self._holds = self._fleet = self._judgements = self._ended = self._prefect_up = None
        self._of_cycles.depth.set(0)
        self._of_cycles.withheld.set(0)

    def fleet(self, totals: Totals) -> None:
        """The fleet was read. Loads are counted from the first reading of a term on."""
        known = self._ended
        if known is None:
            self._ended = dict(totals.ended)
        else:
            for number, now in totals.ended.items():
                before = known.get(number, Ended(0, 0, 0))
                # Less than before: the connector was deleted, and its number came back with a table that was restored.
                self._of_loads.loads.labels(Outcome.COMPLETED).inc(max(0, now.completed - before.completed))
                self._of_loads.loads.labels(Outcome.FAILED).inc(max(0, now.failed - before.failed))
                self._of_loads.rows.inc(max(0, now.rows - before.rows))
                self._of_loads.rejected.inc(max(0, now.rejected - before.rejected))
                known[number] = now
        self._fleet = _Fleet(totals, self._monotonic())

    def judged(self, judgements: Collection[Judgement]) -> None:
        """The freshness of all connectors was judged."""
        self._judgements = tuple(judgements)

    def collect(self) -> Iterator[Metric]:
        """What is a matter of the moment, as a scrape asks for it; of the fleet, from the leader alone."""
        lease = GaugeMetricFamily(
            "cai_controller_lease_held",
            "1 when the lease is held, by this controller or by another that it saw lead: 0 everywhere is no leader.",
            labels=["by"],
        )
        holds = self._holds
        lease.add_metric(["this"], float(holds is not None and holds()))
        lease.add_metric(["another"], float(self._led_by_another))
        yield lease
        if (up := self._prefect_up) is not None:
            yield GaugeMetricFamily(
                "cai_controller_prefect_up",
                "1 when Prefect answered the leader's last probe, and let it in; 0 when not.",
                value=up,
            )
        yield GaugeMetricFamily(
            "cai_controller_events_waiting", "Events that wait to be sent to Prefect.", value=len(self._events)
        )
        yield CounterMetricFamily(
            "cai_controller_events_dropped", "Events that Prefect never took.", value=self._events.dropped
        )
        if (fleet := self._fleet) is not None:
            yield from self._of_fleet(fleet)
        if (judgements := self._judgements) is not None:
            yield from self._of_freshness(judgements)

    def _of_fleet(self, fleet: _Fleet) -> Iterator[Metric]:
        totals = fleet.totals
        age = totals.unsynced_seconds
        yield GaugeMetricFamily(
            "cai_connectors_unsynced_oldest_seconds",
            "Seconds that the change which waits longest has waited to be in Prefect; 0 when none waits.",
            # It goes on waiting until somebody reads that it does not.
            value=age + self._monotonic() - fleet.read_at if age else 0,
        )
        yield _by(
            "cai_connectors",
            f"Connectors by phase: {_words(Phase)}.",
            "phase",
            {str(phase): totals.phases.get(phase, 0) for phase in Phase},
        )
        yield _by(
            "cai_connectors_by_last_load",
            f"Connectors by how their last load went: {_words(Outcome)}, or never.",
            "outcome",
            {outcome: totals.outcomes.get(outcome, 0) for outcome in (*map(str, Outcome), NEVER)},
        )

    def _of_freshness(self, judgements: tuple[Judgement, ...]) -> Iterator[Metric]:
        now = self._clock()
        words = dict.fromkeys(map(str, Freshness), 0)
        ages, delays = [0.0], [0.0]
        for judgement in judgements:
            words[judgement.freshness] += 1
            if judgement.since is not None:
                ages.append((now - judgement.since).total_seconds())
            if judgement.late and judgement.due_at is not None:
                delays.append((now - judgement.due_at).total_seconds())
        yield _by("cai_connectors_by_freshness", f"Connectors by freshness: {_words(Freshness)}.", "freshness", words)
        yield GaugeMetricFamily(
            "cai_connectors_freshness_oldest_seconds",
            "Seconds since the last successful load of the scheduled connector that has waited longest for one.",
            value=max(ages),
        )
        yield GaugeMetricFamily(
            "cai_connectors_freshness_delay_seconds",
            "Seconds since a load was due of the late connector that is due longest; 0 when none is late.",
            value=max(delays),
        )


def _words(closed: type[StrEnum]) -> str:
    return ", ".join(closed)


def _by(name: str, documentation: str, label: str, counts: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


@contextmanager
def served(metrics: Metrics, port: int) -> Iterator[None]:
    """Answer scrapes on a port while inside; 0: nobody listens. A port that is taken is a warning and no more."""
    if not port:
        yield
        return
    try:
        server, thread = start_http_server(port, registry=metrics.registry)
    except OSError as error:
        logger.warning(
            "Nobody can scrape this controller: the port %s of CAI_METRICS_PORT cannot be bound (%s). It goes on; free "
            "the port or set another one, and start it again.",
            port,
            error.strerror,
        )
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
