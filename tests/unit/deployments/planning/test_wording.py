"""A plan in words, as the log, `--dry-run` and the answer to a request show it."""

from typing import Any

from connectors.status import Status
from deployments.planning.plan import Observation, Policy, plan
from deployments.planning.wording import describe
from prefect_api.deployment import Observed, ScheduleFields
from tests.support.control_plane.samples import NOW, TAG, deployment_id, held, known, spec, wanted


def lines(deployment: Observed | None, status: Status | None, *, gone: bool = False, **values: Any) -> list[str]:
    statuses = {} if status is None else {1: status}
    planned = plan(
        {} if gone else {1: wanted(**values)},
        statuses,
        Observation({} if deployment is None else {1: deployment}),
        Policy(TAG),
        scope=[1],
        fleet_size=1,
        now=NOW,
    )
    return [line for decision in planned.decisions for line in describe(decision, statuses)]


def test_a_create_says_when_it_runs() -> None:
    (line,) = lines(None, None)
    assert line.startswith("connector 1: create connector-1-pipeline, runs every 4 hours")


def test_a_change_of_the_schedule_shows_both() -> None:
    shown = lines(held(spec()), known(), schedule="30 6 * * *", timezone="Europe/Berlin")
    assert "connector 1: schedules: '0 */4 * * *' UTC -> '30 6 * * *' Europe/Berlin" in shown


def test_a_schedule_that_was_switched_off_or_is_none_is_told_apart() -> None:
    off = ScheduleFields("main", {"interval": 60}, active=False)
    assert lines(held(spec(), schedules=(off,)), known()) == [
        "connector 1: schedules: {'interval': 60} (switched off) -> '0 */4 * * *' UTC"
    ]
    assert lines(held(spec(), schedules=()), known()) == ["connector 1: schedules: no schedule -> '0 */4 * * *' UTC"]


def test_an_adoption_names_the_deployment() -> None:
    assert lines(held(spec(), tags=frozenset()), None) == [
        f"connector 1: adopt {deployment_id(1)}",
        "connector 1: tags: none -> connector-1, managed-by:clinical-ai, scheduled",
    ]


def test_deleting_pausing_and_doing_nothing() -> None:
    assert lines(held(spec()), known(), gone=True) == ["connector 1: delete connector-1-pipeline"]
    assert lines(held(spec()), known(), schedule="never", is_active=False) == ["connector 1: pause"]
    assert lines(held(spec()), known()) == []


def test_a_long_value_is_cut() -> None:
    (line,) = lines(held(spec(), parameter_openapi_schema={"x": "y" * 10_000}), known())
    assert len(line) < 300
