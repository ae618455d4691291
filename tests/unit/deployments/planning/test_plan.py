"""`plan`: every cell of its table, its guards, and that a plan that was carried out leaves nothing to do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.status import REASONS, Phase, Reason, Status
from deployments.planning.plan import (
    Action,
    Create,
    Decision,
    Delete,
    Desired,
    Observation,
    Pause,
    Plan,
    Policy,
    desire,
    plan,
)
from prefect_api.deployment import Observed, Patch, Spec, creation
from prefect_api.names import connector_id_of
from rigs.control_plane import PLATFORM
from rigs.fake_prefect import Server, carry_out_patch
from tests.support.control_plane.samples import NOW, TAG, deployment_id, held, known, row, spec, wanted
from use_cases.connectors import DEFAULTS, WHOSE

BAD: dict[str, Any] = {"schedule": "61 * * * *"}
"""What makes a row invalid."""


def decide(
    desired: Desired | None,
    deployment: Observed | None = None,
    status: Status | None = None,
    *,
    complete: bool = True,
    policy: Policy | None = None,
) -> Decision:
    """The decision for connector 1 alone."""
    planned = plan(
        {} if desired is None else {1: desired},
        {} if status is None else {1: status},
        Observation({} if deployment is None else {1: deployment}, complete),
        policy or Policy(TAG),
        scope=[1],
        fleet_size=100,
        now=NOW,
    )
    assert len(planned.decisions) == 1
    return planned.decisions[0]


def actions(planned: Plan) -> list[Action]:
    """What a plan does, in order."""
    return [decision.action for decision in planned.decisions if decision.action is not None]


@dataclass(frozen=True)
class Cell:
    """One cell of the table: what is there, and what must follow."""

    name: str
    row: Desired | None
    prefect: Observed | None
    action: type[Action] | None
    phase: Phase | None
    reason: Reason | None = None
    status: Status | None = None
    stored: UUID | None = None
    """The deployment id that is stored, for what has one before the action."""
    fields: tuple[str, ...] = ()
    """For a patch: the owned fields that it repairs."""


FOREIGN = frozenset({"managed-by:other"})
STRANGE: dict[str, Any] = {"tags": frozenset({"mine"}), "parameters": {"x": 1}}
OLDER: dict[str, Any] = {"tags": frozenset()}
ID, OTHER = deployment_id(1), deployment_id(1, "other")

CELLS = [
    Cell("active, none: create", wanted(), None, Create, Phase.SYNCED, Reason.IN_SYNC),
    Cell("active, equal: nothing", wanted(), held(spec()), None, Phase.SYNCED, Reason.IN_SYNC, known(), ID),
    Cell(
        "active, differs: patch that field",
        wanted(timezone="Europe/Berlin"),
        held(spec()),
        Patch,
        Phase.SYNCED,
        Reason.IN_SYNC,
        known(),
        ID,
        ("schedules", "version", "description"),
    ),
    Cell(
        "active, paused by hand: resume",
        wanted(),
        held(spec(), paused=True),
        Patch,
        Phase.SYNCED,
        Reason.IN_SYNC,
        known(),
        ID,
        ("paused",),
    ),
    Cell(
        "inactive, exists: pause",
        wanted(is_active=False),
        held(spec()),
        Patch,
        Phase.PAUSED,
        Reason.INACTIVE,
        known(),
        ID,
        ("paused",),
    ),
    Cell(
        "inactive, exists and differs: patch and pause",
        wanted(is_active=False, schedule=None),
        held(spec()),
        Patch,
        Phase.PAUSED,
        Reason.INACTIVE,
        known(),
        ID,
        ("schedules", "tags", "version", "description", "paused"),
    ),
    Cell(
        "inactive, paused already: nothing",
        wanted(is_active=False),
        held(spec(is_active=False)),
        None,
        Phase.PAUSED,
        Reason.INACTIVE,
        known(phase=Phase.PAUSED),
        ID,
    ),
    Cell(
        "inactive, none: nothing, id null", wanted(is_active=False), None, None, Phase.PAUSED, Reason.INACTIVE, known()
    ),
    Cell(
        "inactive and invalid, exists: pause and nothing else",
        wanted(is_active=False, **BAD),
        held(spec()),
        Pause,
        Phase.INVALID,
        Reason.INVALID_SCHEDULE,
        known(),
        ID,
    ),
    Cell(
        "inactive and invalid, paused already: nothing",
        wanted(is_active=False, **BAD),
        held(spec(), paused=True),
        None,
        Phase.INVALID,
        Reason.INVALID_SCHEDULE,
        known(),
        ID,
    ),
    Cell("inactive and invalid, none", wanted(is_active=False, **BAD), None, None, Phase.PAUSED, Reason.INACTIVE),
    Cell(
        "inactive and invalid, foreign: never paused",
        wanted(is_active=False, **BAD),
        held(spec(), tags=FOREIGN),
        None,
        Phase.PAUSED,
        Reason.INACTIVE,
    ),
    Cell("active and invalid, none: create nothing", wanted(**BAD), None, None, Phase.INVALID, Reason.INVALID_SCHEDULE),
    Cell(
        "active and invalid, exists: the last good one stays",
        wanted(**BAD),
        held(spec(), version="old"),
        None,
        Phase.INVALID,
        Reason.INVALID_SCHEDULE,
        known(),
        ID,
    ),
    Cell(
        "active and invalid, paused by hand: still nothing",
        wanted(**BAD),
        held(spec(), paused=True),
        None,
        Phase.INVALID,
        Reason.INVALID_SCHEDULE,
        known(),
        ID,
    ),
    Cell("gone, ours: delete", None, held(spec()), Delete, Phase.DELETING, Reason.ROW_GONE, known(), ID),
    Cell("gone, ours by tag alone: delete", None, held(spec()), Delete, Phase.DELETING, Reason.ROW_GONE, None, ID),
    Cell(
        "gone, ours by the recorded id alone: delete",
        None,
        held(spec(), tags=frozenset()),
        Delete,
        Phase.DELETING,
        Reason.ROW_GONE,
        known(),
        ID,
    ),
    Cell("gone, none: forget it", None, None, None, None, None, known()),
    Cell("gone, foreign: never deleted", None, held(spec(), tags=FOREIGN), None, None, None, known()),
    Cell(
        "gone, foreign under our recorded id and our tag: never deleted",
        None,
        held(spec(), tags=FOREIGN | {TAG}),
        None,
        None,
        None,
        known(),
    ),
    Cell("gone, only adoptable: never deleted", None, held(spec(), **OLDER), None, None, None),
    Cell("gone, somebody's own: never deleted", None, held(spec(), OTHER, **STRANGE), None, None, None, known()),
    Cell(
        "stored id is stale: adopt what stands under the name",
        wanted(prefect_deployment_id=OTHER),
        held(spec()),
        None,
        Phase.SYNCED,
        Reason.IN_SYNC,
        known(deployment_id=OTHER),
        ID,
    ),
    Cell("no stored id: adopt by our tag", wanted(), held(spec()), None, Phase.SYNCED, Reason.IN_SYNC, None, ID),
    Cell(
        "an older back end's, by its parameters: adopt and patch",
        wanted(),
        held(spec(), **OLDER),
        Patch,
        Phase.SYNCED,
        Reason.IN_SYNC,
        None,
        ID,
        ("tags",),
    ),
    Cell(
        "tags and parameters lost, but the row recorded the id: ours",
        wanted(prefect_deployment_id=ID),
        held(spec(), **STRANGE),
        Patch,
        Phase.SYNCED,
        Reason.IN_SYNC,
        None,
        ID,
        ("parameters", "tags"),
    ),
    Cell(
        "tags and parameters lost, but the status recorded the id: ours",
        wanted(),
        held(spec(), **STRANGE),
        Patch,
        Phase.SYNCED,
        Reason.IN_SYNC,
        known(),
        ID,
        ("parameters", "tags"),
    ),
    Cell(
        "right name, nothing else of ours: conflict",
        wanted(),
        held(spec(), **STRANGE),
        None,
        Phase.CONFLICT,
        Reason.UNKNOWN_DEPLOYMENT,
    ),
    Cell(
        "another installation's: conflict",
        wanted(prefect_deployment_id=ID),
        held(spec(), tags=FOREIGN),
        None,
        Phase.CONFLICT,
        Reason.FOREIGN_DEPLOYMENT,
        known(),
    ),
    Cell(
        "another installation's beside ours: conflict",
        wanted(),
        held(spec(), tags=FOREIGN | {TAG}),
        None,
        Phase.CONFLICT,
        Reason.FOREIGN_DEPLOYMENT,
        known(),
    ),
    Cell(
        "inactive, another installation's: conflict, never paused",
        wanted(is_active=False),
        held(spec(), tags=FOREIGN),
        None,
        Phase.CONFLICT,
        Reason.FOREIGN_DEPLOYMENT,
    ),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_cell(cell: Cell) -> None:
    decision = decide(cell.row, cell.prefect, cell.status)
    assert (None if decision.action is None else type(decision.action)) is cell.action
    assert (None if decision.status is None else decision.status.phase) is cell.phase
    if decision.status is not None:
        assert decision.status.reason is cell.reason
        assert decision.status.deployment_id == cell.stored
        assert decision.status.message
        assert decision.status.next_attempt_at is None
    if isinstance(decision.action, Patch):
        assert tuple(change.field for change in decision.action.changes) == cell.fields


@pytest.mark.parametrize(
    ("values", "reason", "pointer"),
    [
        ({"schedule": ""}, Reason.INVALID_SCHEDULE, "schedule"),
        ({"schedule": "0 0 30 2 *"}, Reason.INVALID_SCHEDULE, "schedule"),
        ({"timezone": "Europe/Atlantis"}, Reason.INVALID_TIMEZONE, "timezone"),
        ({"run_policy": {"overlap": "often"}}, Reason.INVALID_RUN_POLICY, "run_policy.overlap"),
        ({"run_policy": []}, Reason.INVALID_RUN_POLICY, "run_policy"),
        ({"source": {}}, Reason.INVALID_SOURCE, "source"),
        ({"source": None}, Reason.INVALID_SOURCE, "source"),
        ({"destination": {"type": "duckdb"}}, Reason.INVALID_DESTINATION, "destination"),
        ({"destination": "duckdb"}, Reason.INVALID_DESTINATION, "destination"),
        ({"dataset_name": "Not a name"}, Reason.INVALID_DATASET, "dataset_name"),
        ({"name": " "}, Reason.INVALID_NAME, "name"),
        ({"work_pool_name": ""}, Reason.INVALID_WORK_POOL, "work_pool_name"),
        ({"work_queue_name": " "}, Reason.INVALID_WORK_POOL, "work_queue_name"),
    ],
)
def test_every_field_that_can_be_invalid_is_named(values: dict[str, Any], reason: Reason, pointer: str) -> None:
    status = decide(wanted(**values)).status
    assert status is not None
    assert (status.phase, status.reason) == (Phase.INVALID, reason)
    assert pointer in (status.message or "")


ALWAYS_VALID = {"description", "is_active"}
"""Any text will do, and a boolean is one or the other."""


def test_every_column_of_a_user_has_a_reason_to_be_invalid_or_is_always_valid() -> None:
    """A refusal of a column without one would be a fault of ours."""
    assert REASONS.keys() == {*DEFAULTS, *WHOSE, "name", "source"} - ALWAYS_VALID


def test_a_conflict_says_whose_it_is_and_what_operations_do() -> None:
    name = "Prefect already holds a deployment named connector-1-pipeline that"
    foreign = decide(wanted(), held(spec(), tags=FOREIGN | {TAG})).status
    assert foreign is not None
    assert foreign.message == (
        f"{name} belongs to the installation 'other' on the same Prefect server. It is left alone. Operations: give "
        "one of the two a Prefect server of its own."
    )
    unknown = decide(wanted(), held(spec(), **STRANGE)).status
    assert unknown is not None
    assert unknown.message == (
        f"{name} was made by somebody else and runs something else. It is left alone. Operations: delete it in the "
        "Prefect UI if nobody needs it; the connector is then brought in line by itself."
    )


@pytest.mark.parametrize(("phase", "counted"), [(Phase.RETRYING, 0), (Phase.DELETING, 4)])
def test_only_failed_deletes_count_as_tries_of_a_delete(phase: Phase, counted: int) -> None:
    """A connector whose patches failed until its row went must not wait as long for its first delete's retry."""
    status = decide(None, held(spec()), replace(known(), phase=phase, attempts=4)).status
    assert status is not None
    assert status.attempts == counted


def test_an_id_that_only_the_row_recorded_deletes_nothing_once_the_row_is_gone() -> None:
    """A back end may write any id into its row: only what our own status recorded, or our tag, is deleted."""
    assert decide(None, held(spec(), **STRANGE), known(deployment_id=None)).action is None


class TestIncompleteObservation:
    def test_an_orphan_is_not_deleted(self) -> None:
        decision = decide(None, held(spec()), known(), complete=False)
        assert decision.action is None
        assert decision.status is not None
        assert decision.status.phase is Phase.DELETING

    def test_a_status_whose_deployment_was_not_seen_is_kept(self) -> None:
        decision = decide(None, None, known(), complete=False)
        assert decision.status is not None
        assert (decision.status.phase, decision.status.deployment_id) == (Phase.DELETING, ID)

    def test_what_is_there_is_patched_all_the_same(self) -> None:
        assert isinstance(decide(wanted(), held(spec(), paused=True), known(), complete=False).action, Patch)


def prune(count: int, fleet: int, **policy: Any) -> Plan:
    """A plan in which `count` rows of a fleet are gone and one more asks for a deployment."""
    gone = range(1, count + 1)
    return plan(
        {999: wanted(999)},
        {i: known(i) for i in gone},
        Observation({i: held(spec(i)) for i in gone}),
        Policy(TAG, **policy),
        scope=[*gone, 999],
        fleet_size=fleet,
        now=NOW,
    )


class TestMassPrune:
    @pytest.mark.parametrize(("count", "fleet"), [(5, 5), (5, 6), (6, 24), (25, 100), (6, 1000)])
    def test_few_deletes_or_a_small_part_go_through(self, count: int, fleet: int) -> None:
        planned = prune(count, fleet)
        assert planned.withheld == ()
        assert sum(isinstance(action, Delete) for action in actions(planned)) == count

    @pytest.mark.parametrize(("count", "fleet"), [(6, 6), (6, 23), (26, 100), (100, 100)])
    def test_more_are_withheld_and_the_rest_goes_on(self, count: int, fleet: int) -> None:
        planned = prune(count, fleet)
        assert planned.withheld == tuple(range(1, count + 1))
        assert [type(action) for action in actions(planned)] == [Create]
        status = planned.decisions[0].status
        assert status is not None
        assert (status.phase, status.reason) == (Phase.DELETING, Reason.PRUNE_WITHHELD)
        assert f"{count} of {fleet}" in (status.message or "")
        assert "allow_mass_prune" in (status.message or "")

    def test_with_permission_they_go_through(self) -> None:
        assert prune(100, 100, allow_mass_prune=True).withheld == ()

    def test_the_fraction_is_a_setting(self) -> None:
        assert prune(50, 100, max_prune_fraction=0.5).withheld == ()
        assert prune(51, 100, max_prune_fraction=0.5).withheld != ()

    def test_deactivation_is_an_explicit_row_and_is_not_guarded(self) -> None:
        ids = range(1, 101)
        planned = plan(
            {i: wanted(i, is_active=False) for i in ids},
            {i: known(i) for i in ids},
            Observation({i: held(spec(i)) for i in ids}),
            Policy(TAG),
            scope=ids,
            fleet_size=100,
            now=NOW,
        )
        assert len(actions(planned)) == 100


def roll_out(
    schedules: Mapping[int, str | None], *, limit: int | None, seconds: float = 0, changed: frozenset[int] = frozenset()
) -> Plan:
    """A plan after a new release: each deployment still has the version of the old one."""
    old = {i: held(spec(i, schedule=cron), version="old") for i, cron in schedules.items()}
    return plan(
        {i: wanted(i, schedule=cron, generation=2 if i in changed else 1) for i, cron in schedules.items()},
        {i: known(i, spec_version="old") for i in schedules},
        Observation(old),
        Policy(TAG, max_roll_out=limit),
        scope=schedules,
        fleet_size=len(schedules),
        now=NOW + timedelta(seconds=seconds),
    )


LATE_SOON_NEVER_MIDDLE: dict[int, str | None] = {1: "0 12 * * *", 2: "30 10 * * *", 3: None, 4: "0 11 * * *"}


class TestRollOut:
    """The time is 10:07."""

    def test_the_next_run_that_comes_first_is_patched_first_and_manual_ones_last(self) -> None:
        for limit, deferred in ((0, (1, 2, 3, 4)), (1, (1, 3, 4)), (2, (1, 3)), (3, (3,)), (4, ())):
            assert roll_out(LATE_SOON_NEVER_MIDDLE, limit=limit).deferred == deferred

    def test_without_a_limit_all_go(self) -> None:
        assert roll_out(LATE_SOON_NEVER_MIDDLE, limit=None).deferred == ()

    def test_a_run_that_is_just_due_is_let_go_first(self) -> None:
        schedules = {1: "8 10 * * *", 2: "9 10 * * *"}
        assert roll_out(schedules, limit=5, seconds=44).deferred == ()
        assert roll_out(schedules, limit=5, seconds=45).deferred == (1,)
        assert roll_out(schedules, limit=5, seconds=70).deferred == (1,)

    def test_a_changed_row_never_waits(self) -> None:
        assert roll_out(LATE_SOON_NEVER_MIDDLE, limit=0, changed=frozenset({3})).deferred == (1, 2, 4)

    def test_a_hand_edit_is_no_roll_out(self) -> None:
        edited = held(spec(), version="mine")
        decision = decide(wanted(), edited, known(spec_version="old"), policy=Policy(TAG, max_roll_out=0))
        assert isinstance(decision.action, Patch)

    def test_a_negative_limit_is_refused_instead_of_letting_all_but_so_many_through(self) -> None:
        with pytest.raises(ValueError, match="max_roll_out"):
            Policy(TAG, max_roll_out=-5)

    def test_a_clock_that_goes_back_delays_no_patch(self) -> None:
        assert roll_out(LATE_SOON_NEVER_MIDDLE, limit=4, seconds=-7 * 24 * 3600).deferred == ()


def test_a_clock_that_goes_back_changes_no_decision_at_all() -> None:
    statuses = {1: known(last_synced_at=NOW + timedelta(days=400)), 2: known(2, Phase.RETRYING, attempts=3)}
    observation = Observation({1: held(spec(1)), 2: held(spec(2), paused=True)})

    def planned(now: Any) -> tuple[Decision, ...]:
        rows = {i: desire(row(i), PLATFORM) for i in (1, 2)}
        return plan(rows, statuses, observation, Policy(TAG), scope=(1, 2), fleet_size=2, now=now).decisions

    assert planned(NOW) == planned(NOW - timedelta(days=365))


# Whatever is in the table and in Prefect: carrying out the plan leaves nothing to do. The plan's own bodies are sent to
# a server in memory that treats them as Prefect does, so this fails too when a patch cannot bring about what it wants.

CRONS = [None, "0 * * * *", "*/15 2 * * 1-5", "H 3 * * *", "@daily", "", "61 * * * *", "0 0 30 2 *"]

RUNNABLE = 5
"""How many of the crons can run."""
ROWS = {
    "is_active": st.booleans(),
    "description": st.sampled_from([None, "Daily labs", ""]),
    "work_pool_name": st.sampled_from([None, "slow"]),
    "work_queue_name": st.sampled_from([None, "night"]),
    "prefect_deployment_id": st.sampled_from([None, OTHER]),
    "generation": st.integers(1, 3),
}
rows = st.builds(
    row,
    st.integers(1, 5),
    schedule=st.sampled_from(CRONS),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "Mars/Olympus"]),
    run_policy=st.sampled_from([{}, {"overlap": "skip"}, {"overlap": "perhaps"}]),
    **ROWS,
)
valid_rows = st.builds(
    row,
    st.integers(1, 5),
    schedule=st.sampled_from(CRONS[:RUNNABLE]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin"]),
    run_policy=st.sampled_from([{}, {"overlap": "skip"}]),
    **ROWS,
)
"""Rows that a deployment is wanted of: made so, for most others would be thrown away."""

EDITS: list[dict[str, Any]] = [
    {"paused": True},
    {"paused": False},
    {"tags": []},
    {"tags": ["managed-by:other"]},
    {"tags": [TAG, "managed-by:other"]},
    {"parameters": {}},
    {"parameters": {"connector_id": 7}},
    {"version": "mine", "description": None},
    {"entrypoint": "mine.py:flow", "path": "/mine", "pull_steps": [{"step": {}}]},
    {"work_queue_name": "slow"},
    {"work_pool_name": "slow"},
    {"concurrency_limit": None},
    {"concurrency_limit": 7, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}},
    {"job_variables": {"image": "mine"}, "parameter_openapi_schema": {}, "enforce_parameter_schema": False},
    {"schedules": [{"slug": "main", "schedule": {"interval": 60}, "active": False}]},
    {"schedules": [{"slug": "main", "schedule": {"cron": "* * * * *"}, "max_scheduled_runs": 1}]},
    {"schedules": [{"slug": "extra", "schedule": {"cron": "* * * * *"}}]},
]


@st.composite
def servers(draw: st.DrawFn) -> Server:
    """A Prefect with deployments of older rows, edited by hand, and with schedules lost or without a slug."""
    server = Server(["default", "slow"])
    for older in draw(st.lists(valid_rows, unique_by=lambda each: each.id, max_size=5)):
        wants = desire(older, PLATFORM).wants
        assert isinstance(wants, Spec)
        number = server.post(_creation(wants))
        match draw(st.sampled_from(["keep", "lose", "slugless"])):
            case "lose":
                server.deployments[number]["schedules"] = []
            case "slugless":
                server.add_schedule(number, {"schedule": {"cron": "5 5 * * *"}})
            case _:
                for edit in draw(st.lists(st.sampled_from(EDITS), max_size=3)):
                    server.edit(number, edit)
    return server


def _creation(wants: Spec) -> Mapping[str, Any]:
    return creation(wants, "flow")


def _carried_out(planned: Plan, server: Server) -> dict[int, Status]:
    """The statuses that stand once every action is carried out on the server."""
    statuses = {}
    for decision in planned.decisions:
        number = None if decision.status is None else decision.status.deployment_id
        match decision.action:
            case Create(spec=wants):
                number = server.post(_creation(wants))
            case Patch() as patch:
                carry_out_patch(server, patch)
            case Pause(held=paused):
                server.pause(paused.id)
            case Delete(deployment_id=gone):
                server.delete([gone])
                continue
        if decision.status is not None:
            statuses[decision.connector_id] = replace(decision.status, deployment_id=number)
    return statuses


def _observation(server: Server) -> Observation:
    found = {connector_id_of(row["name"]): server.observed(number) for number, row in server.deployments.items()}
    return Observation({i: deployment for i, deployment in found.items() if i is not None})


def _foreign(server: Server) -> dict[UUID, Any]:
    foreign: Callable[[Any], bool] = lambda row: "managed-by:other" in row["tags"]  # noqa: E731
    return {number: dict(row) for number, row in server.deployments.items() if foreign(row)}


@settings(max_examples=300, deadline=None)
@given(
    desired=st.lists(rows, unique_by=lambda each: each.id, max_size=5),
    server=servers(),
    recorded=st.dictionaries(st.integers(1, 5), st.booleans()),
)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(
    desired: list[Any], server: Server, recorded: dict[int, bool]
) -> None:
    numbers = {connector_id_of(row["name"]): number for number, row in server.deployments.items()}
    statuses = {i: known(i, deployment_id=numbers.get(i) if right else OTHER) for i, right in recorded.items()}
    asked = {each.id: desire(each, PLATFORM) for each in desired}
    policy = Policy(TAG, allow_mass_prune=True)
    foreign = _foreign(server)

    def planned(statuses: Mapping[int, Status]) -> Plan:
        observation = _observation(server)
        scope = set(asked) | set(statuses) | set(observation.deployments)
        return plan(asked, statuses, observation, policy, scope=scope, fleet_size=9, now=NOW)

    statuses = _carried_out(planned(statuses), server)
    again = planned(statuses)
    assert actions(again) == []
    assert {d.connector_id: d.status for d in again.decisions if d.status is not None} == statuses
    assert _foreign(server) == foreign
