"""Runs that died with an installation are marked as crashed by the next start."""

import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from local.recovery import crash_dead_runs
from tests.support.servers.prefect_server import PrefectServer


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=prefect_server.url, timeout=30) as client:
        yield client


def _run(client: httpx.Client, process: str | None) -> str:
    flow = client.post("/flows/", json={"name": "run_connector_pipeline"}).json()["id"]
    run = client.post("/flow_runs/", json={"flow_id": flow, "state": {"type": "PENDING", "name": "Pending"}}).json()
    if process is not None:
        client.patch(f"/flow_runs/{run['id']}", json={"infrastructure_pid": process}).raise_for_status()
    body = {"state": {"type": "RUNNING", "name": "Running"}, "force": True}
    client.post(f"/flow_runs/{run['id']}/set_state", json=body).raise_for_status()
    return str(run["id"])


def _state(client: httpx.Client, run: str) -> str:
    return str(client.get(f"/flow_runs/{run}").json()["state"]["type"])


def test_a_run_whose_process_is_gone_is_crashed_and_the_others_go_on(client: httpx.Client) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        pass
    dead, elsewhere = _run(client, str(gone.pid)), _run(client, None)
    # A number that now belongs to another process: this one is no run.
    taken = _run(client, f"host:{os.getpid()}")
    lives = _run(client, None)
    sleep = ["sleep", "600"]
    with subprocess.Popen(sleep, env={**os.environ, "PREFECT__FLOW_RUN_ID": lives}) as process:
        client.patch(f"/flow_runs/{lives}", json={"infrastructure_pid": str(process.pid)}).raise_for_status()
        assert crash_dead_runs(str(client.base_url)) == 2
        process.kill()
    assert [_state(client, run) for run in (dead, taken)] == ["CRASHED", "CRASHED"]
    assert [_state(client, run) for run in (elsewhere, lives)] == ["RUNNING", "RUNNING"]
