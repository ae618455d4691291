"""Import: connectors of a document, compared with what is there before anything is saved."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from fastapi import APIRouter, Request, Response

from connectors.connector import InvalidConnectorError
from connectors.errors import ForbiddenError, RequestError
from connectors.people import Act, Person, may_anywhere
from use_cases.exchange import Exchange, Outcome, Taken
from use_cases.queries import too_low
from web.refusing import PageRoute
from web.rendering import Sent, UseCases, Visitor, page

router = APIRouter(route_class=PageRoute)

Reader = Callable[[str], list[dict[str, Any]]]


@router.get("/connectors/import")
async def begin(request: Request, person: Visitor) -> Response:
    """An empty form."""
    _require(person)
    return _page(request, "")


@router.post("/connectors/import")
async def take_in(request: Request, service: UseCases, person: Visitor, sent: Sent) -> Response:
    """What the document would do; and, once that was seen, do it."""
    _require(person)
    text, reason, doing = sent.get("document", ""), sent.get("reason", ""), sent.get("go") == "do"
    try:
        documents = cast(Reader, request.app.state.documents_of)(text)
        found = await Exchange(service, request.app.state.engine).take_in(documents, dry_run=not doing)
    except InvalidConnectorError as error:
        refused = [(_where(each.pointer), each.message) for each in error.refusals]
        return _page(request, text, reason, refused=refused, status=422)
    except RequestError as error:
        return _page(request, text, reason, refused=[("", str(error))], status=409)
    return _page(request, text, reason, found=found, done=doing)


def _require(person: Person) -> None:
    """Return when the person may change connectors of some team. Raises `ForbiddenError`."""
    if not may_anywhere(person, Act.CHANGE):
        raise ForbiddenError(too_low(Act.CHANGE))


def _where(pointer: str) -> str:
    """Which connector of the document a refusal is about, counted from one, and which of its fields."""
    place, *rest = pointer.removeprefix("/connectors").strip("/").split("/")
    return f"Connector {int(place) + 1}: {', '.join(rest)}" if place.isdigit() else ""


def _page(
    request: Request,
    text: str,
    reason: str = "",
    *,
    found: Sequence[Taken] = (),
    done: bool = False,
    refused: Sequence[tuple[str, str]] = (),
    status: int = 200,
) -> Response:
    words: Mapping[Outcome, str] = {
        Outcome.CREATE: "has been made" if done else "would be made",
        Outcome.UPDATE: "has been changed" if done else "would be changed",
        Outcome.NOTHING: "is as the document says",
    }
    differs = any(each.outcome is not Outcome.NOTHING for each in found)
    return page(
        request,
        "import.html",
        status=status,
        document=text,
        reason=reason,
        found=found,
        done=done,
        refused=refused,
        words=words,
        differs=differs,
    )
