"""The chart's templates in a real Prefect: bootstrap makes the pool from them, and an upgrade brings the new one."""

from typing import Any

import httpx
import pytest

from deployments.bootstrap import bootstrap
from settings import Settings
from tests.support.helm.chart import KUBERNETES, PRODUCTION, job_template, laid, named, pods, render
from tests.support.servers.prefect_server import PrefectServer


def _settings(pool: str) -> Settings:
    return Settings(work_pool=pool)


def _pool(server: PrefectServer, name: str) -> dict[str, Any]:
    return dict(httpx.get(f"{server.url}/work_pools/{name}").raise_for_status().json())


@pytest.mark.parametrize("kind", ["process", "kubernetes"])
async def test_prefect_keeps_the_template_as_it_is(prefect_server: PrefectServer, kind: str) -> None:
    template = job_template(render(KUBERNETES if kind == "kubernetes" else {}))
    await bootstrap(_settings(f"kept-{kind}"), pool_type=kind, base_job_template=template)
    made = _pool(prefect_server, f"kept-{kind}")
    assert made["type"] == kind
    assert made["base_job_template"] == template
    await bootstrap(_settings(f"kept-{kind}"), pool_type=kind, base_job_template=template)
    assert _pool(prefect_server, f"kept-{kind}")["updated"] == made["updated"]


async def test_runs_of_an_upgraded_release_start_its_new_image(prefect_server: PrefectServer) -> None:
    for tag in ("0.1.0", "0.2.0"):
        template = job_template(render(laid(KUBERNETES, {"image": {"tag": tag}})))
        await bootstrap(_settings("upgraded"), pool_type="kubernetes", base_job_template=template)
    variables = _pool(prefect_server, "upgraded")["base_job_template"]["variables"]["properties"]
    assert variables["image"]["default"] == "clinical-ai-prefect:0.2.0"


async def test_a_pool_of_another_type_is_refused_in_a_sentence(prefect_server: PrefectServer) -> None:
    await bootstrap(_settings("other"), pool_type="process", base_job_template=None)
    with pytest.raises(ValueError, match="is of the type process, which cannot become kubernetes"):
        await bootstrap(_settings("other"), pool_type="kubernetes", base_job_template=job_template(render(KUBERNETES)))


async def test_controller_and_forms_run_in_the_pool_that_the_values_name(prefect_server: PrefectServer) -> None:
    """`prefect.yaml` names the pool default, in which nobody would look."""
    objects = render({"workPool": {"name": "clinic", "queue": "loads"}})
    told = named(objects, "ConfigMap", "platform")["data"]
    settings = Settings(work_pool=told["CAI_WORK_POOL"], work_queue=told["CAI_WORK_QUEUE"])
    await bootstrap(settings, pool_type="process", base_job_template=job_template(objects))
    asked = {"work_pools": {"name": {"any_": ["clinic"]}}}
    made = httpx.post(f"{prefect_server.url}/deployments/filter", json=asked).raise_for_status().json()
    assert sorted((row["name"], row["work_queue_name"]) for row in made) == [
        ("controller", "controller"),
        *[("form", "loads")] * 7,
        ("probe", "loads"),
    ]
    for pod in pods(objects):
        args = pod.containers[-1]["args"]
        assert "deploy" not in args
        if "--pool" in args:
            assert args[args.index("--pool") + 1] == "clinic"


async def test_the_limit_of_loads_is_the_values(prefect_server: PrefectServer) -> None:
    (pod,) = [pod for pod in pods(render(PRODUCTION)) if pod.of.endswith("-bootstrap")]
    limit = {variable["name"]: variable.get("value") for variable in pod.containers[-1]["env"]}["CAI_WORK_QUEUE_LIMIT"]
    settings = Settings(work_pool="limited-loads", work_queue_limit=limit)
    await bootstrap(settings, pool_type="kubernetes", base_job_template=job_template(render(PRODUCTION)))
    queue = httpx.get(f"{prefect_server.url}/work_pools/limited-loads/queues/default").raise_for_status().json()
    assert queue["concurrency_limit"] == PRODUCTION["workPool"]["queueLimit"]
