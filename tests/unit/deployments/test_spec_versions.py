"""Spec versions are the recorded ones: another version of a deployment would patch every deployment there is.

The values were recorded before the modules moved into their rooms. Whoever changes what a deployment holds, on purpose,
records the new values, and says in CHANGELOG.md that the first cycle patches the whole fleet.
"""

import hashlib
import json
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from connectors.connector import ConnectorRow, validate
from deployments.planning.spec import Platform, desired_spec, job_variables
from flows.dlt_pipeline_flow import run_connector_pipeline

FILES = {"type": "files", "url": "/data/labs", "format": "csv", "table": "labs"}
FHIR = {
    "type": "fhir",
    "base_url": "https://fhir.example.org/r4",
    "auth": {"type": "bearer", "token": {"secret": "emr"}},
}
TABLES = {
    "type": "sql_database",
    "credentials": {"block": "sqlalchemy-connector/emr"},
    "tables": [{"name": "visit", "primary_key": "id", "cursor_column": "updated_at"}],
}

SCHEMA = {
    "title": "Parameters",
    "type": "object",
    "properties": {"connector_id": {"type": "integer", "title": "connector_id", "position": 0}},
    "required": ["connector_id"],
    "definitions": {},
}

PLATFORM = Platform(
    instance="clinical-ai",
    work_pool="default",
    work_queue="default",
    job_variables=job_variables("/app"),
    parameter_schema=SCHEMA,
)

RECORDED: list[tuple[dict[str, Any], str]] = [
    ({"id": 1}, "12ce6fdccde3d7ae"),
    ({"id": 1, "is_active": False}, "12ce6fdccde3d7ae"),
    ({"id": 2, "schedule": None}, "23a410a387208f51"),
    ({"id": 3, "schedule": "H 2 * * MON-FRI", "timezone": "Europe/Berlin", "source": FHIR}, "5bff590b475286a6"),
    (
        {"id": 4, "schedule": "@daily", "description": "From the lab", "run_policy": {"overlap": "skip"}},
        "99581a0323a2fd78",
    ),
    (
        {"id": 9223372036854775807, "source": TABLES, "work_pool_name": "big", "work_queue_name": "night"},
        "ecfc180cb9ab0b76",
    ),
    ({"id": 5, "name": "Laborwerte Ä", "destination": {"type": "duckdb", "path": "labs.duckdb"}}, "c8c2ebcd0a20e04a"),
]


def row(**values: Any) -> ConnectorRow:
    """A valid, active row, unless `values` say otherwise."""
    defaults: dict[str, Any] = {
        "name": "Lab results",
        "description": None,
        "schedule": "0 */4 * * *",
        "timezone": "UTC",
        "is_active": True,
        "source": FILES,
        "destination": None,
        "dataset_name": None,
        "run_policy": {},
        "work_pool_name": None,
        "work_queue_name": None,
        "prefect_deployment_id": None,
        "generation": 1,
    }
    return ConnectorRow(**{**defaults, **values})


@pytest.mark.parametrize(("values", "version"), RECORDED)
def test_the_version_of_a_spec_is_the_recorded_one(values: dict[str, Any], version: str) -> None:
    assert desired_spec(validate(row(**values)), PLATFORM).fields.version == version


def test_the_parameters_of_a_run_are_the_recorded_ones() -> None:
    schema = parameter_schema(run_connector_pipeline).model_dump_for_openapi()
    text = json.dumps(schema, sort_keys=True)
    # Moved on purpose since the house was: a run takes allow_mass_delete, reconcile and ignore_quiet_hours
    # as well.
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "7fe2a499841c02e0"
