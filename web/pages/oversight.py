"""Audit and access, for admins: who did what, whether the history is whole, and who holds which token."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from connectors.errors import ReasonRequiredError, RequestError
from connectors.history import Action, changes_between
from connectors.limits.ids import parse_id
from connectors.people import Person, Role
from database.audit import AuditFilter
from use_cases.history import History
from use_cases.tokens import Tokens
from web.refusing import PageRoute
from web.rendering import Changer, Sent, Visitor, go_to, page

router = APIRouter(route_class=PageRoute)

ENTRIES = 50


@router.get("/audit")
async def audit(request: Request, person: Visitor, actor: str = "", action: str = "", before: str = "") -> Response:
    """The entries that fit, the newest first."""
    return await _audit(request, person, actor, action, before)


async def _audit(
    request: Request, person: Visitor, actor: str = "", action: str = "", before: str = "", **values: Any
) -> Response:
    history = History(request.app.state.engine, person)
    which = AuditFilter(actor=actor.strip() or None, action=action.strip() or None)
    found = await history.page(which, limit=ENTRIES, before=parse_id(before))
    return page(
        request,
        "audit.html",
        entries=[(each, changes_between(each.before, each.after)) for each in found.entries],
        before=found.before,
        actor=actor,
        action=action,
        actions=list(Action),
        **{"verification": None, **values},
    )


@router.post("/audit/verify")
async def verify(request: Request, person: Visitor, sent: Sent) -> Response:
    """Prove the whole history, and say what was found."""
    verification = await History(request.app.state.engine, person).verify()
    return await _audit(request, person, verification=verification)


@router.get("/access")
async def access(request: Request, person: Visitor) -> Response:
    """The tokens that the visitor may manage."""
    return await _access(request, person)


def _tokens(request: Request, person: Person) -> Tokens:
    return Tokens(request.app.state.engine, person, reason_required=request.app.state.service.reason_required)


async def _access(request: Request, person: Visitor, status: int = 200, **values: Any) -> Response:
    tokens = await _tokens(request, person).listed()
    told = {"made": None, "refused": "", "typed": {}, **values}
    return page(request, "access.html", status=status, tokens=tokens, roles=list(Role), **told)


@router.post("/access/tokens")
async def make_token(request: Request, person: Changer, sent: Sent) -> Response:
    """Make a token, and show it this once."""
    role, day = sent.get("role", ""), sent.get("expires", "").strip()
    try:
        expires = datetime.fromisoformat(day).replace(tzinfo=UTC) if day else None
    except ValueError:
        return await _access(request, person, 422, refused="The last day must look like 2031-01-31.", typed=sent)
    name = sent.get("name", "").strip()
    if not name or role not in set(Role):
        return await _access(request, person, 422, refused="A token needs a name and a role.", typed=sent)
    try:
        made = await _tokens(request, person).make(name, Role(role), sent.get("team", "").strip() or None, expires)
    except RequestError as error:
        return await _access(request, person, 409, refused=str(error), typed=sent)
    return await _access(request, person, made=made)


@router.post("/access/tokens/{number}/revoke")
async def revoke_token(request: Request, number: str, person: Changer, sent: Sent) -> Response:
    """Revoke a token: it ends at once."""
    try:
        await _tokens(request, person).revoke(parse_id(number) or 0)
    except ReasonRequiredError as error:
        return await _access(request, person, 422, refused=str(error))
    return go_to("/access", "The token has been revoked.")
