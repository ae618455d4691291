"""Every kind of source, run by a real worker in processes of its own."""

import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from deployments.planning.spec import job_variables
from flows.dlt_pipeline_flow import run_connector_pipeline
from local.processes import Child
from settings import ROOT
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import omop
from tests.support.servers.fhir import FhirServer, patient
from tests.support.servers.http_server import Asked, WebServer
from tests.support.servers.prefect_server import Patient, PrefectServer
from tests.support.servers.redcap import TOKEN, Redcap

SECONDS = 150


@pytest.mark.alone
def test_every_kind_is_loaded_by_a_worker(
    platform: Platform,
    prefect_server: PrefectServer,
    clinic: dict[str, str],
    clinic_url: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "labs.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    fhir, redcap = FhirServer(patient(1, "2024-01-01T00:00:00Z")), Redcap()

    def answer(asked: Asked) -> Any:
        if asked.path.startswith("/fhir"):
            return fhir(asked)
        assert asked.path != "/redcap/" or parse_qs(asked.body.decode())["token"] == [TOKEN]
        return redcap(asked) if asked.path == "/redcap/" else [{"id": 1}, {"id": 2}, {"id": 3}]

    with WebServer(answer) as web:
        connectors = {
            platform.add(source): table
            for table, source in {
                "person": omop(clinic, "person"),
                "visits": {"type": "rest_api", "base_url": web.url, "resources": [{"name": "visits", "path": "v"}]},
                "patient": {"type": "fhir", "base_url": web.url + "/fhir", "resource_types": ["Patient"]},
                "record": {"type": "redcap", "api_url": web.url + "/redcap/", "token": {"env": "CAI_SECRET_REDCAP"}},
                "labs": {"type": "files", "url": str(tmp_path / "labs.jsonl")},
            }.items()
        }
        states = _run_by_worker(list(connectors), prefect_server, tmp_path, platform, clinic_url)
    assert {state for state, _ in states.values()} == {"COMPLETED"}, states
    counts = {
        table: platform.duck(f"SELECT count(*) FROM connector_{number}.{table}")[0][0]
        for number, table in connectors.items()
    }
    assert counts == {"person": 2_694, "visits": 3, "patient": 1, "record": 40, "labs": 2}


def _run_by_worker(
    connectors: list[int], server: PrefectServer, directory: Path, platform: Platform, clinic_url: str
) -> dict[int, tuple[str, str]]:
    """State and message of each connector's run, by a worker that ends when the last one has."""
    with httpx.Client(base_url=server.url, timeout=120, transport=Patient()) as api:
        flow = api.post("/flows/", json={"name": run_connector_pipeline.name}).json()["id"]
        body = {
            "name": "connector-0-pipeline", "flow_id": flow, "work_pool_name": "default", "path": ".",
            "entrypoint": "flows/dlt_pipeline_flow.py:run_connector_pipeline",
            "job_variables": job_variables(str(ROOT)),
        }  # fmt: skip
        deployment = api.post("/deployments/", json=body).json()["id"]
        for number in connectors:
            run = {"parameters": {"connector_id": number}}
            api.post(f"/deployments/{deployment}/create_flow_run", json=run).raise_for_status()
        environment = {
            **server.environment,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "CAI_DATABASE_URL": os.environ["CAI_DATABASE_URL"],
            "CAI_DATA_DIR": str(platform.settings.data_dir),
            "CAI_LOCAL_FILE_ROOTS": str(directory),
            "CAI_SECRET_CLINIC": clinic_url,
            "CAI_SECRET_REDCAP": TOKEN,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        worker = Child(
            name="worker",
            command=[
                *(sys.executable, "-m", "prefect", "worker", "start"),
                *("--pool", "default", "--install-policy", "never"),
            ],
            environment=environment,
            directory=ROOT,
            log=directory / "worker.log",
            restarts=False,
        )
        worker.start()
        try:
            return _finished(api, deployment, len(connectors))
        finally:
            # Asked to end just as a run does, Prefect's worker may lose its own signal and stay: then it is killed.
            worker.end(grace_seconds=20)


def _finished(api: httpx.Client, deployment: str, count: int) -> dict[int, tuple[str, str]]:
    deadline = time.monotonic() + SECONDS
    body = {"deployments": {"id": {"any_": [deployment]}}}
    while True:
        runs = api.post("/flow_runs/filter", json=body).json()
        ended = [run for run in runs if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}]
        if len(ended) == count or time.monotonic() > deadline:
            return {run["parameters"]["connector_id"]: (run["state_type"], run["state"]["message"]) for run in runs}
        time.sleep(0.2)  # the condition is the runs' end; this is only how often it is asked
