"""Metrics of a controller: counted as it happens, kept small, and never in its way."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from prefect.settings import PREFECT_API_URL, temporary_settings

from connectors.freshness import Freshness, Judgement
from connectors.status import Phase
from database import tables
from database.fleet import NEVER, Ended, Totals, totals
from database.store import Store
from deployments.monitoring.metrics import Metrics, served
from prefect_api.calls import CallKind, CallResult
from prefect_api.deployment import ActionKind
from prefect_api.deployment_calls import open_gateway
from prefect_api.errors import OverloadedError, ReconcileError, RefusedError, ServerUnavailableError
from prefect_api.event_feed import Events
from rigs.control_plane import insert, rig
from rigs.fake_prefect import FakePrefect
from tests.support.control_plane.last_loads import record_last_load
from tests.support.servers.prefect_server import free_port

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample, as a scrape gives it."""
    return metrics.registry.get_sample_value(name, labels)


def actions(metrics: Metrics) -> dict[tuple[str, str], float]:
    """The actions by kind and outcome."""
    (family,) = [each for each in metrics.registry.collect() if each.name == "cai_controller_actions"]
    return {
        (sample.labels["kind"], sample.labels["outcome"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


class Watched(FakePrefect):
    """Refuses to make one connector's deployment."""

    refused = 0

    async def create(self, wanted: Any) -> Any:
        if wanted.name == f"connector-{self.refused}-pipeline":
            raise RefusedError("Prefect refused it (409): no.", 409)
        return await super().create(wanted)


async def test_a_cycles_actions_are_counted_by_kind_and_outcome(store: Store) -> None:
    gateway, metrics = Watched(), Metrics(Events("clinical-ai"))
    async with rig(store, gateway, metrics=metrics) as controller:
        first, second = await controller.insert(), await controller.insert()
        gateway.refused = second
        await controller.cycle(audit=True)
        assert actions(metrics) == {("create", "done"): 1, ("create", "refused"): 1}
        assert value(metrics, "cai_controller_queue_depth") == 1
        await controller.change(first, schedule="5 * * * *")
        await controller.cycle()
        await controller.remove(first)
        await controller.cycle()
        await controller.cycle()
        assert actions(metrics) | {("patch", "done"): 1, ("delete", "done"): 1} == actions(metrics)
        counts = {
            result: value(metrics, "cai_controller_cycle_seconds_count", result=result)
            for result in ("audit", "changes", "quiet", "failed")
        }
        assert counts == {"audit": 1, "changes": 2, "quiet": 1, "failed": None}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "done"),
        (ServerUnavailableError("x"), "unavailable"),
        (OverloadedError("x"), "unanswered"),
        (KeyError("x"), "failed"),
    ],
)
def test_what_became_of_an_action_is_one_of_a_few_words(error: Exception | None, outcome: str) -> None:
    metrics = Metrics(Events("clinical-ai"))
    metrics.acted(ActionKind.PATCH, error)
    assert actions(metrics) == {("patch", outcome): 1}


async def test_calls_to_prefect_are_counted_by_how_they_ended() -> None:
    metrics = Metrics(Events("clinical-ai"))
    answers: list[int | Exception] = [200, 409, 503, 429, 401, 403, 500, httpx.ConnectError("x")]
    answers += [httpx.ReadError("x"), httpx.ReadTimeout("x")]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/csrf-token"):
            return httpx.Response(404, request=request)
        said = answers.pop(0)
        if isinstance(said, Exception):
            raise said
        return httpx.Response(said, request=request, json=[])

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        transport = httpx.MockTransport(answer)
        async with open_gateway(
            timeout_seconds=5, connections=1, observe=metrics.called, transport=transport
        ) as gateway:
            while answers:  # what found it busy is asked again, and each try counts
                with suppress(ReconcileError):
                    await gateway.read_deployments(["connector-1-pipeline"])
    ended = ("2xx", "4xx", "busy", "refused", "5xx", "unreachable", "broken", "timeout")
    counts = [value(metrics, "cai_controller_prefect_calls_total", result=result) for result in ended]
    assert counts == [1, 1, 2, 2, 1, 1, 1, 1], "credentials that Prefect refuses are no healthy answer"
    assert value(metrics, "cai_controller_prefect_call_seconds_count", kind="read") == 10


def test_whether_prefect_is_up_is_what_the_leaders_last_probe_found() -> None:
    metrics = Metrics(Events("clinical-ai"))

    def up() -> float | None:
        return value(metrics, "cai_controller_prefect_up")

    assert up() is None, "nobody has asked"
    metrics.called(CallKind("probe"), CallResult("2xx"), 0.1)
    metrics.called(CallKind("read"), CallResult("timeout"), 0.1)
    assert up() == 1
    for result in ("refused", "unreachable", "5xx", "4xx", "busy"):
        metrics.called(CallKind("probe"), CallResult(result), 0.1)
        assert up() == 0
        metrics.called(CallKind("probe"), CallResult("2xx"), 0.1)
    metrics.called(CallKind("probe"), CallResult("cancelled"), 0.1)
    assert up() == 1
    metrics.leads_no_more()
    assert up() is None, "a standby does not know"


def test_the_first_failed_load_of_a_new_process_is_seen_by_a_rate() -> None:
    """Prometheus counts the growth of a series, and so not what it begins with."""
    metrics = Metrics(Events("clinical-ai"))
    assert value(metrics, "cai_connector_loads_total", outcome="failed") == 0
    assert value(metrics, "cai_connector_loads_total", outcome="completed") == 0


async def leave(store: Store, table: sa.Table, number: int, **values: Any) -> None:
    """Write a row of the controller's or of a run's."""
    async with store.engine.begin() as connection:
        await connection.execute(sa.delete(table).where(table.c.connector_id == number))
        await connection.execute(sa.insert(table).values(connector_id=number, **values))


async def test_the_fleet_is_read_in_a_few_numbers(store: Store) -> None:
    empty = await totals(store.engine, None)
    assert (empty.phases, empty.outcomes, empty.unsynced_seconds, empty.ended) == ({}, {}, 0.0, {})

    good, changed, new, conflict, gone = [await insert(store, name=f"C{number}") for number in range(5)]
    hour, day = timedelta(hours=1), timedelta(days=1)
    now = datetime.now(UTC)
    await leave(store, tables.status, good, phase="synced", observed_generation=1, last_transition_at=now - 9 * day)
    await leave(store, tables.status, changed, phase="paused", observed_generation=0, last_transition_at=now - 9 * day)
    await leave(store, tables.status, gone, phase="deleting", last_transition_at=now - hour)
    async with store.engine.begin() as connection:
        await connection.execute(sa.delete(tables.connectors).where(tables.connectors.c.id == gone))
    await leave(store, tables.status, conflict, phase="conflict", last_transition_at=now - 2 * hour)
    ended: dict[str, Any] = {"loads_completed": 3, "rows_loaded": 30, "rows_rejected": 2, "ended_at": now - day}
    async with store.engine.begin() as connection:
        await record_last_load(connection, good, **ended)
        await record_last_load(connection, new, outcome="running", loads_failed=1, started_at=now)

    read = await totals(store.engine, None)
    assert read.phases == {Phase.SYNCED: 1, Phase.PAUSED: 1, Phase.PENDING: 1, Phase.CONFLICT: 1, Phase.DELETING: 1}
    assert read.outcomes == {"completed": 1, "running": 1, NEVER: 2}
    assert 7200 <= read.unsynced_seconds < 7300
    assert read.ended == {good: Ended(3, 0, 30, 2), new: Ended(0, 1, 0)}
    assert (await totals(store.engine, read.at)).ended == {new: Ended(0, 1, 0)}, "what moved lately, and no more"

    await leave(store, tables.status, conflict, phase="synced", observed_generation=1)
    await leave(store, tables.status, gone, phase="synced", observed_generation=1)
    await leave(store, tables.status, new, phase="synced", observed_generation=1)
    assert (await totals(store.engine, None)).unsynced_seconds < 60, "only the changed one waits, since its change"


def read(ended: dict[int, Ended], *, waited: float = 0.0) -> Totals:
    """A fleet with these loads."""
    return Totals(NOW, {Phase.SYNCED: 2}, {"completed": 1, NEVER: 1}, waited, ended)


def test_loads_are_counted_from_when_this_controller_leads_and_never_go_down() -> None:
    metrics = Metrics(Events("clinical-ai"))
    metrics.leads(lambda: True)

    def counted() -> tuple[float | None, float | None, float | None]:
        return (
            value(metrics, "cai_connector_loads_total", outcome="completed"),
            value(metrics, "cai_connector_loads_total", outcome="failed"),
            value(metrics, "cai_connector_rows_loaded_total"),
        )

    metrics.fleet(read({1: Ended(1000, 10, 5000), 2: Ended(1, 0, 1)}))
    metrics.fleet(read({1: Ended(1001, 10, 5005, 3)}))
    assert counted() == (1, 0, 5)
    assert value(metrics, "cai_connector_rows_rejected_total") == 3
    metrics.fleet(read({2: Ended(1, 1, 1), 3: Ended(1, 0, 7)}))
    assert counted() == (2, 1, 12)
    metrics.fleet(read({1: Ended(0, 1, 0)}))
    assert counted() == (2, 1, 12), "a restored table takes nothing back"
    metrics.leads_no_more()
    metrics.leads(lambda: True)
    metrics.fleet(read({1: Ended(5000, 50, 9000)}))
    assert counted() == (2, 1, 12), "what another leader has counted is not counted again"


def test_what_waits_goes_on_waiting_while_the_loop_hangs() -> None:
    clock = [100.0]
    metrics = Metrics(Events("clinical-ai"), monotonic=lambda: clock[0])
    metrics.fleet(read({}, waited=30))
    clock[0] += 45
    assert value(metrics, "cai_connectors_unsynced_oldest_seconds") == 75
    metrics.fleet(read({}))
    clock[0] += 45
    assert value(metrics, "cai_connectors_unsynced_oldest_seconds") == 0


def test_who_holds_the_lease_is_said_and_a_standby_says_nothing_of_the_fleet() -> None:
    held = [True]
    metrics = Metrics(Events("clinical-ai"))

    def lease() -> tuple[float | None, float | None]:
        return (
            value(metrics, "cai_controller_lease_held", by="this"),
            value(metrics, "cai_controller_lease_held", by="another"),
        )

    assert lease() == (0, 0)
    metrics.led_by_another(True)
    assert lease() == (0, 1)
    metrics.leads(lambda: held[0])
    metrics.fleet(read({}))
    metrics.judged([Judgement(Freshness.ON_TIME)])
    assert lease() == (1, 0)
    assert value(metrics, "cai_connectors", phase="synced") == 2
    assert value(metrics, "cai_connectors", phase="conflict") == 0
    assert value(metrics, "cai_connectors_by_last_load", outcome="never") == 1
    held[0] = False
    assert lease() == (0, 0), "a lease that ran out is not held, whatever the loop is doing"
    metrics.leads_no_more()
    said = {family.name for family in metrics.registry.collect() if family.name.startswith("cai_connectors")}
    assert said == set()


def test_freshness_is_counted_by_word_with_the_greatest_age_and_delay() -> None:
    metrics = Metrics(Events("clinical-ai"), clock=lambda: NOW)
    hour = timedelta(hours=1)
    metrics.judged(
        [
            Judgement(Freshness.ON_TIME, since=NOW - 50 * hour, due_at=NOW - hour),
            Judgement(Freshness.LATE, since=NOW - 10 * hour, due_at=NOW - 6 * hour, late=True),
            Judgement(Freshness.FAILING, since=NOW - 9 * hour, due_at=NOW - 8 * hour, late=True, overdue=True),
            Judgement(Freshness.PAUSED),
        ]
    )
    words = {word: value(metrics, "cai_connectors_by_freshness", freshness=word) for word in Freshness}
    assert {word for word, count in words.items() if count} == {"on time", "late", "failing", "paused"}
    assert value(metrics, "cai_connectors_freshness_oldest_seconds") == 50 * 3600
    assert value(metrics, "cai_connectors_freshness_delay_seconds") == 8 * 3600


def test_a_large_fleet_costs_no_more_series_than_a_small_one() -> None:
    metrics = Metrics(Events("clinical-ai"))
    metrics.leads(lambda: True)

    def series() -> int:
        metrics.judged([Judgement(freshness) for freshness in Freshness])
        return sum(len(family.samples) for family in metrics.registry.collect())

    metrics.fleet(read({}))
    metrics.fleet(read({1: Ended(1, 1, 1)}))
    before = series()
    metrics.fleet(read({number: Ended(1, 1, 1) for number in range(5000)}))
    assert series() == before
    assert before < 120


def test_a_scrape_is_answered_and_a_taken_port_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    metrics, beside = Metrics(Events("clinical-ai")), Metrics(Events("clinical-ai"))
    with served(metrics, port), served(beside, port), served(beside, 0):
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert answer.status_code == 200
        assert 'cai_controller_lease_held{by="this"} 0.0' in answer.text
        assert "process_resident_memory_bytes" in answer.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"the port {port} of CAI_METRICS_PORT cannot be bound" in caplog.text
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")
