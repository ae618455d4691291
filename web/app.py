"""The page on the API's server: its routes, its files, and what every answer of it must carry.

`install` adds it to the API's application, whose use cases, roles and sessions it shares. Nothing is loaded from
elsewhere: no font, no script, no style (a clinic's network reaches no content delivery network).
"""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web import pages
from web.rendering import page

HERE = Path(__file__).parent

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of every page: its own files and nothing else, in nobody's frame."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guarded:
    """Shows a page to nobody whom the installation asks for a name and does not know."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 itself, or passes the request on."""
        if scope["type"] == "http":
            request = Request(scope)
            known = hasattr(request.state, "person") or not request.app.state.asks_for_names
            if not known and is_page(scope):
                sentence = "This platform tells people apart: log in to see this page."
                answer = page(request, "refusal.html", status=401, title="Who are you?", sentence=sentence)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Headed:
    """Gives every answer that is not the API's the headers of a page, also where the door has answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http" or scope["path"].startswith("/api"):
            await self._app(scope, receive, send)
            return
        kept = {} if scope["path"].startswith("/static") else {"Cache-Control": "no-store"}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, **kept}.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


def is_page(scope: Scope) -> bool:
    """Whether an address is one of the page's own, and not the API's, its operations' or a file."""
    return any(route.matches(scope)[0] is Match.FULL for router in pages.ROUTERS for route in router.routes)


def install(app: FastAPI, *, asks_for_names: bool) -> None:
    """Add the page to the API's application.

    Args:
        app: the application.
        asks_for_names: whether the API lets in only whom it knows. Then so does the page.
    """
    app.state.asks_for_names = asks_for_names
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    for router in pages.ROUTERS:
        app.include_router(router, include_in_schema=False)
    app.add_middleware(Guarded)
