"""Runs that help a large load, started by its own run: they copy parts of it (`flows.parts`).

They are of a deployment of their own, one a work pool, since a connector's deployment lets one run at a time through.
Prefect queues and limits them as it does all runs of the pool and of the queue.
"""

import contextlib
import logging
import uuid
from collections.abc import Iterator
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import PrefectException
from prefect.states import Cancelled

from prefect_api.names import PARTS_ENTRYPOINT, PARTS_FLOW, STARTED_BY

logger = logging.getLogger("prefect.pipelines")

NOT_BEGUN = {StateType.SCHEDULED, StateType.PENDING}


@contextlib.contextmanager
def helping_runs(deployment_id: UUID, load_id: int, count: int, actor: str | None) -> Iterator[None]:
    """Have runs started where those of a deployment run; at the end those that have not begun are called off.

    Whatever Prefect says, the load goes on: it can do without. If the process dies, they find that it has ended.

    Args:
        deployment_id: of the run that is helped.
        load_id: of the load, which is all that Prefect is told.
        count: how many.
        actor: who started that run.
    """
    started: list[UUID] = []
    try:
        with get_client(sync_client=True) as client:
            for run_id in _started(client, deployment_id, load_id, count, actor):
                started.append(run_id)  # one by one, so that each is known whatever becomes of the next
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("Prefect started %s of %s runs to help (%s).", len(started), count, type(error).__name__)
    try:
        yield
    finally:
        try:
            with get_client(sync_client=True) as client:
                for run_id in started:
                    if client.read_flow_run(run_id).state_type in NOT_BEGUN:
                        client.set_flow_run_state(run_id, Cancelled(message="The load is through."), force=True)
        except (httpx.HTTPError, PrefectException) as error:
            logger.info("Runs that would have helped were not called off: %s.", type(error).__name__)


def _started(
    client: SyncPrefectClient, deployment_id: UUID, load_id: int, count: int, actor: str | None
) -> Iterator[UUID]:
    ours = client.read_deployment(deployment_id)
    deployment = client.create_deployment(
        client.create_flow_from_name(PARTS_FLOW),
        name=ours.work_pool_name or "default",
        entrypoint=PARTS_ENTRYPOINT,
        path=ours.path,
        pull_steps=ours.pull_steps,
        work_pool_name=ours.work_pool_name,
        work_queue_name=ours.work_queue_name,
    )
    occasion = uuid.uuid4().hex
    for number in range(count):
        run = client.create_flow_run_from_deployment(
            deployment,
            parameters={"load_id": load_id},
            idempotency_key=f"parts {load_id} {occasion} {number}",
            work_queue_name=ours.work_queue_name,
            job_variables=ours.job_variables,
            labels=None if actor is None else {STARTED_BY: actor},
        )
        yield run.id
