"""One call to Prefect's REST API: who may make it, how it is counted, and what its failure means.

It goes through Prefect's own client (address, authentication, TLS, CSRF and headers are Prefect's business) but reads
the JSON itself: the client's models cost half of a listing's time, and only the owned fields are compared. Every
failure leaves as one of `prefect_api.errors`.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import httpx
import orjson
from prefect.client.orchestration import PrefectClient

from deployments.planning.spec import FLOW_NAME
from prefect_api.client import BUSY
from prefect_api.errors import (
    BusyError,
    ConnectionLostError,
    OverloadedError,
    RefusedError,
    ServerError,
    ServerUnavailableError,
    WorkPoolMissingError,
)

PAGE_SIZE = 200
"""Prefect's own limit of a page; it refuses more."""

OUR_FLOW = {"name": {"any_": [FLOW_NAME]}}
"""The filter for what belongs to our flow."""

READS = frozenset({"probe", "list", "read"})
"""The kinds of calls that change nothing."""

PACED = frozenset({"probe", "create", "flow", "patch", "pause", "delete"})
"""The kinds of calls whose callers go slower for a busy server: the probe has a timer, a plan's actions the limiter."""

BUSY_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Between the tries of all other calls."""

Observe = Callable[[str, str, float], None]
"""Told of each call: its kind, how it ended (`2xx`, `timeout`, ...: a closed set), and its seconds."""

UNKNOWN_TO_PREFECT = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})
"""It does not let us in: no answer to what was asked, whatever that was."""

NOT_NOW = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})
"""It is busy and has not carried out the call."""


def nobody(kind: str, result: str, seconds: float) -> None:
    """Tells nobody."""
    del kind, result, seconds


class PrefectCalls:
    """Calls to one Prefect server. Counts them by kind in `calls`."""

    def __init__(
        self,
        client: PrefectClient,
        timeout_seconds: float,
        may_write: Callable[[], None] = lambda: None,
        observe: Observe = nobody,
    ) -> None:
        """`may_write` is asked before every call that changes something, and raises when we may not."""
        self._observe = observe
        self._client = client
        self._timeout = timeout_seconds
        self._may_write = may_write
        self.calls: Counter[str] = Counter()

    @property
    def writes(self) -> int:
        """How many calls that change something were made."""
        return sum(count for kind, count in self.calls.items() if kind not in READS)

    async def call(
        self, kind: str, method: str, path: str, body: Mapping[str, Any] | None = None, *, gone_is_fine: bool = False
    ) -> Any:
        """One request; its parsed answer. `kind` names it in `calls`.

        A server on SQLite answers 503 while its scheduler writes. Whoever does not pace its calls by itself is spared
        that: the same request goes out again for some seconds.
        """
        for pause in () if kind in PACED else BUSY_PAUSES_SECONDS:
            with suppress(BusyError):
                return await self._once(kind, method, path, body, gone_is_fine)
            await asyncio.sleep(pause)
        return await self._once(kind, method, path, body, gone_is_fine)

    async def _once(self, kind: str, method: str, path: str, body: Mapping[str, Any] | None, gone_is_fine: bool) -> Any:
        if kind not in READS:
            self._may_write()
        self.calls[kind] += 1
        began = time.perf_counter()
        result = "cancelled"
        try:
            # The client types its routes as literals; several that the server has are missing there.
            request: Any = self._client.request
            # The client's own time limit is one of each read.
            async with asyncio.timeout(self._timeout):
                response: httpx.Response = await request(
                    method,
                    path,
                    content=None if body is None else orjson.dumps(body, default=_plain),
                    headers={"Content-Type": "application/json"},
                )
            answer = orjson.loads(response.content) if response.content else None
        except httpx.HTTPStatusError as error:
            result = _result(error.response.status_code)
            if gone_is_fine and error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            _raise_for(error.response)
        except (httpx.TimeoutException, TimeoutError) as error:
            result = "timeout"
            raise OverloadedError("Prefect did not answer in time.") from error
        except httpx.ConnectError as error:
            result = "unreachable"
            raise ServerUnavailableError("Prefect cannot be reached.") from error
        except httpx.TransportError as error:
            result = "broken"
            # A server closes a connection that was idle for some seconds, perhaps just as a call goes out on it.
            raise ConnectionLostError("The connection to Prefect broke off.") from error
        except (httpx.RequestError, ValueError) as error:
            # ValueError: a body that is no JSON, ours or that of the CSRF token that the client asks for by itself.
            result = "unreadable"
            raise ServerError("Prefect's answer could not be read.") from error
        else:
            result = _result(response.status_code)
            return answer
        finally:
            self._observe(kind, result, time.perf_counter() - began)


@contextmanager
def whole() -> Iterator[None]:
    """Reading an answer: a body that was cut short, or that a proxy wrote, is the server's failure and not ours."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ServerError("Prefect's answer was not whole.") from error


def _result(code: int) -> str:
    """How an answered call ended, as the label says it."""
    if code in UNKNOWN_TO_PREFECT:
        return "refused"
    return "busy" if code in NOT_NOW else f"{code // 100}xx"


_POOL_MISSING = re.compile(r'Work pool "([^"]*)" not found')


def pool_missing(name: str) -> WorkPoolMissingError:
    sentence = f"The work pool {name!r} does not exist in Prefect: create it, or name another one."
    return WorkPoolMissingError(sentence, httpx.codes.NOT_FOUND)


def _raise_for(response: httpx.Response) -> NoReturn:
    """Turn an error's status into the exception that says who must act."""
    code = response.status_code
    detail = _detail(response)
    if code in UNKNOWN_TO_PREFECT:
        raise ServerUnavailableError(f"Prefect refuses our credentials ({code}): check PREFECT_API_AUTH_STRING.")
    if code in NOT_NOW:
        raise BusyError(f"Prefect is busy ({code}).")
    if code in BUSY:
        raise OverloadedError(f"Prefect is busy ({code}).")
    if code >= 500:
        raise ServerError(f"Prefect failed ({code}).")
    if (pool := _POOL_MISSING.search(detail)) is not None:
        raise pool_missing(pool[1])
    raise RefusedError(f"Prefect refused it ({code}): {detail}", code)


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
