"""The base job template, filled in by Prefect's own kubernetes worker: the Job that a run becomes."""

import uuid
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.workers.process import ProcessWorker
from prefect_kubernetes.worker import (  # type: ignore[import-untyped]
    KubernetesWorker,
    KubernetesWorkerJobConfiguration,
)

from deployments.planning.spec import job_variables
from tests.support.helm.chart import MATRIX, NAMESPACE, PRODUCTION, RELEASE, job_template, render


async def _job(values: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run's Job, as the worker would hand it to Kubernetes."""
    # The template refers to no block, so nobody is asked at this address.
    client = PrefectClient("http://127.0.0.1:1/api")
    configuration = await KubernetesWorkerJobConfiguration.from_template_and_values(
        base_job_template=job_template(render(values)), values=job_variables("/app"), client=client
    )
    run = FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="connector-7")
    configuration.prepare_for_flow_run(run)
    manifest: dict[str, Any] = configuration.job_manifest
    return manifest


@pytest.mark.parametrize("name", ["production", "small-kubernetes", "production-placed", "production-extended"])
async def test_kubernetes_takes_the_job_of_a_run(name: str) -> None:
    job = await _job(MATRIX[name])
    for version in ("1.28", "1.37"):
        kubernetes_validate.validate(job, version, strict=True)


async def test_the_job_is_hardened_and_runs_our_code() -> None:
    job = await _job(PRODUCTION)
    assert job["metadata"]["namespace"] == NAMESPACE
    assert job["metadata"]["generateName"] == "connector-7-"
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    pod = job["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["args"] == ["prefect", "flow-run", "execute"]
    assert container["workingDir"] == "/app"
    assert container["image"] == "clinical-ai-prefect:0.1.0"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"memory": "2Gi"},
    }


async def test_a_run_gets_prefects_variables_and_ours_and_no_secret_in_plain() -> None:
    (container,) = (await _job(PRODUCTION))["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable for variable in container["env"]}
    assert variables["PREFECT__FLOW_RUN_ID"]["value"]
    # Evicted in a node's drain, it is Prefect that starts it again.
    assert variables["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"]["value"] == "reschedule"
    # A key that the run would make in its own directory would be another one for the next run.
    assert variables["CAI_MASK_KEY_REQUIRED"]["value"] == "1"
    for name in ("CAI_DATABASE_URL", "PREFECT_API_AUTH_STRING", "CAI_SECRET_MASK_KEY"):
        assert "secretKeyRef" in variables[name]["valueFrom"]
    assert {"configMapRef": {"name": f"{RELEASE}-platform"}} in container["envFrom"]


async def test_prefects_labels_leave_those_that_the_policies_select_by() -> None:
    labels = (await _job(PRODUCTION))["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == RELEASE
    assert labels["app.kubernetes.io/component"] == "run"
    assert "prefect.io/flow-run-id" in labels


def test_the_templates_know_every_variable_of_their_workers() -> None:
    """A variable that the template leaves out would be ignored in silence when a deployment sets it."""
    process = job_template(render())["variables"]["properties"]
    assert process.keys() == ProcessWorker.get_default_base_job_template()["variables"]["properties"].keys()
    kubernetes = job_template(render(PRODUCTION))["variables"]["properties"]
    theirs = KubernetesWorker.get_default_base_job_template()["variables"]["properties"].keys()
    # The installation's, for every run.
    fixed = {"namespace", "service_account_name", "image_pull_policy", "backoff_limit", "cluster_config"}
    assert theirs - kubernetes.keys() == fixed | {"annotations", "job_watch_timeout_seconds"}
