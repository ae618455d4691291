"""Specs: what a connector's deployment holds, how drift in each owned field is seen, and the bodies that repair it."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.planning.spec import spec_version
from prefect_api.deployment import (
    OWNED,
    OwnedFields,
    ScheduleFields,
    creation,
    drift,
    observed,
    obsolete_schedules,
    patch,
)
from prefect_api.names import connector_id_of, deployment_name
from rigs.control_plane import PLATFORM
from rigs.fake_prefect import Server
from tests.support.control_plane.samples import held, spec

MAIN = ScheduleFields("main", {"cron": "0 */4 * * *", "timezone": "UTC"})

DRIFTED: dict[str, Any] = {
    "entrypoint": "mine.py:flow",
    "path": "/mine",
    "pull_steps": ({"step": {}},),
    "parameters": {"connector_id": 2},
    "parameter_openapi_schema": {"type": "object"},
    "enforce_parameter_schema": False,
    "work_pool_name": "other",
    "work_queue_name": "other",
    "schedules": (replace(MAIN, active=False),),
    "tags": frozenset({"mine"}),
    "version": "mine",
    "description": "mine",
    "paused": True,
    "concurrency_limit": 2,
    "collision_strategy": "CANCEL_NEW",
    "job_variables": {"image": "mine"},
}


def test_every_owned_field_has_a_case_here() -> None:
    assert set(DRIFTED) == set(OWNED)


def test_the_description_says_what_it_is_when_it_runs_and_where_to_look() -> None:
    shown = spec(name="Labs", description="From the lab system").fields.description
    assert shown == (
        "**Labs**\n\nFrom the lab system\n\nRuns every 4 hours, at minute 0 (UTC).\n\n"
        "[How it stands](/artifacts/key/connector-1)"
    )


def test_equal_is_no_drift() -> None:
    assert drift(spec(), held(spec())) == ()


@pytest.mark.parametrize("name", OWNED)
def test_drift_in_a_field_is_seen_as_this_field_alone(name: str) -> None:
    changes = drift(spec(), held(spec(), **{name: DRIFTED[name]}))
    assert [(c.field, c.old, c.new) for c in changes] == [(name, DRIFTED[name], getattr(spec().fields, name))]


@pytest.mark.parametrize("name", OWNED)
def test_a_patch_sends_what_differs_and_nothing_else(name: str) -> None:
    body = patch(spec(), drift(spec(), held(spec(), **{name: DRIFTED[name]})))
    expected = {
        "collision_strategy": {"concurrency_options"},
        "work_pool_name": {"work_pool_name", "work_queue_name"},
        "work_queue_name": {"work_pool_name", "work_queue_name"},
    }
    assert set(body) == expected.get(name, {name})


@pytest.mark.parametrize(
    "schedules",
    [
        (),
        (replace(MAIN, active=False),),
        (replace(MAIN, parameters={"connector_id": 3}),),
        (replace(MAIN, max_scheduled_runs=1),),
        (replace(MAIN, slug=None),),
        (replace(MAIN, slug="mine"),),
        (replace(MAIN, rule={"cron": "0 */4 * * *", "timezone": "Europe/Berlin"}),),
        (replace(MAIN, rule={"cron": "0 */4 * * *", "timezone": "UTC", "day_or": False}),),
        (replace(MAIN, rule={"interval": 60}),),
        (MAIN, replace(MAIN, slug="mine")),
    ],
)
def test_every_way_in_which_a_schedule_can_differ_is_drift(schedules: tuple[ScheduleFields, ...]) -> None:
    assert [change.field for change in drift(spec(), held(spec(), schedules=schedules))] == ["schedules"]


def test_the_pause_is_no_part_of_a_patch_and_the_resumption_is() -> None:
    inactive, active = spec(is_active=False), spec()
    assert patch(inactive, drift(inactive, held(active))) == {}
    assert patch(active, drift(active, held(inactive))) == {"paused": False}


def test_schedules_that_must_go_are_not_sent_as_an_empty_list() -> None:
    manual = spec(schedule=None)
    assert "schedules" not in patch(manual, drift(manual, held(spec())))


def test_a_schedule_is_sent_with_its_slug_so_that_its_id_stays() -> None:
    changed = spec(schedule="5 * * * *")
    body = patch(changed, drift(changed, held(spec())))
    assert body["schedules"] == [
        {
            "slug": "main",
            "schedule": {"cron": "5 * * * *", "timezone": "UTC", "day_or": True},
            "active": True,
            "parameters": {},
        }
    ]


@pytest.mark.parametrize(
    ("schedules", "gone"),
    [
        ((MAIN,), ()),
        ((replace(MAIN, active=False),), ()),
        ((MAIN, replace(MAIN, slug="mine")), (1,)),
        ((replace(MAIN, max_scheduled_runs=3),), (0,)),
        ((MAIN, replace(MAIN, slug=None)), ()),  # a patch replaces all of them by itself
        ((), ()),
    ],
)
def test_schedules_that_a_patch_cannot_mend_are_deleted_first(
    schedules: tuple[ScheduleFields, ...], gone: tuple[int, ...]
) -> None:
    ids = tuple(uuid4() for _ in schedules)
    deployment = replace(held(spec(), schedules=schedules), schedule_ids=ids)
    assert obsolete_schedules(spec(), deployment) == tuple(ids[i] for i in gone)


def test_a_manual_connector_has_no_schedule_left_whatever_it_was_called() -> None:
    ids = (uuid4(), uuid4())
    deployment = replace(held(spec(), schedules=(MAIN, replace(MAIN, slug=None))), schedule_ids=ids)
    assert obsolete_schedules(spec(schedule=None), deployment) == ids


@pytest.mark.parametrize(
    "values",
    [
        {"name": "Labs"},
        {"description": "x"},
        {"schedule": "5 * * * *"},
        {"schedule": None},
        {"timezone": "Europe/Berlin"},
        {"run_policy": {"overlap": "skip"}},
        {"work_pool_name": "slow"},
        {"work_queue_name": "night"},
    ],
)
def test_the_version_changes_with_the_content(values: dict[str, Any]) -> None:
    assert spec(**values).fields.version != spec().fields.version


@pytest.mark.parametrize(
    "values",
    [
        {"is_active": False},
        {"generation": 7},
        {"prefect_deployment_id": UUID(int=1)},
        {"dataset_name": "labs"},
        {"run_policy": {"retries": 9}},
        {"schedule": "\t0 */4 * * * "},
    ],
)
def test_the_version_stands_when_the_deployment_stays_the_same(values: dict[str, Any]) -> None:
    assert spec(**values).fields.version == spec().fields.version


def test_the_version_is_the_same_in_every_process() -> None:
    tags = [f"tag-{i}" for i in range(20)]
    made: list[OwnedFields] = [replace(spec().fields, tags=frozenset(order)) for order in (tags, tags[::-1])]
    assert spec_version(made[0]) == spec_version(made[1])
    assert len(spec().fields.version or "") == 16


def test_what_is_created_reads_back_without_drift() -> None:
    for values in ({}, {"schedule": None}, {"is_active": False}, {"schedule": "H H * * *", "timezone": "Asia/Tokyo"}):
        server = Server()
        wants = spec(**values)
        assert drift(wants, server.observed(server.post(creation(wants, "flow")))) == ()


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_name_says_its_connector(connector_id: int) -> None:
    assert connector_id_of(deployment_name(connector_id)) == connector_id


@pytest.mark.parametrize(
    "name",
    [
        "",
        "controller",
        "connector--pipeline",
        "connector-1",
        "connector-01-pipeline",
        "connector-1-pipeline ",
        "connector-1-pipeline\n",
        "Connector-1-pipeline",
        "connector-1-pipeline-2",
        "my-connector-1-pipeline",
        "connector--0-pipeline",
        "connector--01-pipeline",
        "connector-1_1-pipeline",
        f"connector-{-(2**63) - 1}-pipeline",
        "connector-1.0-pipeline",
        "connector-\u0661-pipeline",
        "connector-\u00b2-pipeline",
        f"connector-{2**63}-pipeline",
        "connector-" + "9" * 5000 + "-pipeline",
    ],
)
def test_a_name_that_is_not_ours_says_no_connector(name: str) -> None:
    assert connector_id_of(name) is None


@given(st.text())
def test_no_name_breaks_the_parser(name: str) -> None:
    assert (found := connector_id_of(name)) is None or deployment_name(found) == name


@pytest.mark.parametrize("lost", ["id", "name", "schedules", "tags", "paused", "version", "parameters"])
def test_an_answer_that_was_cut_short_is_no_deployment(lost: str) -> None:
    server = Server()
    answer = dict(server.deployments[server.post(creation(spec(), "flow"))])
    observed(answer)
    del answer[lost]
    with pytest.raises((KeyError, TypeError, ValueError)):
        observed(answer)


def test_the_platform_is_in_the_tag() -> None:
    assert spec().fields.tags == {"connector-1", "scheduled", PLATFORM.tag}
    assert spec(schedule=None).fields.tags == {"connector-1", "manual", "managed-by:clinical-ai"}
