"""Calls to Prefect's REST API: who may make one, how it is counted, when it is repeated, and what its failure means.

Every call goes through Prefect's own client: address, authentication, TLS, CSRF and headers are Prefect's business.
What is read in bulk is read as JSON, for the client's models cost half of a listing's time, and what the client spells
otherwise than we need (a pause that clears late runs, a run that was due in the past) is a request of our own; all else
are the client's own methods. Every failure leaves as one of `prefect_api.errors`.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, TypeVar

import httpx
import orjson
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from prefect_api.client import BUSY
from prefect_api.errors import (
    BusyError,
    ConnectionLostError,
    OverloadedError,
    ReconcileError,
    RefusedError,
    ServerError,
    ServerUnavailableError,
    WorkPoolMissingError,
)
from prefect_api.names import FLOW_NAME

T = TypeVar("T")

PAGE_SIZE = 200
"""Prefect's own limit of a page; it refuses more."""

BULK_SIZE = 50
"""Prefect's own limit of one bulk delete."""

OUR_FLOW = {"name": {"any_": [FLOW_NAME]}}
"""The filter for what belongs to our flow."""


HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
"""Prefect packs its answers as tightly as gzip can, which is up to a third of what a listing costs it."""


class CallKind(StrEnum):
    """The kinds of calls, as metrics name them."""

    PROBE = "probe"
    LIST = "list"
    READ = "read"
    CLAIM = "claim"
    FLOW = "flow"
    CREATE = "create"
    PATCH = "patch"
    PAUSE = "pause"
    DELETE = "delete"
    SWEEP = "sweep"
    CRASH = "crash"
    FREE = "free"
    RUN = "run"
    ARTIFACT = "artifact"
    EVENT = "event"


class CallResult(StrEnum):
    """How a call ended, as metrics name it."""

    ANSWERED = "2xx"
    REDIRECTED = "3xx"
    NOT_TAKEN = "4xx"
    BROKE = "5xx"
    REFUSED = "refused"
    """It does not let us in (401, 403)."""
    BUSY = "busy"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"
    """The connection broke under the call."""
    UNREADABLE = "unreadable"
    CANCELLED = "cancelled"


READS = frozenset({CallKind.PROBE, CallKind.LIST, CallKind.READ})
"""The kinds of calls that change nothing."""

PACED = frozenset(
    {
        CallKind.PROBE,
        CallKind.CREATE,
        CallKind.FLOW,
        CallKind.PATCH,
        CallKind.PAUSE,
        CallKind.DELETE,
        CallKind.EVENT,
    }
)
"""The kinds of calls whose callers go slower for a busy server: the probe and the events have a timer, a plan's actions
the limiter."""

BUSY_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Between the tries of all other calls."""

Observe = Callable[[CallKind, CallResult, float], None]
"""Takes each call: its kind, how it ended, and its seconds."""

UNKNOWN_TO_PREFECT = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})
"""It does not let us in: no answer to what was asked, whatever that was."""

NOT_NOW = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})
"""It is busy and has not carried out the call."""


def nobody(kind: CallKind, result: CallResult, seconds: float) -> None:
    """Observes nothing."""
    del kind, result, seconds


class PrefectCalls:
    """Calls to one Prefect server, counted by kind in `calls`. Whoever calls Prefect is handed one of these."""

    def __init__(
        self,
        client: PrefectClient,
        timeout_seconds: float,
        may_write: Callable[[], None] = lambda: None,
        observe: Observe = nobody,
        repeat_after: type[OverloadedError] = BusyError,
    ) -> None:
        """`may_write` is asked before every call that changes something, and raises when we may not.

        `repeat_after` is the error after which a call is repeated: `OverloadedError`, where all calls are reads or
        carry a key of their own, for then it does not matter whether the first one was carried out.
        """
        self._observe = observe
        self._client = client
        self._timeout = timeout_seconds
        self._may_write = may_write
        self._repeat_after = repeat_after
        self.calls: Counter[str] = Counter()

    @property
    def writes(self) -> int:
        """How many calls that change something were made."""
        return sum(count for kind, count in self.calls.items() if kind not in READS)

    async def request(
        self,
        kind: CallKind,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        gone_is_fine: bool = False,
    ) -> Any:
        """One request of our own; its parsed answer, or None for 404 where what is gone is fine."""
        try:
            return (await self.answer(kind, method, path, body))[0]
        except RefusedError as error:
            if gone_is_fine and error.status_code == httpx.codes.NOT_FOUND:
                return None
            raise

    async def answer(
        self, kind: CallKind, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[Any, datetime | None]:
        """One request of our own; its parsed answer, and when it was given by the server's clock, if that is said."""
        content = None if body is None else orjson.dumps(body, default=_plain)

        async def send(client: PrefectClient) -> tuple[Any, datetime | None]:
            # The client types its routes as literals; several that the server has are missing there.
            request: Any = client.request
            response: httpx.Response = await request(method, path, content=content, headers=HEADERS)
            return orjson.loads(response.content) if response.content else None, _date(response)

        return await self.ask(kind, send)

    async def ask(self, kind: CallKind, send: Callable[[PrefectClient], Awaitable[T]]) -> T:
        """One call, as `send` makes it with Prefect's client; what it returns.

        A server on SQLite answers 503 while its scheduler writes. Whoever does not pace its calls by itself is spared
        that: the same call goes out again for some seconds.

        Raises:
            ReconcileError: whatever happened.
        """
        for pause in () if kind in PACED else BUSY_PAUSES_SECONDS:
            with suppress(self._repeat_after):
                return await self._once(kind, send)
            await asyncio.sleep(pause)
        return await self._once(kind, send)

    async def _once(self, kind: CallKind, send: Callable[[PrefectClient], Awaitable[T]]) -> T:
        if kind not in READS:
            self._may_write()
        self.calls[kind] += 1
        began = time.perf_counter()
        result = CallResult.CANCELLED
        try:
            # The client's own time limit is one of each read.
            async with asyncio.timeout(self._timeout):
                answer = await send(self._client)
        except Exception as error:
            result, ours = _failure(error)
            if ours is None:
                raise
            raise ours from error
        else:
            result = CallResult.ANSWERED
            return answer
        finally:
            self._observe(kind, result, time.perf_counter() - began)


def _failure(error: Exception) -> tuple[CallResult, ReconcileError | None]:
    """How a failed call ended, and the error that says who must act; None for what no call to Prefect can raise."""
    if isinstance(error, ObjectNotFound | ObjectAlreadyExists):
        error = error.http_exc
    if isinstance(error, httpx.HTTPStatusError):
        return _result(error.response.status_code), _refusal(error.response)
    result = CallResult.CANCELLED
    failure: ReconcileError | None = None
    match error:
        case httpx.TimeoutException() | TimeoutError():
            result, failure = CallResult.TIMEOUT, OverloadedError("Prefect did not answer in time.")
        case httpx.ConnectError():
            result, failure = CallResult.UNREACHABLE, ServerUnavailableError("Prefect cannot be reached.")
        case httpx.TransportError():
            # A server closes a connection that was idle for some seconds, perhaps just as a call goes out on it.
            result, failure = CallResult.BROKEN, ConnectionLostError("The connection to Prefect broke off.")
        case httpx.RequestError() | ValueError() | LookupError() | TypeError() | AttributeError():
            # A body that is no JSON or not whole, ours or that of the CSRF token that the client asks for by itself.
            result, failure = CallResult.UNREADABLE, ServerError("Prefect's answer could not be read.")
    return result, failure


@contextmanager
def whole() -> Iterator[None]:
    """Reading an answer: a body that was cut short, or that a proxy wrote, is the server's failure and not ours."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ServerError("Prefect's answer was not whole.") from error


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in pieces of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _date(response: httpx.Response) -> datetime | None:
    """The `Date` of an answer, aware; None when there is none that can be read."""
    try:
        return parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (LookupError, ValueError):
        return None


def _result(code: int) -> CallResult:
    """How an answered call ended."""
    if code in UNKNOWN_TO_PREFECT:
        return CallResult.REFUSED
    if code in NOT_NOW:
        return CallResult.BUSY
    return CallResult(f"{code // 100}xx") if 300 <= code < 600 else CallResult.UNREADABLE


_POOL_MISSING = re.compile(r'Work pool "([^"]*)" not found')


def pool_missing(name: str) -> WorkPoolMissingError:
    sentence = f"The work pool {name!r} does not exist in Prefect: create it, or name another one."
    return WorkPoolMissingError(sentence, httpx.codes.NOT_FOUND)


def _refusal(response: httpx.Response) -> ReconcileError:
    """The error of an answer's status, which says who must act."""
    code = response.status_code
    detail = _detail(response)
    if code in UNKNOWN_TO_PREFECT:
        sentence = f"Prefect refuses our credentials ({code}): check PREFECT_API_AUTH_STRING."
        return ServerUnavailableError(sentence, code)
    if code in BUSY:
        return (BusyError if code in NOT_NOW else OverloadedError)(f"Prefect is busy ({code}).", code)
    if code >= 500:
        return ServerError(f"Prefect failed ({code}).", code)
    if (pool := _POOL_MISSING.search(detail)) is not None:
        return pool_missing(pool[1])
    return RefusedError(f"Prefect refused it ({code}): {detail}", code)


def _detail(response: httpx.Response) -> str:
    """What Prefect says of a refusal, without the value it refused."""
    try:
        detail = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return "no reason given"
    if isinstance(detail, dict) and "exception_detail" in detail:
        return "; ".join(f"{'.'.join(map(str, e.get('loc', ())))}: {e.get('msg')}" for e in detail["exception_detail"])
    text = str(detail.get("detail", "no reason given")) if isinstance(detail, dict) else "no reason given"
    return text[:300]


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset | tuple):
        return list(value)
    raise TypeError(type(value).__name__)
