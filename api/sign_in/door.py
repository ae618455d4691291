"""The door of the page: whose each request is, by a session or by a proxy, and whether its form came from here.

A form is believed when it sends the text that its page was given: that of the session or, where there is none, of a
cookie that pages of other sites can neither read nor have sent (SameSite=Strict).
"""

import hmac
import logging
import secrets
import uuid
from collections.abc import Callable
from typing import Literal
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.sign_in.proxy import TrustedProxy
from connectors.people import Actor, Person, Via
from database.connection.engine import DATABASE_ERRORS
from use_cases.sessions import Sessions
from web.rendering import page

logger = logging.getLogger(__name__)

SESSION = "cai_session"
FORM = "cai_form"
LONGEST_COOKIE = 200


class PageDoor:
    """Tells each request of a page whose it is, in `request.state.person`, and refuses forms from elsewhere."""

    def __init__(
        self,
        app: ASGIApp,
        is_page: Callable[[Scope], bool],
        proxy: TrustedProxy | None = None,
        page_url: str | None = None,
    ) -> None:
        self._app = app
        self._is_page = is_page
        self._proxy = proxy
        self._page_url = page_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 or 503 itself, or passes the request on."""
        if scope["type"] != "http" or not self._is_page(scope):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        request.state.request_id = request.headers.get("x-request-id", "")[:100] or str(uuid.uuid4())
        try:
            await self._know(request)
        except DATABASE_ERRORS as error:
            logger.warning("Whose session it is could not be looked up: %s.", type(error).__name__)
            request.state.csrf = ""
            sentence = "Nobody can be told apart just now: try again in a moment. What is saved stays saved."
            title = "The database does not answer"
            response = page(request, "refusal.html", status=503, title=title, sentence=sentence)
            await response(scope, receive, send)
            return
        fresh = self._remember_form(request)

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and fresh:
                answer = Response()
                set_cookie(answer, request, FORM, fresh, same_site="strict", page_url=self._page_url)
                MutableHeaders(scope=message).append("set-cookie", answer.headers["set-cookie"])
            await send(message)

        if request.method == "POST" and _is_somebodys(request):
            body = await request.body()
            if not _is_ours(request, body):
                sentence = (
                    "This form was made for another log-in, or has stood open too long: go back, load the page again, "
                    "and send it once more. Nothing was changed."
                )
                response = page(request, "refusal.html", status=403, title="That form is too old", sentence=sentence)
                await response(scope, receive, with_cookie)
                return
            waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

            async def replay() -> Message:
                return waiting.pop() if waiting else await receive()

            await self._app(scope, replay, with_cookie)
            return
        await self._app(scope, receive, with_cookie)

    async def _know(self, request: Request) -> None:
        """Sets the person, the session's text, and the text that forms must send."""
        sessions: Sessions = request.app.state.sessions
        text = _cookie(request, SESSION)
        session = await sessions.of(text) if text else None
        if session is not None:
            actor = Actor(session.name, Via.PAGE, None, request.state.request_id)
            request.state.person = Person(actor, session.grants)
            request.state.session = text
            request.state.csrf = session.csrf
            return
        if self._proxy is not None:
            person = self._proxy.person(request.scope, request.state.request_id)
            if person is not None:
                request.state.person = person

    def _remember_form(self, request: Request) -> str:
        """Gives forms without a session their text; returns it where the browser has none yet."""
        if hasattr(request.state, "session"):
            return ""
        known = _cookie(request, FORM)
        request.state.csrf = known or secrets.token_urlsafe(32)
        return "" if known else str(request.state.csrf)


def _cookie(request: Request, name: str) -> str:
    found = request.cookies.get(name, "")
    return found if len(found) <= LONGEST_COOKIE and found.isascii() else ""


def _is_somebodys(request: Request) -> bool:
    """Whether a form is looked at: a stranger's is refused further in, but for the one that logs in."""
    known = hasattr(request.state, "person") or not request.app.state.asks_for_names
    return known or request.url.path.startswith("/login")


def _is_ours(request: Request, body: bytes) -> bool:
    sent = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)).get("csrf", "")
    return hmac.compare_digest(sent.encode(), str(request.state.csrf).encode())


def is_https(request: Request, page_url: str | None) -> bool:
    """Whether browsers reach the page by https, as far as this can be known."""
    return (page_url or str(request.base_url)).startswith("https:")


def set_cookie(
    response: Response,
    request: Request,
    name: str,
    value: str,
    *,
    same_site: Literal["lax", "strict"] = "lax",
    page_url: str | None,
    seconds: int | None = None,
    path: str = "/",
) -> None:
    """Have the browser keep something that no script reads."""
    secure = is_https(request, page_url)
    response.set_cookie(name, value, max_age=seconds, httponly=True, samesite=same_site, secure=secure, path=path)
