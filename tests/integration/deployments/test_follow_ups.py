"""Follow-ups on a real database and a real Prefect server: each starts once, whatever dies; others are told why not."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy import event

from connectors.errors import PrefectUnavailableError
from connectors.loads import Outcome
from connectors.runs import EVERYTHING, Options, Run
from database.connection.notifications import at_each, listen
from database.control import outbox
from database.control.notices import Whom
from database.store import Store
from deployments import follow_ups
from deployments.leadership.inbox import Inbox
from deployments.outgoing import Post
from prefect_api.event_feed import Events
from prefect_api.names import STARTED_BY
from prefect_api.run_queries import open_runs
from settings import Settings
from tests.support.api_rig import CONNECTORS, assert_problem, client, create
from tests.support.control_plane.ended_loads import Rows, fence
from tests.support.known_runs import RUN
from tests.support.servers.prefect_server import PrefectServer
from tests.support.waiting import until

ALLOWED = ["dbt/*"]


@pytest.fixture
def rows(database_url: str) -> Rows:
    return Rows(database_url)


class MortalPrefect:
    """Prefect that has one run for one key; the asking process dies now and then, before or after the start."""

    def __init__(self, seed: int = 0, deaths: float = 0) -> None:
        self._rng, self._deaths = random.Random(seed), deaths
        self.runs: dict[str, UUID] = {}
        self.died = 0
        self.down = False

    def _perhaps_die(self) -> None:
        if self._rng.random() < self._deaths:
            self.died += 1
            raise asyncio.CancelledError

    async def start(
        self, deployment_id: UUID, key: str | None = None, actor: str | None = None, options: Options = EVERYTHING
    ) -> Run | None:
        if self.down:
            raise PrefectUnavailableError("it cannot be reached.")
        self._perhaps_die()
        self.runs.setdefault(f"{deployment_id}:{key}", uuid4())
        self._perhaps_die()
        return RUN


WHOM = Whom({}, 3)


def post(store: Store) -> Post:
    return Post(store.engine, fence, Events("clinic"), {})


async def turn(store: Store, prefect: Any) -> None:
    await follow_ups.turn(post(store), prefect, ALLOWED, WHOM)


async def test_each_follower_starts_once_for_each_load_whatever_dies(store: Store, rows: Rows) -> None:
    report = await rows.add("report", deployment=uuid4())
    labs = await rows.add("labs", '[{"connector": "report"}]')
    prefect, rng, loads = MortalPrefect(seed=7, deaths=0.4), random.Random(7), 0
    while prefect.died < 100:
        for _ in range(rng.randrange(3)):
            await rows.load(labs)
            loads += 1
        try:
            await turn(store, prefect)
        except asyncio.CancelledError:
            continue
    prefect._deaths = 0
    await turn(store, prefect)
    assert (len(prefect.runs), await rows.notes()) == (loads, [("connector:report", True, None)] * loads)
    assert await rows.sql("SELECT FROM cai_loads WHERE to_follow") == []
    assert report


async def test_what_did_not_load_all_leads_nobody_and_all_must_have_loaded(store: Store, rows: Rows) -> None:
    await rows.add("report", deployment=uuid4())
    labs = await rows.add("labs", '[{"connector": "report", "with_all": ["visits"]}]')
    visits = await rows.add("visits")
    prefect = MortalPrefect()
    await rows.load(labs, Outcome.FAILED)
    await rows.load(labs, is_whole=False)
    await rows.load(labs)
    await turn(store, prefect)
    assert await rows.notes() == []
    await rows.load(visits)
    await turn(store, prefect)
    await rows.load(labs)
    await turn(store, prefect)
    assert await rows.notes() == [("connector:report", True, None)]
    await rows.load(visits)
    await turn(store, prefect)
    assert len(await rows.notes()) == len(prefect.runs) == 2


async def test_while_prefect_is_away_a_follow_up_waits(store: Store, rows: Rows) -> None:
    await rows.add("report", deployment=uuid4())
    labs = await rows.add("labs", '[{"connector": "report"}]')
    prefect = MortalPrefect()
    prefect.down = True
    await rows.load(labs)
    await turn(store, prefect)
    (note,) = await rows.sql("SELECT tries, next_try_at > now() AS later, started_at FROM cai_follow_ups")
    assert tuple(note) == (1, True, None)
    prefect.down = False
    await rows.sql("UPDATE cai_follow_ups SET next_try_at = now()")
    await turn(store, prefect)
    assert await rows.notes() == [("connector:report", True, None)]


async def test_what_may_not_start_says_why(store: Store, rows: Rows) -> None:
    await rows.add("secret", team="cardiology", deployment=uuid4())
    paused = await rows.add("paused", deployment=uuid4())
    await rows.sql("UPDATE cai_connectors SET is_active = false WHERE id = $1", paused)
    then = '[{"connector": "secret"}, {"connector": "paused"}, {"connector": "gone"}, {"deployment": "other/x"}]'
    await rows.load(await rows.add("labs", then, team="oncology"))
    prefect = MortalPrefect()
    await turn(store, prefect)
    nobody = "it names no connector of the same team, nor one of everybody's."
    assert await rows.notes() == [
        ("connector:secret", False, nobody),
        ("connector:paused", False, f"connector {paused} is deactivated."),
        ("connector:gone", False, nobody),
        ("deployment:other/x", False, "other/x is none that CAI_FOLLOW_DEPLOYMENTS lets connectors start."),
    ]
    assert prefect.runs == {}


@pytest.fixture
async def flow_runs(prefect_server: PrefectServer) -> AsyncIterator[Any]:
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        async with get_client() as client:
            flow_id = await client.create_flow_from_name(f"dbt-{uuid4().hex}")
            flow = await client.read_flow(flow_id)
            await client.create_deployment(flow_id=flow_id, name="nightly")

            async def found() -> list[FlowRun]:
                return [run for run in await client.read_flow_runs() if run.flow_id == flow_id]

            yield flow.name, found


async def test_a_deployment_of_prefect_starts_with_its_parameters_once(
    store: Store, rows: Rows, flow_runs: Any
) -> None:
    name, found = flow_runs
    labs = await rows.add("labs", f'[{{"deployment": "{name}/nightly", "parameters": {{"select": "labs+"}}}}]')
    await rows.load(labs)
    async with open_runs() as prefect:
        await follow_ups.turn(post(store), prefect, ["dbt-*"], WHOM)
        # As if the process had died before the note.
        await rows.sql("UPDATE cai_follow_ups SET started_at = NULL, run_id = NULL")
        await follow_ups.turn(post(store), prefect, ["dbt-*"], WHOM)
    (run,) = await found()
    assert run.parameters == {"select": "labs+"}
    assert run.labels[STARTED_BY] == "follow-up of labs"
    (note,) = await rows.sql("SELECT run_id FROM cai_follow_ups")
    assert note["run_id"] == run.id


async def test_a_circle_that_was_written_by_sql_does_not_turn_and_is_told_once(store: Store, rows: Rows) -> None:
    await rows.add("b", '[{"connector": "a"}]', deployment=uuid4())
    leader = await rows.add("a", '[{"connector": "b"}]', deployment=uuid4())
    await rows.load(leader)
    prefect: Any = MortalPrefect()
    sender = post(store)
    for _ in range(2):
        await follow_ups.turn(sender, prefect, ALLOWED, WHOM)
    why = "it leads in a circle: a -> b -> a."
    assert await rows.notes() == [("connector:b", False, why)]
    assert prefect.runs == {}
    entries = await rows.sql("SELECT connector_id, actor, after FROM cai_audit WHERE action = 'follow_up_refused'")
    assert [(each["connector_id"], each["actor"]) for each in entries] == [(leader, "controller")]
    assert json.loads(entries[0]["after"]) == {"follower": "connector:b", "why": why}
    assert [each["event"] for each in sender.events._waiting] == ["connector.follow-up.failed"]


async def test_the_end_of_a_load_is_heard_where_the_next_look_is_an_hour_away(store: Store, rows: Rows) -> None:
    labs = await rows.add("labs", '[{"webhook": "http://127.0.0.1:1/x", "secret": {"env": "CAI_SECRET_X"}}]')
    inbox, heard, looks = Inbox(), asyncio.Event(), asyncio.Event()
    sender = Post(store.engine, fence, Events("clinic"), {}, inbox.loads)

    async def worker() -> None:
        heard.set()

    def looked(*arguments: Any) -> None:
        if "to_follow" in arguments[2]:
            looks.set()

    event.listen(store.engine.sync_engine, "before_cursor_execute", looked)
    tasks = [
        asyncio.create_task(at_each(rows.url, outbox.RUNS_CHANNEL, worker)),
        asyncio.create_task(listen(rows.url, (outbox.CHANNEL,), inbox.hear, inbox.look)),
    ]
    try:
        await asyncio.wait_for(inbox.loads.wait(), 30)  # it listens
        async with follow_ups.following(sender, Settings(poll_interval_seconds=3600)):
            await asyncio.wait_for(looks.wait(), 30)
            await rows.load(labs)
            await until("what follows is noted", rows.notes, 30)

        async def told() -> bool:
            await outbox.tell_workers(store.engine)
            return heard.is_set()

        await until("workers hear of a run", told, 30)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_circle_is_refused_when_it_is_saved(database_url: str) -> None:
    async with client(database_url) as api:
        await create(api, name="report")
        labs = await create(api, name="labs", runPolicy={"then": [{"connector": "report"}]})
        answer = await api.patch(f"{CONNECTORS}/1", json={"runPolicy": {"then": [{"connector": "labs"}]}})
        problem = assert_problem(answer, 422, "/runPolicy/then")
        assert "leads in a circle, report -> labs -> report" in problem["errors"][0]["detail"]
        answer = await api.patch(f"{CONNECTORS}/{labs['id']}", json={"runPolicy": {"then": [{"connector": "nobody"}]}})
        assert_problem(answer, 422, "/runPolicy/then/0/connector")
        answer = await api.patch(f"{CONNECTORS}/{labs['id']}", json={"runPolicy": {"then": [{"deployment": "dbt/x"}]}})
        assert (
            "CAI_FOLLOW_DEPLOYMENTS"
            in assert_problem(answer, 422, "/runPolicy/then/0/deployment")["errors"][0]["detail"]
        )
