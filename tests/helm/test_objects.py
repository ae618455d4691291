"""Objects of a release fit each other, whatever its values: no schema sees that."""

import json
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from helm.values import Settings as ValuesSettings
from settings import Settings, SignInSettings
from tests.support.helm.chart import (
    EXTENDED,
    EXTRA,
    INLINE,
    MATRIX,
    NAMESPACE,
    PRODUCTION,
    RELEASE,
    WAY_IN,
    Object,
    Pod,
    job_template,
    laid,
    named,
    notes,
    of_kind,
    pods,
    render,
    selects,
)

OLDEST, MIDDLE, NEWEST = "1.28", "1.33", "1.37"
BY_OPERATORS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
"""Kinds that Kubernetes itself does not know."""

every_set_of_values = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())


@pytest.mark.parametrize("version", [OLDEST, MIDDLE, NEWEST])
def test_kubernetes_knows_every_field(version: str) -> None:
    different = {json.dumps(item, sort_keys=True): item for values in MATRIX.values() for item in render(values)}
    for item in different.values():
        if item["kind"] not in BY_OPERATORS:
            kubernetes_validate.validate(item, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_seen() -> None:
    item = named(render(), "Deployment", "controller")
    item["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(item, MIDDLE, strict=True)


@every_set_of_values
def test_names_and_labels_are_within_kubernetes_limits(values: dict[str, Any]) -> None:
    objects = render(values)
    seen = [(item["kind"], item["metadata"]["name"], item["metadata"]["namespace"]) for item in objects]
    # The hooks' own objects go before the release's come.
    assert len(set(seen)) == len(seen)
    for item in objects:
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", item["metadata"]["name"])
        assert item["metadata"]["namespace"] == NAMESPACE
        for value in item["metadata"]["labels"].values():
            assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value)


@every_set_of_values
def test_selectors_match_the_pods_they_are_for(values: dict[str, Any]) -> None:
    objects = render(values)
    running = [pod for pod in pods(objects) if pod.kind == "Deployment"]
    for item in of_kind(objects, "Deployment"):
        found = [pod.of for pod in pods(objects) if selects(item["spec"]["selector"], pod.labels)]
        assert found == [item["metadata"]["name"]]
    for item in of_kind(objects, "PodDisruptionBudget"):
        assert [pod.of for pod in running if selects(item["spec"]["selector"], pod.labels)] == [
            item["metadata"]["name"]
        ]
    for item in of_kind(objects, "Service"):
        selector = {"matchLabels": item["spec"]["selector"]}
        (pod,) = [pod for pod in pods(objects) if selects(selector, pod.labels)]
        ports = {port["name"]: port["containerPort"] for port in pod.spec["containers"][0]["ports"]}
        assert {port["targetPort"] for port in item["spec"]["ports"]} <= ports.keys()
    for pod in running:
        for constraint in pod.spec.get("topologySpreadConstraints", []):
            assert selects(constraint["labelSelector"], pod.labels)
    for item in of_kind(objects, "ServiceMonitor"):
        assert (
            len(
                [
                    one
                    for one in of_kind(objects, "Service")
                    if selects(item["spec"]["selector"], one["metadata"]["labels"])
                ]
            )
            == 1
        )


@every_set_of_values
def test_every_workload_that_runs_has_a_disruption_budget_and_is_spread(values: dict[str, Any]) -> None:
    objects = render(values)
    budgets = {item["metadata"]["name"] for item in of_kind(objects, "PodDisruptionBudget")}
    deployments = {item["metadata"]["name"] for item in of_kind(objects, "Deployment")}
    assert budgets == (deployments if values.get("disruptionBudgets", {}).get("enabled", True) else set())
    for pod in pods(objects):
        assert ("topologySpreadConstraints" in pod.spec) == (pod.kind == "Deployment")


GIVEN = re.compile(r"clinical-ai-prefect-(database|server-database|server-auth|api|redis|warehouse|mask)")
OWN = re.compile(r"redis|alerts|clinic-[a-z]+")
"""What is there before the release is, by the values of the matrix: Secrets, and what an installation adds."""


def _given(kind: str, name: str) -> bool:
    return (kind == "Secret" and GIVEN.fullmatch(name) is not None) or OWN.fullmatch(name) is not None


def _references(pod: Pod) -> Iterator[tuple[str, str, str | None]]:
    for container in pod.containers:
        for source in container.get("envFrom", []):
            for kind, reference in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                if reference in source:
                    yield kind, source[reference]["name"], None
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                yield "Secret", reference["name"], reference["key"]
    for volume in pod.spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], None
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], None
    yield "ServiceAccount", pod.spec["serviceAccountName"], None


@every_set_of_values
def test_everything_that_a_pod_names_is_there(values: dict[str, Any]) -> None:
    objects = render(values)
    made = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    claims = {values.get("persistence", {}).get("existingClaim")}
    claims.add(values.get("server", {}).get("persistence", {}).get("existingClaim"))
    for pod in pods(objects):
        for kind, name, key in _references(pod):
            if (kind, name) in made:
                assert key is None or key in made[kind, name]["data"]
            elif kind == "PersistentVolumeClaim":
                assert name in claims
            else:
                assert _given(kind, name), name
        volumes = {volume["name"] for volume in pod.spec["volumes"]}
        mounted = {mount["name"] for container in pod.containers for mount in container["volumeMounts"]}
        assert mounted == volumes
    for item in of_kind(objects, "Ingress"):
        for rule in item["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = made["Service", path["backend"]["service"]["name"]]
                assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    for item in of_kind(objects, "RoleBinding"):
        assert ("Role", item["roleRef"]["name"]) in made
        workers = {pod.spec["serviceAccountName"] for pod in pods(objects) if "-worker-" in pod.of}
        assert {subject["name"] for subject in item["subjects"]} == workers


@every_set_of_values
def test_nothing_that_is_made_is_left_unused(values: dict[str, Any]) -> None:
    objects = render(values)
    used = {(kind, name) for pod in pods(objects) for kind, name, _ in _references(pod)}
    for item in of_kind(objects, "ConfigMap", "Secret", "ServiceAccount", "PersistentVolumeClaim"):
        if "grafana_dashboard" not in item["metadata"]["labels"]:
            assert (item["kind"], item["metadata"]["name"]) in used


@every_set_of_values
def test_every_process_that_stays_is_probed_on_a_port_that_it_has(values: dict[str, Any]) -> None:
    for pod in pods(render(values)):
        for container in pod.containers:
            probes = [
                container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container
            ]
            assert len(probes) == (3 if pod.kind == "Deployment" else 0)
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in probes:
                how = probe.get("httpGet") or probe.get("tcpSocket")
                assert how["port"] in ports if how else probe["exec"]["command"]


@every_set_of_values
def test_every_pod_meets_the_restricted_pod_security_standard(values: dict[str, Any]) -> None:
    for pod in pods(render(values)):
        who = pod.spec["securityContext"]
        assert who["runAsNonRoot"] is True
        assert who["runAsUser"] == who["runAsGroup"] == who["fsGroup"] == 10001
        assert who["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        kinds = {kind for volume in pod.spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "privileged": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/tmp", "/home/cai", "/data"}


@every_set_of_values
def test_every_container_says_what_it_needs_and_what_it_may_take(values: dict[str, Any]) -> None:
    for pod in pods(render(values)):
        for container in pod.containers:
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@every_set_of_values
def test_only_the_kubernetes_worker_may_speak_with_kubernetes(values: dict[str, Any]) -> None:
    objects = render(values)
    kubernetes = values.get("workPool", {}).get("type") == "kubernetes"
    for pod in pods(objects):
        assert pod.spec["automountServiceAccountToken"] is (kubernetes and "-worker-" in pod.of)
        assert pod.spec["enableServiceLinks"] is False
    assert len(of_kind(objects, "Role")) == len(of_kind(objects, "RoleBinding")) == int(kubernetes)
    assert of_kind(objects, "ClusterRole", "ClusterRoleBinding") == []
    for item in of_kind(objects, "Role"):
        for rule in item["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]


@every_set_of_values
def test_no_secret_stands_in_plain(values: dict[str, Any]) -> None:
    for item in render(values):
        if item["kind"] != "Secret":
            shown = yaml.safe_dump(item)
            assert not re.search(r"inline-\d", shown)
            assert not re.search(r"(?i)://[^\s\"':@/]*:[^\s\"'@/]+@", shown)
    for pod in pods(render(values)):
        for container in pod.containers:
            for variable in container.get("env", []):
                if re.search(
                    r"(DATABASE_URL|CONNECTION_URL|AUTH_STRING|TOKEN|DOCKET_URL|MESSAGING_URL|ALERT_URLS)$",
                    variable["name"],
                ):
                    assert variable.keys() == {"name", "valueFrom"}


def test_secrets_that_were_given_as_text_are_in_secrets_and_nowhere_else() -> None:
    secrets = {item["metadata"]["name"] for item in of_kind(render(INLINE), "Secret")}
    made = ("database", "server-database", "server-auth", "api-token", "alerts", "migrations")
    assert secrets == {f"{RELEASE}-{name}" for name in made}
    assert of_kind(render(PRODUCTION), "Secret") == []


@every_set_of_values
def test_default_deny_meets_every_pod(values: dict[str, Any]) -> None:
    objects = render(values)
    policies = of_kind(objects, "NetworkPolicy")
    if not values.get("networkPolicy", {}).get("enabled", True):
        assert policies == []
        return
    default = named(objects, "NetworkPolicy", "default")
    assert default["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in default["spec"]
    for pod in pods(objects):
        assert selects(default["spec"]["podSelector"], pod.labels)


def _may_reach(objects: list[Object], source: Pod, port: int) -> bool:
    for policy in of_kind(objects, "NetworkPolicy"):
        if not selects(policy["spec"]["podSelector"], source.labels):
            continue
        for rule in policy["spec"].get("egress", []):
            if "ports" not in rule or port in [allowed["port"] for allowed in rule["ports"]]:
                return True
    return False


def _is_let_in(objects: list[Object], source: Pod, target: Pod, port: int) -> bool:
    return any(
        port in [allowed["port"] for allowed in rule["ports"]]
        and any("podSelector" in peer and selects(peer["podSelector"], source.labels) for peer in rule["from"])
        for policy in of_kind(objects, "NetworkPolicy")
        if selects(policy["spec"]["podSelector"], target.labels)
        for rule in policy["spec"].get("ingress", [])
    )


@every_set_of_values
def test_the_policies_let_through_what_each_pod_is_told_to_reach(values: dict[str, Any]) -> None:
    if not values.get("networkPolicy", {}).get("enabled", True):
        return
    objects = render(values)
    everyone = list(pods(objects))
    (server,) = [pod for pod in everyone if pod.of == f"{RELEASE}-server"]
    for pod in everyone:
        variables = {variable["name"] for container in pod.containers for variable in container.get("env", [])}
        told = {
            source["configMapRef"]["name"]
            for c in pod.containers
            for source in c.get("envFrom", [])
            if "configMapRef" in source
        }
        assert _may_reach(objects, pod, 53)
        if variables & {"CAI_DATABASE_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"}:
            assert _may_reach(objects, pod, 5432)
        if "PREFECT_SERVER_DOCKET_URL" in variables:
            assert _may_reach(objects, pod, 6379)
        if f"{RELEASE}-platform" in told:  # it carries PREFECT_API_URL
            assert _may_reach(objects, pod, 4200)
            assert _is_let_in(objects, pod, server, 4200)
        if "CAI_ALERT_URLS" in variables or pod.spec["automountServiceAccountToken"]:
            assert _may_reach(objects, pod, 443)


def test_the_services_and_the_migrations_reach_no_source() -> None:
    objects = render(PRODUCTION)
    for pod in pods(objects):
        assert _may_reach(objects, pod, 8443) is (pod.of in {"run", f"{RELEASE}-api"})


CHANGES: dict[str, dict[str, Any]] = {
    "settings": {"settings": {"leaseTtlSeconds": 25}},
    "log level": {"logLevel": "DEBUG"},
    "retention": {"server": {"keepFlowRunsDays": 10}},
    "runs": {"runs": {"ttlSecondsAfterFinished": 60}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_configuration_restarts_the_pods(change: dict[str, Any]) -> None:
    before = {pod.of: pod.annotations for pod in pods(render(PRODUCTION)) if pod.kind == "Deployment"}
    after = {pod.of: pod.annotations for pod in pods(render(laid(PRODUCTION, change))) if pod.kind == "Deployment"}
    for name, annotations in before.items():
        assert annotations["checksum/config"] != after[name]["checksum/config"]


def test_a_changed_secret_of_the_chart_restarts_the_pods() -> None:
    changed = laid(INLINE, {"api": {"token": {"value": "inline-6"}}})
    before = {pod.of: pod.annotations for pod in pods(render(INLINE)) if pod.kind == "Deployment"}
    for pod in pods(render(changed)):
        if pod.kind == "Deployment":
            assert pod.annotations["checksum/secrets"] != before[pod.of]["checksum/secrets"]


def test_the_same_values_restart_nothing() -> None:
    assert render(PRODUCTION) == render(PRODUCTION)


def _hooks(objects: list[Object], event: str) -> list[Object]:
    found = [
        item for item in objects if event in item["metadata"].get("annotations", {}).get("helm.sh/hook", "").split(",")
    ]
    return sorted(found, key=lambda item: int(item["metadata"]["annotations"]["helm.sh/hook-weight"]))


@every_set_of_values
@pytest.mark.parametrize("event", ["pre-install", "pre-upgrade"])
def test_migrations_run_first_and_bring_all_that_they_need(values: dict[str, Any], event: str) -> None:
    objects = render(values)
    hooks = _hooks(objects, event)
    assert [item["metadata"]["name"] for item in of_kind(hooks, "Job")] == [
        f"{RELEASE}-server-migrations",
        f"{RELEASE}-migrations",
    ]
    there: set[tuple[str, str]] = set()
    for item in hooks:
        if item["kind"] == "Job":
            (pod,) = [pod for pod in pods(objects) if pod.of == item["metadata"]["name"]]
            for kind, name, _ in _references(pod):
                # On a first install nothing of the release is there yet.
                assert (kind, name) in there or _given(kind, name)
        else:
            there.add((item["kind"], item["metadata"]["name"]))
            assert "hook-succeeded" in item["metadata"]["annotations"]["helm.sh/hook-delete-policy"]


def test_bootstrap_runs_after_the_release_and_after_a_rollback() -> None:
    for event in ("post-install", "post-upgrade", "post-rollback"):
        assert [item["metadata"]["name"] for item in _hooks(render(PRODUCTION), event)] == [f"{RELEASE}-bootstrap"]


def test_no_pod_waits_for_what_only_a_later_hook_makes() -> None:
    """With `--wait`, Helm runs bootstrap once all pods are ready: a worker that needed its pool would never be."""
    for pod in pods(render(PRODUCTION)):
        if "-worker-" in pod.of:
            args = pod.spec["containers"][0]["args"]
            assert args[args.index("--type") + 1] == "kubernetes"
            assert "--base-job-template" in args


def test_one_server_without_redis_is_never_two() -> None:
    small = named(render(), "Deployment", "server")
    assert small["spec"]["strategy"] == {"type": "Recreate"}
    assert small["spec"]["replicas"] == 1
    large = named(render(PRODUCTION), "Deployment", "server")
    assert large["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "--no-services" in large["spec"]["template"]["spec"]["containers"][0]["args"]


def test_several_servers_share_messages_leases_and_schedules_through_redis() -> None:
    objects = render(PRODUCTION)
    data = named(objects, "ConfigMap", "server")["data"]
    assert data["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"] == "prefect_redis.lease_storage"
    assert data["PREFECT_MESSAGING_BROKER"] == data["PREFECT_MESSAGING_CACHE"] == "prefect_redis.messaging"
    assert data["PREFECT_SERVER_EVENTS_CAUSAL_ORDERING"] == "prefect_redis.ordering"
    assert data["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] == "false"
    for name in ("server", "services"):
        container = named(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]
        assert {"PREFECT_SERVER_DOCKET_URL", "PREFECT_REDIS_MESSAGING_URL"} <= {
            item["name"] for item in container["env"]
        }


def test_what_stands_behind_a_service_answers_until_nothing_is_sent_there_any_more() -> None:
    objects = render(PRODUCTION)
    for service in of_kind(objects, "Service"):
        pod = named(objects, "Deployment", service["metadata"]["name"].removeprefix(f"{RELEASE}-"))["spec"]["template"][
            "spec"
        ]
        pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
        assert 0 < pause < pod["terminationGracePeriodSeconds"] / 2


def test_the_background_services_are_ended_by_the_signal_that_they_handle() -> None:
    (container,) = named(render(PRODUCTION), "Deployment", "services")["spec"]["template"]["spec"]["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sh", "-c", "kill -INT 1"]


def test_leases_outlive_the_one_server_of_a_small_cluster() -> None:
    objects = render()
    container = named(objects, "Deployment", "server")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "prefect-home", "mountPath": "/home/cai/.prefect"} in container["volumeMounts"]
    assert named(objects, "PersistentVolumeClaim", "server")["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep"
    }


def test_the_server_answers_where_everybody_is_told() -> None:
    objects = render(PRODUCTION)
    service = named(objects, "Service", "server")
    assert service["spec"]["ports"][0]["port"] == 4200
    assert named(objects, "ConfigMap", "platform")["data"]["PREFECT_API_URL"] == f"http://{RELEASE}-server:4200/api"


def test_the_ui_is_told_the_ingress_and_its_websockets_may_idle() -> None:
    objects = render(laid(PRODUCTION, WAY_IN))
    assert named(objects, "ConfigMap", "server")["data"]["PREFECT_UI_API_URL"] == "https://prefect.clinic.example/api"
    ingress = named(objects, "Ingress", "ingress")
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "3600"
    assert {host for entry in ingress["spec"]["tls"] for host in entry["hosts"]} == {
        rule["host"] for rule in ingress["spec"]["rules"]
    }
    paths = [path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    assert "/metrics" not in paths


def test_the_control_plane_has_a_worker_of_its_own_and_a_standby() -> None:
    objects = render(PRODUCTION)
    args = named(objects, "Deployment", "worker-control")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[args.index("--work-queue") + 1] == "controller"
    assert named(objects, "Deployment", "controller")["spec"]["replicas"] == 2


def test_an_outage_of_prefect_does_not_end_the_loads_of_a_process_worker() -> None:
    container = named(render(), "Deployment", "worker-loads")["spec"]["template"]["spec"]["containers"][0]
    assert "tcpSocket" in container["livenessProbe"]


def test_a_run_is_started_once_and_cleared_away() -> None:
    template = job_template(render(PRODUCTION))
    spec = template["job_configuration"]["job_manifest"]["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["ttlSecondsAfterFinished"] == "{{ finished_job_ttl }}"
    assert template["variables"]["properties"]["finished_job_ttl"]["default"] == 3600


def test_connectors_secrets_reach_runs_and_the_api_and_nobody_else() -> None:
    for pod in pods(render(PRODUCTION)):
        given = any("secretRef" in source for container in pod.containers for source in container.get("envFrom", []))
        assert given is (pod.of in {"run", f"{RELEASE}-api"})


def _variables(pod: Pod) -> dict[str, dict[str, Any]]:
    """The variables of a pod's last container, which is the one that does its work."""
    return {variable["name"]: variable for variable in pod.containers[-1].get("env", [])}


def test_the_key_of_masked_columns_reaches_what_runs_loads_and_nothing_else() -> None:
    for values, holders in (
        (PRODUCTION, {"run"}),
        (MATRIX["small-masking"], {f"{RELEASE}-worker-loads", f"{RELEASE}-worker-control"}),
        ({}, set()),
    ):
        assert {pod.of for pod in pods(render(values)) if "CAI_SECRET_MASK_KEY" in json.dumps(pod.spec)} == holders
    (run,) = [pod for pod in pods(render(PRODUCTION)) if pod.of == "run"]
    reference = _variables(run)["CAI_SECRET_MASK_KEY"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "clinical-ai-prefect-mask", "key": "key"}


def test_no_load_may_make_a_masking_key_that_ends_with_its_pod() -> None:
    """The same patient would have another hash after each restart, and merges by it would double rows."""
    required = {"name": "CAI_MASK_KEY_REQUIRED", "value": "1"}
    for values in MATRIX.values():
        for pod in pods(render(values)):
            loads = pod.of == "run" or ("-worker-" in pod.of and "CAI_DATABASE_URL" in _variables(pod))
            keeps = any("persistentVolumeClaim" in volume for volume in pod.spec["volumes"])
            assert (_variables(pod).get("CAI_MASK_KEY_REQUIRED") == required) is (loads and not keeps), pod.of


@pytest.mark.parametrize(
    ("name", "told"),
    [("small", False), ("production", False), ("small-kubernetes", True), ("small-no-volumes", True)],
)
def test_who_has_no_key_for_masked_columns_is_told_so(name: str, told: bool) -> None:
    assert ("masking.existingSecret" in notes(MATRIX[name])) is told


def test_the_limit_of_loads_is_told_to_the_step_that_makes_their_queue() -> None:
    for values, limit in ((PRODUCTION, "50"), ({}, None), (MATRIX["production-extended"], None)):
        (pod,) = [pod for pod in pods(render(values)) if pod.of == f"{RELEASE}-bootstrap"]
        (step,) = [container for container in pod.containers if "deployments.bootstrap" in container["args"]]
        told = {variable["name"]: variable.get("value") for variable in step["env"]}
        assert told.get("CAI_WORK_QUEUE_LIMIT") == limit


@pytest.mark.parametrize("values", [{}, PRODUCTION], ids=["small", "production"])
def test_what_an_installation_adds_is_in_every_container_that_works(values: dict[str, Any]) -> None:
    """A certificate of the clinic, say: one workload without it cannot reach the database."""
    for pod in pods(render(laid(values, EXTENDED))):
        assert EXTRA["extraVolumes"][0] in pod.spec["volumes"], pod.of
        for container in pod.containers:
            if container["name"] != "wait-for-server":
                assert EXTRA["extraVolumeMounts"][0] in container["volumeMounts"], pod.of
                assert container["env"][-1] == EXTRA["extraEnv"][0], pod.of
                assert container["envFrom"][-1] == EXTRA["extraEnvFrom"][0], pod.of


def test_one_workers_additions_are_its_own() -> None:
    objects = render({"workers": {"loads": {"extraVolumes": EXTRA["extraVolumes"]}}})
    for worker, added in (("worker-loads", True), ("worker-control", False)):
        volumes = named(objects, "Deployment", worker)["spec"]["template"]["spec"]["volumes"]
        assert (EXTRA["extraVolumes"][0] in volumes) is added


def test_every_account_may_carry_a_role_of_the_cloud() -> None:
    objects = render(laid(PRODUCTION, EXTENDED))
    annotations = EXTRA["serviceAccount"]["annotations"]
    accounts = of_kind(objects, "ServiceAccount")
    assert {pod.spec["serviceAccountName"] for pod in pods(objects)} == {item["metadata"]["name"] for item in accounts}
    for item in accounts:
        assert item["metadata"]["annotations"].items() >= annotations.items()
        assert item["automountServiceAccountToken"] is False


def test_an_account_that_is_there_is_taken_and_none_is_made() -> None:
    objects = render(MATRIX["production-own-accounts"])
    accounts = {pod.of: pod.spec["serviceAccountName"] for pod in pods(objects)}
    assert accounts["run"] == "clinic-runs"
    assert accounts[f"{RELEASE}-worker-loads"] == accounts[f"{RELEASE}-worker-control"] == "clinic-workerdefaults"
    assert accounts[f"{RELEASE}-migrations"] == accounts[f"{RELEASE}-bootstrap"] == "clinic-jobs"
    made = {item["metadata"]["name"] for item in of_kind(objects, "ServiceAccount")}
    assert made == {"clinic-controller", *(f"{RELEASE}-{name}" for name in ("server", "services", "api"))}
    (binding,) = of_kind(objects, "RoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == ["clinic-workerdefaults"]


def test_settings_reach_the_application_under_its_own_names() -> None:
    data = named(render(MATRIX["production-placed"]), "ConfigMap", "platform")["data"]
    ours = {name for name in data if name.startswith("CAI_")}
    assert ours <= {f"CAI_{name.upper()}" for name in Settings.model_fields}
    assert data["CAI_LEASE_TTL_SECONDS"] == "20"
    assert data["CAI_SPLIT_BYTES"] == "1099511627776", "no exponent"
    assert data["CAI_LOCAL_FILE_ROOTS"] == "/mnt/a,/mnt/b"
    assert json.loads(data["CAI_DEFAULT_DESTINATION"])["type"] == "postgres"


def test_every_variable_of_ours_in_a_pod_is_a_setting_or_a_connectors_secret() -> None:
    known = {f"CAI_{name.upper()}" for name in Settings.model_fields}
    for values in MATRIX.values():
        for pod in pods(render(values)):
            for container in pod.containers:
                ours = {v["name"] for v in container.get("env", []) if v["name"].startswith("CAI_")}
                assert {name for name in ours if not name.startswith("CAI_SECRET_")} <= known, pod.of


def test_every_setting_of_the_application_can_be_made_in_the_values() -> None:
    elsewhere = {
        *("database_url", "alert_urls", "api_token"),  # secrets
        *("work_pool", "work_queue", "work_queue_limit"),  # workPool
        "mask_key_required",  # masking
        *("code_path", "code_version", "data_dir", "api_host", "api_port"),  # the image's and the chart's own
        "metrics_port",  # controller.metricsPort
        *("drain_seconds", "run_memory_megabytes"),  # workerDefaults.warm
        "warm_workers",  # of `make run` alone: here workPool.type says it
        *SignInSettings.model_fields,  # api.signIn
    }
    assert Settings.model_fields.keys() - elsewhere == ValuesSettings.model_fields.keys()


def test_prefects_automations_may_notify_people() -> None:
    objects = render(laid(PRODUCTION, {"settings": {"notificationBlock": "slack-webhook/operations"}}))
    (services,) = [pod for pod in pods(objects) if pod.of == f"{RELEASE}-services"]
    assert _may_reach(objects, services, 443)


def test_a_workloads_own_placement_is_laid_over_the_common_one() -> None:
    objects = render(MATRIX["production-placed"])
    assert named(objects, "Deployment", "controller")["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "slow"}
    assert named(objects, "Deployment", "api")["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "fast"}


def test_no_connector_is_installed() -> None:
    for values in MATRIX.values():
        shown = yaml.safe_dump_all(render(values))
        assert "run_connector_pipeline" not in shown
        assert "-pipeline" not in shown


def test_another_release_name_gets_other_objects() -> None:
    for item in render(PRODUCTION, release="demo"):
        assert item["metadata"]["name"].startswith("demo-clinical-ai-prefect-")
    for item in render(PRODUCTION, release="r" * 53):
        assert len(item["metadata"]["name"]) <= 63
