"""One connector: how it stands, its loads and its history, and what can be done with it."""

from fastapi import APIRouter, Request, Response

from connectors.connector import InvalidConnectorError
from connectors.errors import PrefectUnavailableError, RequestError
from connectors.history import changes_between
from connectors.limits.ids import parse_id
from connectors.people import Act
from use_cases.connectors import Service
from use_cases.history import History
from web.presenting import bars, took
from web.refusing import PageRoute
from web.rendering import Sent, UseCases, Visitor, go_to, page

router = APIRouter(route_class=PageRoute)

LOADS = 30
"""Runs that are drawn and listed."""
ENTRIES = 20


@router.get("/connectors/{number}")
async def connector(request: Request, number: str, service: UseCases, person: Visitor) -> Response:
    """The page of one connector."""
    return await _page(request, number, service, person)


async def _page(
    request: Request, number: str, service: Service, person: Visitor, refused: str = "", status: int = 200
) -> Response:
    connector_id = parse_id(number) or 0
    entry = await service.get(connector_id)
    explanation = await service.explain(entry)
    try:
        runs = await service.last_runs(connector_id, LOADS)
    except PrefectUnavailableError:
        runs = None
    history = await History(request.app.state.engine, person).of_connector(connector_id, limit=ENTRIES)
    drawn = bars(
        [
            (
                float(run.rows_loaded or 0),
                "bad" if run.state_type in {"FAILED", "CRASHED"} else "good",
                f"{run.state}: {run.rows_loaded or 0:,} rows in {took(run.started_at, run.ended_at) or 'progress'}",
            )
            for run in reversed(runs or [])
        ]
    )
    return page(
        request,
        "connector.html",
        status=status,
        entry=entry,
        row=entry.row,
        freshness=service.freshness(entry),
        explanation=explanation,
        runs=runs,
        drawn=drawn,
        history=[(each, changes_between(each.before, each.after)) for each in history.entries],
        refused=refused,
        act=Act,
    )


@router.post("/connectors/{number}/{act}")
async def do(request: Request, number: str, act: str, service: UseCases, person: Visitor, sent: Sent) -> Response:
    """One of the page's buttons. What is refused is said on the page, and nothing has changed."""
    connector_id = parse_id(number) or 0
    try:
        match act:
            case "run":
                run = await service.run(connector_id, sent.get("key") or None)
                return go_to(f"/connectors/{number}", f"The run {run.name} has been started.")
            case "pause" | "resume":
                await service.set_active(connector_id, act == "resume")
                return go_to(f"/connectors/{number}", f"The connector has been {act}d.")
            case "retry":
                await service.retry(connector_id)
                return go_to(f"/connectors/{number}", "It is compared with Prefect now.")
            case "delete":
                entry = await service.get(connector_id, Act.CHANGE)
                if sent.get("name", "").strip() != entry.row.name:
                    sentence = "The name that you typed is another one, so nothing was deleted."
                    return await _page(request, number, service, person, sentence, 422)
                await service.delete(connector_id)
                return go_to("/", f"The connector {entry.row.name} has been deleted. Its loaded rows stay.")
            case "restore":
                await service.restore(connector_id, int(sent.get("generation", "0")))
                return go_to(f"/connectors/{number}", "The connector is as it was.")
            case _:
                return await _page(request, number, service, person, "There is no such action.", 404)
    except (RequestError, InvalidConnectorError) as error:
        return await _page(request, number, service, person, str(error), 409)
