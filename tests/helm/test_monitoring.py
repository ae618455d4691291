"""Queries of Prometheus are answered by the exporters, and Prometheus may ask them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from helm.values import CHART
from settings import ROOT
from tests.support.exported import Family, apis, controllers
from tests.support.helm.chart import MONITORED, PEER, PRODUCTION, Object, laid, named, of_kind, pods, render, selects

SELECTOR = re.compile(r"\b(cai_\w+)\{([^}]*)\}")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
ADDED = {"namespace", "le"}
"""Labels that Prometheus adds, or histograms have."""

OFF: dict[str, Any] = {"controller": {"metricsPort": 0}}


@pytest.fixture(scope="module")
def families() -> dict[str, Family]:
    """What both exporters say, by the names of their series."""
    return {sample: family for family in [*controllers(), *apis()] for sample in family.samples}


def _dashboard() -> Iterator[str]:
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    for variable in dashboard["templating"]["list"]:
        if (asked := re.fullmatch(r"label_values\((\w+), \w+\)", variable["query"])) is not None:
            yield asked[1] + "{}"
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def _rules(objects: list[Object]) -> list[dict[str, Any]]:
    return [
        rule
        for item in of_kind(objects, "PrometheusRule")
        for group in item["spec"]["groups"]
        for rule in group["rules"]
    ]


def _queries() -> list[str]:
    return [*_dashboard(), *(rule["expr"] for rule in _rules(render(laid(PRODUCTION, MONITORED))))]


def test_the_dashboard_and_the_alerts_ask_for_what_is_exported(families: dict[str, Family]) -> None:
    asked = set()
    for query in _queries():
        for name in re.findall(r"\bcai_\w+", query):
            assert name in families, query
            asked.add(name)
        for name, matchers in SELECTOR.findall(query):
            assert set(MATCHER.findall(matchers)) <= ADDED | set(families[name].labels), query
        grouped = {label.strip() for labels in GROUPED.findall(query) for label in labels.split(",")}
        names = [families[name] for name in re.findall(r"\bcai_\w+", query)]
        if names:
            assert grouped <= ADDED | {label for family in names for label in family.labels}, query
    unseen = {family.name for family in families.values() if not family.samples & asked}
    assert unseen == set(), "nobody sees them"


def test_the_values_of_labels_that_are_asked_for_are_said() -> None:
    """A word that no series has makes an alert that never fires."""
    said = " ".join(family.meaning for family in [*controllers(), *apis()])
    for query in _queries():
        for label, word in re.findall(r"(freshness|phase|outcome|by)=\"(\w+)\"", query):
            assert re.search(rf"\b{word}\b", said), f"{label}={word}"


def test_every_alert_leads_to_its_part_of_the_runbook() -> None:
    headings = {line[3:] for line in (ROOT / "docs" / "runbook.md").read_text().splitlines() if line.startswith("## ")}
    elsewhere = {"monitoring": {"runbookUrl": "https://wiki.example/runbook"}}
    for values, where in (
        (laid(PRODUCTION, MONITORED), "docs/runbook.md"),
        (laid(PRODUCTION, MONITORED, elsewhere), None),
    ):
        rules = _rules(render(values))
        assert len(rules) > 10
        for rule in rules:
            page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
            assert page == (where or "https://wiki.example/runbook")
            assert anchor == rule["alert"].lower()
            assert rule["alert"] in headings, f"docs/runbook.md has no part {rule['alert']}"


def test_a_fleet_that_fails_and_numbers_that_are_missing_are_told() -> None:
    rules = {rule["alert"]: rule for rule in _rules(render(laid(PRODUCTION, MONITORED)))}
    assert rules["ClinicalAiLoadsFailing"]["labels"]["severity"] == "critical"
    assert 'freshness="failing"' in rules["ClinicalAiConnectorsFailing"]["expr"], "failing goes before overdue"
    assert "or absent(cai_controller_lease_held" in rules["ClinicalAiNoLeader"]["expr"]
    assert 'condition="true"' in rules["ClinicalAiJobFailed"]["expr"], "a pod that failed is tried again"
    assert "cai_controller_prefect_up" in rules["ClinicalAiPrefectDown"]["expr"]
    healthy = re.search(r'result!~"([^"]+)"', rules["ClinicalAiPrefectCallsFailing"]["expr"])
    assert healthy is not None
    assert not {"refused", "busy"} & set(healthy[1].split("|"))


def test_no_two_panels_lie_on_each_other_and_each_has_a_title_of_its_own() -> None:
    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(0 <= x < 24 for x, _ in cells)
    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels)


def test_prometheus_finds_every_controller_and_is_let_in() -> None:
    objects = render(laid(PRODUCTION, MONITORED))
    monitor = named(objects, "PodMonitor", "controller")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (pod,) = [pod for pod in pods(objects) if selects(monitor["spec"]["selector"], pod.labels)]
    assert pod.of == "clinical-ai-prefect-controller"
    (container,) = pod.spec["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert given["CAI_METRICS_PORT"] == str(ports[endpoint["port"]])
    policy = named(objects, "NetworkPolicy", "controller")
    assert selects(policy["spec"]["podSelector"], pod.labels)
    assert policy["spec"]["ingress"] == [{"from": PEER, "ports": [{"port": ports[endpoint["port"]]}]}]


def test_nobody_else_is_given_the_controllers_port() -> None:
    """A flow run of the controller, on a worker, would find it taken or be found by nobody."""
    for pod in pods(render(laid(PRODUCTION, MONITORED))):
        told = json.dumps(pod.spec)
        assert ("CAI_METRICS_PORT" in told) is (pod.of == "clinical-ai-prefect-controller")


def test_without_a_port_nothing_listens_and_no_alert_waits_for_what_is_never_said() -> None:
    objects = render(laid(PRODUCTION, MONITORED, OFF))
    (container,) = named(objects, "Deployment", "controller")["spec"]["template"]["spec"]["containers"]
    assert "ports" not in container
    assert "CAI_METRICS_PORT" not in {variable["name"] for variable in container["env"]}
    assert of_kind(objects, "PodMonitor") == []
    assert [rule["alert"] for rule in _rules(objects) if re.search("cai_(controller|connector)", rule["expr"])] == []


def test_a_controller_alone_can_be_scraped() -> None:
    objects = render(laid(MONITORED, {"api": {"enabled": False}}))
    assert of_kind(objects, "ServiceMonitor") == []
    assert len(of_kind(objects, "PodMonitor")) == 1
