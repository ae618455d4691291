"""The contract of `Gateway`, held by the fake and by a real server alike, and how failures leave the real one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any, Protocol
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.reconciling.gateway import Gateway
from prefect_api import deployment_calls as prefect_gateway
from prefect_api.calls import CallKind
from prefect_api.deployment import Observed, Patch, Spec, drift, obsolete_schedules
from prefect_api.deployment_calls import PrefectGateway, open_gateway
from prefect_api.errors import (
    BusyError,
    ConnectionLostError,
    LeaseLostError,
    OverloadedError,
    ReconcileError,
    RefusedError,
    ServerError,
    ServerUnavailableError,
    WorkPoolMissingError,
    WrongInstanceError,
)
from prefect_api.names import FLOW_NAME, deployment_name
from rigs.fake_prefect import AGENT_POOL, FakePrefect, Server
from tests.support.control_plane.samples import TAG, spec
from tests.support.servers.prefect_server import AsyncPatient, Patient, PrefectServer


class Person(Protocol):
    """What somebody else does to Prefect, by its API: `fake_prefect.Server` says what each call is."""

    def post(self, body: Mapping[str, Any]) -> UUID: ...
    def edit(self, number: UUID, body: Mapping[str, Any]) -> None: ...
    def remove_schedule(self, number: UUID, schedule_id: UUID) -> None: ...
    def add_schedule(self, number: UUID, body: Mapping[str, Any]) -> None: ...
    def schedule(self, number: UUID, count: int = 3) -> None: ...
    def delete(self, numbers: Sequence[UUID]) -> None: ...
    def add_run(self, number: UUID, due: datetime, state: str) -> UUID: ...


class Curl:
    """`Person` on a real server."""

    def __init__(self, url: str) -> None:
        self.api = httpx.Client(base_url=url, timeout=60, transport=Patient())

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.api.request(method, path, content=None if body is None else orjson.dumps(body, default=list))
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def post(self, body: Mapping[str, Any]) -> UUID:
        flow = self._send("POST", "/flows/", {"name": FLOW_NAME})["id"]
        return UUID(self._send("POST", "/deployments/", {**body, "flow_id": flow})["id"])

    def edit(self, number: UUID, body: Mapping[str, Any]) -> None:
        self._send("PATCH", f"/deployments/{number}", body)

    def remove_schedule(self, number: UUID, schedule_id: UUID) -> None:
        self._send("DELETE", f"/deployments/{number}/schedules/{schedule_id}")

    def add_schedule(self, number: UUID, body: Mapping[str, Any]) -> None:
        self._send("POST", f"/deployments/{number}/schedules", [{"active": True, **body}])

    def schedule(self, number: UUID, count: int = 3) -> None:
        self._send("POST", f"/deployments/{number}/schedule", {"min_runs": count})

    def delete(self, numbers: Sequence[UUID]) -> None:
        for number in numbers:
            self._send("DELETE", f"/deployments/{number}")

    def add_run(self, number: UUID, due: datetime, state: str) -> UUID:
        run = self._send("POST", f"/deployments/{number}/create_flow_run", {})["id"]
        for step in ("PENDING", "RUNNING", "CANCELLING"):
            self._send("POST", f"/flow_runs/{run}/set_state", {"state": {"type": step}})
            if step == state:
                break
        return UUID(run)


@pytest.fixture(params=["fake", "real"])
def target(request: pytest.FixtureRequest) -> PrefectServer | None:
    """The real server without deployments, or None for the fake."""
    return request.getfixturevalue("prefect_server") if request.param == "real" else None


@pytest.fixture
async def prefect(target: PrefectServer | None) -> AsyncIterator[tuple[Gateway, Person]]:
    """A gateway to a Prefect without deployments, and a person who works on the same Prefect."""
    if target is None:
        fake = FakePrefect(Server(["default", "other"]))
        yield fake, fake.server
        return
    person = Curl(target.url)
    person.api.post("/work_pools/", json={"name": "other", "type": "process"})
    async with open_gateway(timeout_seconds=30, connections=4, transport=AsyncPatient()) as gateway:
        yield gateway, person


@pytest.fixture
def gateway(prefect: tuple[Gateway, Person]) -> Gateway:
    return prefect[0]


@pytest.fixture
def person(prefect: tuple[Gateway, Person]) -> Person:
    return prefect[1]


async def one(gateway: Gateway, connector_id: int = 1) -> Observed:
    (held,) = await gateway.read_deployments([deployment_name(connector_id)])
    return held


async def repair(gateway: Gateway, wants: Spec) -> Observed:
    """Patch what is there as a plan would, and look again."""
    held = await one(gateway, wants.connector_id)
    await gateway.patch(Patch(held, wants, drift(wants, held), obsolete_schedules(wants, held)))
    return await one(gateway, wants.connector_id)


VALUES: list[dict[str, Any]] = [
    {},
    {"schedule": None},
    {"is_active": False},
    {"timezone": "America/New_York", "schedule": "H 2 * * 1-5"},
    {"run_policy": {"overlap": "skip"}, "work_pool_name": "other", "work_queue_name": "night"},
    {"description": "ü \N{SNOWMAN} *markdown*", "name": "x" * 200},
]


@pytest.mark.parametrize("values", VALUES)
async def test_what_is_created_is_what_was_wanted(gateway: Gateway, values: dict[str, Any]) -> None:
    wants = spec(**values)
    number = await gateway.create(wants)
    held = await one(gateway)
    assert drift(wants, held) == ()
    assert held.id == number
    assert len(held.schedule_ids) == len(wants.fields.schedules)
    assert await gateway.read_deployments_by_id([number]) == [held]
    assert (await gateway.list_deployments()).deployments == (held,)


async def test_nothing_is_found_where_nothing_is(gateway: Gateway) -> None:
    await gateway.probe()
    listing = await gateway.list_deployments()
    assert (listing.deployments, listing.complete) == ((), True)
    assert await gateway.read_deployments([]) == []
    assert await gateway.read_deployments([deployment_name(1)]) == []
    assert await gateway.read_deployments_by_id([uuid4()]) == []
    assert await gateway.scheduled_runs() == []
    assert await gateway.count_scheduled_runs() == (0, 0)


async def test_a_work_pool_that_does_not_exist_is_named(gateway: Gateway) -> None:
    with pytest.raises(WorkPoolMissingError, match="'nowhere'"):
        await gateway.create(spec(work_pool_name="nowhere"))
    assert (await gateway.list_deployments()).deployments == ()


async def test_moving_to_a_work_pool_that_does_not_exist_names_it_too(gateway: Gateway) -> None:
    await gateway.create(spec())
    with pytest.raises(WorkPoolMissingError, match="'nowhere'"):
        await repair(gateway, spec(work_pool_name="nowhere"))
    assert drift(spec(), await one(gateway)) == ()


EDITS: list[dict[str, Any]] = [
    {"paused": True},
    {"tags": []},
    {"tags": ["b", "a"], "parameters": {"connector_id": 9}},
    {"version": None, "description": None},
    {"entrypoint": "mine.py:flow", "path": "/mine", "pull_steps": [{"step": {"a": 1}}]},
    {"work_pool_name": "other"},
    {"work_queue_name": "slow"},
    {"concurrency_limit": None},
    {"concurrency_limit": 7, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}},
    {"job_variables": {"image": "mine"}, "enforce_parameter_schema": False, "parameter_openapi_schema": {"a": 1}},
    {"job_variables": {}},
    {"schedules": [{"slug": "main", "schedule": {"interval": 3600}}]},
    {"schedules": [{"slug": "main", "active": False}]},
    {"schedules": [{"slug": "main", "parameters": {"connector_id": 5}}]},
    {"schedules": [{"slug": "extra", "schedule": {"cron": "1 * * * *"}}]},
]


async def test_what_somebody_edited_is_patched_in_place(gateway: Gateway, person: Person) -> None:
    wants = spec()
    number = await gateway.create(wants)
    schedule_ids = (await one(gateway)).schedule_ids
    for edit in EDITS:
        person.edit(number, edit)
        assert drift(wants, await one(gateway)) != (), edit
        after = await repair(gateway, wants)
        assert drift(wants, after) == (), edit
        assert (after.id, after.schedule_ids) == (number, schedule_ids), edit


async def test_every_spec_is_reached_from_every_other_by_one_patch(gateway: Gateway) -> None:
    await gateway.create(spec(**VALUES[0]))
    for before in VALUES:
        for after in VALUES:
            assert drift(spec(**before), await repair(gateway, spec(**before))) == (), (after, before)
            assert drift(spec(**after), await repair(gateway, spec(**after))) == (), (before, after)


async def test_a_lost_schedule_and_one_without_a_slug_are_mended(gateway: Gateway, person: Person) -> None:
    wants = spec()
    number = await gateway.create(wants)
    person.remove_schedule(number, (await one(gateway)).schedule_ids[0])
    assert (await one(gateway)).fields.schedules == ()
    assert drift(wants, await repair(gateway, wants)) == ()
    person.add_schedule(number, {"schedule": {"cron": "9 9 * * *", "timezone": "UTC"}})
    assert len((await one(gateway)).fields.schedules) == 2
    assert drift(wants, await repair(gateway, wants)) == ()


async def test_a_limit_of_scheduled_runs_cannot_be_cleared_by_a_patch_and_is_mended_all_the_same(
    gateway: Gateway, person: Person
) -> None:
    wants = spec()
    number = await gateway.create(wants)
    person.edit(number, {"schedules": [{"slug": "main", "max_scheduled_runs": 2}]})
    person.edit(number, {"schedules": [{"slug": "main", "max_scheduled_runs": None}]})
    assert (await one(gateway)).fields.schedules[0].max_scheduled_runs == 2
    assert drift(wants, await repair(gateway, wants)) == ()


async def test_an_empty_list_of_schedules_changes_nothing(gateway: Gateway, person: Person) -> None:
    """Why schedules are removed by their own call."""
    number = await gateway.create(spec())
    before = await one(gateway)
    person.edit(number, {"schedules": []})
    assert await one(gateway) == before


async def test_a_queue_alone_moves_a_deployment_to_the_agents_pool(gateway: Gateway, person: Person) -> None:
    """Why pool and queue are sent together."""
    number = await gateway.create(spec())
    person.edit(number, {"work_queue_name": "nobodys"})
    assert (await one(gateway)).fields.work_pool_name == AGENT_POOL


async def test_a_second_create_wipes_schedules_and_parameters(gateway: Gateway, person: Person) -> None:
    """Why a create is only for a name that was just seen to be free."""
    number = await gateway.create(spec())
    before = await one(gateway)
    assert person.post({"name": spec().name, "work_pool_name": "default", "enforce_parameter_schema": False}) == number
    after = await one(gateway)
    assert (after.fields.schedules, after.fields.parameters) == ((), {})
    await gateway.create(spec())
    again = await one(gateway)
    assert again.id == number
    assert drift(spec(), again) == ()
    assert again.schedule_ids != before.schedule_ids


async def test_any_patch_takes_the_scheduled_runs_along(gateway: Gateway, person: Person) -> None:
    """Why nothing is patched that does not differ."""
    number = await gateway.create(spec())
    person.schedule(number)
    runs = await gateway.scheduled_runs(deployment_ids=[number])
    assert len(runs) >= 3
    assert {run.deployment_id for run in runs} == {number}
    assert all(spec().fields.tags <= run.tags for run in runs)
    everything, with_deployment = await gateway.count_scheduled_runs()
    assert everything == with_deployment >= len(runs)
    person.edit(number, {"description": "mine"})
    assert not {run.id for run in runs} & {run.id for run in await gateway.scheduled_runs()}


async def test_a_pause_takes_the_scheduled_runs_along(gateway: Gateway, person: Person) -> None:
    number = await gateway.create(spec())
    person.schedule(number)
    runs = {run.id for run in await gateway.scheduled_runs()}
    await gateway.pause(number)
    assert (await one(gateway)).fields.paused
    assert not runs & {run.id for run in await gateway.scheduled_runs()}
    await gateway.pause(number)


async def test_a_delete_takes_the_scheduled_runs_along_and_unknown_ids_are_no_error(
    gateway: Gateway, person: Person
) -> None:
    numbers = [await gateway.create(spec(i)) for i in (1, 2, 3)]
    person.schedule(numbers[0])
    runs = {run.id for run in await gateway.scheduled_runs(deployment_ids=numbers)}
    await gateway.delete([numbers[0], *(uuid4() for _ in range(60)), numbers[1]])
    assert [held.id for held in (await gateway.list_deployments()).deployments] == [numbers[2]]
    # The scheduler may insert new ones at this very moment: that race is what the sweep is for.
    assert not runs & {run.id for run in await gateway.scheduled_runs(deployment_ids=numbers)}
    await gateway.delete([])


async def test_what_is_gone_cannot_be_patched_or_paused(gateway: Gateway, person: Person) -> None:
    number = await gateway.create(spec())
    held = await one(gateway)
    person.delete([number])
    changed = spec(schedule="1 * * * *", timezone="Asia/Tokyo")
    with pytest.raises(RefusedError):
        await gateway.patch(Patch(held, changed, drift(changed, held), ()))
    with pytest.raises(RefusedError):
        await gateway.pause(number)


async def test_a_schedule_that_is_gone_already_is_no_obstacle(gateway: Gateway, person: Person) -> None:
    """A patch that died halfway, or whose answer was lost, is carried out again."""
    manual = spec(schedule=None)
    number = await gateway.create(spec())
    held = await one(gateway)
    person.remove_schedule(number, held.schedule_ids[0])
    await gateway.patch(Patch(held, manual, drift(manual, held), held.schedule_ids))
    assert drift(manual, await one(gateway)) == ()


async def test_runs_are_deleted_and_their_deployment_stays(gateway: Gateway, person: Person) -> None:
    number = await gateway.create(spec())
    person.schedule(number)
    first, *rest = await gateway.scheduled_runs()
    await gateway.delete_runs([first.id, uuid4()])
    left = {run.id for run in await gateway.scheduled_runs()}
    assert first.id not in left
    assert left >= {run.id for run in rest}
    assert await gateway.scheduled_runs(paused=True) == []
    assert (await one(gateway)).id == number


async def test_a_running_run_makes_its_deployment_busy(gateway: Gateway, person: Person) -> None:
    # Without a schedule: the real scheduler would make runs of its own meanwhile.
    idle, busy = await gateway.create(spec(1, schedule=None)), await gateway.create(spec(2, schedule=None))
    assert await gateway.busy_deployments([idle, busy]) == set()
    person.add_run(busy, datetime.now(UTC), "RUNNING")
    assert await gateway.busy_deployments([idle, busy]) == {busy}
    assert await gateway.scheduled_runs() == []


async def test_a_pending_run_is_told_with_since_when_and_can_be_ended(gateway: Gateway, person: Person) -> None:
    idle, busy = await gateway.create(spec(1, schedule=None)), await gateway.create(spec(2, schedule=None))
    before = datetime.now(UTC)
    run = person.add_run(busy, before, "PENDING")
    (pending,) = await gateway.pending_runs([idle, busy])
    assert (pending.id, pending.deployment_id, pending.work_pool) == (run, busy, "default")
    assert abs(pending.since - before) < timedelta(minutes=1)
    await gateway.crash_run(run, "It never began.")
    assert await gateway.pending_runs([idle, busy]) == []
    assert await gateway.busy_deployments([idle, busy]) == set()
    assert await gateway.workers_since("a pool that is / not there") == []


async def test_a_run_that_was_missed_is_made_once(gateway: Gateway) -> None:
    number = await gateway.create(spec(schedule=None))
    due = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    since, until = due - timedelta(hours=1), due + timedelta(hours=1)
    assert await gateway.run_dates(number, since, until) == set()
    for _ in range(2):
        await gateway.create_run(number, due, "key-1")
    assert await gateway.run_dates(number, since, until) == {due}
    assert (await gateway.count_scheduled_runs())[0] == 1
    assert await gateway.run_dates(number, until, until + timedelta(hours=1)) == set()


# From here on: the real gateway alone.


@pytest.fixture
async def real(prefect_server: PrefectServer) -> AsyncIterator[PrefectGateway]:
    async with open_gateway(timeout_seconds=30, connections=4, transport=AsyncPatient()) as gateway:
        yield gateway


async def test_a_listing_has_as_many_pages_as_it_needs(real: PrefectGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {await real.create(spec(i)) for i in range(1, 6)}
    monkeypatch.setattr(prefect_gateway, "PAGE_SIZE", 2)
    listing = await real.list_deployments()
    assert listing.complete
    assert {held.id for held in listing.deployments} == numbers
    assert real.calls["list"] == 3
    assert len(await real.read_deployments([deployment_name(i) for i in range(1, 6)])) == 5


async def test_a_listing_whose_pages_do_not_add_up_is_made_anew_and_then_called_incomplete(
    real: PrefectGateway, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deletes one that was on the first page, each time: rows shift, and one that is there is on no page."""
    for i in range(1, 10):
        await real.create(spec(i))
    monkeypatch.setattr(prefect_gateway, "PAGE_SIZE", 2)
    person = Curl(prefect_server.url)
    ask = real._prefect.answer

    async def busy(kind: CallKind, method: str, path: str, body: Any = None) -> Any:
        answer = await ask(kind, method, path, body)
        if body["page"] == 1:
            person.delete([UUID(answer[0]["results"][0]["id"])])
        return answer

    monkeypatch.setattr(real._prefect, "answer", busy)
    listing = await real.list_deployments()
    assert not listing.complete
    assert real.calls["list"] >= 2 * prefect_gateway.LISTING_TRIES
    assert await real.list_changed(datetime.now(UTC) - timedelta(days=1)) is None


async def test_a_listing_of_what_has_changed_has_no_more(gateway: Gateway, person: Person) -> None:
    numbers = [await gateway.create(spec(connector_id)) for connector_id in (1, 2, 3)]
    first = (await gateway.list_deployments()).asked
    assert first is not None
    assert abs(first.at - datetime.now(UTC)) < timedelta(seconds=60)
    person.edit(numbers[1], {"paused": True})
    changed = await gateway.list_changed(first.newest)
    assert changed is not None
    assert changed.asked.newest > first.newest
    assert ([held.id for held in changed.deployments], changed.count) == ([numbers[1]], 3)
    await gateway.pause(numbers[2])
    changed = await gateway.list_changed(first.newest)
    assert changed is not None
    assert [held.id for held in changed.deployments] == [numbers[2], numbers[1]]
    whole = await gateway.list_changed(first.newest - timedelta(days=1))
    assert whole is not None
    assert {held.id for held in whole.deployments} == {*numbers}


async def test_what_prefect_takes_for_no_change_is_not_listed_as_changed(gateway: Gateway, person: Person) -> None:
    number = await gateway.create(spec())
    held = await one(gateway)
    listing = await gateway.list_deployments()
    assert listing.asked is not None
    person.remove_schedule(number, held.schedule_ids[0])
    person.add_schedule(number, {"slug": "main", "schedule": {"cron": "1 1 * * *", "timezone": "UTC"}})
    changed = await gateway.list_changed(listing.asked.newest)
    assert changed is not None
    assert changed.deployments == ()
    assert (await one(gateway)) != held


async def test_whether_all_of_these_are_ours_is_one_question(gateway: Gateway, person: Person) -> None:
    numbers = [await gateway.create(spec(connector_id)) for connector_id in (1, 2, 3)]
    assert await gateway.all_tagged(numbers, TAG)
    person.edit(numbers[0], {"tags": ["managed-by:other"]})
    assert not await gateway.all_tagged(numbers, TAG)
    assert await gateway.all_tagged(numbers[1:], TAG)
    person.delete(numbers[1:2])
    assert not await gateway.all_tagged(numbers[1:], TAG)


async def test_the_limit_of_every_deployment_is_listed_with_its_slots(gateway: Gateway, person: Person) -> None:
    numbers = {await gateway.create(spec(connector_id)) for connector_id in (1, 2)}
    assert {(each.deployment_id, each.limit, each.active_slots) for each in await gateway.limits()} == {
        (number, 1, 0) for number in numbers
    }


async def test_a_variable_says_whose_the_deployments_are(real: PrefectGateway) -> None:
    assert await real.owner("cai_instance_x") is None
    await real.claim("cai_instance_x", "one")
    await real.claim("cai_instance_x", "one")
    assert await real.owner("cai_instance_x") == "one"
    with pytest.raises(WrongInstanceError, match="--take-over"):
        await real.claim("cai_instance_x", "two")
    assert await real.owner("cai_instance_x") == "one"
    await real.claim("cai_instance_x", "two", take_over=True)
    assert await real.owner("cai_instance_x") == "two"
    assert real.calls["claim"] == 2


Answer = Callable[[httpx.Request], httpx.Response]


@asynccontextmanager
async def answering(answer: Answer, may_write: Callable[[], None] = lambda: None) -> AsyncIterator[PrefectGateway]:
    """A real gateway whose server is a function."""

    def but_for_csrf(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404) if request.url.path.endswith("/csrf-token") else answer(request)

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        transport = httpx.MockTransport(but_for_csrf)
        async with open_gateway(timeout_seconds=1, connections=2, may_write=may_write, transport=transport) as gateway:
            yield gateway


def raising(error: Exception) -> Answer:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


def saying(status: int, body: bytes = b"{}") -> Answer:
    # After these the client sleeps, though it may not try again: for as long as the server says.
    return lambda _: httpx.Response(status, content=body, headers={"Retry-After": "0"})


FAILURES: list[tuple[Answer, type[ReconcileError]]] = [
    (raising(httpx.ConnectError("refused")), ServerUnavailableError),
    (raising(httpx.ReadError("reset")), ConnectionLostError),
    (raising(httpx.RemoteProtocolError("cut short")), ConnectionLostError),
    (raising(httpx.ReadTimeout("slow")), OverloadedError),
    (raising(httpx.PoolTimeout("slow")), OverloadedError),
    (saying(401), ServerUnavailableError),
    (saying(403), ServerUnavailableError),
    (saying(408), OverloadedError),
    (saying(429), BusyError),
    (saying(502), OverloadedError),
    (saying(503), BusyError),
    (saying(504), OverloadedError),
    (saying(500), ServerError),
    (saying(500, b"<html>"), ServerError),
    (saying(999), ServerError),
    (saying(409, b'{"detail": "no"}'), RefusedError),
    (saying(422, b"<html>"), RefusedError),
    (saying(201, b'{"id": "7'), ServerError),
    (saying(201, b""), ServerError),
    (saying(201, b"[]"), ServerError),
    (saying(201, b"{}"), ServerError),
    (saying(201, b'{"id": 7}'), ServerError),
    (saying(200, b"<html>a proxy's login page</html>"), ServerError),
]


@pytest.mark.parametrize(("answer", "error"), FAILURES)
async def test_every_failure_leaves_as_one_of_ours_and_in_a_sentence(
    answer: Answer, error: type[ReconcileError]
) -> None:
    async with answering(answer) as gateway:
        with pytest.raises(error) as raised:
            await gateway.create(spec())
        assert type(raised.value) is error
        assert str(raised.value).strip()


async def test_a_broken_answer_to_the_clients_own_question_for_a_csrf_token_is_a_failure_like_others() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        for body in (b"{", b"[]", b""):
            transport = httpx.MockTransport(saying(200, body))
            async with open_gateway(timeout_seconds=1, connections=2, transport=transport) as gateway:
                with pytest.raises(ServerError):
                    await gateway.create(spec())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
async def test_a_probe_that_is_not_let_in_finds_no_server(status: int) -> None:
    async with answering(saying(status)) as gateway:
        with pytest.raises(ServerUnavailableError):
            await gateway.probe()


async def test_a_reading_waits_out_a_busy_server() -> None:
    codes = iter([503, 429, 200])

    def in_turn(request: httpx.Request) -> httpx.Response:
        return saying(next(codes), b"[]")(request)

    async with answering(in_turn) as gateway:
        assert await gateway.read_deployments(["x"]) == []
    assert next(codes, None) is None


READINGS: list[Callable[[PrefectGateway], Any]] = [
    lambda gateway: gateway.list_deployments(),
    lambda gateway: gateway.read_deployments(["x"]),
    lambda gateway: gateway.read_deployments_by_id([uuid4()]),
    lambda gateway: gateway.scheduled_runs(),
    lambda gateway: gateway.scheduled_runs(deployment_ids=[uuid4()]),
    lambda gateway: gateway.count_scheduled_runs(),
    lambda gateway: gateway.busy_deployments([uuid4()]),
    lambda gateway: gateway.pending_runs([uuid4()]),
    lambda gateway: gateway.run_dates(uuid4(), datetime.now(UTC), datetime.now(UTC)),
    lambda gateway: gateway.claim("x", "y"),
]


NOT_WHOLE = (b"", b"null", b"{", b'[{"id": "7"}]', b"[1]", b'{"results": [{}], "count": 1}', b'"x"')


@pytest.mark.parametrize("reading", READINGS)
async def test_an_answer_that_is_not_whole_is_the_servers_failure_and_never_ours(
    reading: Callable[[PrefectGateway], Any],
) -> None:
    bodies = cycle(NOT_WHOLE)
    async with answering(lambda _: httpx.Response(200, content=next(bodies))) as gateway:
        for _ in NOT_WHOLE:
            with pytest.raises(ServerError):
                await reading(gateway)


async def test_a_refusal_does_not_repeat_what_was_refused() -> None:
    detail = {
        "exception_detail": [{"loc": ["body", "tags"], "msg": "bad tags", "input": "s3cret"}],
        "request_body": "s3cret",
    }
    async with answering(saying(422, orjson.dumps(detail))) as gateway:
        with pytest.raises(RefusedError, match="bad tags") as raised:
            await gateway.create(spec())
        assert "s3cret" not in str(raised.value)


async def test_without_the_lease_no_write_leaves_the_process() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, content=b"[]")

    def lost() -> None:
        raise LeaseLostError("Another controller leads now.")

    held = Observed(uuid4(), spec().name, replace(spec().fields, paused=True), (uuid4(),))
    async with answering(answer, lost) as gateway:
        for write in (
            gateway.create(spec()),
            gateway.patch(Patch(held, spec(), drift(spec(), held), ())),
            gateway.pause(held.id),
            gateway.delete([held.id]),
            gateway.delete_runs([held.id]),
            gateway.free_slots(held.id),
            gateway.crash_run(held.id, "It never began."),
            gateway.create_run(held.id, datetime.now(UTC), "key"),
            gateway.claim("x", "y"),
        ):
            with pytest.raises(LeaseLostError):
                await write
        assert await gateway.read_deployments(["x"]) == []
    assert {request.url.path for request in requests} <= {"/api/deployments/filter", "/api/variables/filter"}


class Hanging(httpx.AsyncByteStream):
    """A body of which a byte comes now and then, for ever."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.Response(200, stream=Hanging()),
        lambda: httpx.Response(503, headers={"Retry-After": "3600"}),
        lambda: httpx.Response(429, headers={"Retry-After": "3600"}),
        lambda: httpx.Response(503, headers={"Prefect-Maintenance": "true"}),
    ],
)
async def test_no_call_outlasts_its_time_whatever_the_server_says(answer: Callable[[], httpx.Response]) -> None:
    """A call that outlasted the lease could write beside the next leader."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        transport = httpx.MockTransport(lambda _: answer())
        async with open_gateway(timeout_seconds=0.3, connections=2, transport=transport) as gateway:
            async with asyncio.timeout(1):
                with pytest.raises(OverloadedError):
                    await gateway.create(spec())
