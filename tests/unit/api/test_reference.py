"""docs/api.md tells of every route and field of the REST API, and of no others."""

import functools
from typing import Any

from api import access_bodies, answers, bodies, problems
from api.app import create_app
from api.reference import current
from api.sources.asking import looks_of
from prefect_api.run_queries import open_runs
from settings import ROOT, Settings


@functools.cache
def openapi() -> dict[str, Any]:
    """What the API says of itself."""
    settings = Settings()
    looks = looks_of(settings)
    return create_app(settings, open_runs, looks.reach, looks.discovered).openapi()


@functools.cache
def reference() -> str:
    """The page as it must be."""
    return current()


def test_the_reference_is_what_the_api_says() -> None:
    made = reference()
    assert (ROOT / "docs" / "api.md").read_text() == made, (
        "docs/api.md is old: run `python -m api.reference > docs/api.md`"
    )


def test_every_route_and_parameter_is_described() -> None:
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path} says nothing of itself"
            for parameter in operation.get("parameters", ()):
                assert parameter.get("description"), f"{method} {path}: {parameter['name']}"


def test_every_field_of_the_apis_own_bodies_is_described() -> None:
    own = {
        name
        for module in (access_bodies, answers, bodies, problems)
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
    }
    schemas = {name: schema for name, schema in openapi()["components"]["schemas"].items() if name in own}
    assert {"ConnectorInput", "ConnectorPatch", "ConnectorAnswer", "StatusDetail", "Problem"} <= schemas.keys()
    for name, schema in schemas.items():
        for field, about in schema.get("properties", {}).items():
            assert about.get("description"), f"{name}.{field}"


def test_every_field_that_a_connectors_json_may_have_is_described() -> None:
    """But for those of logins and paginators, whose names are dlt's."""
    schemas = openapi()["components"]["schemas"]
    for name in (
        "RunPolicy",
        *(f"{kind}Source" for kind in ("RestApi", "Fhir", "Redcap", "SqlDatabase", "Files")),
        *("SqlTable", "RestResource"),
        *(f"{kind}Destination" for kind in ("Duckdb", "Postgres", "Filesystem", "Other")),
    ):
        for field, about in schemas[name]["properties"].items():
            assert about.get("description") or "const" in about, f"{name}.{field}"


def row(reference: str, heading: str, field: str) -> str:
    """The row of a field in the table under a heading."""
    table = reference.partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    return next(line for line in table.splitlines() if line.startswith(f"| `{field}` |"))


def test_the_reference_prints_bounds_and_what_else_is_taken() -> None:
    made = reference()
    assert "integer (from 1 to 200)" in row(made, "GET /api/v1/connectors", "limit")
    assert "integer (from 0 to 100)" in row(made, "RunPolicy", "retries")
    assert "number (above 0 to 604800) or null" in row(made, "RunPolicy", "timeout_seconds")
    assert "string (from 1 to 200)" in row(made, "ConnectorInput", "name")
    for heading, field in (("SqlTable", "primary_key"), ("SqlTable", "columns"), ("FhirSource", "mask")):
        assert "string (from 1 to 200) or list of string" in row(made, heading, field)
    assert "Default: `merge` with a primary_key, else `append`" in row(made, "SqlTable", "write_disposition")
    assert "[RunPolicy](#runpolicy)" in row(made, "ConnectorInput", "runPolicy")
    assert "Default: `true`." in row(made, "ConnectorInput", "isActive")
    assert "Answers 200 with `text/plain`." in made.partition("### GET /metrics")[2].partition("##")[0]


def test_every_refusal_that_the_api_answers_is_in_the_reference() -> None:
    made = reference()
    for status in (400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 500, 503):
        assert f"\n| {status} | " in made


def test_every_route_of_the_contract_is_there() -> None:
    routes = {(method.upper(), path) for path, methods in openapi()["paths"].items() for method in methods}
    connector = "/api/v1/connectors/{connectorId}"
    assert routes == {
        ("POST", "/api/v1/connectors"),
        ("GET", "/api/v1/connectors"),
        *((method, connector) for method in ("GET", "PUT", "PATCH", "DELETE")),
        *(
            ("POST", f"{connector}/{action}")
            for action in ("activate", "deactivate", "retry", "run", "reconcile", "test")
        ),
        ("GET", f"{connector}/runs"),
        ("GET", f"{connector}/comparisons"),
        *(("GET", f"{connector}/{list_}") for list_ in ("loads", "loads/{runId}", "history", "timeline")),
        ("POST", f"{connector}/restore"),
        ("GET", f"{connector}/schema-changes"),
        *(("POST", f"{connector}/schema-changes/{{changeId}}/{decision}") for decision in ("approve", "refuse")),
        ("GET", f"{connector}/held-loads"),
        *(("POST", f"{connector}/held-loads/{{heldId}}/{decision}") for decision in ("approve", "refuse")),
        ("POST", f"{connector}/runs/{{runId}}/cancel"),
        ("GET", f"{connector}/export"),
        ("POST", "/api/v1/connectors/import"),
        *(("GET", path) for path in ("/api/v1/audit", "/api/v1/audit/verify")),
        ("POST", "/api/v1/schedules/preview"),
        *((method, "/api/v1/tokens") for method in ("POST", "GET")),
        ("DELETE", "/api/v1/tokens/{tokenId}"),
        *((method, "/api/v1/credentials") for method in ("POST", "GET")),
        ("DELETE", "/api/v1/credentials/{name}"),
        ("GET", "/api/v1/protections"),
        *((method, "/api/v1/protections/{name}") for method in ("GET", "PUT", "DELETE")),
        ("GET", "/api/v1/source-limits"),
        *((method, "/api/v1/source-limits/{name}") for method in ("GET", "PUT", "DELETE")),
        *(("POST", f"/api/v1/sources/{action}") for action in ("discover", "test")),
        *(("GET", path) for path in ("/health", "/ready", "/metrics", "/.well-known/jwks.json")),
    }
