"""Connectors, specs and deployments as test data, made by the code under test from plain rows."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from connectors.connector import ConnectorRow
from connectors.status import Phase, Reason, Status
from deployments.planning.plan import Desired, desire
from prefect_api.deployment import Observed, Spec
from rigs.control_plane import FILES_SOURCE, PLATFORM

NOW = datetime(2026, 3, 2, 10, 7, tzinfo=UTC)
TAG = PLATFORM.tag

_IDS = UUID("8f6f1d0c-0000-4000-8000-000000000000")


def deployment_id(connector_id: int, which: str = "") -> UUID:
    """The id that the deployment of a connector has in these tests; `which` tells two of them apart."""
    return uuid5(_IDS, f"{connector_id}{which}")


def row(connector_id: int = 1, **values: Any) -> ConnectorRow:
    """A valid, active row that runs every four hours, unless `values` say otherwise."""
    return ConnectorRow(
        **{
            "id": connector_id,
            "name": f"Connector {connector_id}",
            "description": None,
            "schedule": "0 */4 * * *",
            "timezone": "UTC",
            "is_active": True,
            "source": FILES_SOURCE,
            "destination": None,
            "dataset_name": None,
            "run_policy": {},
            "work_pool_name": None,
            "work_queue_name": None,
            "prefect_deployment_id": None,
            "generation": 1,
            **values,
        }
    )


def wanted(connector_id: int = 1, **values: Any) -> Desired:
    """What such a row asks for."""
    return desire(row(connector_id, **values), PLATFORM)


def spec(connector_id: int = 1, **values: Any) -> Spec:
    """The spec of a valid row."""
    wants = wanted(connector_id, **values).wants
    assert isinstance(wants, Spec), wants
    return wants


def held(wants: Spec, number: UUID | None = None, **changes: Any) -> Observed:
    """The deployment in Prefect that equals `wants` but for `changes` of its owned fields."""
    fields = replace(wants.fields, **changes)
    number = number or deployment_id(wants.connector_id)
    return Observed(number, wants.name, fields, tuple(uuid5(number, str(s.slug)) for s in fields.schedules))


def known(connector_id: int = 1, phase: Phase = Phase.SYNCED, **values: Any) -> Status:
    """A status row, of a connector in sync unless told otherwise."""
    number = deployment_id(connector_id)
    return Status(
        connector_id,
        phase,
        **{"reason": Reason.IN_SYNC, "deployment_id": number, "observed_generation": 1, **values},
    )
