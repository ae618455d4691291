"""Logging in at the page and out again: by the provider, by a token of the API, or by a one-time link."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from api.sign_in.bearer import ProviderUnavailableError
from api.sign_in.code_flow import Attempt, CodeFlow, LogInRefusedError
from api.sign_in.door import SESSION, set_cookie
from use_cases.sessions import Opened, Sessions
from web.refusing import PageRoute
from web.rendering import Sent, go_to, page, person_of

router = APIRouter(route_class=PageRoute)

ATTEMPT = "cai_log_in"
ATTEMPT_SECONDS = 600
LONGEST_TOKEN = 16_384
_OURS = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
REFUSED = "Nobody was logged in: {}."


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


Kept = Annotated[Sessions, Depends(_sessions)]


def _leads_to(asked: str) -> str:
    """A page of ours, whatever an address says."""
    return asked if _OURS.fullmatch(asked) and not asked.startswith("/login") else "/"


def _comes_back_to(request: Request) -> str:
    page_url: str | None = request.app.state.page_url
    return (page_url or str(request.base_url).rstrip("/")) + "/login/callback"


def _welcome(request: Request, opened: Opened, leads_to: str) -> Response:
    response = go_to(leads_to)
    seconds = max(1, int(opened.lasts.total_seconds()))
    set_cookie(response, request, SESSION, opened.text, page_url=request.app.state.page_url, seconds=seconds)
    response.delete_cookie(ATTEMPT, path="/login")
    return response


def _form(request: Request, leads_to: str, refused: str = "", status: int = 200) -> Response:
    flow: CodeFlow | None = request.app.state.code_flow
    values = {"leads_to": leads_to, "refused": refused, "provider": flow is not None}
    return page(request, "login.html", status=status, **values)


def _unavailable(request: Request) -> Response:
    sentence = "The sign-in service does not answer. Try again in a moment, or log in with a token."
    return _form(request, "/", sentence, 503)


@router.get("/login")
async def log_in(request: Request, next: str = "/") -> Response:  # noqa: A002  # its name in the address
    """To the provider, or to the form where there is none."""
    leads_to = _leads_to(next)
    if hasattr(request.state, "person") or not request.app.state.asks_for_names:
        return go_to(leads_to)
    flow: CodeFlow | None = request.app.state.code_flow
    if flow is None:
        return _form(request, leads_to)
    try:
        address, attempt = await flow.begin(_comes_back_to(request), leads_to)
    except ProviderUnavailableError:
        return _unavailable(request)
    response = go_to(address)
    page_url = request.app.state.page_url
    set_cookie(response, request, ATTEMPT, attempt.written(), page_url=page_url, seconds=ATTEMPT_SECONDS, path="/login")
    return response


@router.get("/login/callback")
async def come_back(request: Request, sessions: Kept) -> Response:
    """The provider's answer: a session, or why there is none."""
    flow: CodeFlow | None = request.app.state.code_flow
    if flow is None:
        return go_to("/login")
    attempt = Attempt.read(request.cookies.get(ATTEMPT, ""))
    request_id = request.state.request_id
    try:
        person, ends = await flow.finish(attempt, request.query_params, _comes_back_to(request), request_id)
    except LogInRefusedError as error:
        await sessions.refused(str(error), request_id, *([error.name] if error.name else []))
        response = _form(request, "/", REFUSED.format(error), 403)
        response.delete_cookie(ATTEMPT, path="/login")
        return response
    except ProviderUnavailableError:
        return _unavailable(request)
    opened = await sessions.begin(person, ends, by="provider")
    return _welcome(request, opened, _leads_to(attempt.leads_to if attempt else "/"))


@router.get("/login/token")
async def ask_for_token(request: Request, next: str = "/") -> Response:  # noqa: A002
    """The form that takes a token of the API."""
    return _form(request, _leads_to(next))


@router.post("/login/token")
async def log_in_by_token(request: Request, sessions: Kept, sent: Sent) -> Response:
    """A session of whoever holds a token of the API, which ends with it."""
    leads_to, text = _leads_to(sent.get("next", "/")), sent.get("token", "").strip()
    request_id = request.state.request_id
    opened = await sessions.begin_by_token(text, request_id) if 0 < len(text) <= LONGEST_TOKEN else None
    if opened is None:
        await sessions.refused("no such token", request_id)
        return _form(request, leads_to, "There is no such token: it was mistyped, revoked, or has expired.", 403)
    return _welcome(request, opened, leads_to)


@router.get("/login/link")
async def log_in_by_link(request: Request, sessions: Kept, key: str = "") -> Response:
    """The session that a one-time link stands for."""
    opened = await sessions.begin_by_link(key, request.state.request_id) if 0 < len(key) < LONGEST_TOKEN else None
    if opened is None:
        await sessions.refused("no such link", request.state.request_id)
        return _form(request, "/", "This link was used before, or is older than an hour.", 403)
    return _welcome(request, opened, "/")


@router.post("/logout")
async def log_out(request: Request, sessions: Kept) -> Response:
    """End the session, here and in the database."""
    if hasattr(request.state, "session"):
        await sessions.end(request.state.session, person_of(request).actor)
    response = go_to("/login/token" if request.app.state.asks_for_names else "/", "You are logged out.")
    response.delete_cookie(SESSION, path="/")
    return response
