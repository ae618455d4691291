"""Middleware of the REST API: how much may be sent, and what is counted.

Plain ASGI, because a framework's own checks come after it has read the body: a stranger's 10 GB would be in memory
first.
"""

import ipaddress
import logging
import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.authentication import is_protected
from api.problems import ProblemResponse
from connectors.limits.ids import parse_id

logger = logging.getLogger(__name__)

LONGEST_BODY = 1_000_000
"""Bytes. A connector with a thousand tables is a tenth of it."""


class Heads:
    """Answers HEAD as GET without the body, for every address that takes GET: probes and proxies ask so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a HEAD on as GET and keeps the body of the answer back."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, without_body)


class LimitedBody:
    """Answers 413 to a body that is longer than `LONGEST_BODY`, whatever its Content-Length says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body whole, up to the limit, and passes the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = Headers(scope=scope).get("content-length", "")
        body = bytearray()
        more = True
        while more and not _too_long(said, body):
            message = await receive()
            if message["type"] != "http.request":
                return  # the caller has gone, and half a body is nothing to act on
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if _too_long(said, body):
            detail = f"The body is too long: at most {LONGEST_BODY:,} bytes."
            await ProblemResponse(413, detail, headers={"Connection": "close"})(scope, receive, send)
            return
        waiting: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)


def _too_long(said: str, body: bytearray) -> bool:
    return len(body) > LONGEST_BODY or (said.isascii() and said.isdigit() and int(said[:20]) > LONGEST_BODY)


class Measured:
    """Counts requests and their seconds by method, route and status: closed sets all, whatever strangers ask for.

    And tells the log of each, in the same words, with its connector's id: of what changes something or is refused, for
    a page that is looked at asks every few seconds.
    """

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "cai_api_requests", "Requests of the REST API.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "cai_api_request_seconds", "Seconds until a request was answered.", ["method", "route"], registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and watches the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, location = 500, ""
        began = time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status, location
            if message["type"] == "http.response.start":
                status, location = message["status"], Headers(raw=message["headers"]).get("location", "")
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            # The router leaves the route that it found in the scope; there is none for a stray or refused request.
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - began
            self._requests.labels(method, route, str(status)).inc()
            self._seconds.labels(method, route).observe(seconds)
            if is_protected(scope["path"]):
                _tell(method, route, status, seconds, _connector(scope, location))


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def _connector(scope: Scope, location: str) -> int | None:
    """The connector that a request is about: that of its path, or the one that it has made."""
    named = str(scope.get("path_params", {}).get("connectorId", "")) or location.rpartition("/")[2]
    return parse_id(named)


def _tell(method: str, route: str, status: int, seconds: float, connector_id: int | None) -> None:
    """The line of one request. Its own path and query are not in it: they are what strangers and users typed."""
    level = logging.DEBUG if method in _READS and status < 400 else logging.INFO
    if status >= 500:
        level = logging.WARNING
    who = "" if connector_id is None else f"connector {connector_id}: "
    took = round(seconds, 4)
    fields = {"connector_id": connector_id, "method": method, "route": route, "status": status, "seconds": took}
    logger.log(level, "%s%s %s: %s in %.0f ms", who, method, route, status, seconds * 1000, extra=fields)


class LoopbackOnly:
    """Where no token is asked for, keeps out the pages of other sites that a browser on this machine shows.

    They reach 127.0.0.1 too: by a name of their own that resolves to it, or by a form that is sent without asking.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 itself, or passes the request on."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            asked = [headers.get("host", "localhost"), headers.get("origin", "localhost").rpartition("://")[2]]
            if not all(is_loopback(host_of(each)) for each in asked):
                detail = "Without CAI_API_TOKEN this API answers only this machine, at 127.0.0.1 or localhost."
                await ProblemResponse(403, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def host_of(address: str) -> str:
    """The host in `host:port`, with or without the port and the brackets of IPv6."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own, reached by nobody else."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
