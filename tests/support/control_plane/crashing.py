"""Controllers that die: a process that has everything imported and forks a child for each cycle, which kills itself.

Started as `python -m tests.support.control_plane.crashing DATABASE_URL`; each line on stdin is the boundary at which
the child dies (-1 for none). Boundaries are counted as they come: before and after each request to Prefect and each
write to the database. It answers with the child's exit code and the number of boundaries it came to.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence

import httpx

from connectors.status import Unrecorded
from database.connection.engine import Fence, open_engine
from database.statuses import StatusRecord
from database.store import Store
from prefect_api.deployment_calls import open_gateway
from rigs.control_plane import rig


class Boundaries:
    """Counts the boundaries that are crossed, and dies at one of them."""

    def __init__(self, deadly: int) -> None:
        self.deadly = deadly
        self.crossed = 0

    def cross(self) -> None:
        """One more."""
        if self.crossed == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        self.crossed += 1


class DyingTransport(httpx.AsyncHTTPTransport):
    """The real transport, with a boundary on either side of each request."""

    def __init__(self, boundaries: Boundaries) -> None:
        super().__init__()
        self.boundaries = boundaries

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.boundaries.cross()
        response = await super().handle_async_request(request)
        await response.aread()
        self.boundaries.cross()
        return response


class DyingStore(Store):
    """The real store, with a boundary on either side of each write."""

    boundaries: Boundaries

    async def record(self, records: Sequence[StatusRecord], fence: Fence) -> tuple[Unrecorded, ...]:
        if records:
            self.boundaries.cross()
        lost = await super().record(records, fence)
        if records:
            self.boundaries.cross()
        return lost


async def cycle(url: str, boundaries: Boundaries) -> None:
    """One full cycle of a controller that has just started."""
    engine = open_engine(url)
    store = DyingStore(engine)
    store.boundaries = boundaries
    async with (
        open_gateway(timeout_seconds=20, connections=4, transport=DyingTransport(boundaries)) as gateway,
        rig(store, gateway, holder="dying") as controller,
    ):
        await controller.cycle(audit=True)
    await engine.dispose()


def main() -> None:
    """Fork a child for each line."""
    url = sys.argv[1]
    for line in sys.stdin:
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            boundaries = Boundaries(int(line))
            asyncio.run(cycle(url, boundaries))
            os.write(writable, str(boundaries.crossed).encode())
            os._exit(0)
        os.close(writable)
        _, status = os.waitpid(child, 0)
        said = os.read(readable, 32).decode()
        os.close(readable)
        answer = {"exit": os.waitstatus_to_exitcode(status), "boundaries": int(said) if said else None}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
