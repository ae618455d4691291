"""Metrics of this project's two exporters, each family with a sample: the truth that documents are checked by."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send

from api.middleware import Measured
from connectors.freshness import Freshness, Judgement
from connectors.status import Phase
from database.fleet import Ended, Totals
from deployments.monitoring.metrics import Cycle, Metrics
from prefect_api.calls import CallKind, CallResult
from prefect_api.deployment import ActionKind
from prefect_api.event_feed import Events


@dataclass(frozen=True, slots=True)
class Family:
    """One metric as documents know it."""

    name: str
    """As it is queried: a counter's with `_total`."""
    kind: str
    labels: tuple[str, ...]
    meaning: str
    samples: frozenset[str]
    """The names of its series."""


def controllers() -> list[Family]:
    """The controller's, of a leader whose fleet was read twice."""
    metrics = Metrics(Events("clinical-ai"))
    metrics.leads(lambda: True)
    metrics.cycle(Cycle.QUIET, 0.01, waiting=0)
    metrics.acted(ActionKind.PAUSE, None)
    metrics.runs(swept=0, caught_up=0)
    metrics.called(CallKind.PROBE, CallResult.ANSWERED, 0.1)
    for number in (1, 2):
        metrics.fleet(Totals(datetime.now(UTC), {Phase.SYNCED: 1}, {"completed": 1}, 0.0, {7: Ended(number, 0, 5)}))
    metrics.judged([Judgement(Freshness.MANUAL)])
    return _families(metrics.registry)


def apis() -> list[Family]:
    """The REST API's, after one request."""
    registry = CollectorRegistry()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ignore(message: Message) -> None:
        del message

    async def receive() -> Message:
        return {"type": "http.request"}

    asyncio.run(Measured(app, registry)({"type": "http", "method": "GET", "path": "/health"}, receive, ignore))
    return _families(registry)


def _families(registry: CollectorRegistry) -> list[Family]:
    found = []
    for family in registry.collect():
        if not family.name.startswith("cai_"):
            continue  # the process's own: prometheus_client's words
        suffix = "_total" if family.type == "counter" else ""
        labels = {label: None for sample in family.samples for label in sample.labels if label != "le"}
        samples = frozenset(sample.name for sample in family.samples)
        found.append(Family(family.name + suffix, family.type, tuple(labels), family.documentation, samples))
    return found
