"""Faults between the real client and the real server: what a network and a server in trouble do to a call."""

import random
from collections import Counter
from enum import StrEnum

import httpx


class Fault(StrEnum):
    """What goes wrong with one request."""

    REFUSED = "refused"
    RESET = "reset"
    TIMEOUT = "timeout"
    TOO_MANY = "429"
    BROKEN = "500"
    UNAVAILABLE = "503"
    TRUNCATED = "body cut short"
    LOST = "applied, but the answer lost"
    LATE = "applied, but the answer late"


CODES = {Fault.TOO_MANY: 429, Fault.BROKEN: 500, Fault.UNAVAILABLE: 503}


class FaultyTransport(httpx.AsyncHTTPTransport):
    """The real transport, which fails a share of the requests, by a seed."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = 0.0
        self.rng = random.Random(0)
        self.made: Counter[Fault] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request, with or without a fault."""
        if self.rng.random() >= self.rate:
            return await super().handle_async_request(request)
        fault = self.rng.choice(list(Fault))
        self.made[fault] += 1
        match fault:
            case Fault.REFUSED:
                raise httpx.ConnectError("refused", request=request)
            case Fault.RESET:
                raise httpx.ReadError("reset", request=request)
            case Fault.TIMEOUT:
                raise httpx.ReadTimeout("timeout", request=request)
            case Fault.TOO_MANY | Fault.BROKEN | Fault.UNAVAILABLE:
                return httpx.Response(CODES[fault], request=request, json={"detail": "a fault of the test"})
        response = await super().handle_async_request(request)
        body = await response.aread()
        if fault is Fault.LOST:
            raise httpx.ReadError("the answer was lost", request=request)
        if fault is Fault.LATE:
            raise httpx.ReadTimeout("the answer was late", request=request)
        return httpx.Response(response.status_code, request=request, content=body[: len(body) // 2])
