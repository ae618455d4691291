"""What whole cycles on a real Prefect server stand on."""

from collections.abc import AsyncIterator

import httpx
import pytest

from database.store import Store
from prefect_api.deployment_calls import PrefectGateway, open_gateway
from tests.support.control_plane.rig import Rig, rig
from tests.support.servers.prefect_server import Patient, PrefectServer


@pytest.fixture
async def gateway(prefect_server: PrefectServer) -> AsyncIterator[PrefectGateway]:
    """The real gateway to the real server."""
    async with open_gateway(timeout_seconds=20, connections=10) as gateway:
        yield gateway


@pytest.fixture
async def controller(store: Store, gateway: PrefectGateway) -> AsyncIterator[Rig]:
    """A leading controller's parts on it."""
    async with rig(store, gateway) as parts:
        yield parts


@pytest.fixture
def api(prefect_server: PrefectServer) -> httpx.Client:
    """Prefect's API as a person with curl sees it."""
    return httpx.Client(base_url=prefect_server.url, timeout=30, transport=Patient())
