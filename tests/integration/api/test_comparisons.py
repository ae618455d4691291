"""Comparisons with the source: shown by the REST API and at the page, to those who may have it compared."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from database.tables import comparisons
from tests.support.api_rig import CONNECTORS, client, create
from tests.support.known_runs import RUN

RANGES = [{"first": "1", "last": "9", "at_source": 9, "in_destination": 8, "differ": 2}]
DIFFERENCES = [
    {"key": {"id": 7}, "kind": "missing", "columns": []},
    {"key": {"id": 8}, "kind": "different", "columns": ["weight"]},
]


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API, and the page beside it."""
    async with client(database_url) as http:
        yield http


async def test_what_differs_is_shown_until_the_connector_is_deleted(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    number = int((await create(api))["id"])
    other = int((await create(api, name="Another"))["id"])
    assert (await api.get(f"{CONNECTORS}/{number}/comparisons")).json() == {"items": []}
    counts = {"at_source": 9, "in_destination": 8, "missing": 1, "extra": 0, "different": 1}
    async with engine.begin() as connection:
        for connector in (number, other):
            found = {"connector_id": connector, "table_name": "visit", "by": "sums", **counts, "run_id": RUN.id}
            await connection.execute(sa.insert(comparisons).values(**found, ranges=RANGES, differences=DIFFERENCES))
    (found,) = (await api.get(f"{CONNECTORS}/{number}/comparisons")).json()["items"]
    assert found.pop("comparedAt")
    assert found == {
        "table": "visit",
        "by": "sums",
        "equal": False,
        "atSource": 9,
        "inDestination": 8,
        "missing": 1,
        "extra": 0,
        "different": 1,
        "ranges": [{"first": "1", "last": "9", "atSource": 9, "inDestination": 8, "differ": 2}],
        "differences": DIFFERENCES,
        "runId": str(RUN.id),
    }
    page = (await api.get(f"/connectors/{number}")).text
    section = page[page.index('id="comparison"') :]
    shown = [re.sub("<[^>]+>", "", cell) for cell in re.findall("<t[hd].*?</t[hd]>", section)]
    assert {"id 7", "missing", "id 8", "different", "weight"} <= set(shown)
    await api.delete(f"{CONNECTORS}/{number}")
    async with engine.connect() as connection:
        left = (await connection.execute(sa.select(comparisons.c.connector_id))).scalars().all()
    assert left == [other]
