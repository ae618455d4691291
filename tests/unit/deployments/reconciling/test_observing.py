"""Observation of a large fleet in an audit, and answers of Prefect that are not trusted."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from connectors.status import Phase, Status
from deployments.planning.plan import Desired, is_in_line
from deployments.reconciling.observing import FULL_LISTING_EVERY, Observer, Sight
from prefect_api.deployment import Listing, Spec
from prefect_api.names import deployment_name
from rigs.fake_prefect import FakePrefect
from tests.support.control_plane.samples import TAG, known, spec, wanted

FLEET = range(1, 9)


class Counting(FakePrefect):
    """Counts its full listings."""

    def __init__(self) -> None:
        super().__init__()
        self.listings = 0

    async def list_deployments(self) -> Listing:
        self.listings += 1
        return await super().list_deployments()


class Fleet:
    """A fleet that stands, an hour after it was made; an audit has listed it a moment ago."""

    def __init__(self) -> None:
        self.prefect = Counting()
        self.server = self.prefect.server
        self.now = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
        self.server.clock = lambda: self.now
        self.passed = 0.0
        self.observer = Observer(self.prefect, TAG, lambda: self.passed, small=0)
        self.ids: dict[int, UUID] = {}
        self.desired: dict[int, Desired] = {}
        self.known: dict[int, Status] = {}

    async def make(self) -> "Fleet":
        for number in FLEET:
            self.ids[number] = await self.prefect.create(spec(number))
            self.desired[number] = wanted(number, prefect_deployment_id=self.ids[number])
            wants = self.desired[number].wants
            assert isinstance(wants, Spec)
            version = wants.fields.version
            message = f"Runs {wants.when}."
            self.known[number] = known(
                number, deployment_id=self.ids[number], spec_version=version, message=message, last_synced_at=self.now
            )
        self.wait(3600)
        await self.audit()
        self.wait(600)
        return self

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.passed += seconds

    async def audit(self, *, whole: bool = False, pressing: frozenset[int] = frozenset()) -> Sight:
        return await self.observer.audit(self.desired, self.known, {*FLEET}, pressing, whole=whole)


@pytest.fixture
async def fleet() -> Fleet:
    return await Fleet().make()


async def test_where_nothing_has_changed_nothing_is_looked_at(fleet: Fleet) -> None:
    sight = await fleet.audit()
    assert not sight.scope
    assert not sight.observation.deployments
    assert fleet.prefect.listings == 1


async def test_what_was_changed_by_hand_is_looked_at_alone(fleet: Fleet) -> None:
    fleet.server.edit(fleet.ids[3], {"paused": True})
    fleet.wait(600)
    sight = await fleet.audit()
    assert sight.scope == {3}
    assert fleet.prefect.listings == 1
    assert sight.observation.deployments[3].fields.paused
    fleet.wait(600)
    assert not (await fleet.audit()).scope  # it was in line again, as far as this one knows


async def test_a_change_of_a_server_whose_clock_is_late_is_seen(fleet: Fleet) -> None:
    fleet.server.edit(fleet.ids[3], {"paused": True})
    fleet.server.updated[fleet.ids[3]] = fleet.now - timedelta(seconds=600 + 250)
    assert (await fleet.audit()).scope == {3}


async def test_taken_slots_and_other_limits_are_seen_although_they_are_no_change(fleet: Fleet) -> None:
    fleet.server.deployments[fleet.ids[2]]["global_concurrency_limit"]["active_slots"] = 1
    fleet.server.deployments[fleet.ids[4]]["global_concurrency_limit"]["limit"] = 9
    fleet.server.deployments[fleet.ids[5]]["global_concurrency_limit"] = None
    sight = await fleet.audit()
    assert sight.scope == {2, 4, 5}
    assert [held.name for held in sight.with_slots] == [deployment_name(2)]


async def test_who_is_not_in_line_is_looked_at_by_name(fleet: Fleet) -> None:
    fleet.known[1] = replace(fleet.known[1], phase=Phase.RETRYING, attempts=2)
    fleet.desired[2] = wanted(2, generation=2, prefect_deployment_id=fleet.ids[2])
    del fleet.desired[3]
    sight = await fleet.audit(pressing=frozenset({4}))
    assert sight.scope == {1, 2, 3, 4} == sight.observation.deployments.keys()


async def test_a_deployment_that_we_have_deleted_is_not_missed(fleet: Fleet) -> None:
    await fleet.prefect.delete([fleet.ids[1]])
    fleet.observer.deleted(fleet.ids[1])
    assert (await fleet.audit()).scope == {1}
    assert fleet.prefect.listings == 1


async def test_what_was_made_since_is_counted(fleet: Fleet) -> None:
    await fleet.prefect.create(spec(9))
    fleet.wait(600)
    assert (await fleet.audit()).scope == {9}
    fleet.wait(600)
    assert not (await fleet.audit()).scope
    assert fleet.prefect.listings == 1


def _deleted(fleet: Fleet) -> None:
    fleet.server.delete([fleet.ids[1]])


def _replaced(fleet: Fleet) -> None:
    """Their number is the same."""
    fleet.server.delete([fleet.ids[1]])
    fleet.server.post({"name": "somebody's", "schedules": []})


def _restored(fleet: Fleet) -> None:
    fleet.server.updated = dict.fromkeys(fleet.server.updated, fleet.now - timedelta(days=1))


def _set_back(fleet: Fleet) -> None:
    fleet.now -= timedelta(minutes=7)


def _set_forward(fleet: Fleet) -> None:
    fleet.now += timedelta(hours=1)


@pytest.mark.parametrize("what", [_deleted, _replaced, _restored, _set_back, _set_forward])
async def test_what_speaks_against_the_answer_has_everything_listed(
    fleet: Fleet, what: Callable[[Fleet], None]
) -> None:
    what(fleet)
    sight = await fleet.audit()
    assert fleet.prefect.listings == 2
    assert sight.scope == {*FLEET}


async def test_a_whole_audit_lists_everything(fleet: Fleet) -> None:
    await fleet.audit(whole=True)
    assert fleet.prefect.listings == 2


async def test_a_small_fleet_is_always_listed() -> None:
    fleet = Fleet()
    fleet.observer = Observer(fleet.prefect, TAG, lambda: fleet.passed, small=len(FLEET))
    await fleet.make()
    await fleet.audit()
    assert fleet.prefect.listings == 2


async def test_what_prefect_takes_for_no_change_is_found_within_six_audits(fleet: Fleet) -> None:
    number = fleet.ids[5]
    fleet.server.remove_schedule(number, fleet.server.observed(number).schedule_ids[0])
    looks = Counter[bool]()
    while 5 not in (sight := await fleet.audit()).scope:
        looks[False] += 1
        fleet.wait(600)
    assert looks[False] == FULL_LISTING_EVERY - 1
    assert sight.observation.deployments[5].fields.schedules == ()


async def test_an_audit_an_hour_after_the_last_listing_lists_everything_however_few_came_between(fleet: Fleet) -> None:
    number = fleet.ids[5]
    fleet.server.remove_schedule(number, fleet.server.observed(number).schedule_ids[0])
    fleet.wait(1200)
    assert 5 not in (await fleet.audit()).scope
    fleet.wait(1800)
    assert 5 in (await fleet.audit()).scope
    assert fleet.prefect.listings == 2


async def test_of_many_that_are_to_go_only_whose_they_are_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.reconciling.observing.FEW", 2)
    fleet = await Fleet().make()
    rows = {1: fleet.desired[1]}
    sight = await fleet.observer.look({1, 2, 3, 4}, rows, fleet.known)
    assert sight.observation.ours == {i: fleet.ids[i] for i in (2, 3, 4)}
    assert sight.observation.deployments.keys() == {1}
    fleet.server.edit(fleet.ids[3], {"tags": ["managed-by:other"]})  # whose it is now, nobody need guess
    sight = await fleet.observer.look({1, 2, 3, 4}, rows, fleet.known)
    assert not sight.observation.ours
    assert sight.observation.deployments.keys() == {1, 2, 3, 4}
    few = await fleet.observer.look({2, 3}, {}, fleet.known)
    assert few.observation.deployments.keys() == {2, 3}


def test_a_connector_that_is_never_to_have_a_deployment_is_in_line_without_one() -> None:
    asleep = wanted(1, is_active=False)
    paused = known(1, Phase.PAUSED, deployment_id=None, reason="Inactive", message="Deactivated: nothing is scheduled.")
    assert is_in_line(asleep, paused, frozenset())
    assert not is_in_line(wanted(1), known(1, deployment_id=None), frozenset())
