"""Failures, and the controller's answer to each: every one is one method of the fake, overridden."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from connectors.connector import ConnectorRow
from connectors.loads import Load
from connectors.status import Phase, Reason, Status, Unrecorded
from database.connection.engine import Fence
from database.statuses import StatusRecord
from database.store import Store
from deployments.monitoring.alerts import Alerts
from deployments.planning.plan import Desired, desire
from deployments.planning.spec import Platform
from deployments.reconciling import changes
from deployments.reconciling.reconciler import Options
from prefect_api.deployment import Listing, Spec, creation
from prefect_api.errors import (
    ConnectionLostError,
    LeaseLostError,
    OverloadedError,
    RefusedError,
    ServerError,
    TerminalError,
)
from rigs.control_plane import FILES_SOURCE, PLATFORM, Clock, Rig, insert_many, rig
from rigs.fake_prefect import FakePrefect
from tests.support.control_plane.failing_prefect import FailingCreates, Mortal
from tests.support.control_plane.samples import TAG, spec
from tests.support.servers.webhook import Webhook

Failing = Callable[[], Awaitable[None]]


async def status_of(parts: Rig, connector_id: int) -> Status:
    status = await parts.status(connector_id)
    assert status is not None
    return status


ERRORS: list[tuple[Exception, Reason]] = [
    (RefusedError("Prefect refused it (409): no.", 409), Reason.REQUEST_REFUSED),
    (ServerError("Prefect failed (500)."), Reason.SERVER_ERROR),
    (OverloadedError("Prefect did not answer in time."), Reason.SERVER_ERROR),
    (KeyError("a fault of ours"), Reason.INTERNAL_ERROR),
]


@pytest.mark.parametrize(("error", "reason"), ERRORS)
async def test_one_connectors_failure_is_its_own_and_the_others_go_on(
    store: Store, error: Exception, reason: Reason
) -> None:
    gateway = FailingCreates(error)
    async with rig(store, gateway) as parts:
        first, failing, last = await insert_many(parts, 3)
        gateway.failing = {failing}
        report = await parts.cycle()
        assert set(await parts.failed()) == {failing}
        assert report.server_down is None
        for fine in (first, last):
            assert (await status_of(parts, fine)).phase is Phase.SYNCED
        status = await status_of(parts, failing)
        assert (status.phase, status.reason, status.attempts) == (Phase.RETRYING, reason, 1)
        assert status.message
        assert status.next_attempt_at is not None
        assert 2.5 <= (status.next_attempt_at - parts.clock()).total_seconds() <= 5

        tries = gateway.tries
        await parts.cycle()
        assert gateway.tries == tries, "it is not tried before its time"

        gateway.failing = set()
        parts.clock.advance(6)
        await parts.cycle()
        status = await status_of(parts, failing)
        assert (status.phase, status.attempts, status.next_attempt_at) == (Phase.SYNCED, 0, None)


async def test_a_create_whose_answer_was_lost_is_found_and_not_made_again(store: Store) -> None:
    gateway = FailingCreates(ServerError("Prefect's answer was not whole."), applied=True)
    async with rig(store, gateway) as parts:
        number = await parts.insert()
        gateway.failing = {number}
        await parts.cycle()
        assert (await status_of(parts, number)).phase is Phase.RETRYING
        parts.clock.advance(6)
        await parts.cycle()
        assert (await status_of(parts, number)).phase is Phase.SYNCED
        assert gateway.calls["create"] == 1


async def test_a_create_whose_connection_broke_is_looked_up_in_the_same_cycle_and_is_no_failure(store: Store) -> None:
    gateway = FailingCreates(ConnectionLostError("The connection to Prefect broke off."), applied=True)
    async with rig(store, gateway) as parts:
        number = await parts.insert()
        gateway.failing = {number}
        await parts.cycle()
        assert await parts.failed() == {}
        assert (await status_of(parts, number)).phase is Phase.SYNCED
        assert gateway.calls["create"] == 1


async def test_a_connector_that_always_times_out_does_not_make_the_server_look_down(store: Store) -> None:
    gateway = FailingCreates(OverloadedError("Prefect did not answer in time."))
    async with rig(store, gateway) as parts:
        failing = await parts.insert()
        gateway.failing = {failing}
        waits = []
        for attempt in range(1, 5):
            report = await parts.cycle()
            assert report.server_down is None
            status = await status_of(parts, failing)
            assert (status.phase, status.attempts) == (Phase.RETRYING, attempt)
            assert status.next_attempt_at is not None
            waits.append((status.next_attempt_at - parts.clock()).total_seconds())
            parts.clock.advance(waits[-1])
        assert waits[3] > 2 * waits[0]
        other = await parts.insert()
        await parts.cycle(audit=True)
        assert (await status_of(parts, other)).phase is Phase.SYNCED


async def test_a_server_that_is_too_busy_for_everything_counts_as_down(store: Store) -> None:
    gateway = FailingCreates(OverloadedError("Prefect is busy (503)."))
    async with rig(store, gateway) as parts:
        numbers = await insert_many(parts, 4)
        gateway.failing = set(numbers)
        report = await parts.cycle()
        assert report.server_down is not None
        for number in numbers:
            status = await status_of(parts, number)
            assert (status.phase, status.reason) == (Phase.RETRYING, Reason.SERVER_UNAVAILABLE)
            assert "503" not in (status.message or "")
        gateway.failing = set()
        parts.clock.advance(61)
        await parts.cycle()
        assert {(await status_of(parts, number)).phase for number in numbers} == {Phase.SYNCED}


class BusyNowAndThen(FakePrefect):
    """Every other create is answered 503, half of these after they were carried out."""

    turn = 0

    async def create(self, wanted: Spec) -> UUID:
        self.turn += 1
        if self.turn % 2:
            if self.turn % 4 == 1:
                await super().create(wanted)
            raise OverloadedError("Prefect is busy (503).")
        return await super().create(wanted)


async def test_what_a_busy_server_refused_is_done_within_the_cycle_and_nobody_hears_of_it(store: Store) -> None:
    gateway = BusyNowAndThen()
    async with rig(store, gateway) as parts:
        numbers = await insert_many(parts, 30)
        report = await parts.cycle()
        assert (await parts.failed(), report.server_down) == ({}, None)
        assert {(await status_of(parts, number)).phase for number in numbers} == {Phase.SYNCED}
        assert gateway.calls["create"] == 30


async def test_a_server_that_goes_in_mid_apply_loses_nothing_and_blames_nobody(store: Store) -> None:
    gateway = Mortal()
    async with rig(store, gateway) as parts:
        numbers = await insert_many(parts, 12)
        gateway.creates_left = 5
        report = await parts.cycle()
        assert report.server_down is not None
        assert await parts.failed() == {}
        phases = [await status_of(parts, number) for number in numbers]
        assert sum(status.phase is Phase.SYNCED for status in phases) == 5
        waiting = [status for status in phases if status.phase is Phase.RETRYING]
        assert {(status.reason, status.attempts) for status in waiting} == {(Reason.SERVER_UNAVAILABLE, 0)}
        assert len(waiting) == 7
        gateway.alive, gateway.creates_left = True, 100
        parts.clock.advance(2)
        await parts.cycle()
        assert {(await status_of(parts, number)).phase for number in numbers} == {Phase.SYNCED}
        assert gateway.calls["create"] == 12


async def test_in_an_outage_only_waiting_work_is_marked_and_what_is_in_sync_stays_so(store: Store) -> None:
    gateway = Mortal()
    async with rig(store, gateway) as parts:
        steady, edited, deleted = await insert_many(parts, 3)
        await parts.cycle(audit=True)
        gateway.alive = False
        await parts.change(edited, schedule="1 * * * *")
        await parts.remove(deleted)
        created = await parts.insert(name="New")
        invalid = await parts.insert(name="Bad", schedule="never")
        inactive = await parts.insert(name="Off", is_active=False)
        await parts.cycle(audit=True)
        expected = {
            steady: Phase.SYNCED,
            edited: Phase.RETRYING,
            deleted: Phase.DELETING,
            created: Phase.RETRYING,
            invalid: Phase.INVALID,
            inactive: Phase.RETRYING,
        }
        assert {number: (await status_of(parts, number)).phase for number in expected} == expected
        for number in (edited, deleted, created):
            status = await status_of(parts, number)
            assert status.reason is Reason.SERVER_UNAVAILABLE
            assert status.next_attempt_at is not None

        # Started anew while it is still down: the same work waits, and nothing else.
        await parts.lease.release()
        async with rig(store, gateway, clock=parts.clock) as again:
            parts.clock.advance(1)
            await again.cycle(audit=True)
            assert {number: (await status_of(parts, number)).phase for number in expected} == expected
            gateway.alive = True
            parts.clock.advance(61)
            await again.cycle()
            assert (await status_of(parts, edited)).phase is Phase.SYNCED
            assert (await status_of(parts, created)).phase is Phase.SYNCED
            assert (await status_of(parts, inactive)).phase is Phase.PAUSED
            assert await parts.status(deleted) is None


async def test_while_the_server_is_down_nothing_but_ever_rarer_probes_is_sent(store: Store) -> None:
    gateway = Mortal()
    gateway.alive = False
    async with rig(store, gateway) as parts:
        await parts.insert()
        for _ in range(600):
            await parts.cycle()
            assert parts.reconciler.seconds_until_due() is not None
            parts.clock.advance(1)
        assert 10 <= gateway.probes <= 40
        assert gateway.writes == 0


async def test_the_first_good_probe_makes_everything_due_at_once(store: Store) -> None:
    gateway = Mortal()
    async with rig(store, gateway) as parts:
        numbers = await insert_many(parts, 5)
        gateway.alive = False
        for _ in range(10):
            await parts.cycle()
            parts.clock.advance(60)
        gateway.alive = True
        assert await parts.reconciler.probe()
        assert parts.reconciler.seconds_until_due() == 0
        await parts.cycle()
        assert {(await status_of(parts, number)).phase for number in numbers} == {Phase.SYNCED}


async def test_backoff_doubles_to_its_cap_and_survives_a_restart(store: Store) -> None:
    gateway = FailingCreates(ServerError("Prefect failed (500)."))
    clock = Clock()
    async with rig(store, gateway, clock=clock) as parts:
        number = await parts.insert()
        gateway.failing = {number}
        waits = []
        for _ in range(12):
            await parts.cycle()
            wait = parts.reconciler.seconds_until_due()
            assert wait is not None
            waits.append(wait)
            clock.advance(wait)
        assert 2.5 <= waits[0] <= 5
        assert all(450 <= wait <= 900 for wait in waits[9:])
        await parts.cycle()
        before = await status_of(parts, number)
    async with rig(store, gateway, clock=clock) as again:
        tries = gateway.tries
        await again.cycle()
        assert gateway.tries == tries
        assert await status_of(again, number) == before
        await again.change(number, schedule="1 1 * * *")
        await again.cycle()
        assert gateway.tries == tries + 1, "a changed row is tried at once"
        assert (await status_of(again, number)).attempts == 1


class Halting(FakePrefect):
    """The lease is found lost at the second create."""

    async def create(self, wanted: Spec) -> UUID:
        if self.calls["create"]:
            raise LeaseLostError("Another controller leads now.")
        return await super().create(wanted)


async def test_a_lost_lease_ends_the_cycle_as_what_it_is(store: Store) -> None:
    async with rig(store, Halting()) as parts:
        await insert_many(parts, 8)
        with pytest.raises(TerminalError) as raised:
            await parts.cycle()
        assert type(raised.value) is LeaseLostError


class ForgetfulStore(Store):
    """The database goes away at a chosen write."""

    fails_at = -1
    writes = 0

    async def record(self, records: Sequence[StatusRecord], fence: Fence) -> tuple[Unrecorded, ...]:
        if records:
            self.writes += 1
            if self.writes == self.fails_at:
                raise OperationalError("", None, Exception("gone"))
        return await super().record(records, fence)


@pytest.mark.parametrize("fails_at", [1, 2])
async def test_a_write_that_the_database_refused_is_made_up_for_by_the_next_poll(store: Store, fails_at: int) -> None:
    forgetful = ForgetfulStore(store.engine)
    gateway = FakePrefect()
    async with rig(forgetful, gateway) as parts:
        kept, removed = await insert_many(parts, 2)
        await parts.cycle()
        await parts.change(kept, schedule="1 * * * *")
        await parts.remove(removed)
        bad = await parts.insert(schedule="never")
        forgetful.writes, forgetful.fails_at = 0, fails_at
        with pytest.raises(OperationalError):
            await parts.cycle()
        await parts.cycle()
        status = await status_of(parts, kept)
        assert (status.phase, status.observed_generation) == (Phase.SYNCED, 2)
        assert parts.reconciler.seconds_until_due() is not None, "what was changed is looked at for stale runs"
        assert await parts.status(removed) is None
        assert (await status_of(parts, bad)).phase is Phase.INVALID


class CutShort(FakePrefect):
    """A listing of which a page is missing."""

    async def list_deployments(self) -> Listing:
        listing = await super().list_deployments()
        return Listing(listing.deployments[1:], complete=False)


async def test_an_incomplete_listing_deletes_nothing_and_creates_nothing_twice(store: Store) -> None:
    gateway = CutShort()
    async with rig(store, gateway) as parts:
        numbers = await insert_many(parts, 4)
        await parts.cycle()
        orphan = gateway.server.post(creation(spec(999), "flow"))
        for number in numbers[2:]:
            await parts.remove(number)
        report = await parts.cycle(audit=True)
        assert not report.audited
        assert gateway.calls["create"] == 4
        assert gateway.calls["delete"] == 0
        assert orphan in gateway.server.deployments
        assert (await status_of(parts, numbers[3])).phase is Phase.DELETING


async def test_a_mass_prune_is_withheld_told_and_done_with_permission_while_the_rest_goes_on(store: Store) -> None:
    with Webhook() as webhook:
        gateway = FakePrefect()
        alerts = Alerts([webhook.url], "clinical-ai")
        async with rig(store, gateway, alerts=alerts) as parts:
            numbers = await insert_many(parts, 20)
            await parts.cycle(audit=True)
            await parts.remove(*numbers[:6])
            new = await parts.insert(name="New")
            await parts.cycle()
            await alerts.drain()
            assert len(webhook.said) == 1, "told at once, not at the next audit"
            assert "6 deletes were withheld" in webhook.said[0]
            assert "allow_mass_prune" in webhook.said[0]
            assert (await status_of(parts, new)).phase is Phase.SYNCED
            assert gateway.calls["delete"] == 0
            for number in numbers[:6]:
                status = await status_of(parts, number)
                assert (status.phase, status.reason) == (Phase.DELETING, Reason.PRUNE_WITHHELD)

            report = await parts.cycle(audit=True)
            assert len(report.withheld) == 6
            await parts.cycle(audit=True, allow_mass_prune=True)
            assert [await parts.status(number) for number in numbers[:6]] == [None] * 6
            await parts.cycle(audit=True)
            await alerts.drain()
            assert len(webhook.said) == 2
            assert "No deletes are withheld any more" in webhook.said[1]


async def test_rows_that_come_back_are_not_deleted_after_all(store: Store) -> None:
    gateway = FakePrefect()
    async with rig(store, gateway) as parts:
        numbers = await insert_many(parts, 8)
        await parts.cycle(audit=True)
        await parts.remove(*numbers)
        await parts.cycle()
        for number in numbers:
            await parts.insert(id=number, name=f"Again {number}")
        await parts.cycle()
        await parts.cycle(audit=True, allow_mass_prune=True)
        assert {(await status_of(parts, number)).phase for number in numbers} == {Phase.SYNCED}
        assert gateway.calls["delete"] == 0


async def test_operations_hear_once_of_an_outage_and_once_of_its_end(store: Store) -> None:
    with Webhook() as webhook:
        alerts = Alerts([webhook.url], "clinical-ai")
        gateway = Mortal()
        gateway.alive = False
        async with rig(store, gateway, alerts=alerts) as parts:
            await parts.insert()
            for _ in range(119):
                await parts.cycle()
                parts.clock.advance(1)
            await alerts.drain()
            assert webhook.said == []
            for _ in range(600):
                await parts.cycle()
                parts.clock.advance(1)
            await alerts.drain()
            assert len(webhook.said) == 1
            assert webhook.said[0].startswith("[clinical-ai] Prefect has been unavailable since")
            gateway.alive = True
            for _ in range(120):
                await parts.cycle()
                parts.clock.advance(1)
            await alerts.drain()
            assert len(webhook.said) == 2
            assert webhook.said[1].startswith("[clinical-ai] Recovered: Prefect answers again")


@pytest.fixture
def unreachable() -> Iterator[list[Any]]:
    """Addresses that take no alert: one that refuses it, one where nobody listens, and one that is no address."""
    from pydantic import SecretStr

    with Webhook(status=500) as refusing:
        yield [refusing.url, SecretStr("json://user:s3cret@127.0.0.1:1/"), SecretStr("nonsense")]


async def test_an_alert_that_cannot_be_delivered_harms_nothing_and_tells_no_secret(
    store: Store, unreachable: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    alerts = Alerts(unreachable, "clinical-ai")
    gateway = Mortal()
    gateway.alive = False
    async with rig(store, gateway, alerts=alerts) as parts:
        number = await parts.insert()
        await parts.cycle()
        parts.clock.advance(130)
        await asyncio.wait_for(parts.cycle(), 5)
        gateway.alive = True
        parts.clock.advance(61)
        await asyncio.wait_for(parts.cycle(), 5)
        assert (await status_of(parts, number)).phase is Phase.SYNCED
        await alerts.drain()
    assert any("could not be delivered" in message for message in caplog.messages)
    assert "s3cret" not in caplog.text


async def test_two_installations_on_one_server_leave_each_other_alone(store: Store) -> None:
    gateway = FakePrefect()
    other: Platform = replace(PLATFORM, instance="other")
    async with rig(store, gateway) as ours:
        numbers = await insert_many(ours, 3)
        await ours.cycle(audit=True)
        before = {number: dict(row) for number, row in gateway.server.deployments.items()}
        async with rig(store, gateway, platform=other) as theirs:
            await theirs.cycle(audit=True, allow_mass_prune=True)
            assert {(await status_of(theirs, number)).phase for number in numbers} == {Phase.CONFLICT}
        assert gateway.server.deployments == before


async def test_a_roll_out_is_paced_and_ends(store: Store) -> None:
    gateway = FakePrefect()
    clock = Clock()
    async with rig(store, gateway, clock=clock) as parts:
        await insert_many(parts, 130)
        await parts.cycle(audit=True)
    release = replace(PLATFORM, job_variables={**PLATFORM.job_variables, "image": "v2"})
    options = Options(max_prune_fraction=0.25, retry_base_seconds=5, retry_max_seconds=900)
    gateway.calls.clear()
    async with rig(store, gateway, clock=clock, platform=release, options=options) as parts:
        report = await parts.cycle(audit=True)
        assert (gateway.calls["patch"], len(report.deferred)) == (50, 80)
        await parts.cycle()
        assert gateway.calls["patch"] == 50
        clock.advance(2)
        await parts.cycle()
        assert gateway.calls["patch"] == 60
        await parts.insert(name="invalid", schedule="never")  # what asks for no patch takes nobody's turn
        clock.advance(10)
        await parts.cycle()
        assert gateway.calls["patch"] == 110
        clock.advance(10)
        assert (await parts.cycle()).deferred == ()
        assert gateway.calls["patch"] == 130
        assert all(TAG in row["tags"] for row in gateway.server.deployments.values())


async def rolling_out(store: Store, gateway: FakePrefect, clock: Clock, count: int) -> Platform:
    """So many connectors in sync; the platform of the release that comes then, which changes every deployment."""
    async with rig(store, gateway, clock=clock) as parts:
        await insert_many(parts, count)
        await parts.cycle(audit=True)
    gateway.calls.clear()
    return replace(PLATFORM, job_variables={**PLATFORM.job_variables, "image": "v2"})


async def test_an_outage_during_a_roll_out_ends_neither_its_pace_nor_what_is_said_of_those_who_wait(
    store: Store,
) -> None:
    gateway, clock = Mortal(), Clock()
    release = await rolling_out(store, gateway, clock, 130)
    async with rig(store, gateway, clock=clock, platform=release) as parts:
        await parts.cycle(audit=True)
        assert gateway.calls["patch"] == 50
        gateway.alive = False
        for _ in range(3):
            clock.advance(30)
            await parts.cycle()
        assert {status.phase for status in (await store.statuses()).values()} == {Phase.SYNCED}
        gateway.alive = True
        clock.advance(60)
        report = await parts.cycle(audit=True)
        assert (gateway.calls["patch"], len(report.deferred)) == (100, 30)


async def test_a_server_that_goes_amid_a_roll_out_leaves_the_rest_to_its_turn(store: Store) -> None:
    gateway, clock = Mortal(), Clock()
    release = await rolling_out(store, gateway, clock, 130)
    async with rig(store, gateway, clock=clock, platform=release) as parts:
        await parts.cycle(audit=True)
        gateway.patches_left = 10
        clock.advance(10)
        assert (await parts.cycle()).server_down is not None
        assert gateway.calls["patch"] == 60
        assert {status.phase for status in (await store.statuses()).values()} == {Phase.SYNCED}
        gateway.alive, gateway.patches_left = True, 10**9
        clock.advance(60)
        report = await parts.cycle()
        assert (gateway.calls["patch"], len(report.deferred)) == (110, 20)
        clock.advance(10)
        assert (await parts.cycle()).deferred == ()


async def test_a_clock_that_is_set_back_neither_opens_a_roll_out_wide_nor_stops_it(store: Store) -> None:
    gateway, clock = FakePrefect(), Clock()
    release = await rolling_out(store, gateway, clock, 130)
    async with rig(store, gateway, clock=clock, platform=release) as parts:
        await parts.cycle(audit=True)
        clock.now -= timedelta(hours=1)
        await parts.cycle()
        assert gateway.calls["patch"] == 50
        clock.advance(2)
        await parts.cycle()
        assert gateway.calls["patch"] == 60


DEEP = "[" * 2000 + "]" * 2000
UNREADABLE = {
    "nested a thousand levels deep": f'{{"type": "files", "url": "/data", "x": {DEEP}}}',
    "nested deeper than our own code goes": f'{{"type": "files", "url": "/data", "x": {"[" * 500 + "]" * 500}}}',
    "a number of five thousand digits": '{"type": "files", "url": "/data", "x": 1e5000}',
}


@pytest.mark.parametrize("source", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_a_row_that_nobody_can_read_is_its_own_trouble_and_the_others_go_on(store: Store, source: str) -> None:
    gateway = FakePrefect()
    async with rig(store, gateway) as parts:
        before = await parts.insert(name="Before")
        async with store.engine.begin() as connection:
            statement = "INSERT INTO cai_connectors (name, source) VALUES ('Bad', CAST(:source AS jsonb)) RETURNING id"
            bad = int(await connection.scalar(sa.text(statement), {"source": source}) or 0)
        after = await parts.insert(name="After")
        for audit in (False, True):
            await parts.cycle(audit=audit)
            for fine in (before, after):
                assert (await status_of(parts, fine)).phase is Phase.SYNCED
            status = await status_of(parts, bad)
            assert (status.phase, status.reason) == (Phase.INVALID, Reason.INVALID_SOURCE)
            assert (status.message or "").startswith("source cannot be read: ")
        await parts.change(bad, source=FILES_SOURCE)
        await parts.cycle()
        assert (await status_of(parts, bad)).phase is Phase.SYNCED


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "20000-01-01", "4000-01-01 BC"])
async def test_a_row_of_a_year_that_python_does_not_know_is_as_good_as_any(store: Store, moment: str) -> None:
    async with rig(store, FakePrefect()) as parts:
        numbers = await insert_many(parts, 2)
        async with store.engine.begin() as connection:
            statement = "INSERT INTO cai_connectors (name, source, created_at) VALUES ('Old', CAST(:source AS jsonb), "
            values = {"source": json.dumps(FILES_SOURCE)}
            await connection.execute(sa.text(f"{statement} '{moment}')"), values)
        await parts.cycle(audit=True)
        statuses = await store.statuses()
        assert len(statuses) == len(numbers) + 1
        assert {status.phase for status in statuses.values()} == {Phase.SYNCED}


async def test_a_row_that_our_own_code_stumbles_over_is_invalid_by_our_fault_and_operations_hear_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbling(row: ConnectorRow, platform: Platform, load: Load | None) -> Desired:
        if row.name == "Bad":
            raise KeyError("a fault of ours")
        return desire(row, platform, load)

    monkeypatch.setattr(changes, "desire", stumbling)
    with Webhook() as operations:
        alerts = Alerts([operations.url], "clinical-ai")
        async with rig(store, FakePrefect(), alerts=alerts) as parts:
            fine, bad = await parts.insert(name="Good"), await parts.insert(name="Bad")
            await parts.cycle(audit=True)
            assert (await status_of(parts, fine)).phase is Phase.SYNCED
            status = await status_of(parts, bad)
            assert (status.phase, status.reason) == (Phase.INVALID, Reason.INTERNAL_ERROR)
            await alerts.drain()
            assert operations.said == [f"[clinical-ai] Connector {bad} cannot be synced: {status.message}"]
