"""Event feed of Prefect, as the controller writes it: real changes, each once, by our own request.

Prefect's `emit_event` sends by a thread that the process waits for at its end: 7 s on a server that is down, with the
events lost, and without end on one that takes the connection and says nothing (measured). Here events wait in a
bounded buffer, a batch goes out as one request with a time limit, and what cannot be sent is tried again and in the
end dropped; none of it is ever waited for by a cycle. Names and labels are in docs/events.md.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
from prefect.client.orchestration import PrefectClient

from prefect_api.calls import CallKind, PrefectCalls
from prefect_api.errors import RefusedError, TransientError
from prefect_api.names import connector_resource, controller_resource

logger = logging.getLogger(__name__)

MOST_WAITING = 5000
"""Events that are kept while Prefect is away, a few MB at most; then the oldest ones go."""

BATCH = 100
GATHER_SECONDS = 0.5
"""What comes within this time goes out together: sent one by one, the events of a roll-out cost the server a tenth more
than the roll-out itself."""

CALL_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 30.0
FAREWELL_SECONDS = 3.0
"""How long the end of a controller waits for its last events."""


TOGETHER_AT_MOST = 50
"""Connectors in one event: Prefect takes at most 100 related resources."""


@dataclass(frozen=True, slots=True)
class ToldOfConnector:
    """What an event says of a connector; `title` is its name."""

    connector_id: int
    title: str | None
    deployment_id: UUID | None
    message: str


class Events:
    """The events of one controller, waiting to be sent."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.dropped = 0
        self._waiting: deque[dict[str, Any]] = deque()
        self._news = asyncio.Event()
        self._awaited = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def emit(
        self,
        name: str,
        resource: Mapping[str, str],
        *,
        related: Sequence[Mapping[str, str]] = (),
        payload: Mapping[str, Any] | None = None,
        event_id: UUID | None = None,
    ) -> None:
        """Something has happened now. Returns at once and raises nothing.

        An `event_id` of one's own makes what is sent twice one event: Prefect takes each id once.
        """
        if event_id is not None and any(each["id"] == str(event_id) for each in self._waiting):
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(
            {
                "id": str(event_id or uuid4()),
                "event": str(name),
                "occurred": datetime.now(UTC).isoformat(),
                "resource": dict(resource),
                "related": [dict(each) for each in related],
                "payload": dict(payload or {}),
            }
        )
        self._news.set()

    def of_controller(
        self,
        name: str,
        payload: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        event_id: UUID | None = None,
    ) -> None:
        """Something has happened to the controller."""
        self.emit(name, controller_resource(self.instance) | dict(labels or {}), payload=payload, event_id=event_id)

    def of_connector(
        self,
        name: str,
        connector_id: int,
        *,
        title: str | None = None,
        deployment_id: UUID | None = None,
        payload: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        event_id: UUID | None = None,
    ) -> None:
        """Something has happened to a connector; `title` is its name."""
        related = [{**controller_resource(self.instance), "prefect.resource.role": "controller"}]
        if deployment_id is not None:
            deployment = f"prefect.deployment.{deployment_id}"
            related.append({"prefect.resource.id": deployment, "prefect.resource.role": "deployment"})
        resource = connector_resource(self.instance, connector_id, title) | dict(labels or {})
        self.emit(name, resource, related=related, payload=payload, event_id=event_id)

    def of_connectors(self, name: str, told: Sequence[ToldOfConnector]) -> None:
        """The same has happened to many connectors at once: one event for up to `TOGETHER_AT_MOST` of them.

        Its resource is the controller, and each connector is related. An event of its own for each would cost Prefect
        a fifth of what it takes to delete their deployments.
        """
        for start in range(0, len(told), TOGETHER_AT_MOST):
            chunk = told[start : start + TOGETHER_AT_MOST]
            related = [
                {
                    **connector_resource(self.instance, each.connector_id, each.title),
                    "prefect.resource.role": "connector",
                }
                for each in chunk
            ]
            payload = {
                "message": f"{len(chunk)} connectors",
                "connectors": [
                    {
                        "id": each.connector_id,
                        "deployment": None if each.deployment_id is None else str(each.deployment_id),
                        "message": each.message,
                    }
                    for each in chunk
                ],
            }
            self.emit(name, controller_resource(self.instance), related=related, payload=payload)

    async def send(self, prefect: PrefectCalls) -> None:
        """Send what waits, for ever. A batch that Prefect refuses is dropped; one that it does not take waits."""
        pause = 0.0
        while True:
            await self._news.wait()
            if pause:
                await asyncio.sleep(pause)
            elif len(self._waiting) < BATCH:
                await self._gather()
            batch = list(self._waiting)[:BATCH]
            try:
                await _post(prefect, batch)
            except Exception as error:  # whatever Prefect or its client raises must not reach the controller
                status = error.status_code if isinstance(error, RefusedError | TransientError) else None
                if not pause:
                    logger.warning("Events could not be sent (%s); they wait.", status or type(error).__name__)
                pause = min(LONGEST_WAIT_SECONDS, 2 * pause or 1.0)
                if status not in {400, 413, 422}:
                    continue
                self.dropped += len(batch)  # Prefect will never take it
            else:
                pause = 0.0
            sent = {each["id"] for each in batch}
            while self._waiting and self._waiting[0]["id"] in sent:
                self._waiting.popleft()
            if not self._waiting:
                self._news.clear()
                self._awaited.clear()

    async def _gather(self) -> None:
        """Let more events come along, unless somebody waits for those that are there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_SECONDS):
                await self._awaited.wait()

    async def sent(self, seconds: float) -> bool:
        """Wait until nothing waits any more, at most so long; True when Prefect has taken, or refused, all of it."""
        for _ in range(int(seconds / 0.05)):
            if not self._waiting:
                return True
            self._awaited.set()
            await asyncio.sleep(0.05)
        return not self._waiting

    async def drain(self) -> None:
        """Give what waits a last chance, for a moment."""
        if not await self.sent(FAREWELL_SECONDS):
            logger.warning("%s events were not sent.", len(self._waiting))


async def _post(prefect: PrefectCalls, batch: list[dict[str, Any]]) -> None:
    content, headers = orjson.dumps(batch), {"Content-Type": "application/json"}

    async def send(client: PrefectClient) -> None:
        request: Any = client.request  # it types its routes as literals, and this one is missing there
        await request("POST", "/events", content=content, headers=headers)

    await prefect.ask(CallKind.EVENT, send)


@asynccontextmanager
async def sending(events: Events, client: PrefectClient) -> AsyncIterator[None]:
    """Send the events while inside, and what is left of them at the end, for a moment."""
    sender = asyncio.create_task(events.send(PrefectCalls(client, CALL_SECONDS)))
    try:
        yield
    finally:
        await events.drain()
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
