from typing import Any

import yaml

from deployments.bootstrap import CONTROLLER_DEPLOYMENT, CONTROLLER_ENTRYPOINT, CONTROLLER_QUEUE
from deployments.spec import job_variables
from settings import ROOT


def _deployments() -> dict[str, dict[str, Any]]:
    described = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    return {deployment["name"]: deployment for deployment in described["deployments"]}


def test_prefect_deploy_makes_the_controllers_deployment_as_the_bootstrap_does() -> None:
    controller = _deployments()[CONTROLLER_DEPLOYMENT]
    assert controller["entrypoint"] == CONTROLLER_ENTRYPOINT
    assert controller["work_pool"] == {
        "name": "default",
        "work_queue_name": CONTROLLER_QUEUE,
        "job_variables": job_variables("{{ code.stdout }}"),
    }


def test_nothing_limits_the_controllers_runs_and_no_connector_is_listed() -> None:
    assert "concurrency_limit" not in _deployments()[CONTROLLER_DEPLOYMENT]
    assert [name for name in _deployments() if name.startswith("connector-")] == []
