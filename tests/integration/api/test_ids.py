"""Numbers of connectors at every door: REST API, controller, runs."""

from collections.abc import AsyncIterator

import httpx
import pytest
import sqlalchemy as sa

from connectors.errors import NotFoundError
from connectors.limits.ids import LARGEST_ID
from connectors.runs import Options
from database.store import Store
from pipelines.errors import ConfigurationError
from pipelines.run import run_connector
from rigs.control_plane import insert
from settings import Settings
from tests.support.api_rig import BODY, CONNECTORS, DeadPrefect, assert_problem, client, create
from use_cases.connectors import Service


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API, without tokens."""
    async with client(database_url) as http:
        yield http


async def test_eleven_is_not_deleted_by_1_1(api: httpx.AsyncClient, store: Store) -> None:
    for number in range(11):
        await create(api, name=f"c{number}")
    for text in ("1_1", "+11", "011", "11.0", "%2011", "1%5F1"):
        problem = assert_problem(await api.delete(f"{CONNECTORS}/{text}"), 422, None)  # type: ignore[arg-type]
        assert problem["errors"][0]["parameter"] == "connectorId"
        assert problem["detail"] == "connectorId must be a whole number."
        assert (await api.get(f"{CONNECTORS}/{text}")).status_code == 422
    assert len(await store.marks()) == 11
    assert (await api.get(f"{CONNECTORS}?limit=1_1")).status_code == 422
    preview = {"cron": "H * * * *", "connectorId": "1_1"}
    assert_problem(await api.post("/api/v1/schedules/preview", json=preview), 422, "/connectorId")


async def test_ids_of_nineteen_digits_are_paged_shown_and_deleted(api: httpx.AsyncClient, store: Store) -> None:
    numbers = [LARGEST_ID - 2, LARGEST_ID - 1, LARGEST_ID]
    for number in numbers:
        await insert(store, id=number, name=f"c{number}")
    seen: list[int] = []
    cursor: str | None = None
    while True:
        page = (await api.get(CONNECTORS, params={"limit": 1} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == numbers
    assert (await api.get(f"{CONNECTORS}/{LARGEST_ID}")).status_code == 200
    assert (await api.delete(f"{CONNECTORS}/{LARGEST_ID}")).status_code == 204


async def test_rows_numbered_below_one_are_listed_and_refused_everywhere_alike(
    api: httpx.AsyncClient, store: Store
) -> None:
    for number in (-5, 0):
        await insert(store, id=number, name=f"c{number}")
    made = await create(api)
    first = (await api.get(CONNECTORS, params={"limit": 1})).json()
    second = (await api.get(CONNECTORS, params={"limit": 5, "cursor": first["nextCursor"]})).json()
    assert [item["id"] for item in first["items"] + second["items"]] == [-5, 0, made["id"]]
    service = Service(store, DeadPrefect(), instance="clinical-ai")
    for number in (-5, 0, 2**63, 10**30):
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/run"), ("POST", "/deactivate"), ("GET", "/runs")):
            assert (await api.request(method, f"{CONNECTORS}/{number}{path}")).status_code == 422
        for attempt in (service.get(number), service.delete(number), service.update(number, {"description": "x"})):
            with pytest.raises(NotFoundError):  # as the forms say it
                await attempt
        with pytest.raises(ConfigurationError, match="from 1 to 9223372036854775807"):
            run_connector(number, Options(), Settings())
    assert BODY["name"] == made["name"]


async def test_a_row_numbered_below_one_gets_no_deployment_and_an_old_one_of_its_goes(store: Store) -> None:
    from connectors.status import Phase, Reason
    from prefect_api.deployment import creation
    from prefect_api.names import deployment_name
    from rigs.control_plane import rig
    from rigs.fake_prefect import FakePrefect
    from tests.support.control_plane.samples import spec

    gateway = FakePrefect()
    orphan = {**creation(spec(5), "flow"), "name": deployment_name(-7), "parameters": {"connector_id": -7}}
    old = {**creation(spec(5), "flow"), "name": deployment_name(-5), "parameters": {"connector_id": -5}}
    async with rig(store, gateway) as parts:
        for body in (orphan, old):
            gateway.server.post(body)
        await parts.insert(id=-5)
        good = await parts.insert(id=LARGEST_ID)
        for _ in range(3):
            await parts.cycle(audit=True)
            status = await parts.status(-5)
            assert status is not None
            assert (status.phase, status.reason, status.deployment_id) == (Phase.INVALID, Reason.INVALID_ID, None)
            assert "this row's is -5" in (status.message or "")
            assert [row["name"] for row in gateway.server.deployments.values()] == [deployment_name(good)]
        await parts.remove(-5)
        await parts.cycle()
        assert set(await store.statuses()) == {good}
    async with store.engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM cai_connectors")) == 1
