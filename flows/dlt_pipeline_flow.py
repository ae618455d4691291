"""`run_connector_pipeline`: what every connector's deployment runs.

Thin on purpose: the work is `pipelines.run`, this gives its steps to Prefect as tasks and its outcome as a state.
Nothing heavy is imported before a run needs it, because the controller imports this module to learn its parameters.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed, Failed
from prefect.utilities.timeout import timeout
from pydantic import Field

from prefect_api.names import FLOW_NAME

if TYPE_CHECKING:
    from connectors.connector import RunPolicy

LONGEST_BACKOFF_SECONDS = 3600
MOST_DELAYS = 50
"""Prefect takes no longer list of delays, and repeats the last one."""


@flow(name=FLOW_NAME, flow_run_name="connector-{connector_id}", persist_result=False)
def run_connector_pipeline(  # noqa: PLR0917  # its parameters are a form in Prefect's UI
    connector_id: int,
    full_refresh: bool = False,
    tables: list[str] | None = None,
    row_limit: Annotated[int, Field(ge=1)] | None = None,
    backfill_from: datetime | None = None,
    backfill_to: datetime | None = None,
) -> State[Any]:
    """Load one connector: read its source, and write what is new to its destination.

    Args:
        connector_id: The connector's id in cai_connectors.
        full_refresh: Drop the connector's tables and load everything again.
        tables: Only these tables or resources; empty for all.
        row_limit: At most so many rows of each table, to try a connector out.
        backfill_from: Load again what changed since this moment, whatever was loaded before.
        backfill_to: With a backfill: only what changed before this moment.
    """
    from pipelines.artifacts import Bar, show  # noqa: PLC0415  # see the module's docstring
    from pipelines.errors import RunError, TimeLimitError, TransientError  # noqa: PLC0415
    from pipelines.load_events import teller  # noqa: PLC0415
    from pipelines.prefect_host import actor, due_run, newer_run_exists, run_id  # noqa: PLC0415
    from pipelines.run import Options, Skipped, run_connector  # noqa: PLC0415
    from settings import Settings  # noqa: PLC0415

    settings = Settings()
    options = Options(
        full_refresh,
        tuple(tables or ()),
        row_limit,
        backfill_from,
        backfill_to,
        due=due_run(),
        newer_exists=newer_run_exists,
        run_id=run_id(),
        actor=actor(),
        tell=teller(settings.instance, settings.alert_after_failures),
        report=Bar(connector_id),
    )
    try:
        outcome = run_connector(connector_id, options, settings, _as_task(TransientError), timeout)
    except TimeLimitError as error:
        return Failed(name="TimedOut", message=str(error))
    except RunError as error:
        return Failed(message=str(error))
    if isinstance(outcome, Skipped):
        return Completed(name="Skipped", message=outcome.message)
    show(outcome)
    return Completed(message=outcome.sentence)


def _as_task(transient: type[Exception]) -> "Callable[[str, RunPolicy, Callable[[], None]], None]":
    """A way to run a step as a Prefect task that is tried again, with growing delays, when its error is transient."""

    def worth_a_retry(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
        return isinstance(state.data, transient)

    def in_task(name: str, policy: "RunPolicy", work: Callable[[], None]) -> None:
        delays = [
            min(policy.retry_delay_seconds * 2**number, LONGEST_BACKOFF_SECONDS)
            for number in range(min(policy.retries, MOST_DELAYS))
        ]
        step = task(
            name=name,
            task_run_name=name,
            retries=policy.retries,
            retry_delay_seconds=delays or None,
            retry_condition_fn=worth_a_retry,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(work)
        step()

    return in_task
