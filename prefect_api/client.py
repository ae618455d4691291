"""Prefect's own client, for callers that deal with a busy server themselves.

After a 429 or 503 the client sleeps for two seconds, or for as long as a proxy's `Retry-After` says, even when it may
not try again. Who waits for an answer, or holds one of few places for calls, decides that by itself.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

BUSY = frozenset({408, 429, 502, 503, 504})
"""A server that is there and cannot take the call now, or a proxy that says so for it."""


@asynccontextmanager
async def open_client(**options: Any) -> AsyncIterator[PrefectClient]:
    """A client of the server of `PREFECT_API_URL` that tries once and raises for a busy server at once.

    Args:
        options: httpx's own for its client. The address, authentication and TLS are Prefect's business.
    """
    options["event_hooks"] = {"response": [_raise_if_busy]}
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        async with get_client(httpx_settings=options) as client:
            yield client


async def _raise_if_busy(response: httpx.Response) -> None:
    if response.status_code in BUSY:
        await response.aread()
        raise httpx.HTTPStatusError("busy", request=response.request, response=response)
