"""Access in the chart: who else says who somebody is, the API's own database role, and secrets that stay secrets."""

import json
from typing import Any

import pytest

from settings import Settings, SignInSettings
from tests.support.helm.chart import INLINE, PRODUCTION, WAY_IN, laid, named, of_kind, pods, render

SIGN_IN: dict[str, Any] = {
    "api": {
        "signIn": {
            "pageUrl": "https://connectors.clinic.example",
            "oidc": {
                "issuer": "https://login.clinic.example",
                "clientId": "connectors",
                "clientSecret": {"existingSecret": "clinic-oidc"},
                "audience": "api://connectors",
                "groupsClaim": "roles",
                "scopes": "openid groups",
                "roles": {"oncology": {"role": "editor", "team": "oncology"}, "platform": {"role": "admin"}},
            },
            "trustedProxy": {"userHeader": "X-User", "groupsHeader": "X-Groups", "proxies": ["10.1.0.0/16", "::1"]},
        },
        "database": {"existingSecret": "clinic-api-role"},
    },
    "settings": {"credentials": "open", "reasonRequired": True, "auditKeepDays": 400},
}


def told(objects: list[Any], name: str) -> dict[str, Any]:
    """What a workload's containers are told: values as text, secrets as (Secret, key)."""
    found: dict[str, Any] = {}
    for pod in pods(objects):
        if pod.of.endswith(f"-{name}"):
            for each in (entry for container in pod.containers for entry in container.get("env", [])):
                secret = each.get("valueFrom", {}).get("secretKeyRef")
                found[each["name"]] = each["value"] if secret is None else (secret["name"], secret["key"])
    return found


def test_sign_in_reaches_the_api_and_nothing_else() -> None:
    objects = render(laid(PRODUCTION, SIGN_IN))
    api = told(objects, "api")
    ours = {f"CAI_{name.upper()}": name for name in SignInSettings.model_fields}
    assert ours.keys() <= api.keys()
    assert api["CAI_OIDC_CLIENT_SECRET"] == ("clinic-oidc", "secret")
    assert api["CAI_DATABASE_URL"] == ("clinic-api-role", "url")
    for pod in pods(objects):
        if not pod.of.endswith("-api"):
            assert not ours.keys() & told(objects, pod.of.rpartition("-")[2]).keys(), pod.of
    assert told(objects, "controller")["CAI_DATABASE_URL"] != ("clinic-api-role", "url")


def test_the_application_reads_what_the_chart_says(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(laid(PRODUCTION, SIGN_IN))
    platform = named(objects, "ConfigMap", "platform")["data"]
    for name, value in {**platform, **told(objects, "api")}.items():
        if name.startswith("CAI_"):
            monkeypatch.setenv(name, value if isinstance(value, str) else "of-the-test")
    settings = Settings()
    assert settings.page_url == "https://connectors.clinic.example"
    assert settings.oidc_roles["oncology"].team == "oncology"
    assert settings.oidc_roles["platform"].team is None
    assert settings.trusted_proxies == ["10.1.0.0/16", "::1"]
    assert (settings.credentials, settings.reason_required, settings.audit_keep_days) == ("open", True, 400)
    assert json.loads(told(objects, "api")["CAI_OIDC_ROLES"]).keys() == {"oncology", "platform"}


def test_without_it_the_api_is_told_nothing_of_it() -> None:
    api = told(render(PRODUCTION), "api")
    assert not {name for name in api if name.startswith(("CAI_OIDC", "CAI_TRUSTED", "CAI_PAGE"))}
    assert api["CAI_DATABASE_URL"] == told(render(PRODUCTION), "controller")["CAI_DATABASE_URL"]


def test_with_a_provider_the_api_needs_no_token_of_the_environment() -> None:
    api = told(render(laid(PRODUCTION, SIGN_IN, {"api": {"token": {"existingSecret": ""}}})), "api")
    assert "CAI_API_TOKEN" not in api


def test_secrets_that_are_given_as_text_become_secrets() -> None:
    given = {
        "database": {"existingSecret": "", "value": "postgresql://api:inline-6@db/cai"},
        "signIn": {"oidc": {"clientSecret": {"existingSecret": "", "value": "inline-7"}}},
    }
    objects = render(laid(INLINE, SIGN_IN, {"api": given}))
    made = {each["metadata"]["name"] for each in of_kind(objects, "Secret")}
    api = told(objects, "api")
    assert {api["CAI_DATABASE_URL"][0], api["CAI_OIDC_CLIENT_SECRET"][0]} <= made
    rest = [each for each in objects if each["kind"] != "Secret"]
    assert "inline-6" not in json.dumps(rest)
    assert "inline-7" not in json.dumps(rest)


def test_the_page_is_behind_the_ingress_and_metrics_are_not() -> None:
    (ingress,) = of_kind(render(WAY_IN), "Ingress")
    paths = {
        (path["path"], path["pathType"])
        for rule in ingress["spec"]["rules"]
        if rule["host"].startswith("connectors")
        for path in rule["http"]["paths"]
    }
    assert ("/", "Exact") in paths
    assert {("/login", "Prefix"), ("/connectors", "Prefix"), ("/static", "Prefix"), ("/api", "Prefix")} <= paths
    assert "/metrics" not in {path for path, _ in paths}
    assert ("/", "Prefix") not in paths
