"""The imports of a fork server, so that no run has any: our flows, and what a load imports only when it comes to it.

The list of modules was taken from `sys.modules` after real loads; a test holds that a run imports nothing more.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import pipelines

FLOWS: Mapping[str, str] = {
    "flows/dlt_pipeline_flow.py:run_connector_pipeline": "flows.dlt_pipeline_flow",
    "flows/probe.py:probe_source": "flows.probe",
    "flows/parts.py:load_parts": "flows.parts",
    **{
        f"flows/connector_forms.py:{what}_connector": "flows.connector_forms"
        for what in ("create", "update", "activate", "deactivate", "delete", "test")
    },
}
"""The flows that are run warm, by their entry point, with their module. The controller lives for half a day: it is a
process of its own."""

MODULES = (
    # Prefect's engine
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect._internal.metrics",
    # what dlt, SQLAlchemy and our own code import when a load comes to it
    "adbc_driver_postgresql.dbapi",
    "duckdb",
    "psycopg2",
    "psycopg2.extras",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "dlt.destinations.impl.postgres.factory",
    "dlt.destinations.impl.postgres.postgres",
    "dlt.destinations.impl.duckdb.factory",
    "dlt.destinations.impl.duckdb.duck",
    "dlt.sources.sql_database",
)


def preload() -> None:
    """Import everything.

    Raises:
        ImportError, and whatever a module raises: the code cannot run as it is.
    """
    for module in (*MODULES, *FLOWS.values()):
        importlib.import_module(module)
    for found in pkgutil.walk_packages(pipelines.__path__, "pipelines."):
        importlib.import_module(found.name)


def flow_of(entrypoint: str) -> Any:
    """The flow of an entry point, as it was imported. Raises KeyError for one that is none of ours."""
    module = importlib.import_module(FLOWS[entrypoint])
    return getattr(module, entrypoint.partition(":")[2])
