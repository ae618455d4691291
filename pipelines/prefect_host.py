"""Prefect as the host of the run that is starting: whether its scheduler made it, and what else is due."""

import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext

from pipelines.missed_run import Due
from prefect_api.names import STARTED_BY

logger = logging.getLogger("prefect.pipelines")

WANTED_STATES = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.COMPLETED]
"""A newer run in one of these makes an older one superfluous; one that failed does not."""


def due_run() -> Due | None:
    """The run in which this is called, if Prefect's scheduler made it; None for any other."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None or not run.auto_scheduled or run.deployment_id is None or run.expected_start_time is None:
        return None
    return Due(run.id, run.deployment_id, run.expected_start_time)


def run_id() -> UUID | None:
    """The id of the run in which this is called; None outside of one."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return None if run is None else run.id


def actor() -> str | None:
    """Who or what started the run in which this is called; None where Prefect does not know."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None:
        return None
    if run.auto_scheduled:
        return "schedule"
    started_by = run.labels.get(STARTED_BY)
    return None if started_by is None else str(started_by)


def newer_run_exists(due: Due) -> bool:
    """Whether Prefect holds a newer run of the deployment that is due, runs or has run.

    When Prefect cannot say, the answer is no: a load too many costs time, a load too few costs data.
    """
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[due.deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=WANTED_STATES)),
        expected_start_time=FlowRunFilterExpectedStartTime(
            after_=due.at + timedelta(seconds=1), before_=datetime.now(UTC)
        ),
    )
    try:
        with get_client(sync_client=True) as client:
            newer = client.read_flow_runs(flow_run_filter=wanted, limit=2)
    except httpx.HTTPError as error:
        logger.warning("Prefect does not say whether a newer run is due (%s): this one runs.", type(error).__name__)
        return False
    return any(run.id != due.run_id for run in newer)
