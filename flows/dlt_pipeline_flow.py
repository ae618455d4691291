"""`run_connector_pipeline`: what every connector's deployment runs.

Thin on purpose: the work is `pipelines.run`, Prefect is its host, and its outcome becomes a state.
Nothing heavy is imported before a run needs it, because the controller imports this module to learn its parameters.
"""

from datetime import datetime
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from connectors.sources.write_rules import Comparison
from prefect_api.names import FLOW_NAME


@flow(name=FLOW_NAME, flow_run_name="connector-{connector_id}", persist_result=False)
def run_connector_pipeline(  # noqa: PLR0917  # its parameters are a form in Prefect's UI
    connector_id: int,
    full_refresh: bool = False,
    tables: list[str] | None = None,
    row_limit: Annotated[int, Field(ge=1)] | None = None,
    backfill_from: datetime | None = None,
    backfill_to: datetime | None = None,
    allow_mass_delete: bool = False,
    reconcile: Comparison | None = None,
    ignore_quiet_hours: bool = False,
) -> State[Any]:
    """Load one connector: read its source, and write what is new to its destination.

    Args:
        connector_id: The connector's id in cai_connectors.
        full_refresh: Load everything again, in the place of what is there.
        tables: Only these tables or resources; empty for all.
        row_limit: At most so many rows of each table, to try a connector out.
        backfill_from: Load again what changed since this moment, whatever was loaded before.
        backfill_to: With a backfill: only what changed before this moment.
        reconcile: Load nothing, and compare source and destination: numbers of rows, or sums of all values.
        allow_mass_delete: Delete or mark what is gone at the source, however many rows that are.
        ignore_quiet_hours: Ask the source in its quiet hours, too.
    """
    from connectors.runs import Options  # noqa: PLC0415
    from pipelines.artifacts import Bar, show  # noqa: PLC0415  # see the module's docstring
    from pipelines.errors import RunError, TimeLimitError  # noqa: PLC0415
    from pipelines.host import Listeners  # noqa: PLC0415
    from pipelines.load_events import teller  # noqa: PLC0415
    from pipelines.prefect_host import PrefectHost  # noqa: PLC0415
    from pipelines.run import Skipped, Waiting, run_connector  # noqa: PLC0415
    from settings import Settings  # noqa: PLC0415

    settings = Settings()
    options = Options(
        full_refresh,
        tuple(tables or ()),
        row_limit,
        backfill_from,
        backfill_to,
        reconcile,
        allow_mass_delete,
        ignore_quiet_hours,
    )
    listeners = Listeners(teller(settings.instance, settings.alert_after_failures), Bar(connector_id))
    try:
        outcome = run_connector(connector_id, options, settings, PrefectHost(), listeners)
    except TimeLimitError as error:
        return Failed(name="TimedOut", message=str(error))
    except RunError as error:
        return Failed(message=str(error))
    if isinstance(outcome, Skipped):
        return Completed(name="Skipped", message=outcome.message)
    if isinstance(outcome, Waiting):
        return Completed(name="Waiting", message=outcome.message)
    show(outcome)
    return Completed(message=outcome.sentence)
