"""The routes of runs: start one, end one, list them, and what each has loaded."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query

from api.answers import RunAnswer, RunsAnswer
from api.bodies import RunsQuery
from api.routes import BODY, SIGNED_IN, Changing, ConnectorId, Connectors, needs, problems
from api.runs.bodies import LoadAnswer, LoadDetail, LoadsAnswer, LoadsQuery, ReconcileInput, RunInput
from api.runs.comparison_bodies import ComparisonAnswer, ComparisonsAnswer
from connectors.limits.ids import parse_number
from connectors.people import Act
from connectors.runs import EVERYTHING

router = APIRouter(prefix="/api/v1", dependencies=[SIGNED_IN], responses=problems(401, 403, 422, 500, 503))

LONGEST_KEY = 200
"""Characters of an Idempotency-Key."""

RunId = Annotated[UUID, Path(alias="runId", description="Prefect's id of the flow run.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=LONGEST_KEY,
        description="A text of your own, new for each run that you want: sent again, it starts no second run of this "
        "connector and answers with the first. Left out: each call starts a run.",
    ),
]


@router.post(
    "/connectors/{connectorId}/run",
    status_code=202,
    tags=["actions"],
    dependencies=[needs(Act.RUN)],
    responses=problems(404, 409, *BODY),
)
async def run_connector(
    connector_id: ConnectorId,
    service: Changing,
    body: RunInput | None = None,
    idempotency_key: IdempotencyKey = None,
) -> RunAnswer:
    """Start a run now; the connector's overlap policy says what happens if one is going on.

    Without a body it loads as its schedule would. A run of a part says nothing of how the connector does.

    After a 503, or without an answer, it may have been started all the same. With an `Idempotency-Key` the same request
    can be sent again until it is answered: one key starts one run.
    """
    options = EVERYTHING if body is None else body.options
    return RunAnswer.of(await service.run(connector_id, idempotency_key, options))


@router.post(
    "/connectors/{connectorId}/reconcile",
    status_code=202,
    tags=["actions"],
    dependencies=[needs(Act.RUN)],
    responses=problems(404, 409, *BODY),
)
async def reconcile_connector(
    connector_id: ConnectorId,
    service: Changing,
    body: ReconcileInput | None = None,
    idempotency_key: IdempotencyKey = None,
) -> RunAnswer:
    """Start a run that loads nothing and compares what the source has with what has landed.

    It reads both sides as a whole. What it finds is at `.../comparisons` when it is done, and in a sentence the
    `message` of its load (`.../loads/{runId}`): how many rows are missing, too many or different. Their keys stand in
    the dataset's table `_cai_differences`.
    """
    return RunAnswer.of(await service.run(connector_id, idempotency_key, (body or ReconcileInput()).options))


@router.get(
    "/connectors/{connectorId}/comparisons", tags=["runs"], dependencies=[needs(Act.RUN)], responses=problems(404)
)
async def list_comparisons(connector_id: ConnectorId, service: Connectors) -> ComparisonsAnswer:
    """Show how a connector's tables compared with their source when they were last compared, table by table.

    Compared by `.../reconcile`, or after a load that has `verify`. A key may tell whose row it is: keys are shown as
    they landed, so masked ones masked, and to those alone who may have the connector compared. No other value is shown.
    """
    return ComparisonsAnswer(items=[ComparisonAnswer.of(each) for each in await service.comparisons(connector_id)])


@router.post(
    "/connectors/{connectorId}/runs/{runId}/cancel",
    status_code=202,
    tags=["actions"],
    dependencies=[needs(Act.RUN)],
    responses=problems(404),
)
async def cancel_run(connector_id: ConnectorId, run_id: RunId, service: Changing) -> RunAnswer:
    """End a run: it is told to end, its process is ended, and its locks fall.

    Answers with how it stands: `CANCELLED` if it had not begun, else `CANCELLING`, until its worker has ended it some
    seconds later. One that has ended is answered as it is. What it has loaded stays, and the next run goes on from
    there.
    """
    return RunAnswer.of(await service.cancel(connector_id, run_id))


@router.get("/connectors/{connectorId}/runs", tags=["runs"], dependencies=[needs(Act.READ)], responses=problems(404))
async def list_runs(connector_id: ConnectorId, service: Connectors, query: Annotated[RunsQuery, Query()]) -> RunsAnswer:
    """List a connector's last runs: their states, times, and rows loaded."""
    return RunsAnswer(items=[RunAnswer.of(run) for run in await service.last_runs(connector_id, query.limit)])


@router.get("/connectors/{connectorId}/loads", tags=["runs"], dependencies=[needs(Act.READ)], responses=problems(404))
async def list_loads(
    connector_id: ConnectorId, service: Connectors, query: Annotated[LoadsQuery, Query()]
) -> LoadsAnswer:
    """List what a connector's runs have loaded, the newest first, a page at a time.

    By the platform's own load history, which does not ask Prefect. Runs that had nothing to do (skipped) are not in it.
    """
    before = None if query.cursor is None else parse_number(query.cursor)
    page = await service.load_history(connector_id, limit=query.limit, before=before)
    return LoadsAnswer(
        items=[LoadAnswer.of(load) for load in page.loads],
        next_cursor=None if page.before is None else str(page.before),
    )


@router.get(
    "/connectors/{connectorId}/loads/{runId}", tags=["runs"], dependencies=[needs(Act.READ)], responses=problems(404)
)
async def get_load(connector_id: ConnectorId, run_id: RunId, service: Connectors) -> LoadDetail:
    """Show what one run has loaded, table by table."""
    return LoadDetail.of_tables(*await service.load_of_run(connector_id, run_id))
