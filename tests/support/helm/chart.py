"""Renders the chart and looks around in what comes out; no cluster and no helm binary is needed."""

import copy
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import helm_python
import yaml

from helm.values import CHART

RELEASE = "clinical-ai-prefect"
NAMESPACE = "clinical-ai"
WORKLOADS = ("Deployment", "Job")

Object = dict[str, Any]


def values_file(name: str) -> dict[str, Any]:
    """A values file of the chart."""
    content: dict[str, Any] = yaml.safe_load((CHART / name).read_text())
    return content


SMALL: dict[str, Any] = {}
PRODUCTION = values_file("values-production.yaml")

PEER = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]
WAY_IN = {
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "prefect": {"host": "prefect.clinic.example", "tlsSecret": "prefect-tls"},
        "api": {"host": "connectors.clinic.example", "tlsSecret": "connectors-tls"},
    },
    "networkPolicy": {"ingressFrom": PEER},
}
MONITORED = {
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "networkPolicy": {"metricsFrom": PEER},
}
INLINE = {
    "database": {"existingSecret": "", "value": "postgresql://cai:inline-1@db/cai"},
    "server": {
        "database": {"existingSecret": "", "value": "postgresql+asyncpg://prefect:inline-2@db/prefect"},
        "auth": {"existingSecret": "", "value": "admin:inline-3"},
    },
    "api": {"token": {"existingSecret": "", "value": "inline-4"}},
    "alerts": {"value": "json://inline-5@alerts/"},
}
KUBERNETES = {
    "workPool": {"type": "kubernetes"},
    "settings": {"defaultDestination": {"type": "postgres", "credentials": {"env": "CAI_SECRET_WAREHOUSE"}}},
}


EXTRA: dict[str, Any] = {
    "extraEnv": [{"name": "PGSSLROOTCERT", "value": "/etc/clinic/ca.crt"}],
    "extraEnvFrom": [{"configMapRef": {"name": "clinic-proxy"}}],
    "extraVolumes": [{"name": "clinic-ca", "secret": {"secretName": "clinic-ca"}}],
    "extraVolumeMounts": [{"name": "clinic-ca", "mountPath": "/etc/clinic", "readOnly": True}],
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/clinic"}},
}
"""What an installation may add to each workload."""
EXTENDED = {
    "server": {**EXTRA, "services": EXTRA},
    **dict.fromkeys(("workerDefaults", "runs", "controller", "api", "jobs"), EXTRA),
}


def laid(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Values files laid over each other, as Helm does it: maps are merged, all else is replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        _lay(result, layer)
    return result


def _lay(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _lay(target[key], value)
        else:
            target[key] = copy.deepcopy(value)


MATRIX: dict[str, dict[str, Any]] = {
    "small": SMALL,
    "production": PRODUCTION,
    "small-way-in": WAY_IN,
    "production-way-in": laid(PRODUCTION, WAY_IN),
    "production-monitored": laid(PRODUCTION, MONITORED),
    "small-inline-secrets": INLINE,
    "small-no-auth": {"server": {"auth": {"existingSecret": ""}}},
    "small-no-api": {"api": {"enabled": False}},
    "small-kubernetes": KUBERNETES,
    "small-separate-services": {
        "server": {"services": {"separate": True}},
        "redis": {"enabled": True, "existingSecret": "redis"},
    },
    "small-no-policies": {"networkPolicy": {"enabled": False}, "disruptionBudgets": {"enabled": False}},
    "small-no-volumes": {"persistence": {"enabled": False}, "server": {"persistence": {"enabled": False}}},
    "small-claims": {
        "persistence": {"existingClaim": "data"},
        "server": {"persistence": {"existingClaim": "prefect"}},
    },
    "small-masking": {"masking": {"existingSecret": "clinic-mask"}},
    "small-extended": EXTENDED,
    "production-extended": laid(PRODUCTION, EXTENDED, {"workPool": {"queueLimit": None}}),
    "production-own-accounts": laid(
        PRODUCTION,
        {
            "controller": {"serviceAccount": {"name": "clinic-controller"}},
            **{
                part: {"serviceAccount": {"create": False, "name": f"clinic-{part.lower()}"}}
                for part in ("workerDefaults", "runs", "jobs")
            },
        },
    ),
    "production-placed": laid(
        PRODUCTION,
        {
            "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
            "pods": {
                "annotations": {"a": "b"},
                "labels": {"c": "d"},
                "nodeSelector": {"disk": "fast"},
                "tolerations": [{"key": "clinical", "operator": "Exists", "effect": "NoSchedule"}],
                "affinity": {"nodeAffinity": {}},
                "priorityClassName": "high",
                "topologySpread": "DoNotSchedule",
            },
            "controller": {"pods": {"nodeSelector": {"disk": "slow"}}, "extraEnv": [{"name": "X", "value": "1"}]},
            "runs": {"extraEnv": [{"name": "Y", "value": "2"}], "pods": {"labels": {"e": "f"}}},
            "alerts": {"existingSecret": "alerts"},
            "server": {"uiApiUrl": "https://elsewhere.example/api", "keepFlowRunsDays": 0},
            "settings": {
                "leaseTtlSeconds": 20,
                "splitBytes": 2**40,
                "applyConcurrency": 10,
                "localFileRoots": ["/mnt/a", "/mnt/b"],
            },
            "networkPolicy": {"sourcesTo": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        },
    ),
}
"""What is rendered by the tests that must hold for every installation."""


@functools.cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def render(
    values: Mapping[str, Any] | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE
) -> list[Object]:
    """The objects of a release, in the order of their templates."""
    files = _chart().render(dict(values or {}), name=release, namespace=namespace)
    return [
        item
        for name, text in files.items()
        if name.endswith(".yaml")
        for item in yaml.load_all(text, Loader=yaml.CSafeLoader)
        if item is not None
    ]


def notes(values: Mapping[str, Any]) -> str:
    """What Helm says after an installation."""
    return str(_chart().render(dict(values), name=RELEASE, namespace=NAMESPACE)[f"{RELEASE}/templates/NOTES.txt"])


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Those of some kinds."""
    return [item for item in objects if item["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """The one with a name, which is given without the release's."""
    (found,) = [item for item in of_kind(objects, kind) if item["metadata"]["name"] == f"{RELEASE}-{name}"]
    return found


@dataclass(frozen=True)
class Pod:
    """A pod as some object makes it."""

    of: str
    kind: str
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: dict[str, Any]

    @property
    def containers(self) -> list[dict[str, Any]]:
        """All containers, those of the start first."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pods(objects: list[Object]) -> Iterator[Pod]:
    """Every pod of a release, the one of runs included when the pool makes any."""
    for item in of_kind(objects, *WORKLOADS):
        template = item["spec"]["template"]
        metadata = template["metadata"]
        yield Pod(
            item["metadata"]["name"],
            item["kind"],
            metadata["labels"],
            metadata.get("annotations", {}),
            template["spec"],
        )
    manifest = job_template(objects)["job_configuration"].get("job_manifest")
    if manifest is not None:
        template = manifest["spec"]["template"]
        yield Pod("run", "Run", template["metadata"]["labels"], template["metadata"]["annotations"], template["spec"])


def job_template(objects: list[Object]) -> dict[str, Any]:
    """The work pool's base job template."""
    content: dict[str, Any] = json.loads(named(objects, "ConfigMap", "work-pool")["data"]["base-job-template.json"])
    return content


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector meets labels, for what the chart uses of selectors."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True
