"""Application of a plan: each action as its own call to Prefect, many in flight, and what became of each.

One connector's failure is an outcome among others and never stops them. Only three things end the whole: the server is
gone (the rest would fail alike), the lease is gone (nothing may be written any more), and cancellation.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from uuid import UUID

from deployments.planning.plan import Create, Decision, Delete, Pause, Plan
from deployments.reconciling.gateway import Gateway
from prefect_api.calls import BULK_SIZE, chunks
from prefect_api.concurrency_limit import AdaptiveLimiter
from prefect_api.deployment import Patch
from prefect_api.errors import ReconcileError, ServerUnavailableError, TerminalError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """What became of one decision: the deployment's id once it is carried out, or the error that prevented it."""

    decision: Decision
    deployment_id: UUID | None = None
    error: Exception | None = None


async def apply(plan: Plan, gateway: Gateway, limiter: AdaptiveLimiter) -> AsyncGenerator[ActionOutcome, None]:
    """Carry out a plan's actions, each outcome as soon as it is known. Decisions without an action are not in it.

    If the process dies in the middle, what was carried out stands in Prefect and the rest does not; the statuses say so
    or are still the old ones, and the next cycle finds the difference.

    Raises:
        TerminalError: when nothing may be written any more; calls that are under way are cancelled.
    """
    prunes = [decision for decision in plan.decisions if isinstance(decision.action, Delete)]
    singles = [d for d in plan.decisions if d.action is not None and not isinstance(d.action, Delete)]
    batches = [[decision] for decision in singles] + [list(chunk) for chunk in chunks(prunes, BULK_SIZE)]
    work = iter(batches)
    finished: asyncio.Queue[list[ActionOutcome] | BaseException] = asyncio.Queue()
    server_gone: list[ServerUnavailableError] = []

    async def worker() -> None:
        for batch in work:
            if server_gone:
                finished.put_nowait([ActionOutcome(decision, error=server_gone[0]) for decision in batch])
                continue
            try:
                async with limiter.slot():
                    outcomes = await _carry_out(batch, gateway)
            except TerminalError as error:
                finished.put_nowait(error)
                return
            except Exception as error:
                if isinstance(error, ServerUnavailableError):
                    server_gone.append(error)
                elif not isinstance(error, ReconcileError):
                    logger.exception("Connector %s could not be reconciled", batch[0].connector_id)
                outcomes = [ActionOutcome(decision, error=error) for decision in batch]
            finished.put_nowait(outcomes)

    # No task group: it would wrap the error that says who must act in a group of one.
    workers = [asyncio.create_task(worker()) for _ in range(min(limiter.ceiling, len(batches)))]
    try:
        for _ in batches:
            result = await finished.get()
            if isinstance(result, BaseException):
                raise result
            for outcome in result:
                yield outcome
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _carry_out(batch: Sequence[Decision], gateway: Gateway) -> list[ActionOutcome]:
    """One call's worth of decisions: a single one, or several deletes."""
    first = batch[0]
    match first.action:
        case Create(spec=spec):
            return [ActionOutcome(first, await gateway.create(spec))]
        case Patch() as patch:
            await gateway.patch(patch)
            return [ActionOutcome(first, patch.held.id)]
        case Pause(held=held):
            await gateway.pause(held.id)
            return [ActionOutcome(first, held.id)]
        case _:
            await gateway.delete([d.action.deployment_id for d in batch if isinstance(d.action, Delete)])
            return [ActionOutcome(decision) for decision in batch]
