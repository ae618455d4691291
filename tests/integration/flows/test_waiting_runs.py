"""Runs that wait for a source's export under a real Prefect server: their state, and the run that looks again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from connectors.runs import Options
from flows.dlt_pipeline_flow import run_connector_pipeline
from pipelines.prefect_host import PrefectHost
from tests.support.data_plane.platform import Platform
from tests.support.servers.bulk import BulkServer, resource
from tests.support.servers.http_server import WebServer

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_run_whose_rows_are_not_made_yet_is_completed_as_waiting(platform: Platform) -> None:
    server = BulkServer([resource("Patient", 1)], looks=1, retry_after="3600")
    with WebServer(server) as web:
        source = {"type": "fhir", "base_url": web.url + "/fhir", "resource_types": ["Patient"], "mode": "bulk"}
        connector = platform.add(source)
        state: State[Any] = run_connector_pipeline(connector, return_state=True)
    assert (state.is_completed(), state.name) == (True, "Waiting")
    assert state.message is not None
    assert "Waiting for the server's export" in state.message


def test_one_run_is_scheduled_for_one_look(platform: Platform) -> None:
    host = PrefectHost()
    at = datetime.now(UTC) + timedelta(days=2)
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(run_connector_pipeline)
        deployment = client.create_deployment(flow_id, "again", parameters={"connector_id": 7})
        host._deployment_id = deployment
        for key in ("look 1", "look 1", "look 2"):
            host.come_again(at, key, Options(full_refresh=True))
        body = {"deployments": {"id": {"any_": [str(deployment)]}}}
        runs = client.request("POST", "/flow_runs/filter", json=body).json()
    assert [(run["state_name"], run["auto_scheduled"], run["parameters"]) for run in runs] == [
        ("Scheduled", False, {"connector_id": 7, "full_refresh": True})
    ] * 2
    assert {datetime.fromisoformat(run["expected_start_time"]) for run in runs} == {at}
