"""Names that are refused at the doors: by the REST API, and of rows written by SQL."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from connectors.status import Phase, Reason
from database.store import Store
from rigs.control_plane import rig
from rigs.fake_prefect import FakePrefect
from tests.support.api_rig import BODY, CONNECTORS, assert_problem, client, create


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API, without tokens."""
    async with client(database_url) as http:
        yield http


async def test_the_api_refuses_them_in_a_sentence(api: httpx.AsyncClient) -> None:
    made = await create(api)
    for change, pointer in (
        ({"name": "Labs\u200b"}, "/name"),
        ({"name": "Lab\x01s"}, "/name"),
        ({"workPoolName": "a/b"}, "/workPoolName"),
        ({"workQueueName": "a%b"}, "/workQueueName"),
    ):
        for answer in (
            await api.post(CONNECTORS, json={**BODY, **change}),
            await api.patch(f"{CONNECTORS}/{made['id']}", json=change),
        ):
            problem = assert_problem(answer, 422, pointer)
            assert pointer[1:] in problem["detail"]


@pytest.mark.parametrize("route", ["discover", "test"])
async def test_what_no_database_holds_is_refused_before_a_source_is_asked(api: httpx.AsyncClient, route: str) -> None:
    source = {"type": "fhir", "base_url": "http://127.0.0.1:9", "resource_types": ["Patient"]}
    for character in ("\0", "\ud800"):
        for change, pointer in (
            ({"team": f"a{character}b"}, "/team"),
            ({"source": {**source, "base_url": f"http://a{character}b.example"}}, "/source/base_url"),
        ):
            sent = json.dumps({"source": source, **change})
            answer = await api.post(
                f"/api/v1/sources/{route}", content=sent, headers={"Content-Type": "application/json"}
            )
            assert "cannot be stored" in assert_problem(answer, 422, pointer)["detail"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "Labs\u200b"}, Reason.INVALID_NAME),
        ({"work_pool_name": "a/b"}, Reason.INVALID_WORK_POOL),
        ({"work_queue_name": "a&b"}, Reason.INVALID_WORK_POOL),
    ],
)
async def test_a_row_that_was_written_by_sql_is_invalid_and_prefect_is_not_asked(
    store: Store, values: dict[str, str], reason: Reason
) -> None:
    gateway = FakePrefect()
    async with rig(store, gateway) as parts:
        number = await parts.insert(**values)
        await parts.cycle()
        status = await parts.status(number)
        assert status is not None
        assert (status.phase, status.reason, status.next_attempt_at) == (Phase.INVALID, reason, None)
        assert gateway.server.deployments == {}
