"""The routes of `/api/v1`: each reads a request, calls one use case, and shapes the answer."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Protocol, TypeVar, cast

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.security import HTTPBearer
from pydantic import BeforeValidator

from api.answers import (
    ConnectorAnswer,
    ConnectorDetail,
    ConnectorPage,
    ProbeAnswer,
    SchedulePreview,
)
from api.bodies import ConnectorInput, ConnectorPatch, ConnectorQuery, SchedulePreviewInput, plain_digits
from api.problems import MEDIA_TYPE
from connectors.connector import ConnectorRow, InvalidConnectorError
from connectors.errors import ForbiddenError
from connectors.limits.ids import LARGEST_ID, parse_number
from connectors.people import Act, Person, may_anywhere
from connectors.refusals import Refusal
from database.connectors import Filter
from use_cases.connectors import Service, Versions
from use_cases.queries import Entry, too_low

LONGEST_REASON = 1000
"""Characters of a reason."""


class Tester(Protocol):
    """Reaches the source of a connector."""

    async def __call__(self, row: ConnectorRow, *, both: bool = False) -> ProbeAnswer:
        """What was found; with `both` also whether the destination can be written. Raises nothing for what is not."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of a route's refusals."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": MEANINGS[status], "content": content} for status in statuses}


MEANINGS = {
    400: "The body is not JSON.",
    401: "No token of this API was sent.",
    403: "The role is too low, or the team another one; or the API asks for no token, and so answers only this "
    "machine, at 127.0.0.1 or localhost.",
    404: "There is no such thing, or it is another team's.",
    405: "The address does not take this method; the header `Allow` names those that it takes.",
    409: "Another connector has the name, a constraint of the database's own refuses it because of other rows, or this "
    "one cannot be started as it stands.",
    412: "The connector has changed since: `If-Match` names another generation.",
    413: "The body is too long.",
    415: "The body is not sent as JSON.",
    422: "A field or parameter cannot be accepted, by us or by the database's own constraints; nothing has changed.",
    500: "Something is wrong on our side; operations find it in the API's log.",
    502: "The source can't be reached, or refuses: the sentence says why.",
    503: "The database, or what this needs of Prefect, does not answer; `Retry-After` says how many seconds to wait.",
}
"""What each refusal means, the same on every route."""
BODY = (400, 413, 415)
_ETAG = {"ETag": {"description": "The connector's version: its generation.", "schema": {"type": "string"}}}


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service).acting_for(request.state.person)


def tester_of(request: Request) -> Tester:
    """What reaches a source, for a route."""
    return cast(Tester, request.app.state.tester)


def needs(act: Act) -> Any:
    """The dependency that refuses whoever may do this nowhere, before the body is looked at.

    Each route under `/api` says by it what it does. A route of one connector is left to the use case, which knows whose
    it is: of another team's it must not even be learned that it is there.

    Raises:
        ForbiddenError: from the dependency.
    """

    def refuse(request: Request) -> None:
        if "connectorId" not in request.path_params and not may_anywhere(request.state.person, act):
            raise ForbiddenError(too_low(act))

    return Depends(refuse)


SIGNED_IN = Depends(HTTPBearer(auto_error=False, description="A token of the API: docs/access.md."))


def _if_match(
    if_match: Annotated[
        str | None, Header(alias="If-Match", description="The ETag that you have seen; stale: 412. Left out: any.")
    ] = None,
) -> Versions:
    """The versions that the header names; None when any will do."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = (re.fullmatch(r'(?:W/)?"?([0-9]+(?:-[0-9a-f]+)?)"?', tag.strip()) for tag in if_match.split(","))
    return {tag[1] for tag in tags if tag}


def _with_reason(
    request: Request,
    x_reason: Annotated[
        str | None,
        Header(
            alias="X-Reason",
            max_length=LONGEST_REASON,
            description="Why, in your own words (UTF-8): kept in the history. With CAI_REASON_REQUIRED a change "
            "without one is refused.",
        ),
    ] = None,
) -> Person:
    """Whoever asks, with the reason that this request gives."""
    person: Person = request.state.person
    return replace(person, actor=replace(person.actor, reason=_read(x_reason or "").strip() or None))


WithReason = Annotated[Person, Depends(_with_reason)]

UseCases = TypeVar("UseCases")


def seeing(use_cases: Callable[..., UseCases]) -> Callable[[Request], UseCases]:
    """The dependency that gives the use cases of one subject to whoever asks."""

    def made(request: Request) -> UseCases:
        return use_cases(request.app.state.engine, request.state.person)

    return made


def changing(use_cases: Callable[..., UseCases]) -> Callable[[Request, Person], UseCases]:
    """The same for a change, with the reason that was given for it."""

    def made(request: Request, person: WithReason) -> UseCases:
        return use_cases(request.app.state.engine, person, reason_required=request.app.state.service.reason_required)

    return made


def _changing(request: Request, person: WithReason) -> Service:
    return cast(Service, request.app.state.service).acting_for(person)


def _read(header: str) -> str:
    """A header's text: sent as UTF-8 as often as not, and read by the server as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


Connectors = Annotated[Service, Depends(_service)]
Changing = Annotated[Service, Depends(_changing)]
ConnectorId = Annotated[
    int,
    Path(alias="connectorId", ge=1, le=LARGEST_ID, description="The connector's id, in plain digits."),
    BeforeValidator(plain_digits),
]
Seen = Annotated[Versions, Depends(_if_match)]

router = APIRouter(
    prefix="/api/v1",
    dependencies=[SIGNED_IN],
    responses=problems(401, 403, 422, 500, 503),
)


def answer_of(entry: Entry, service: Service, response: Response) -> ConnectorAnswer:
    response.headers["ETag"] = f'"{entry.row.version}"'
    return ConnectorAnswer.of(entry, service.freshness(entry))


def responses_of(status: int, *refusals: int, headers: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    return {status: {"headers": _ETAG | (headers or {})}, **problems(*refusals)}


_LOCATION = {"Location": {"description": "Where the connector is.", "schema": {"type": "string"}}}


@router.post(
    "/connectors",
    status_code=201,
    tags=["connectors"],
    dependencies=[needs(Act.CHANGE)],
    responses=responses_of(201, 409, *BODY, headers=_LOCATION),
)
async def create_connector(body: ConnectorInput, service: Changing, response: Response) -> ConnectorAnswer:
    """Create a connector.

    Answers as soon as it is saved, whether or not Prefect is up; `status` then says how it gets there.
    """
    entry = await service.create(body.given())
    response.headers["Location"] = f"/api/v1/connectors/{entry.row.id}"
    return answer_of(entry, service, response)


@router.get("/connectors", tags=["connectors"], dependencies=[needs(Act.READ)])
async def list_connectors(service: Connectors, query: Annotated[ConnectorQuery, Query()]) -> ConnectorPage:
    """List connectors, in the order of their ids, a page at a time."""
    which = Filter(query.is_active, query.phase, query.freshness, query.q, team=query.team)
    page = await service.page(
        which, limit=query.limit, after=None if query.cursor is None else parse_number(query.cursor)
    )
    return ConnectorPage(
        items=[ConnectorAnswer.of(entry, service.freshness(entry)) for entry in page.entries],
        next_cursor=None if page.after is None else str(page.after),
    )


@router.get(
    "/connectors/{connectorId}", tags=["connectors"], dependencies=[needs(Act.READ)], responses=responses_of(200, 404)
)
async def get_connector(connector_id: ConnectorId, service: Connectors, response: Response) -> ConnectorDetail:
    """Show a connector, and why it isn't running.

    `status` joins the table, the controller's status and Prefect. While Prefect does not answer, it says so and tells
    the rest.
    """
    entry = await service.get(connector_id)
    detail = ConnectorDetail.explained(entry, await service.explain(entry))
    response.headers["ETag"] = f'"{entry.row.version}"'
    return detail


@router.put(
    "/connectors/{connectorId}",
    tags=["connectors"],
    dependencies=[needs(Act.CHANGE)],
    responses=responses_of(200, 404, 409, 412, *BODY),
)
async def replace_connector(
    connector_id: ConnectorId, body: ConnectorInput, seen: Seen, service: Changing, response: Response
) -> ConnectorAnswer:
    """Replace a connector: fields that are left out get their defaults."""
    return answer_of(await service.replace(connector_id, body.given(), seen), service, response)


@router.patch(
    "/connectors/{connectorId}",
    tags=["connectors"],
    dependencies=[needs(Act.CHANGE)],
    responses=responses_of(200, 404, 409, 412, *BODY),
)
async def update_connector(
    connector_id: ConnectorId, body: ConnectorPatch, seen: Seen, service: Changing, response: Response
) -> ConnectorAnswer:
    """Change some fields of a connector, each as a whole: fields that are left out stay as they are."""
    return answer_of(await service.update(connector_id, body.given(), seen), service, response)


@router.delete(
    "/connectors/{connectorId}",
    status_code=204,
    tags=["connectors"],
    dependencies=[needs(Act.CHANGE)],
    responses=problems(404, 412),
)
async def delete_connector(connector_id: ConnectorId, seen: Seen, service: Changing) -> None:
    """Delete a connector. `restore` brings it back, as its history has it.

    Its row goes at once, and its deployment and future runs are removed from Prefect soon after, or once Prefect
    answers again. A run in progress ends by itself. The rows that were loaded stay where they are.
    """
    await service.delete(connector_id, seen)


@router.post(
    "/connectors/{connectorId}/activate",
    tags=["actions"],
    dependencies=[needs(Act.CHANGE)],
    responses=responses_of(200, 404, 412),
)
async def activate_connector(
    connector_id: ConnectorId, seen: Seen, service: Changing, response: Response
) -> ConnectorAnswer:
    """Have a connector run as scheduled. If it already is active, what was changed by hand in Prefect is repaired."""
    return answer_of(await service.set_active(connector_id, True, seen), service, response)


@router.post(
    "/connectors/{connectorId}/deactivate",
    tags=["actions"],
    dependencies=[needs(Act.CHANGE)],
    responses=responses_of(200, 404, 412),
)
async def deactivate_connector(
    connector_id: ConnectorId, seen: Seen, service: Changing, response: Response
) -> ConnectorAnswer:
    """Have a connector run no more until it is activated. A run in progress goes on to its end."""
    return answer_of(await service.set_active(connector_id, False, seen), service, response)


@router.post(
    "/connectors/{connectorId}/retry",
    status_code=202,
    tags=["actions"],
    dependencies=[needs(Act.RUN)],
    responses=responses_of(202, 404),
)
async def retry_connector(connector_id: ConnectorId, service: Changing, response: Response) -> ConnectorAnswer:
    """Have the controller compare a connector with Prefect at once, instead of at its next try."""
    return answer_of(await service.retry(connector_id), service, response)


@router.post(
    "/connectors/{connectorId}/test", tags=["actions"], dependencies=[needs(Act.TEST)], responses=problems(404)
)
async def test_connector(
    connector_id: ConnectorId, service: Changing, tester: Annotated[Tester, Depends(tester_of)]
) -> ProbeAnswer:
    """Reach a connector's source, and show its first rows. Nothing is loaded.

    With CAI_PROBE=worker it is reached from where its loads run; else from where the API runs, with the secrets that
    the API may read, and what only a worker can reach is tried by the form `test-connector` in the Prefect UI.
    """
    return await tester((await service.to_test(connector_id)).row)


@router.post("/schedules/preview", tags=["schedules"], dependencies=[needs(Act.READ)], responses=problems(*BODY))
async def preview_schedule(body: SchedulePreviewInput, service: Connectors) -> SchedulePreview:
    """Say what a schedule means before it is saved: in words, in dates, and what may surprise about it."""
    try:
        return SchedulePreview.of(await service.preview(body.cron, body.timezone, body.connector_id))
    except InvalidConnectorError as error:
        # The same sentences; only the body's own key is another.
        named = (Refusal(each.pointer.replace("/schedule", "/cron"), each.message) for each in error.refusals)
        raise InvalidConnectorError(tuple(named)) from None
