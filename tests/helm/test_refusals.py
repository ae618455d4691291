"""Every impossible combination is refused at render, in a sentence that names the key and the way out."""

import re
from datetime import timedelta
from typing import Any

import helm_python
import pytest

from deployments.reconciling.missed_runs import LONGEST_OUTAGE
from helm.values import CHART
from tests.support.helm.chart import INLINE, KUBERNETES, MONITORED, PEER, PRODUCTION, WAY_IN, laid, render

NO_AUTH = {"server": {"auth": {"existingSecret": ""}}}
OPEN = {"networkPolicy": {"enabled": False}}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "replicas without Redis": (
        {"server": {"replicas": 2, "services": {"separate": True}}},
        "server.replicas above 1 needs Redis",
    ),
    "services without Redis": ({"server": {"services": {"separate": True}}}, "server.services.separate needs Redis"),
    "services in each server": (
        {"server": {"replicas": 2}, "redis": {"enabled": True, "existingSecret": "redis"}},
        "would run the background services in each server",
    ),
    "Redis without a URL": ({"redis": {"enabled": True}}, "redis.enabled needs a URL"),
    "API without a token": ({"api": {"token": {"existingSecret": ""}}}, "without a token"),
    "a provider without a client": (
        {"api": {"signIn": {"oidc": {"issuer": "https://a.example", "roles": {"a": {"role": "admin"}}}}}},
        "api.signIn.oidc needs both issuer and clientId",
    ),
    "a client's secret without a provider": (
        {"api": {"signIn": {"oidc": {"clientSecret": {"existingSecret": "a"}}}}},
        "api.signIn.oidc.clientSecret is for a provider",
    ),
    "a proxy that is believed from anywhere": (
        {"api": {"signIn": {"trustedProxy": {"userHeader": "X-User"}, "oidc": {"roles": {"a": {"role": "admin"}}}}}},
        "api.signIn.trustedProxy needs both userHeader and proxies",
    ),
    "a provider whose users may do nothing": (
        {"api": {"signIn": {"oidc": {"issuer": "https://a.example", "clientId": "a"}}}},
        "api.signIn.oidc.roles is empty",
    ),
    "no auth in production": (laid(PRODUCTION, NO_AUTH), "The production profile needs authentication"),
    "no auth behind an Ingress": (laid(WAY_IN, NO_AUTH), "An Ingress would open a Prefect server"),
    "no auth on a load balancer": (
        laid(NO_AUTH, OPEN, {"server": {"service": {"type": "LoadBalancer"}}}),
        "server.service.type opens a Prefect server",
    ),
    "no database": ({"database": {"existingSecret": ""}}, "There is no database for connectors"),
    "no server database": (
        {"server": {"database": {"existingSecret": ""}}},
        "There is no database for the Prefect server",
    ),
    "two databases": ({"database": {"value": "postgresql://a@b/c"}}, "database has both existingSecret and value"),
    "a database that is none": (
        {"database": {"existingSecret": "", "value": "mysql://a@b/c"}},
        "database.value must be a URL",
    ),
    "a server database of another driver": (
        {"server": {"database": {"existingSecret": "", "value": "postgresql://a@b/c"}}},
        "server.database.value must be a URL",
    ),
    "secrets in production's values": (laid(PRODUCTION, INLINE), "api.token.value puts a secret into"),
    "runs' pods and DuckDB by default": (
        {"workPool": {"type": "kubernetes"}},
        "would be a DuckDB file that ends with its pod",
    ),
    "runs' pods and DuckDB by name": (
        laid(KUBERNETES, {"settings": {"defaultDestination": {"type": "duckdb", "path": "/data/x"}}}),
        "settings.defaultDestination is a DuckDB file that ends with its pod",
    ),
    "two pods on one volume": ({"workers": {"loads": {"replicas": 2}}}, "2 worker pods cannot mount one"),
    "two writers of one DuckDB file": (
        {"workers": {"loads": {"replicas": 2}}, "persistence": {"accessMode": "ReadWriteMany"}},
        "takes one writer",
    ),
    "an Ingress without a host": (
        {"ingress": {"enabled": True}, "networkPolicy": {"ingressFrom": PEER}},
        "ingress.enabled needs a host",
    ),
    "one host for two": (
        laid(WAY_IN, {"ingress": {"api": {"host": "prefect.clinic.example"}}}),
        "ingress.prefect.host and ingress.api.host must differ",
    ),
    "a host for no API": (laid(WAY_IN, {"api": {"enabled": False}}), "ingress.api.host needs the REST API"),
    "no TLS in production": (
        laid(PRODUCTION, WAY_IN, {"ingress": {"prefect": {"tlsSecret": ""}}}),
        "ingress.prefect.tlsSecret",
    ),
    "policies that keep the Ingress out": (
        laid(WAY_IN, {"networkPolicy": {"ingressFrom": []}}),
        "The network policies would keep the Ingress out",
    ),
    "policies that keep a load balancer out": (
        {"api": {"service": {"type": "LoadBalancer"}}},
        "would keep everybody out of api.service.type LoadBalancer",
    ),
    "metrics of nobody": (
        laid(MONITORED, {"api": {"enabled": False}, "controller": {"metricsPort": 0}}),
        "monitoring.serviceMonitor has nothing to scrape",
    ),
    "policies that keep Prometheus out": (
        laid(MONITORED, {"networkPolicy": {"metricsFrom": []}}),
        "The network policies would keep Prometheus out",
    ),
    "latest in production": (laid(PRODUCTION, {"image": {"tag": "latest"}}), "image.tag latest"),
    "retries that shrink": (
        {"settings": {"retryBaseSeconds": 10, "retryMaxSeconds": 5}},
        "settings.retryMaxSeconds must be at least",
    ),
    "an account of no name": (
        {"controller": {"serviceAccount": {"create": False}}},
        "controller.serviceAccount.create is false, and nothing says which account",
    ),
    "annotations of nothing": (
        {"api": {"serviceAccount": {"create": False, "name": "x", "annotations": {"a": "b"}}}},
        "api.serviceAccount.annotations would stand nowhere",
    ),
    "one name for the accounts of two jobs": (
        {"jobs": {"serviceAccount": {"name": "x"}}},
        "jobs.serviceAccount.name is one name",
    ),
    "an account made twice": (
        {"api": {"serviceAccount": {"name": "x"}}, "controller": {"serviceAccount": {"name": "x"}}},
        "would both make the account x",
    ),
    "runs removed that are looked for": (
        {"server": {"keepFlowRunsDays": 7}},
        "server.keepFlowRunsDays below 8",
    ),
    "alerts on what nobody scrapes": (
        {"monitoring": {"prometheusRule": {"enabled": True}}},
        "monitoring.prometheusRule watches numbers that nobody scrapes",
    ),
    "a warm worker that is killed while it waits": (
        {"workPool": {"type": "clinical-ai-warm"}, "workers": {"loads": {"terminationGracePeriodSeconds": 60}}},
        "workers.loads would be killed while it waits for its runs",
    ),
    "a worker's name beyond a label": ({"workers": {"w" * 40: {}}}, "the name is too long for a label"),
}


@pytest.mark.parametrize(("values", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_in_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(helm_python.HelmRenderError) as caught:
        render(values)
    said = [line for line in str(caught.value).splitlines() if sentence in line]
    assert len(said) == 1
    assert said[0].endswith(".")


@pytest.mark.parametrize(
    "values",
    [
        {"server": {"keepFlowRunsDays": 8}},
        {"server": {"keepFlowRunsDays": 0}},
        {"monitoring": {"prometheusRule": {"enabled": True, "scrapedOtherwise": True}}},
        {
            "monitoring": {"prometheusRule": {"enabled": True}},
            "api": {"enabled": False},
            "controller": {"metricsPort": 0},
        },
    ],
    ids=["eight days", "for ever", "scraped otherwise", "only what Kubernetes itself says"],
)
def test_what_is_beside_a_refusal_is_rendered(values: dict[str, Any]) -> None:
    render(values)


def test_days_to_keep_runs_are_more_than_the_controller_looks_back() -> None:
    assert timedelta(days=8) > LONGEST_OUTAGE >= timedelta(days=7)


def test_every_refusal_of_the_template_is_tried_here() -> None:
    template = (CHART / "templates" / "validation.yaml").read_text()
    assert template.count("append $refused") == len(REFUSED)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(helm_python.HelmRenderError) as caught:
        render({"server": {"replicas": 2}, "database": {"existingSecret": ""}})
    lines = [line for line in str(caught.value).splitlines() if line.endswith(".")]
    assert len(lines) == 3


def test_a_refusal_repeats_no_secret() -> None:
    with pytest.raises(helm_python.HelmRenderError) as caught:
        render(laid(PRODUCTION, INLINE))
    assert not re.search(r"inline-\d", str(caught.value))
