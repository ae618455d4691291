"""Runs that help a load, under a real Prefect server: what is started and called off, and what one says."""

from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import State, WorkPoolStorageConfiguration
from prefect.flows import load_flow_from_entrypoint

from flows.dlt_pipeline_flow import run_connector_pipeline
from flows.parts import load_parts
from pipelines.prefect_host import PrefectHost
from prefect_api.names import PARTS_ENTRYPOINT, PARTS_FLOW
from tests.support.data_plane.platform import Platform

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_helpers_run_where_the_connector_does_and_are_called_off_at_the_end() -> None:
    host = PrefectHost()
    with get_client(sync_client=True) as client:
        pool = WorkPoolCreate(
            name="wards", type="process", storage_configuration=WorkPoolStorageConfiguration()
        ).model_dump(mode="json", exclude_unset=True)
        client.request("POST", "/work_pools/", json=pool)
        host._deployment_id = client.create_deployment(
            client.create_flow(run_connector_pipeline),
            "large",
            entrypoint="flows/dlt_pipeline_flow.py:run_connector_pipeline",
            path="/code",
            work_pool_name="wards",
            work_queue_name="large",
            job_variables={"env": {"LIMIT": "2"}},
            concurrency_limit=1,
        )
        deployments: set[UUID | None] = set()
        for load in (7, 8):
            with host.helped(load, 3):
                found = client.request("POST", "/flow_runs/filter", json={"flows": {"name": {"any_": [PARTS_FLOW]}}})
                runs = [run for run in found.json() if run["parameters"] == {"load_id": load}]
                assert [(run["state_type"], run["work_queue_name"]) for run in runs] == [("SCHEDULED", "large")] * 3
                assert [run["job_variables"] for run in runs] == [{"env": {"LIMIT": "2"}}] * 3
                deployments |= {UUID(run["deployment_id"]) for run in runs}
            assert {client.read_flow_run(UUID(run["id"])).state_name for run in runs} == {"Cancelled"}
        (one,) = deployments
        assert one is not None
        made = client.read_deployment(one)
    assert (made.name, made.entrypoint, made.path) == ("wards", PARTS_ENTRYPOINT, "/code")
    assert made.global_concurrency_limit is None
    assert load_flow_from_entrypoint(PARTS_ENTRYPOINT).name == PARTS_FLOW


def test_a_load_goes_on_where_prefect_starts_nobody() -> None:
    host = PrefectHost()
    host._deployment_id = UUID(int=7)
    with host.helped(7, 3):
        pass


def test_a_run_whose_load_has_ended_says_so(platform: Platform) -> None:
    state: State[Any] = load_parts(4711, return_state=True)
    assert (state.is_completed(), state.message) == (True, "The load has ended: there is nothing to help with.")
