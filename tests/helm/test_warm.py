"""Worker pods with warm workers: what they start, what they are told, and that nothing else of the chart changes."""

from typing import Any

import pytest

from tests.support.helm.chart import job_template, laid, named, pods, render

WARM: dict[str, Any] = {"workPool": {"type": "clinical-ai-warm"}}


def worker(values: dict[str, Any], name: str = "loads") -> dict[str, Any]:
    """The container of a worker."""
    (pod,) = [pod for pod in pods(render(values)) if pod.of.endswith(f"-worker-{name}")]
    found: dict[str, Any] = pod.containers[0]
    return found


def told(container: dict[str, Any]) -> dict[str, str]:
    """Its environment, as far as it is plain."""
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def test_a_warm_worker_is_started_by_our_own_command_with_everything_that_a_process_worker_has() -> None:
    ours, plain = worker(WARM), worker({})
    assert ours["args"][:5] == ["python", "-m", "workers", "--pool", "default"]
    kept = [argument for argument in plain["args"] if argument not in {"prefect", "worker", "start"}]
    for option in ("--type", "--install-policy"):
        del kept[kept.index(option) : kept.index(option) + 2]
    assert ours["args"][3:] == kept
    same = {name: value for name, value in ours.items() if name not in {"args", "env"}}
    assert same == {name: value for name, value in plain.items() if name not in {"args", "env"}}
    assert set(told(ours)) - set(told(plain)) == {"CAI_DRAIN_SECONDS"}


def test_a_warm_worker_is_told_the_memory_of_a_run_and_how_long_to_wait() -> None:
    values = laid(
        WARM, {"workerDefaults": {"warm": {"runMegabytes": 1024}}, "workers": {"loads": {"warm": {"drainSeconds": 5}}}}
    )
    assert told(worker(values))["CAI_RUN_MEMORY_MEGABYTES"] == "1024"
    assert told(worker(values))["CAI_DRAIN_SECONDS"] == "5"
    assert told(worker(values, "control"))["CAI_DRAIN_SECONDS"] == "60"


def test_bootstrap_makes_the_pool_with_the_template_of_processes() -> None:
    objects = render(WARM)
    (pod,) = [pod for pod in pods(objects) if pod.of.endswith("-bootstrap")]
    args = pod.containers[-1]["args"]
    assert args[args.index("--pool-type") + 1] == "clinical-ai-warm"
    assert job_template(objects) == job_template(render({}))
    assert named(objects, "ConfigMap", "platform") == named(render({}), "ConfigMap", "platform")


def test_a_worker_that_would_be_killed_while_it_waits_is_refused() -> None:
    values = laid(WARM, {"workers": {"loads": {"terminationGracePeriodSeconds": 60}}})
    with pytest.raises(Exception, match=r"workers\.loads would be killed while it waits for its runs.*which is 80"):
        render(values)
