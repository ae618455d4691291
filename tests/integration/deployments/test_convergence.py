"""Convergence: people, Prefect and the network do anything in any order; when the faults stop, two cycles mend it all.

A random walk on a real PostgreSQL and a real Prefect server: rows come, change and go, hands edit in Prefect, time
passes, calls fail in every way that `tests.support.control_plane.faults` knows, and two controllers take the lead by
turns. A back end keeps rows locked, works without triggers, truncates, has constraints of its own; Prefect is restored
from a backup, loses pools, and has runs that no worker will begin (`tests.support.control_plane.rough_hands`). While
one row is locked no other connector stands still. The walk that fails is printed with its seeds.
"""

import asyncio
import contextlib
import itertools
import random
import time
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.status import Phase as StatusPhase
from database.connection.engine import open_engine
from database.store import Store
from database.tables import connectors, lease, status
from deployments.planning.plan import desire
from prefect_api.deployment import Observed, Spec, drift
from prefect_api.deployment_calls import PrefectGateway, open_gateway
from prefect_api.errors import LeaseLostError
from prefect_api.names import FLOW_NAME, connector_id_of, deployment_name
from rigs.control_plane import PLATFORM, Clock, Rig, insert, rig
from tests.support.control_plane import tally
from tests.support.control_plane.faults import FaultyTransport
from tests.support.control_plane.rough_hands import BackEnd, Operator
from tests.support.servers.prefect_server import PrefectServer, empty_prefect

SCHEDULES = ("0 * * * *", "30 2 * * *", "H H * * *", None, "61 * * * *", "@daily")
ZONES = ("UTC", "America/New_York", "Africa/Casablanca", "Australia/Lord_Howe", "Europe/Berlin")
STANDSTILL_SECONDS = 10.0
"""How long a locked row may keep the other connectors waiting: real seconds of one cycle."""
POOLS = (None, "no", "extra")
FOREIGN = "managed-by:other"


class Walk(RuleBasedStateMachine):
    """One random walk."""

    server: PrefectServer
    database_url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.numbers = itertools.count(1)
        self.foreign: dict[str, dict[str, Any]] = {}

    def run(self, work: Any) -> Any:
        """Wait for something asynchronous."""
        tally.done["steps"] += 1
        return self.runner.run(work)

    @initialize()
    def start(self) -> None:
        empty_prefect(self.server.url)
        self.api = httpx.Client(base_url=self.server.url, timeout=30)
        self.transport = FaultyTransport()
        self.run(self._open())

    async def _open(self) -> None:
        self.engine: AsyncEngine = open_engine(self.database_url)
        async with self.engine.begin() as connection:
            for table in (connectors, status, lease):
                await connection.execute(sa.delete(table))
        self.store = Store(self.engine)
        self.gateway_context = open_gateway(timeout_seconds=20, connections=10, transport=self.transport)
        self.gateway: PrefectGateway = await self.gateway_context.__aenter__()
        self.controllers: list[Rig] = []
        self.rigs = []
        for holder in ("first", "second"):
            await self._expire_lease()
            # As of a large fleet: an audit asks for what has changed, wherever that is an answer.
            context = rig(self.store, self.gateway, clock=self.clock, holder=holder, small=0)
            self.controllers.append(await context.__aenter__())
            self.rigs.append(context)
        self.leader, self.taken = 1, False
        self.back_end = BackEnd(self.database_url)
        self.operator = Operator(self.api, self.server.home / "prefect.db")

    async def _expire_lease(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(sa.update(lease).values(expires_at=None))

    @rule(schedule=st.sampled_from(SCHEDULES), active=st.booleans())
    def a_row_comes(self, schedule: str | None, active: bool) -> None:
        self.run(insert(self.store, name=f"c{next(self.numbers)}", schedule=schedule, is_active=active))

    @rule(
        pick=st.randoms(use_true_random=True),
        schedule=st.sampled_from(SCHEDULES),
        zone=st.sampled_from(ZONES),
        active=st.booleans(),
        pool=st.sampled_from(POOLS),
    )
    def a_row_changes(
        self, pick: random.Random, schedule: str | None, zone: str, active: bool, pool: str | None
    ) -> None:
        if numbers := self.run(self._free_ids()):
            change = self.controllers[0].change(
                pick.choice(numbers), schedule=schedule, timezone=zone, is_active=active, work_pool_name=pool
            )
            with contextlib.suppress(sa.exc.IntegrityError):  # a back end's constraint refuses people too
                self.run(change)

    @rule(pick=st.randoms(use_true_random=True))
    def a_row_goes(self, pick: random.Random) -> None:
        if numbers := self.run(self._free_ids()):
            self.run(self.controllers[0].remove(pick.choice(numbers)))

    @rule(pick=st.randoms(use_true_random=True))
    def a_back_end_keeps_a_row_locked(self, pick: random.Random) -> None:
        if numbers := self.run(self._free_ids()):
            self.back_end.lock(pick.choice(numbers))

    @rule()
    def a_back_end_lets_its_rows_go(self) -> None:
        self.back_end.let_go()

    @rule(pick=st.randoms(use_true_random=True), schedule=st.sampled_from(SCHEDULES))
    def a_back_end_writes_without_triggers(self, pick: random.Random, schedule: str | None) -> None:
        if numbers := self.run(self._free_ids()):
            self.back_end.write_without_triggers(pick.choice(numbers), schedule)

    @rule(pick=st.randoms(use_true_random=True), generation=st.integers(1, 3))
    def a_back_end_writes_a_generation(self, pick: random.Random, generation: int) -> None:
        if numbers := self.run(self._free_ids()):
            self.back_end.write_generation(pick.choice(numbers), generation)

    @rule()
    def a_back_end_has_a_constraint_of_its_own(self) -> None:
        self.back_end.constrain()

    @rule()
    def a_back_end_drops_its_constraint(self) -> None:
        self.back_end.release_constraint()

    @rule()
    def the_table_is_truncated(self) -> None:
        self.back_end.let_go()
        self.back_end.truncate()

    @rule()
    def prefect_is_backed_up(self) -> None:
        self.operator.back_up()

    @rule()
    def prefect_is_restored(self) -> None:
        self.operator.restore()
        self.foreign.clear()  # one that came after the backup is gone, one that was taken over since is ours again
        for name in self.operator.foreign_names(FOREIGN):
            self._remember_foreign(name)

    @rule(there=st.booleans())
    def a_pool_comes_or_goes(self, there: bool) -> None:
        self.operator.pool("extra", there=there)

    @rule(pick=st.randoms(use_true_random=True))
    def a_worker_claims_a_run_and_is_gone(self, pick: random.Random) -> None:
        self.operator.claim_and_die(pick, PLATFORM.tag)

    @rule(
        pick=st.randoms(use_true_random=True),
        edit=st.sampled_from(["cron", "pause", "delete", "tags", "parameters", "foreign"]),
    )
    def a_hand_edits_in_prefect(self, pick: random.Random, edit: str) -> None:
        body = {"flows": {"name": {"any_": [FLOW_NAME]}}, "limit": 200}
        held = [d for d in self.api.post("/deployments/filter", json=body).json() if d["name"] not in self.foreign]
        if not held:
            return
        chosen = pick.choice(held)
        path = f"/deployments/{chosen['id']}"
        if edit == "delete":
            self.api.delete(path)
            return
        changes: dict[str, dict[str, Any]] = {
            "cron": {"schedules": [{"slug": "main", "schedule": {"cron": "7 7 7 7 *"}, "active": True}]},
            "pause": {"paused": True},
            "tags": {"tags": ["mine"]},
            "parameters": {"parameters": {"connector_id": 4711}},
            "foreign": {"tags": [FOREIGN]},
        }
        self.api.patch(path, json=changes[edit])
        if edit == "foreign":
            self._remember_foreign(chosen["name"])

    @rule()
    def another_installation_has_the_next_name(self) -> None:
        name = deployment_name(self.run(self._next_id()))
        flow = self.api.post("/flows/", json={"name": FLOW_NAME}).json()["id"]
        self.api.post("/deployments/", json={"name": name, "flow_id": flow, "tags": [FOREIGN], "parameters": {"x": 1}})
        self._remember_foreign(name)

    def _remember_foreign(self, name: str) -> None:
        self.foreign[name] = self._seen(name)

    def _seen(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.api.get(f"/deployments/name/{FLOW_NAME}/{name}").json()
        return {key: value for key, value in answer.items() if key not in {"status", "last_polled", "updated"}}

    @rule(seconds=st.sampled_from([1, 40, 700, 5_000, 86_400 * 90, -3_600]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(rate=st.sampled_from([0.0, 0.3, 0.6]), seed=st.integers(0, 2**32))
    def the_leader_works(self, rate: float, seed: int) -> None:
        self._work(rate, seed, audit=False)

    @rule(rate=st.sampled_from([0.0, 0.3, 0.6]), seed=st.integers(0, 2**32))
    def the_leader_audits(self, rate: float, seed: int) -> None:
        self._work(rate, seed, audit=True)

    @rule(schedule=st.sampled_from(SCHEDULES), seed=st.integers(0, 2**32))
    def a_row_comes_in_bad_times(self, schedule: str | None, seed: int) -> None:
        self.a_row_comes(schedule, active=True)
        self._work(0.4, seed, audit=False)
        self.clock.advance(100)
        self._work(0.4, seed + 1, audit=False)

    def _work(self, rate: float, seed: int, *, audit: bool) -> None:
        self.transport.rate, self.transport.rng = rate, random.Random(seed)
        began = time.monotonic()
        try:
            self.run(self.controllers[self.leader].cycle(audit=audit))
        finally:
            self.transport.rate = 0.0
        if self.back_end.locked:
            tally.standstill(time.monotonic() - began)
            assert time.monotonic() - began < STANDSTILL_SECONDS, "all connectors waited for one row"

    @rule()
    def the_other_takes_the_lead(self) -> None:
        self.leader = 1 - self.leader
        self.taken = True
        self.run(self._take_the_lead())

    async def _take_the_lead(self) -> None:
        await self._expire_lease()
        assert await self.controllers[self.leader].lease.acquire()
        await self.controllers[self.leader].reconciler.start()

    @precondition(lambda self: self.leader == 0 and self.taken)
    @rule()
    def a_deposed_one_does_not_know_yet(self) -> None:
        self.taken = False
        before = self.run(self.store.statuses())
        with contextlib.suppress(LeaseLostError):  # the fence
            self.run(self.controllers[1].cycle())
        assert self.run(self.store.statuses()) == before

    async def _ids(self) -> list[int]:
        return sorted(await self.store.marks())

    async def _free_ids(self) -> list[int]:
        """Those that nobody keeps locked: a person would wait for the others."""
        return [number for number in await self._ids() if number not in self.back_end.locked]

    @rule()
    def the_lease_is_lost_and_taken_again(self) -> None:
        self.run(self._take_the_lead())

    async def _next_id(self) -> int:
        async with self.engine.connect() as connection:
            name = await connection.scalar(sa.text("SELECT pg_get_serial_sequence('cai_connectors', 'id')"))
            return int(await connection.scalar(sa.text(f"SELECT last_value + is_called::int FROM {name}")) or 1)

    def teardown(self) -> None:
        """Faults have stopped: two cycles, and Prefect equals the table."""
        if hasattr(self, "controllers"):
            try:
                self.back_end.close()
                self.operator.pool("extra", there=True)
                self.run(self._settle())
            except Exception:
                tally.done["divergences"] += 1
                raise
            finally:
                tally.done["faults"] += self.transport.made.total()
                self.run(self._close())
        self.runner.close()

    async def _settle(self) -> None:
        controller = self.controllers[self.leader]
        for _ in range(2):
            self.clock.advance(1000)
            await controller.cycle(audit=True, allow_mass_prune=True)
        listing = await self.gateway.list_deployments()
        assert listing.complete
        held = {d.name: d for d in listing.deployments}
        await self._assert_equal(held)
        for name, before in self.foreign.items():
            assert self._seen(name) == before, "another installation's deployment was touched"
        for _ in range(20):
            homes = {d.id: d for d in listing.deployments}
            left = [run for run in await self.gateway.scheduled_runs() if PLATFORM.tag in run.tags]
            strays = [r for r in left if r.deployment_id not in homes or homes[r.deployment_id].fields.paused]
            if not strays:
                break
            self.clock.advance(31)  # the real scheduler may have been at it just now: the next sweep finds that
            await controller.cycle(audit=True)
        assert not strays, "runs of paused or deleted deployments"
        async with self.engine.begin() as connection:
            await connection.execute(sa.update(connectors).values(work_pool_name=None))
        await controller.cycle()
        assert StatusPhase.RETRYING not in {found.phase for found in (await self.store.statuses()).values()}
        for _ in range(3):  # a claimed run is given up by the first audit, its slot freed by the two that follow
            self.clock.advance(5_000)
            await controller.cycle(audit=True)
        ours = [d for d in (await self.gateway.list_deployments()).deployments if PLATFORM.tag in d.fields.tags]
        assert not [d.name for d in ours if d.active_slots], "a slot is held that nothing will give back"
        writes = self.gateway.writes
        await controller.cycle(audit=True)
        assert self.gateway.writes == writes, "a steady state was written to"

    async def _assert_equal(self, held: dict[str, Observed]) -> None:
        rows = {row.id: row for row in await self.store.rows()}
        statuses = await self.store.statuses()
        for number, row in rows.items():
            name = deployment_name(number)
            wants = desire(row, PLATFORM).wants
            if name in self.foreign:
                if isinstance(wants, Spec):
                    assert statuses[number].phase is StatusPhase.CONFLICT
                continue
            if not isinstance(wants, Spec):
                assert statuses[number].phase in {StatusPhase.INVALID, StatusPhase.PAUSED}
                continue
            if not row.is_active and name not in held:
                assert (statuses[number].phase, row.prefect_deployment_id) == (StatusPhase.PAUSED, None)
                continue
            if row.work_pool_name == "no":
                assert statuses[number].phase is StatusPhase.RETRYING
                continue
            assert drift(wants, held[name]) == ()
            assert row.prefect_deployment_id == statuses[number].deployment_id == held[name].id
        for name, deployment in held.items():
            if PLATFORM.tag in deployment.fields.tags and FOREIGN not in deployment.fields.tags:
                assert connector_id_of(name) in rows, "an orphan of ours"
        assert statuses.keys() <= rows.keys()

    async def _close(self) -> None:
        for context in reversed(self.rigs):
            await context.__aexit__(None, None, None)
        await self.gateway_context.__aexit__(None, None, None)
        await self.engine.dispose()
        self.api.close()


def walk(server: PrefectServer, database_url: str, **profile: Any) -> None:
    """Random walks by that profile."""

    class Here(Walk):
        pass

    Here.server, Here.database_url = server, database_url
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    chosen = settings(deadline=None, suppress_health_check=checks, print_blob=True, **profile)
    with temporary_settings({PREFECT_API_URL: server.url}):
        run_state_machine_as_test(Here, settings=chosen)


@pytest.mark.slow
def test_any_walk_converges(prefect_server: PrefectServer, database_url: str) -> None:
    # The same walks each time: a new one that fails belongs into a soak, not into somebody's unrelated change.
    walk(
        prefect_server,
        database_url,
        max_examples=12,
        stateful_step_count=40,
        derandomize=True,
        phases=[Phase.generate],
    )


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_walks_converge(prefect_server: PrefectServer, database_url: str) -> None:
    # Not made shorter: that takes longer than many new walks, and what fails is tried first the next time.
    walk(
        prefect_server,
        database_url,
        max_examples=330,
        stateful_step_count=50,
        phases=[Phase.reuse, Phase.generate],
    )
