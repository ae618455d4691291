"""The fleet in Prefect's artifacts, on a real server: 300 rows, written when something changed, never a row more."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
import sqlalchemy as sa

from connectors.freshness import Judgement
from database.control.notices import Whom
from database.store import Store
from database.tables import connectors
from deployments.leadership.lease import Lease
from deployments.monitoring.fleet_watch import Watch
from deployments.monitoring.silence_recovery import SilenceRecovery
from prefect_api.artifacts import Artifact, Artifacts
from prefect_api.calls import PrefectCalls
from prefect_api.client import open_client
from prefect_api.errors import ServerUnavailableError
from prefect_api.event_feed import Events
from rigs.control_plane import FILES_SOURCE, Clock
from tests.support.control_plane.last_loads import record_last_load
from tests.support.servers.prefect_server import AsyncPatient, PrefectServer

CONNECTORS = 300
_numbers = itertools.count(1)


@pytest.fixture
def tag() -> str:
    """An installation of this test's own on the shared server."""
    return f"managed-by:artifacts-{next(_numbers)}"


@pytest.fixture
async def artifacts(prefect_server: PrefectServer, tag: str) -> AsyncIterator[Artifacts]:
    async with open_client(transport=AsyncPatient()) as client:
        artifacts = Artifacts(PrefectCalls(client, 60), tag)
        yield artifacts
        await artifacts.show({})


@pytest.fixture
async def watch(store: Store, artifacts: Artifacts, tag: str, clock: Clock) -> AsyncIterator[Watch]:
    lease = Lease(store.engine, name="x", holder="test", ttl_seconds=600)
    assert await lease.acquire()
    events = Events("artifacts")
    yield watch_of(store, lease, artifacts, events, tag, clock)
    await lease.release()


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.now(UTC).replace(minute=30))


def watch_of(store: Store, lease: Lease, artifacts: Artifacts, events: Events, tag: str, clock: Clock) -> Watch:
    """A leader's watch, whose lateness nobody hears of."""

    def ignored(_: Any) -> None:
        return

    return Watch(
        store=store,
        fence=lease.fence,
        events=events,
        artifacts=artifacts,
        silence_recovery=SilenceRecovery(artifacts._prefect, events),
        tag=tag,
        whom=Whom({}, 3),
        silent_after=timedelta(minutes=5),
        audit_every=timedelta(hours=1),
        in_touch=lambda: True,
        judged=ignored,
        grace=timedelta(days=9),
        clock=clock,
    )


def counted(api: httpx.Client) -> tuple[int, int]:
    """The rows of Prefect's two tables of artifacts."""
    return int(api.post("/artifacts/count", json={}).text), int(api.post("/artifacts/latest/count", json={}).text)


def shown(api: httpx.Client, key: str) -> dict[str, Any]:
    body = {"artifacts": {"key": {"any_": [key]}}}
    found: list[dict[str, Any]] = api.post("/artifacts/latest/filter", json=body).raise_for_status().json()
    return found[0]


async def insert_many(store: Store) -> list[int]:
    rows = [{"name": f"Ward {number}", "schedule": "0 * * * *", "source": FILES_SOURCE} for number in range(CONNECTORS)]
    async with store.engine.begin() as connection:
        ids = await connection.scalars(sa.insert(connectors).returning(connectors.c.id), rows)
        return sorted(ids.all())


async def test_300_connectors_are_in_the_table_and_only_what_happens_is_written(
    store: Store, watch: Watch, artifacts: Artifacts, api: httpx.Client, clock: Clock
) -> None:
    ids = await insert_many(store)
    await watch.look()
    await watch.look()  # the table comes first, and more pages than one look writes with the next
    rows = orjson.loads(shown(api, "connector-fleet")["data"])
    assert [row["connector"] for row in rows] == [f"Ward {number} ({i})" for number, i in enumerate(ids)]
    assert Counter(row["freshness"] for row in rows) == {"on time": CONNECTORS}
    before, calls = counted(api), artifacts._prefect.calls["artifact"]
    assert calls == CONNECTORS + 1

    for _ in range(20):  # nothing happens but time, within the interval
        clock.advance(60)
        await watch.look()
    assert artifacts._prefect.calls["artifact"] == calls

    async with store.engine.begin() as connection:
        values = {"outcome": "completed", "rows": 5, "started_at": clock(), "ended_at": clock()}
        await record_last_load(connection, ids[3], last_success_at=clock(), **values)
    await watch.look()
    assert artifacts._prefect.calls["artifact"] == calls + 2
    assert counted(api) == before
    assert orjson.loads(shown(api, "connector-fleet")["data"])[3]["rows"] == 5

    async with store.engine.begin() as connection:
        await connection.execute(sa.delete(connectors).where(connectors.c.id == ids[3]))
    await watch.look()
    assert counted(api) == (before[0] - 1, before[1] - 1)
    assert api.get(f"/artifacts/connector-{ids[3]}/latest").status_code == httpx.codes.NOT_FOUND


PAGE = Artifact("markdown", "# Labs", "Labs (managed-by:x)")


async def test_what_is_deleted_by_hand_is_made_again_and_what_others_wrote_is_left_alone(
    artifacts: Artifacts, api: httpx.Client, tag: str
) -> None:
    page = replace(PAGE, description=f"Labs ({tag})")
    foreign = {"key": "connector-8", "type": "markdown", "data": "theirs", "description": "somebody's"}
    other = api.post("/artifacts/", json=foreign).json()
    wanted = {"connector-7": page, "connector-8": page}
    assert await artifacts.show(wanted)
    assert shown(api, "connector-8")["data"] == "theirs"
    api.delete(f"/artifacts/{shown(api, 'connector-7')['latest_id']}").raise_for_status()
    changed = replace(page, data="# Labs, mended")
    assert await artifacts.show({**wanted, "connector-7": changed})
    assert shown(api, "connector-7")["data"] == "# Labs, mended"

    again = Artifacts(PrefectCalls(artifacts._prefect._client, 60), tag)  # the next controller
    assert await again.show({"connector-7": changed})
    assert again._prefect.calls["artifact"] == 0
    assert await again.show({})
    assert api.get("/artifacts/connector-7/latest").status_code == httpx.codes.NOT_FOUND
    api.delete(f"/artifacts/{other['id']}").raise_for_status()


async def test_a_page_of_a_form_under_our_key_is_taken_back_where_ours_belongs_and_never_deleted(
    artifacts: Artifacts, api: httpx.Client, tag: str
) -> None:
    def form(number: int, done: str) -> str:
        body = {"key": f"connector-{number}", "type": "markdown", "data": "receipt"}
        described = {**body, "description": f"Connector {number}, {done}."}
        return str(api.post("/artifacts/", json=described).raise_for_status().json()["id"])

    taken, left = form(7, "deactivated"), form(9, "created")
    page = replace(PAGE, description=f"Labs ({tag})")
    assert await artifacts.show({"connector-7": page})
    assert (shown(api, "connector-7")["latest_id"], shown(api, "connector-7")["data"]) == (taken, page.data)
    assert shown(api, "connector-9")["data"] == "receipt"
    assert await artifacts.show({})
    assert api.get("/artifacts/connector-7/latest").status_code == httpx.codes.NOT_FOUND
    api.delete(f"/artifacts/{left}").raise_for_status()


async def test_a_busy_prefect_is_asked_again_at_once_and_not_after_the_clients_own_sleep(
    prefect_server: PrefectServer, tag: str
) -> None:
    """Prefect's client sleeps for two seconds after a 503: longer than this call may take."""

    class Busy(AsyncPatient):
        left = 3

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/artifacts/latest/filter") and self.left:
                self.left -= 1
                return httpx.Response(503, request=request)
            return await super().handle_async_request(request)

    async with open_client(timeout=60, transport=Busy()) as client:
        artifacts = Artifacts(PrefectCalls(client, 1.9), tag)
        assert await artifacts.show({})
        assert artifacts._prefect.calls["list"] == 4


async def test_artifacts_that_cannot_be_written_harm_nothing(
    store: Store, watch: Watch, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await insert_many(store)
    judged: list[Judgement] = []
    watch._judged = judged.extend

    async def gone(*_: Any, **__: Any) -> None:
        raise ServerUnavailableError("Prefect cannot be reached.")

    with monkeypatch.context() as broken:
        broken.setattr(artifacts._prefect, "request", gone)
        caplog.set_level("INFO", "deployments.monitoring.fleet_watch")
        await watch.look()
    assert len(judged) == CONNECTORS
    assert "Prefect could not be shown the fleet: Prefect cannot be reached." in caplog.text
