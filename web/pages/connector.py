"""One connector: how it stands, its loads and its history, and what can be done with it."""

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from fastapi import APIRouter, Request, Response

from connectors.connector import InvalidConnectorError
from connectors.errors import ForbiddenError, NoSuchRunError, NotFoundError, PrefectUnavailableError, RequestError
from connectors.limits.ids import parse_id
from connectors.loads import Decision, of_one_event
from connectors.people import Act, Verdict, may
from connectors.runs import Options, Run
from connectors.sources.write_rules import Comparison
from use_cases.connectors import Service
from use_cases.history import History
from use_cases.timeline import Place, timeline
from web.asked import NOTHING, Typed, names_of
from web.pages.editing import by_field
from web.presenting import STATES, Bar, bars, took
from web.refusing import PageRoute
from web.rendering import Sent, UseCases, Visitor, go_to, page
from web.telling import lines

router = APIRouter(route_class=PageRoute)

LOADS = 30
"""Runs that are drawn and listed."""
MOMENTS = 25
"""Lines of the timeline on one page."""


@router.get("/connectors/{number}")
async def connector(request: Request, number: str, service: UseCases, person: Visitor, before: str = "") -> Response:
    """The page of one connector; `before` is where its timeline goes on."""
    return await _page(request, number, service, person, before=before)


async def _page(
    request: Request,
    number: str,
    service: Service,
    person: Visitor,
    refused: str = "",
    status: int = 200,
    *,
    typed: Typed = NOTHING,
    wrong: Mapping[str, list[str]] | None = None,
    before: str = "",
) -> Response:
    connector_id = parse_id(number) or 0
    entry = await service.get(connector_id)
    explanation = await service.explain(entry)
    try:
        runs = await service.last_runs(connector_id, LOADS)
    except PrefectUnavailableError:
        runs = None
    history, place = History(request.app.state.engine, person), Place.read(before) or Place()
    told_of = await timeline(history, connector_id, limit=MOMENTS, place=place)
    going = [run for run in runs or [] if not run.has_ended and run.state_type != "SCHEDULED"]
    told = await asyncio.gather(*(service.progress(run.id) for run in going))
    return page(
        request,
        "connector.html",
        status=status,
        entry=entry,
        row=entry.row,
        freshness=service.freshness(entry),
        explanation=explanation,
        runs=runs,
        pictures=_pictures(runs or []),
        tables=await service.last_tables(connector_id),
        timeline=lines(told_of.moments),
        older=told_of.after.written() if told_of.after else "",
        newest=place == Place(),
        refused=refused,
        going=going,
        ended=next((run.id for run in runs or [] if run.has_ended), ""),
        held=await service.held_loads(connector_id),
        comparisons=await service.comparisons(connector_id)
        if may(person, Act.RUN, entry.row.team) is Verdict.ALLOWED
        else (),
        changes=of_one_event(await service.schema_changes(connector_id)),
        progress={run.id: each for run, each in zip(going, told, strict=True)},
        names=names_of(entry.row.source),
        typed=typed,
        wrong=wrong or {},
        act=Act,
    )


def _pictures(runs: Sequence[Run]) -> list[tuple[str, list[Bar]]]:
    """The rows and the durations of these runs, the newest at the right."""
    rows, seconds = [], []
    for run in reversed(runs):
        state, count = STATES.get(run.state_type, run.state), run.rows_loaded or 0
        title = f"{state}: {count:,} rows in {took(run.started_at, run.ended_at) or 'progress'}"
        tone = "bad" if run.state_type in {"FAILED", "CRASHED"} else "good"
        rows.append((float(count), tone, title))
        length = (run.ended_at - run.started_at).total_seconds() if run.started_at and run.ended_at else 0.0
        seconds.append((length, tone, title))
    return [("Rows", bars(rows, LOADS)), ("Duration", bars(seconds, LOADS))]


async def _run(request: Request, number: str, service: Service, person: Visitor, sent: Mapping[str, str]) -> Response:
    """Start a load, of all or of what the form says; what is wrong with that is said at its field."""
    connector_id, typed = parse_id(number) or 0, Typed.of(sent)
    timezone = (await service.get(connector_id, Act.RUN)).row.timezone
    try:
        await service.run(connector_id, sent.get("key") or None, typed.options(timezone))
    except InvalidConnectorError as error:
        return await _page(request, number, service, person, "", 422, typed=typed, wrong=by_field(error))
    return go_to(f"/connectors/{number}", "A load has been started: it is shown here as soon as it begins.")


async def _decide(number: str, service: Service, sent: Mapping[str, str], *, approved: bool) -> Response:
    """Let a held load through, or refuse it."""
    held_id = parse_id(sent.get("held", "")) or 0
    if not approved:
        await service.decide_load(parse_id(number) or 0, held_id, Decision.REFUSED)
        return go_to(f"/connectors/{number}", "The load has been refused: nothing of it lands.")
    _, run = await service.decide_load(parse_id(number) or 0, held_id, Decision.APPROVED)
    soon = "a load of it has been started" if run is not None else "the connector's next load brings it"
    return go_to(f"/connectors/{number}", f"The load has been let through: {soon}.")


async def _decide_change(number: str, service: Service, sent: Mapping[str, str], *, approved: bool) -> Response:
    """Approve what has changed at the source, or refuse it: each column of one event, one after the other."""
    decision = Decision.APPROVED if approved else Decision.REFUSED
    ids = [parse_id(text) or 0 for text in sent.get("change", "").split()] or [0]
    changes = [await service.decide_change(parse_id(number) or 0, change_id, decision) for change_id in ids]
    said = "the next load brings it" if approved else "nothing of it lands"
    names, have = ", ".join(each.column_name for each in changes), "have" if len(changes) > 1 else "has"
    return go_to(f"/connectors/{number}", f"{names} {have} been {decision.value}: {said}.")


def _run_id(text: str) -> UUID:
    """Prefect's id of a run. Raises `NoSuchRunError`."""
    try:
        return UUID(text)
    except ValueError:
        raise NoSuchRunError from None


@router.post("/connectors/{number}/{act}")
async def do(request: Request, number: str, act: str, service: UseCases, person: Visitor, sent: Sent) -> Response:
    """One of the page's buttons. What is refused is said on the page, and nothing has changed."""
    connector_id = parse_id(number) or 0
    try:
        match act:
            case "run":
                return await _run(request, number, service, person, sent)
            case "approve" | "refuse":
                decide = _decide_change if "change" in sent else _decide
                return await decide(number, service, sent, approved=act == "approve")
            case "compare":
                await service.run(connector_id, sent.get("key") or None, Options(reconcile=Comparison.SUMS))
                return go_to(
                    f"/connectors/{number}", "It is being compared with its source: what differs is shown here."
                )
            case "cancel":
                await service.cancel(connector_id, _run_id(sent.get("run", "")))
                return go_to(f"/connectors/{number}", "The load is being ended. What it has loaded so far stays.")
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
        status = 403 if isinstance(error, ForbiddenError) else 409
        try:
            return await _page(request, number, service, person, str(error), status)
        except NotFoundError:  # one that is deleted has no page on which its restoring could be refused
            raise error from None
