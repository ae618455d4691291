"""The process of a run's pod, as the kubernetes worker would start it.

It ends when its run is cancelled, and a run whose node is drained is run again.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling, Pending
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration  # type: ignore[import-untyped]

from deployments.planning.spec import HEARTBEAT_SECONDS, job_variables
from tests.support.helm.chart import PRODUCTION, job_template, render
from tests.support.helm.podman import wait_until
from tests.support.servers.prefect_server import PrefectServer

PATIENCE = 90.0
"""Seconds: three Pythons that import Prefect one after the other, on a busy machine."""

FLOW = """
import os, pathlib, time
from prefect import flow

@flow(name="run_pod")
def run_pod():
    pathlib.Path(os.environ["MARK"]).write_text(os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    while True:
        time.sleep(0.1)
"""


@dataclass
class RunningPod:
    """A run that goes on, and the process that its pod would have."""

    client: PrefectClient
    run_id: uuid.UUID
    process: subprocess.Popen[bytes]
    mark: Path

    async def run(self) -> FlowRun:
        """The run as Prefect has it now."""
        return await self.client.read_flow_run(self.run_id)


@pytest.fixture
async def pod(prefect_server: PrefectServer, tmp_path: Path) -> AsyncIterator[RunningPod]:
    """A flow that never ends, in the process that the rendered Job starts."""
    code = tmp_path / "app"
    code.mkdir()
    (code / "pod.py").write_text(FLOW)
    async with PrefectClient(prefect_server.url) as client:
        deployment = await client.create_deployment(
            flow_id=await client.create_flow_from_name("run_pod"),
            name="pod",
            entrypoint="pod.py:run_pod",
            work_pool_name="default",
        )
        run = await client.create_flow_run_from_deployment(deployment, state=Pending())
        configuration = await KubernetesWorkerJobConfiguration.from_template_and_values(
            base_job_template=job_template(render(PRODUCTION)), values=job_variables("/app"), client=client
        )
        configuration.prepare_for_flow_run(run)
        (container,) = configuration.job_manifest["spec"]["template"]["spec"]["containers"]
        given = {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
        environment = {
            **os.environ,
            **given,
            "PREFECT_API_URL": prefect_server.url,
            "PREFECT_HOME": str(prefect_server.home),
            "MARK": str(tmp_path / "mark"),
        }
        command = [sys.executable, "-m", *container["args"]]
        with subprocess.Popen(command, cwd=code, env=environment, stdout=subprocess.DEVNULL) as process:
            try:
                wait_until((tmp_path / "mark").exists, PATIENCE, "the run's first line")
                yield RunningPod(client, run.id, process, tmp_path / "mark")
            finally:
                process.kill()
                await client.delete_flow_run(run.id)
                await client.delete_deployment(deployment)


GRACE = 60
"""What a run's pod has to end, in seconds (`runs.terminationGracePeriodSeconds`)."""


def _ends(pod: RunningPod) -> int:
    began = time.monotonic()
    wait_until(lambda: pod.process.poll() is not None, PATIENCE, "the pod's end")
    assert time.monotonic() - began < GRACE
    return int(pod.process.returncode)


async def test_a_cancelled_run_ends_with_its_pod(pod: RunningPod) -> None:
    assert pod.mark.read_text() == str(HEARTBEAT_SECONDS)
    await pod.client.set_flow_run_state(pod.run_id, Cancelling())
    _ends(pod)
    assert (await pod.run()).state_type is StateType.CANCELLED


async def test_a_run_whose_node_is_drained_is_run_again(pod: RunningPod) -> None:
    pod.process.send_signal(signal.SIGTERM)
    assert _ends(pod) == 0
    run = await pod.run()
    assert (run.state_type, run.state_name) == (StateType.SCHEDULED, "AwaitingRetry")
