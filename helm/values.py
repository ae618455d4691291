"""The chart's values as pydantic models: what may be said in a values file, and the schema that Helm checks it with.

`values.schema.json` is generated from here, so its roots are closed: a mistyped key is refused before anything is
rendered. No field has a default: `values.yaml` is where the defaults stand, each with its comment. Exceptions are the
parts that a file may add by itself, such as one more worker, and what may be null, since Helm drops nulls before it
checks.

Combinations that no schema can see are refused in `templates/validation.yaml`.

    python -m helm.values            # writes values.schema.json
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from connectors.discovery import Probe
from connectors.limits.closed_sets import OneOf
from connectors.people import NameableSecrets, Role
from helm.closed_sets import (
    AccessMode,
    LogLevel,
    PoolType,
    Profile,
    PullPolicy,
    ServiceType,
    Spread,
    TaintEffect,
    TolerationOperator,
)
from settings import LogFormat

CHART = Path(__file__).resolve().parent / "clinical-ai-prefect"
SCHEMA = CHART / "values.schema.json"

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
"""A Kubernetes quantity, such as `500m` or `2Gi`."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
OptionalName = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
SecretKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$")]
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
Host = Annotated[str, StringConstraints(pattern=rf"^({_LABEL}(\.{_LABEL})*)?$")]
Replicas = Annotated[int, Field(ge=1, le=100)]
Seconds = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(ge=1, le=65535)]
Texts = dict[str, str]
Peers = list[dict[str, Any]]
"""Peers of a NetworkPolicy, as Kubernetes spells them."""


class Part(BaseModel):
    """A part of the values: closed, and spelled in camelCase."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Image(Part):
    """The one image of every workload."""

    repository: Annotated[str, StringConstraints(min_length=1)]
    tag: str
    digest: Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?$")]
    pull_policy: PullPolicy
    pull_secrets: list[Name]


class Secret(Part):
    """A secret value: a key of a Secret that is there already, or the value itself for the chart to make one of."""

    existing_secret: OptionalName
    key: SecretKey
    value: str


class Amounts(Part):
    """Amounts of resources."""

    cpu: Quantity | None = None
    memory: Quantity | None = None
    ephemeral_storage: Quantity | None = Field(None, alias="ephemeral-storage")


class Resources(Part):
    """What a container asks for and what it may take."""

    requests: Amounts = Field(default_factory=Amounts)
    limits: Amounts = Field(default_factory=Amounts)


class Toleration(Part):
    """A taint that pods endure."""

    key: str | None = None
    operator: TolerationOperator | None = None
    value: str | None = None
    effect: TaintEffect | None = None
    toleration_seconds: int | None = None


class Variable(Part):
    """One more environment variable; `valueFrom` as Kubernetes spells it."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: str | None = None
    value_from: dict[str, Any] | None = None


class Reference(Part):
    """A ConfigMap or a Secret by its name."""

    name: ObjectName
    optional: bool | None = None


class VariableSource(Part):
    """All keys of a ConfigMap or a Secret as environment variables."""

    prefix: str | None = None
    config_map_ref: Reference | None = None
    secret_ref: Reference | None = None


class Volume(Part):
    """One more volume, of a kind that the restricted Pod Security Standard lets through, as Kubernetes spells it."""

    name: Name
    config_map: dict[str, Any] | None = None
    csi: dict[str, Any] | None = None
    downward_api: dict[str, Any] | None = Field(None, alias="downwardAPI")
    empty_dir: dict[str, Any] | None = None
    ephemeral: dict[str, Any] | None = None
    persistent_volume_claim: dict[str, Any] | None = None
    projected: dict[str, Any] | None = None
    secret: dict[str, Any] | None = None


class Mount(Part):
    """Where a container sees a volume."""

    name: Name
    mount_path: Annotated[str, StringConstraints(pattern=r"^/")]
    sub_path: str | None = None
    read_only: bool | None = None


class Additions(Part):
    """What an installation adds to the containers of a workload."""

    extra_env: list[Variable]
    extra_env_from: list[VariableSource]
    extra_volumes: list[Volume]
    extra_volume_mounts: list[Mount]


class ServiceAccount(Part):
    """Who pods are to Kubernetes, and through its annotations to a cloud."""

    create: bool
    name: OptionalName
    annotations: Texts


class Pods(Part):
    """How pods are placed and marked. A workload's own `pods` is laid over the common one, key by key."""

    annotations: Texts | None = None
    labels: Texts | None = None
    node_selector: Texts | None = None
    tolerations: list[Toleration] | None = None
    affinity: dict[str, Any] | None = None
    priority_class_name: OptionalName | None = None
    topology_spread: Annotated[Spread | Literal[""], OneOf(Spread, "")] | None = None
    run_as_user: Annotated[int, Field(ge=1)] | None = None
    run_as_group: Annotated[int, Field(ge=1)] | None = None
    fs_group: Annotated[int, Field(ge=1)] | None = None


class Workload(Additions):
    """What every long-running workload has."""

    resources: Resources
    service_account: ServiceAccount
    pods: Pods
    termination_grace_period_seconds: Seconds


class Service(Part):
    """The Service in front of a workload."""

    type: ServiceType
    port: Port
    annotations: Texts


class Persistence(Part):
    """A volume that outlives its pod."""

    enabled: bool
    existing_claim: OptionalName
    storage_class: str
    access_mode: AccessMode
    size: Quantity


class ServerServices(Workload):
    """Prefect's background services, when they are separated from its API."""

    separate: bool
    replicas: Replicas


class Server(Workload):
    """The Prefect server."""

    replicas: Replicas
    service: Service
    database: Secret
    auth: Secret
    ui_api_url: Annotated[str, StringConstraints(pattern=r"^(https?://.+|/.*)?$")]
    keep_flow_runs_days: Annotated[int, Field(ge=0)]
    persistence: Persistence
    services: ServerServices


class Redis(Secret):
    """Redis, which several servers need to speak with each other."""

    enabled: bool


class Settings(Part):
    """CAI_* settings; null leaves the application's own default."""

    instance: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    default_destination: dict[str, Any]
    local_file_roots: list[str]
    local_destination_roots: list[str]
    denied_hosts: list[str]
    follow_deployments: list[str]
    public_keys: list[dict[str, Any]]
    poll_interval_seconds: Annotated[float, Field(gt=0)] | None = None
    audit_interval_seconds: Annotated[float, Field(gt=0)] | None = None
    max_prune_fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    max_delete_fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    apply_concurrency: Annotated[int, Field(ge=1, le=200)] | None = None
    lease_ttl_seconds: Annotated[float, Field(gt=1)] | None = None
    retry_base_seconds: Annotated[float, Field(gt=0)] | None = None
    retry_max_seconds: Annotated[float, Field(gt=0)] | None = None
    server_backoff_max_seconds: Annotated[float, Field(gt=0)] | None = None
    controller_max_runtime_seconds: Annotated[float, Field(gt=0)] | None = None
    alert_after_seconds: Annotated[float, Field(ge=0)] | None = None
    alert_after_failures: Annotated[int, Field(ge=1)] | None = None
    credentials: NameableSecrets | None = None
    probe: Probe
    probe_seconds: Annotated[float, Field(gt=0, le=200)] | None = None
    reason_required: bool | None = None
    audit_keep_days: Annotated[int, Field(ge=1)] | None = None
    heartbeat_seconds: Annotated[float, Field(gt=0)] | None = None
    loads_keep_days: Annotated[int, Field(ge=1)] | None = None
    split_bytes: Annotated[int, Field(ge=1024 * 1024)] | None = None
    fork_server_max_age_seconds: Annotated[float, Field(ge=1)] | None = None
    fork_server_max_megabytes: Annotated[int, Field(ge=1)] | None = None
    notification_block: str | None = None
    owner_blocks: dict[str, str]
    openlineage_url: str | None = None
    log_format: LogFormat | None = None


class WorkPool(Part):
    """The pool that connectors' runs go to unless a connector names another."""

    name: Annotated[str, StringConstraints(min_length=1)]
    type: PoolType
    queue: Annotated[str, StringConstraints(min_length=1)]
    queue_limit: Annotated[int, Field(ge=1)] | None = None


class Warm(Part):
    """What only workers of a `clinical-ai-warm` pool have."""

    run_megabytes: Annotated[int, Field(ge=256)] | None = None
    drain_seconds: Seconds | None = None


class Worker(Part):
    """One worker; what it leaves out is taken from `workerDefaults`."""

    replicas: Replicas | None = None
    queues: list[str] | None = None
    limit: Annotated[int, Field(ge=0)] | None = None
    query_seconds: Annotated[int, Field(ge=1)] | None = None
    data: bool | None = None
    warm: Warm | None = None
    resources: Resources | None = None
    extra_env: list[Variable] | None = None
    extra_env_from: list[VariableSource] | None = None
    extra_volumes: list[Volume] | None = None
    extra_volume_mounts: list[Mount] | None = None
    pods: Pods | None = None
    termination_grace_period_seconds: Seconds | None = None


class WorkerDefaults(Workload):
    """What workers have unless they say otherwise; all share one service account."""

    replicas: Replicas
    queues: list[str]
    limit: Annotated[int, Field(ge=0)]
    query_seconds: Annotated[int, Field(ge=1)]
    data: bool
    warm: Warm


class Runs(Additions):
    """The pod of one run in a kubernetes work pool."""

    resources: Resources
    service_account: ServiceAccount
    scratch: Quantity
    ttl_seconds_after_finished: Seconds
    termination_grace_period_seconds: Seconds
    pod_watch_timeout_seconds: Annotated[int, Field(ge=1)]
    pods: Pods


class Controller(Workload):
    """The controllers: one leads, the others stand by."""

    replicas: Replicas
    metrics_port: Annotated[int, Field(ge=0, le=65535)]


class Granted(Part):
    """The role of a group, for one team or for all."""

    role: Annotated[Role, OneOf(Role)]
    team: Annotated[str, StringConstraints(min_length=1)] | None = None


class Oidc(Part):
    """An OpenID Connect provider; without an issuer none."""

    issuer: Annotated[str, StringConstraints(pattern=r"^(https?://.+)?$")]
    client_id: str
    client_secret: Secret
    audience: str
    groups_claim: str
    scopes: Annotated[str, StringConstraints(pattern=r"^$|(^|.* )openid( .*|$)")]
    roles: dict[str, Granted]


class TrustedProxy(Part):
    """A proxy that authenticates; without a header none."""

    user_header: str
    groups_header: str
    proxies: list[str]


class SignIn(Part):
    """Who else says who somebody is, at the REST API and at the page."""

    page_url: Annotated[str, StringConstraints(pattern=r"^(https?://[^/?#@\s]+)?$")]
    oidc: Oidc
    trusted_proxy: TrustedProxy


class Api(Workload):
    """The REST API of connectors, and the page."""

    enabled: bool
    replicas: Replicas
    token: Secret
    database: Secret
    sign_in: SignIn
    service: Service


class Jobs(Additions):
    """The jobs around an installation: migrations before it, bootstrap after it."""

    resources: Resources
    service_account: ServiceAccount
    pods: Pods
    backoff_limit: Annotated[int, Field(ge=0)]
    active_deadline_seconds: Annotated[int, Field(ge=1)]


class IngressHost(Part):
    """One host of the Ingress; empty: not served."""

    host: Host
    tls_secret: OptionalName


class Ingress(Part):
    """The way in from outside."""

    enabled: bool
    class_name: OptionalName
    annotations: Texts
    websocket_timeout_seconds: Annotated[int, Field(ge=60)]
    prefect: IngressHost
    api: IngressHost


class Reach(Part):
    """Where something may be reached: no peers means anywhere on those ports."""

    to: Peers
    ports: list[Port]


class NetworkPolicies(Part):
    """Default deny, and what is needed."""

    enabled: bool
    ingress_from: Peers
    metrics_from: Peers
    sources_to: Peers
    database: Reach
    redis: Reach
    kubernetes_api: Reach
    alerts: Reach
    dns: Reach


class DisruptionBudgets(Part):
    """How many pods of a workload may be away at a time."""

    enabled: bool
    max_unavailable: Annotated[int, Field(ge=1)]


class ServiceMonitor(Part):
    """A scrape target for the Prometheus operator."""

    enabled: bool
    labels: Texts
    interval: Annotated[str, StringConstraints(pattern=r"^[0-9]+(s|m)$")]


class PrometheusRule(Part):
    """Alerts for the Prometheus operator."""

    enabled: bool
    labels: Texts
    scraped_otherwise: bool


class Dashboard(Part):
    """A dashboard for Grafana's sidecar."""

    enabled: bool
    labels: Texts


class Monitoring(Part):
    """Prometheus and Grafana."""

    service_monitor: ServiceMonitor
    prometheus_rule: PrometheusRule
    runbook_url: str
    dashboard: Dashboard


class Values(Part):
    """The whole of a values file."""

    profile: Profile
    name_override: Annotated[str, StringConstraints(max_length=40)]
    fullname_override: Annotated[str, StringConstraints(max_length=40)]
    global_: dict[str, Any] = Field(alias="global", default_factory=dict)
    image: Image
    pods: Pods
    log_level: LogLevel
    database: Secret
    settings: Settings
    masking: Secret
    alerts: Secret
    connector_secrets: list[Name]
    server: Server
    redis: Redis
    work_pool: WorkPool
    worker_defaults: WorkerDefaults
    workers: Annotated[dict[Name, Worker], Field(min_length=1)]
    persistence: Persistence
    runs: Runs
    controller: Controller
    api: Api
    jobs: Jobs
    ingress: Ingress
    network_policy: NetworkPolicies
    disruption_budgets: DisruptionBudgets
    monitoring: Monitoring


def schema() -> dict[str, Any]:
    """The JSON schema of a values file, in the draft that Helm 3 reads."""
    made = Values.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    definitions = made.pop("$defs")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_tidied(made),
        "definitions": {name: _tidied(part) for name, part in definitions.items()},
    }


def _tidied(part: Any) -> Any:
    """Without titles, which repeat the keys, and defaults of null, which are none; named parts are closed too."""
    if isinstance(part, list):
        return [_tidied(item) for item in part]
    if not isinstance(part, dict):
        return part
    tidied = {
        key: _tidied(value)
        for key, value in part.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }
    if "patternProperties" in tidied:
        tidied["additionalProperties"] = False
    return tidied


def text() -> str:
    """The content of `values.schema.json`."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text())
