from typing import Any

import pytest
import yaml
from prefect.utilities.templating import apply_values

from deployments.bootstrap import CONTROLLER_DEPLOYMENT, CONTROLLER_ENTRYPOINT, CONTROLLER_QUEUE
from deployments.spec import job_variables
from local.environment import joining
from settings import ROOT, Settings


def _listed() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    return listed


def _deployments() -> dict[str, dict[str, Any]]:
    return {deployment["name"]: deployment for deployment in _listed()}


def test_prefect_deploy_makes_the_controllers_deployment_as_the_bootstrap_does() -> None:
    controller = _deployments()[CONTROLLER_DEPLOYMENT]
    assert controller["entrypoint"] == CONTROLLER_ENTRYPOINT
    assert controller["work_pool"] == {
        "name": "{{ $CAI_WORK_POOL }}",
        "work_queue_name": CONTROLLER_QUEUE,
        "job_variables": job_variables("{{ code.stdout }}"),
    }


def test_static_deployments_go_where_the_installation_has_its_work_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what `make run` tells its processes, filled in by what `prefect deploy` fills in with."""
    settings = Settings(work_pool="clinic", work_queue="nightly")
    for name, value in joining(settings, 4200, "postgresql://u:p@127.0.0.1:5/cai", None).items():
        monkeypatch.setenv(name, value)
    filled = apply_values(_listed(), {}, remove_notset=False)
    assert isinstance(filled, list)
    for deployment in filled:
        pool = deployment["work_pool"]
        queue = CONTROLLER_QUEUE if deployment["name"] == CONTROLLER_DEPLOYMENT else "nightly"
        assert (pool["name"], pool["work_queue_name"]) == ("clinic", queue)


def test_nothing_limits_the_controllers_runs_and_no_connector_is_listed() -> None:
    assert "concurrency_limit" not in _deployments()[CONTROLLER_DEPLOYMENT]
    assert [name for name in _deployments() if name.startswith("connector-")] == []
