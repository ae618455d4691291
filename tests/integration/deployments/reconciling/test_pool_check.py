"""Work pools in which no run of ours can start: named, instead of `synced`, or of a Prefect that does not answer."""

from typing import Any

import httpx
import pytest

from connectors.judging.diagnosis import Obstacle
from connectors.status import Phase, Reason
from database.store import Store
from deployments.planning.pools import why_unfit
from prefect_api.deployment import WorkPool
from prefect_api.names import deployment_name
from prefect_api.run_queries import open_runs
from rigs.control_plane import Rig, rig
from rigs.fake_prefect import FakePrefect
from use_cases.connectors import Service


def containers(image: Any, *, variable: bool = True) -> dict[str, Any]:
    """A template as Prefect's own of Kubernetes, with an image."""
    pod = {"spec": {"containers": [{"name": "job", "image": "{{ image }}" if variable else image, "env": "{{ env }}"}]}}
    properties = {"image": {"type": "string", **({"default": image} if variable else {})}, "env": {}}
    return {
        "job_configuration": {"command": "{{ command }}", "job_manifest": {"spec": {"template": pod}}},
        "variables": {"properties": properties},
    }


PROCESS = {
    "job_configuration": {"command": "{{ command }}", "env": "{{ env }}", "working_dir": "{{ working_dir }}"},
    "variables": {"properties": {"command": {}, "env": {}, "working_dir": {}}},
}
NO_DIRECTORY = {**PROCESS, "job_configuration": {"command": "{{ command }}", "env": "{{ env }}"}}
OURS = "registry.example.org/clinical-ai-prefect:0.1.0"


@pytest.mark.parametrize(
    ("kind", "template", "words"),
    [
        ("process", {}, None),
        ("process", PROCESS, None),
        ("process", NO_DIRECTORY, "leaves out working_dir"),
        ("clinical-ai-warm", NO_DIRECTORY, "leaves out working_dir"),
        ("their-own-type", NO_DIRECTORY, None),
        ("kubernetes", containers(OURS), None),
        ("kubernetes", containers(OURS, variable=False), None),
        ("kubernetes", containers(None), "names no image of this platform"),
        ("kubernetes", containers("prefecthq/prefect:3-latest"), "names no image of this platform"),
        ("kubernetes", containers("docker.io/prefecthq/prefect@sha256:1", variable=False), "names no image"),
        ("kubernetes", containers("docker.io/clinic/prefect:3", variable=False), None),
        ("docker", {"job_configuration": {"image": "{{ image }}"}, "variables": {"properties": {}}}, "names no image"),
        ("docker", {"job_configuration": {"command": "{{ command }}"}}, "names no image"),
        ("docker", {"job_configuration": {"image": OURS}}, None),
        ("docker", {}, "names no image"),
        ("ecs", {"job_configuration": {"image": "{{ image }}", "task_definition_arn": "arn:aws:x"}}, None),
        ("prefect:managed", {"job_configuration": {}}, "Prefect's own machines"),
        ("prefect-agent", {}, "one of agents"),
    ],
)
def test_what_a_run_needs_of_a_pool(kind: str, template: dict[str, Any], words: str | None) -> None:
    why = why_unfit(WorkPool("clinic", kind, template))
    assert (why is None) is (words is None), why
    if words is not None:
        assert words in (why or "")
        assert "'clinic'" in (why or "")


async def status_of(parts: Rig, connector_id: int) -> tuple[Phase, Reason | None, str]:
    status = await parts.status(connector_id)
    assert status is not None
    return status.phase, status.reason, status.message or ""


async def test_a_pool_that_starts_no_run_of_ours_is_said_so_until_operations_have_mended_it(store: Store) -> None:
    gateway = FakePrefect()
    gateway.server.pools.add("docker")
    gateway.server.made_pools["docker"] = WorkPool("docker", "docker", containers(None))
    async with rig(store, gateway) as parts:
        bad = await parts.insert(work_pool_name="docker")
        off = await parts.insert(work_pool_name="docker", is_active=False)
        good = await parts.insert()
        await parts.cycle()
        phase, reason, message = await status_of(parts, bad)
        assert (phase, reason) == (Phase.RETRYING, Reason.WORK_POOL_UNFIT)
        assert "The base job template of the work pool 'docker' (of type docker) names no image" in message
        assert (await status_of(parts, good))[0] is Phase.SYNCED
        assert (await status_of(parts, off))[0] is Phase.PAUSED
        assert [row["name"] for row in gateway.server.deployments.values()] == [deployment_name(good)]
        gateway.server.made_pools["docker"] = WorkPool("docker", "docker", containers(OURS))
        parts.clock.advance(10)
        await parts.cycle()
        assert (await status_of(parts, bad))[0] is Phase.SYNCED
        gateway.server.made_pools["docker"] = WorkPool("docker", "docker", containers(None))
        await parts.cycle()
        assert (await status_of(parts, bad))[0] is Phase.SYNCED, "a quiet cycle asks for no pool"
        await parts.cycle(audit=True)
        assert (await status_of(parts, bad))[1] is Reason.WORK_POOL_UNFIT
        assert len(gateway.server.deployments) == 2, "the deployment stays as it is"


async def test_a_deleted_pool_is_named_by_the_api_and_by_the_controller(
    controller: Rig, store: Store, api: httpx.Client
) -> None:
    api.post("/work_pools/", json={"name": "short-lived", "type": "process"}).raise_for_status()
    number = await controller.insert(work_pool_name="short-lived")
    await controller.settle()
    api.delete("/work_pools/short-lived").raise_for_status()
    async with open_runs() as runs:
        service = Service(store, runs, instance="clinical-ai")
        explained = await service.explain(await service.get(number))
    obstacles = [each.obstacle for each in explained.obstacles]
    assert Obstacle.WORK_POOL_MISSING in obstacles
    assert Obstacle.PREFECT_UNAVAILABLE not in obstacles
    assert any("was deleted in Prefect" in each.message for each in explained.obstacles)
    await controller.cycle(audit=True)
    phase, reason, message = await status_of(controller, number)
    assert (phase, reason) == (Phase.RETRYING, Reason.WORK_POOL_MISSING)
    assert "'short-lived' does not exist in Prefect" in message
    api.post("/work_pools/", json={"name": "short-lived", "type": "process"}).raise_for_status()
    controller.clock.advance(60)
    await controller.settle()
    assert (await status_of(controller, number))[0] is Phase.SYNCED
    api.post("/work_pools/", json={"name": "stock", "type": "docker"}).raise_for_status()
    await controller.change(number, work_pool_name="stock")
    await controller.cycle()
    assert (await status_of(controller, number))[1] is Reason.WORK_POOL_UNFIT
    for name in ("short-lived", "stock"):
        api.delete(f"/work_pools/{name}")
