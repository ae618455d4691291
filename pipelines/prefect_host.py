"""Prefect as the host of a run: steps as tasks, its timeout, whether its scheduler made the run, what else is due."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.states import Scheduled
from prefect.utilities.timeout import timeout

from connectors.connector import RunPolicy
from connectors.runs import Options
from pipelines.errors import Step, TransientError
from pipelines.missed_run import Due
from prefect_api.names import STARTED_BY
from prefect_api.part_runs import helping_runs

logger = logging.getLogger("prefect.pipelines")

WANTED_STATES = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.COMPLETED]
"""A newer run in one of these makes an older one superfluous; one that failed does not."""


LONGEST_BACKOFF_SECONDS = 3600
MOST_DELAYS = 50
"""Prefect takes no longer list of delays, and repeats the last one."""


class PrefectHost:
    """The flow run in which this is made; outside of one it has no id and is not due."""

    def __init__(self) -> None:
        context = FlowRunContext.get()
        run = context.flow_run if context is not None else None
        self.run_id: UUID | None = None if run is None else run.id
        self.actor = None if run is None else _actor(run)
        self._deployment_id = None if run is None else run.deployment_id
        self.due: Due | None = None
        if run is not None and run.auto_scheduled and run.deployment_id and run.expected_start_time:
            self.due = Due(run.id, run.deployment_id, run.expected_start_time)

    def newer_run_exists(self, due: Due) -> bool:
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

    def in_step(self, step: Step, policy: RunPolicy, work: Callable[[], None]) -> None:
        """Run a step as a task that is tried again, with growing delays, when its error is transient."""
        delays = [
            min(policy.retry_delay_seconds * 2**number, LONGEST_BACKOFF_SECONDS)
            for number in range(min(policy.retries, MOST_DELAYS))
        ]
        task(
            name=step.value,
            task_run_name=step.value,
            retries=policy.retries,
            retry_delay_seconds=delays or None,
            retry_condition_fn=_worth_a_retry,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(work)()

    def within(self, seconds: float | None) -> contextlib.AbstractContextManager[object]:
        """Prefect's own limit of time."""
        return timeout(seconds)

    def come_again(self, at: datetime, key: str, options: Options) -> None:
        """Have Prefect start another run of the deployment. A run of no deployment is followed by none.

        If the process dies before this, the connector's next run looks.
        """
        if self._deployment_id is None:
            logger.warning("This run is of no deployment: start another one after %s.", at)
            return
        try:
            with get_client(sync_client=True) as client:
                client.create_flow_run_from_deployment(
                    self._deployment_id,
                    parameters=options.asked or None,
                    state=Scheduled(scheduled_time=at),
                    idempotency_key=f"{self._deployment_id}:again {key}",
                    labels=None if self.actor is None else {STARTED_BY: self.actor},
                )
        except (httpx.HTTPError, PrefectException) as error:
            logger.info("Another run could not be asked for: %s.", type(error).__name__)
            raise TransientError(
                "The source can't be asked yet, and Prefect takes no run that would look again: the connector's next "
                "run does, or one that you start."
            ) from None

    @contextlib.contextmanager
    def helped(self, load_id: int, runs: int) -> Iterator[None]:
        """By runs on the work pool and queue of the deployment, as many as there is room for."""
        if self._deployment_id is None:
            yield
            return
        with helping_runs(self._deployment_id, load_id, runs, self.actor):
            yield


def _worth_a_retry(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.data, TransientError)


def _actor(run: FlowRun) -> str | None:
    """Who or what started a run; None where Prefect does not know."""
    if run.auto_scheduled:
        return "schedule"
    started_by = run.labels.get(STARTED_BY)
    return None if started_by is None else str(started_by)
