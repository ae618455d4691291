"""Commands of docs/production.md and docs/runbook.md are about objects, labels and tables that exist."""

import json
import re
from typing import Any

import asyncpg
import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from api.app import POOL_SIZE
from database.connection.engine import open_engine
from pipelines.loading.destinations import POSTGRES_JOBS
from settings import ROOT
from tests.support.helm.chart import MONITORED, PRODUCTION, RELEASE, Object, laid, named, of_kind, pods, render, selects

PRODUCTION_PAGE = (ROOT / "docs" / "production.md").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
BOTH = PRODUCTION_PAGE + RUNBOOK

STATEMENT = re.compile(r"^ +(SELECT .*?;)$", re.MULTILINE | re.DOTALL)
OVERRIDES = re.compile(r"--overrides '(\{.*?\})'", re.DOTALL)
OF_PREFECT = re.compile(r"FROM (deployment|flow_run)\b")
"""Tables of Prefect's database."""


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    """A production release with everything that can be watched."""
    return render(laid(PRODUCTION, MONITORED))


def _alerts(objects: list[Object]) -> dict[str, str]:
    """Each alert and where it leads those who are paged."""
    return {
        rule["alert"]: rule["annotations"]["runbook_url"]
        for item in of_kind(objects, "PrometheusRule")
        for group in item["spec"]["groups"]
        for rule in group["rules"]
    }


def _secrets(objects: list[Object]) -> set[tuple[str, str]]:
    """Secrets that the pods are given, each with its key."""
    return {
        (reference["name"], reference["key"])
        for pod in pods(objects)
        for container in pod.containers
        for variable in container.get("env", [])
        if (reference := variable.get("valueFrom", {}).get("secretKeyRef"))
    }


def test_every_alert_leads_to_a_section_of_the_runbook_and_stands_in_the_table(objects: list[Object]) -> None:
    alerts = _alerts(objects)
    assert len(alerts) > 10
    assert set(re.findall(r"^## (ClinicalAi\w+)$", RUNBOOK, re.MULTILINE)) == alerts.keys()
    assert set(re.findall(r"`(ClinicalAi\w+)`", PRODUCTION_PAGE)) == alerts.keys()
    for alert, url in alerts.items():
        assert url.endswith(f"docs/runbook.md#{alert.lower()}")


def test_every_workload_job_and_secret_that_is_typed_exists(objects: list[Object]) -> None:
    made = {(item["kind"].lower(), item["metadata"]["name"]) for item in objects}
    typed = re.findall(r"\b(deployment|job)/(clinical-ai-prefect-[a-z-]+)", BOTH)
    typed += [("deployment", name) for name in re.findall(r"get deployment (clinical-ai-prefect-[a-z-]+)", BOTH)]
    assert len(typed) > 8
    assert set(typed) <= made
    created = set(re.findall(r"create secret generic (clinical-ai-prefect-[a-z-]+)", BOTH))
    assert created == {name for name, _ in _secrets(objects)} | {"clinical-ai-prefect-warehouse"}


def test_the_control_plane_is_stopped_whole_and_prefect_is_left(objects: list[Object]) -> None:
    """A worker that is forgotten starts the controller anew after five minutes."""
    left = re.findall(r"component notin \(([a-z, -]+)\)", PRODUCTION_PAGE)
    assert [set(names.split(", ")) for names in left] == [{"server", "services"}]
    components = {
        item["metadata"]["labels"]["app.kubernetes.io/component"]: item["spec"]["replicas"]
        for item in of_kind(objects, "Deployment")
    }
    started = {
        component: int(replicas)
        for replicas, rule in re.findall(r"scale deployment --replicas (\d) --selector \"(.*?)\"", PRODUCTION_PAGE)
        if replicas != "0"
        for component in re.sub(r".*component (?:in|=) \(?([a-z, -]+)\)?", r"\1", rule).split(", ")
    }
    assert started == components


def test_pods_that_people_start_reach_the_databases_and_prefect(objects: list[Object]) -> None:
    (policy,) = [
        item for item in of_kind(objects, "NetworkPolicy") if item["metadata"]["name"] == f"{RELEASE}-platform"
    ]
    (server,) = named(objects, "NetworkPolicy", "server")["spec"]["ingress"]
    labels = re.findall(r"--labels \"?(?:\$RELEASE|app.kubernetes.io/instance=([a-z-]+)),([a-z./]+)=([a-z]+)", BOTH)
    assert len(labels) == len(OVERRIDES.findall(BOTH)) >= 3
    for release, key, component in labels:
        worn = {"app.kubernetes.io/instance": release or RELEASE, key: component}
        assert selects(policy["spec"]["podSelector"], worn)
        assert any("podSelector" in peer and selects(peer["podSelector"], worn) for peer in server["from"])
        # Nor may one of our own workloads take them for its pods.
        for item in of_kind(objects, "Service"):
            assert not selects({"matchLabels": item["spec"]["selector"]}, worn)
        for item in of_kind(objects, "Deployment", "PodDisruptionBudget"):
            assert not selects(item["spec"]["selector"], worn)


def test_pods_that_people_start_are_given_what_exists(objects: list[Object]) -> None:
    given = _secrets(objects)
    maps = {item["metadata"]["name"] for item in of_kind(objects, "ConfigMap")}
    for text in OVERRIDES.findall(BOTH):
        spec: dict[str, Any] = json.loads(text)["spec"]
        # As the restricted Pod Security Standard has it, which a namespace may enforce.
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            container["image"] = "image"
            for variable in container["env"]:
                reference = variable["valueFrom"]["secretKeyRef"]
                assert (reference["name"], reference["key"]) in given
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in maps
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        kubernetes_validate.validate(pod, "1.33", strict=True)


async def test_the_statements_that_are_shown_can_be_run(database_url: str) -> None:
    statements = [text for text in STATEMENT.findall(BOTH) if not OF_PREFECT.search(text)]
    assert len(statements) >= 7
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("INSERT INTO cai_connectors (name, source) VALUES ('x', '{}')")
        for statement in statements:
            await connection.fetch(statement)
        # One of them set what ids go on from.
        made = await connection.fetchval("INSERT INTO cai_connectors (name, source) VALUES ('y', '{}') RETURNING id")
    finally:
        await connection.close()
    assert made == 1235


async def test_the_connections_that_are_asked_for_are_those_that_the_pools_may_open(database_url: str) -> None:
    engine, large = open_engine(database_url), open_engine(database_url, pool_size=POOL_SIZE)
    controller, api = (_most(made) + extra for made, extra in ((engine, 1), (large, 0)))  # one more listens
    runs = PRODUCTION["workPool"]["queueLimit"]
    run = POSTGRES_JOBS + 2
    assert f"{controller} a controller + {api} a REST API + 10" in PRODUCTION_PAGE
    assert f"{run} a run |" in PRODUCTION_PAGE
    total = runs + 2 * controller + 2 * api + 10
    assert f"{runs} + 2 x {controller} + 2 x {api} + 10 = {total}," in PRODUCTION_PAGE
    assert f"up to {runs * run}:" in PRODUCTION_PAGE
    await engine.dispose()
    await large.dispose()


def _most(engine: Any) -> int:
    pool = engine.sync_engine.pool
    return int(pool.size() + pool._max_overflow)  # no public name
