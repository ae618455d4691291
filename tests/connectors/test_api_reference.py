"""docs/api.md tells of every route and field of the REST API, and of no others."""

from typing import Any

from connectors import api_models, problems
from connectors.api import create_app
from connectors.api_probe import reach
from connectors.api_reference import current
from connectors.prefect_runs import open_runs
from settings import ROOT, Settings


def openapi() -> dict[str, Any]:
    """What the API says of itself."""
    return create_app(Settings(), open_runs, reach).openapi()


def test_the_reference_is_what_the_api_says() -> None:
    made = current()
    assert (ROOT / "docs" / "api.md").read_text() == made, (
        "docs/api.md is old: run `python -m connectors.api_reference > docs/api.md`"
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
        for module in (api_models, problems)
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
    }
    schemas = {name: schema for name, schema in openapi()["components"]["schemas"].items() if name in own}
    assert {"ConnectorInput", "ConnectorPatch", "ConnectorAnswer", "StatusDetail", "Problem"} <= schemas.keys()
    for name, schema in schemas.items():
        for field, about in schema.get("properties", {}).items():
            assert about.get("description"), f"{name}.{field}"


def test_every_route_of_the_contract_is_there() -> None:
    routes = {(method.upper(), path) for path, methods in openapi()["paths"].items() for method in methods}
    connector = "/api/v1/connectors/{connectorId}"
    assert routes == {
        ("POST", "/api/v1/connectors"),
        ("GET", "/api/v1/connectors"),
        *((method, connector) for method in ("GET", "PUT", "PATCH", "DELETE")),
        *(("POST", f"{connector}/{action}") for action in ("activate", "deactivate", "retry", "run", "test")),
        ("GET", f"{connector}/runs"),
        ("POST", "/api/v1/schedules/preview"),
        *(("GET", path) for path in ("/health", "/ready", "/metrics")),
    }
