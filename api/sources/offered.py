"""Offers of a FHIR server, looked at when a connector is saved: a request without a login, and a few seconds.

A server that does not answer, or not without a login, says nothing: saving never depends on it, and the run tells. The
address is judged like that of any run, and the one that was judged is asked. With CAI_PROBE=worker the API reaches no
source, so nothing is looked at.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from connectors.discovery import Probe
from connectors.refusals import Refusal
from connectors.sources.fhir import FhirSource
from connectors.sources.fhir_offers import is_statement, read, unoffered
from pipelines.access.denied_hosts import DeniedHosts, address_of
from pipelines.errors import RunError
from settings import Settings

SECONDS = 3.0
"""For the whole answer: somebody waits to have their connector saved."""

MOST_BYTES = 16 * 2**20

logger = logging.getLogger(__name__)


class Offers:
    """The offers of servers, for one installation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, source: FhirSource) -> tuple[Refusal, ...]:
        """What a source asks for that its server does not offer; nothing where the server does not say."""
        if self._settings.probe is Probe.WORKER:
            return ()
        try:
            async with asyncio.timeout(SECONDS):
                said = await self._statement(source.base_url)
        except (TimeoutError, httpx.HTTPError, OSError, ValueError, RunError) as error:
            logger.info("A FHIR server was not looked at for a save: %s.", type(error).__name__)
            return ()
        return tuple(unoffered(source, read(said))) if is_statement(said) else ()

    async def _statement(self, base_url: str) -> Mapping[str, Any]:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        address = await asyncio.to_thread(address_of, DeniedHosts.of(self._settings), host, port)
        place = f"[{address}]" if ":" in address else address
        url = f"{parts.scheme}://{place}:{port}{parts.path.rstrip('/')}/metadata"
        headers = {"Host": parts.netloc.rpartition("@")[2], "Accept": "application/fhir+json"}
        async with (
            httpx.AsyncClient(trust_env=False, timeout=SECONDS) as client,
            client.stream("GET", url, headers=headers, extensions={"sni_hostname": host}) as response,
        ):
            body = b""
            async for block in response.aiter_bytes():
                body += block
                if len(body) > MOST_BYTES:
                    raise ValueError("The answer is too large.")
            return dict(httpx.Response(response.status_code, content=body).json()) if response.is_success else {}
