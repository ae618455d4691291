"""Bootstrap of an empty Prefect, on a real server: in the pool of the settings, once, and all that is missing."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock

from deployments import bootstrap as module
from deployments.automations import notifications
from prefect_api.names import CONTROLLER_DEPLOYMENT, CONTROLLER_FLOW, FORM_DEPLOYMENT, PROBE_DEPLOYMENT, PROBE_FLOW
from settings import ROOT, Settings
from tests.support.servers.prefect_server import PrefectServer

INSTANCE = "bootstrapped"
STATIC = {CONTROLLER_DEPLOYMENT, FORM_DEPLOYMENT, PROBE_DEPLOYMENT}
FORMS = ("create", "update", "activate", "deactivate", "delete", "test", "decide")


@pytest.fixture
def prefect(api: httpx.Client) -> Iterator[httpx.Client]:
    """The shared server's API; what bootstrap makes there is gone afterwards."""
    yield api
    for row in api.post("/deployments/filter", json={}).json():
        if row["name"] in STATIC:
            api.delete(f"/deployments/{row['id']}").raise_for_status()
    for row in api.post("/automations/filter", json={}).json():
        if row["name"].startswith(f"{INSTANCE}: "):
            api.delete(f"/automations/{row['id']}").raise_for_status()


async def bootstrap(**values: Any) -> None:
    """As an installation of these settings runs it."""
    settings = Settings.model_validate({"instance": INSTANCE, **values})
    await module.bootstrap(settings, pool_type="process", base_job_template=None)


def deployments(api: httpx.Client) -> dict[str, dict[str, Any]]:
    """The static deployments by flow and name."""
    flows = {flow["id"]: flow["name"] for flow in api.post("/flows/filter", json={}).json()}
    found = api.post("/deployments/filter", json={}).json()
    return {f"{flows[row['flow_id']]}/{row['name']}": row for row in found if row["name"] in STATIC}


def automations(api: httpx.Client) -> dict[str, dict[str, Any]]:
    """The automations of this installation by name."""
    found = api.post("/automations/filter", json={}).json()
    return {row["name"]: row for row in found if row["name"].startswith(f"{INSTANCE}: ")}


async def test_controller_and_forms_are_in_the_pool_of_the_settings_and_left_alone_then(prefect: httpx.Client) -> None:
    await bootstrap(work_pool="wards", work_queue="night")
    made = deployments(prefect)
    places = {name: (row["work_pool_name"], row["work_queue_name"]) for name, row in made.items()}
    forms = {f"{form}-connector/form": ("wards", "night") for form in FORMS}
    looks = {f"{PROBE_FLOW}/{PROBE_DEPLOYMENT}": ("wards", "night")}
    assert places == {f"{CONTROLLER_FLOW}/{CONTROLLER_DEPLOYMENT}": ("wards", "controller"), **forms, **looks}
    assert "source" in made["create-connector/form"]["parameter_openapi_schema"]["properties"]
    await bootstrap(work_pool="wards", work_queue="night")
    assert deployments(prefect) == made


async def test_a_static_deployment_that_differs_is_brought_in_line_and_keeps_its_id(prefect: httpx.Client) -> None:
    await bootstrap(work_pool="wards")
    before = deployments(prefect)
    await bootstrap(work_pool="clinic", code_path="/srv/code")
    after = deployments(prefect)
    assert {name: row["id"] for name, row in after.items()} == {name: row["id"] for name, row in before.items()}
    assert {row["work_pool_name"] for row in after.values()} == {"clinic"}
    assert {row["job_variables"]["working_dir"] for row in after.values()} == {"/srv/code"}


@pytest.mark.slow
async def test_prefect_deploy_by_hand_makes_what_bootstrap_makes(
    prefect: httpx.Client, prefect_server: PrefectServer
) -> None:
    deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(deploy, cwd=ROOT, env=prefect_server.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    by_hand = deployments(prefect)
    assert len(by_hand) == 2 + len(FORMS)
    await bootstrap()
    same = ("id", "entrypoint", "work_pool_name", "work_queue_name", "job_variables", "description", "schedules")
    for name, row in deployments(prefect).items():
        assert {field: row[field] for field in same} == {field: by_hand[name][field] for field in same}
        asked, asked_by_hand = (each["parameter_openapi_schema"] for each in (row, by_hand[name]))
        assert asked["properties"] == asked_by_hand["properties"]


def test_prefect_yaml_lists_what_bootstrap_makes_and_no_connector() -> None:
    described = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    listed = [(each["name"], each["entrypoint"], each["work_pool"]["work_queue_name"]) for each in described]
    assert listed == module.static_deployments(Settings())
    assert {each["work_pool"]["name"] for each in described} == {Settings().work_pool}
    assert not any("concurrency_limit" in each for each in described)


async def test_the_queue_of_loads_is_limited_when_it_is_made_and_later_and_never_the_controllers(
    prefect: httpx.Client,
) -> None:
    def limits() -> dict[str, int | None]:
        queues = prefect.post("/work_pools/limited/queues/filter", json={}).raise_for_status().json()
        return {queue["name"]: queue["concurrency_limit"] for queue in queues}

    # A pool is made with the queue default; another one is made by us.
    for queue in ("default", "loads"):
        told = {"work_pool": "limited", "work_queue": queue}
        for limit in (3, 5):
            await bootstrap(**told, work_queue_limit=limit)
            assert (limits()[queue], limits()["controller"]) == (limit, None)
        prefect.patch(f"/work_pools/limited/queues/{queue}", json={"concurrency_limit": 7}).raise_for_status()
        await bootstrap(**told)
        assert limits()[queue] == 7
    assert prefect.get("/work_pools/limited").json()["concurrency_limit"] is None


async def test_loads_never_share_the_controllers_queue(prefect: httpx.Client) -> None:
    with pytest.raises(ValueError, match="CAI_WORK_QUEUE: controller is the controller's own queue"):
        await bootstrap(work_pool="shared", work_queue="controller", work_queue_limit=3)
    assert prefect.get("/work_pools/shared").status_code == 404


async def test_a_notification_block_that_is_not_there_is_an_error_of_the_log_and_takes_nothing_away(
    prefect: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """On a new Prefect the block can be made only once it runs; and what people are told by stays if it is lost."""
    told = {automation.name for automation in notifications(Settings(instance=INSTANCE), UUID(int=1))}
    await bootstrap(notification_block="custom-webhook/bootstrapped-nowhere")
    assert (
        "CAI_NOTIFICATION_BLOCK: Prefect has no block 'bootstrapped-nowhere' of the type 'custom-webhook'"
        in caplog.text
    )
    assert automations(prefect).keys() == {f"{INSTANCE}: controller silent", f"{INSTANCE}: dead run"}

    block = CustomWebhookNotificationBlock(name=INSTANCE, url="http://127.0.0.1:1/", json_data={})
    await block.asave(INSTANCE, overwrite=True)
    await bootstrap(notification_block=f"custom-webhook/{INSTANCE}")
    made = automations(prefect)
    assert made.keys() > told
    await bootstrap(notification_block="custom-webhook/bootstrapped-nowhere")
    assert automations(prefect) == made
    await bootstrap()
    assert automations(prefect).keys() == made.keys() - told
