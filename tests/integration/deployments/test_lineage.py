"""Lineage of loads: noted by the load, sent by the controller, in the order in which it happened."""

import asyncio
import json

import pytest
from pydantic import SecretStr

from connectors.connector import ConnectorRow
from connectors.loads import Outcome
from database import runs
from database.store import Store
from deployments.outgoing import Post
from pipelines.connector_lock import Locks
from pipelines.load_history import DIED
from pipelines.telling import carriers_of
from prefect_api.event_feed import Events
from settings import Settings
from tests.integration.deployments.test_webhooks import Receiver
from tests.support.control_plane.ended_loads import END, Rows, fence

TABLES = '[{"table_name": "labs", "read": 3, "written": 3, "rejected": 0, "repeated": 0, "bytes": 40, "seconds": {}}]'
DONE = {**END, "tables": TABLES, "columns": '{"labs": {"id": "bigint"}}', "destination": "duckdb", "dataset_name": "d"}


@pytest.fixture
def rows(database_url: str) -> Rows:
    return Rows(database_url)


async def begun_and_ended(rows: Rows, number: int, outcome: Outcome | None) -> None:
    """A load whose lineage is told; None: its process dies, and the next one finds that."""
    (row,) = await rows.sql("SELECT * FROM cai_connectors WHERE id = $1", number)
    connector = ConnectorRow(**{name: row[name] for name in ConnectorRow.__slots__ if name in row.keys()})  # noqa: SIM118
    about = {"run_id": None, "actor": None, "code_version": None, "options": "{}", "traced": True}

    def written() -> None:
        with Locks.open(rows.url, str) as locks:
            begun = runs.begin_load(locks.query, connector, about, is_whole=True)
            assert begun is not None
            if outcome is None:
                runs.close_dead_loads(locks.query, number, DIED)
            else:
                runs.end_load(locks.query, begun, outcome, DONE)

    await asyncio.to_thread(written)


async def send(store: Store, url: str) -> None:
    settings = Settings(
        database_url=SecretStr("postgresql://nobody@127.0.0.1/x"), openlineage_url=url, instance="clinic"
    )
    post = Post(store.engine, fence, Events("clinic"), carriers_of(settings))
    for _ in range(10):
        await post.turn()
        await post.settled()


async def test_a_load_begins_and_completes_with_its_columns_and_rows(store: Store, rows: Rows) -> None:
    labs = await rows.add("labs")
    with Receiver() as server:
        await begun_and_ended(rows, labs, Outcome.COMPLETED)
        await send(store, server.address)
        begins, ends = (json.loads(body) for _, body in server.got)
    assert (begins["eventType"], ends["eventType"]) == ("START", "COMPLETE")
    assert begins["run"]["runId"] == ends["run"]["runId"]
    assert (ends["job"]["namespace"], ends["job"]["name"]) == ("clinic", "labs")
    (output,) = ends["outputs"]
    assert (output["namespace"], output["name"]) == ("duckdb", "d.labs")
    assert output["facets"]["schema"]["fields"] == [{"name": "id", "type": "bigint"}]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 3


@pytest.mark.parametrize(("outcome", "event"), [(Outcome.FAILED, "FAIL"), (Outcome.CANCELLED, "ABORT"), (None, "FAIL")])
async def test_what_fails_is_cancelled_or_dies_is_told_so(
    store: Store, rows: Rows, outcome: Outcome | None, event: str
) -> None:
    labs = await rows.add("labs")
    with Receiver() as server:
        await begun_and_ended(rows, labs, outcome)
        await send(store, server.address)
        assert [json.loads(body)["eventType"] for _, body in server.got] == ["START", event]


async def test_a_server_that_is_away_gets_it_later_and_in_order(store: Store, rows: Rows) -> None:
    labs = await rows.add("labs")
    with Receiver(503) as server:
        await begun_and_ended(rows, labs, Outcome.COMPLETED)
        await send(store, server.address)
        (load,) = await rows.sql("SELECT outcome FROM cai_loads")
        assert load["outcome"] == "completed"
        await rows.sql("UPDATE cai_follow_ups SET next_try_at = now()")
        await send(store, server.address)
        assert [json.loads(body)["eventType"] for _, body in server.got][-2:] == ["START", "COMPLETE"]


async def test_where_no_server_is_named_nothing_is_noted(rows: Rows) -> None:
    await rows.load(await rows.add("labs"))
    assert await rows.sql("SELECT FROM cai_follow_ups") == []
