"""The REST API on a real PostgreSQL, Prefect stopped: routes, refusals, ETags, pages, guards."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest
import sqlalchemy as sa
from prefect.settings import PREFECT_API_URL, temporary_settings

from api.answers import ProbeAnswer
from api.camel_case import in_camel_case
from api.middleware import LONGEST_BODY
from api.sources.asking import looks_of
from connectors.connector import ConnectorRow
from connectors.status import Phase, Reason, Status
from database.statuses import StatusRecord
from database.store import Store
from prefect_api.names import FLOW_NAME
from prefect_api.run_queries import open_runs
from settings import Settings
from tests.support.api_rig import BODY, CONNECTORS, assert_problem, client, create
from tests.support.control_plane.last_loads import record_last_load
from tests.support.servers.http_server import Answer, WebServer
from tests.support.servers.prefect_server import AsyncPatient, PrefectServer, free_port


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API, without tokens."""
    async with client(database_url) as http:
        yield http


async def record(store: Store, status: Status) -> None:
    """Write a status as the controller does."""

    async def unfenced(_: Any) -> None:
        return None

    await store.record([StatusRecord(status.connector_id, status)], unfenced)


# --- create, read ----------------------------------------------------------------------------------------------------


async def test_the_payload_of_the_contract_is_created_as_written(api: httpx.AsyncClient) -> None:
    answer = await api.post(CONNECTORS, json=BODY)
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["Location"] == f"{CONNECTORS}/{made['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert {key: made[key] for key in BODY} == BODY
    assert made["timezone"] == "UTC"
    assert made["runPolicy"] == {}
    assert made["destination"] is made["datasetName"] is made["workPoolName"] is made["prefectDeploymentId"] is None
    assert made["status"]["phase"] == "pending"
    shown = await api.get(answer.headers["Location"])
    assert shown.headers["ETag"] == '"1"'
    assert {key: value for key, value in shown.json().items() if key != "status"} == {
        key: value for key, value in made.items() if key != "status"
    }


async def test_what_the_controller_recorded_is_shown(api: httpx.AsyncClient, store: Store) -> None:
    made = await create(api)
    status = Status(made["id"], Phase.RETRYING, Reason.SERVER_ERROR, "Prefect failed (500).", attempts=3)
    await record(store, status)
    shown = (await api.get(f"{CONNECTORS}/{made['id']}")).json()["status"]
    assert (shown["phase"], shown["reason"], shown["attempts"]) == ("retrying", "ServerError", 3)
    assert shown["message"] == "Prefect failed (500)."


async def test_a_list_says_what_loads_and_what_does_not(api: httpx.AsyncClient, store: Store) -> None:
    made = await create(api)
    assert (made["status"]["freshness"], made["status"]["lastSuccessAt"], made["status"]["failures"]) == (
        "on time",
        None,
        0,
    )
    status = Status(made["id"], Phase.SYNCED, Reason.IN_SYNC, observed_generation=1)
    await record(store, status)
    async with store.engine.begin() as connection:
        loaded = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        await record_last_load(connection, made["id"], failures=2, last_success_at=loaded)
    (listed,) = (await api.get(CONNECTORS, params={"freshness": "failing"})).json()["items"]
    shown = (await api.get(f"{CONNECTORS}/{made['id']}")).json()
    for answer in (listed, shown):
        status = answer["status"]
        assert (status["phase"], status["freshness"], status["failures"]) == ("synced", "failing", 2)
        assert datetime.fromisoformat(status["lastSuccessAt"]) == loaded
    assert (await api.get(CONNECTORS, params={"freshness": "on time"})).json()["items"] == []


async def test_why_it_is_not_running_says_that_no_controller_runs(api: httpx.AsyncClient) -> None:
    made = await create(api)
    shown = (await api.get(f"{CONNECTORS}/{made['id']}")).json()["status"]
    assert [each["obstacle"] for each in shown["obstacles"]] == ["NoController"]
    assert shown["summary"].startswith("No controller is running")
    assert shown["nextRunAt"] is not None


async def test_a_row_that_a_back_end_wrote_badly_is_still_shown(api: httpx.AsyncClient, store: Store) -> None:
    async with store.engine.begin() as connection:
        values = "INSERT INTO cai_connectors (name, source, run_policy, timezone) VALUES ('x', '[1]', '7', 'Mars')"
        await connection.execute(sa.text(values))
    listed = (await api.get(CONNECTORS)).json()["items"]
    assert (listed[0]["source"], listed[0]["runPolicy"], listed[0]["timezone"]) == ([1], 7, "Mars")
    shown = (await api.get(f"{CONNECTORS}/{listed[0]['id']}")).json()
    assert shown["status"]["obstacles"][0]["obstacle"] == "Invalid"


# --- refusals --------------------------------------------------------------------------------------------------------

SOURCE: dict[str, Any] = BODY["source"]


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"name": ""}, ["/name"]),
    ({"name": "   "}, ["/name"]),
    ({"name": "x" * 201}, ["/name"]),
    ({"name": None}, ["/name"]),
    ({"name": 7}, ["/name"]),
    ({"schedule": ""}, ["/schedule"]),
    ({"schedule": "61 * * * *"}, ["/schedule"]),
    ({"timezone": "Mars/Olympus"}, ["/timezone"]),
    ({"isActive": "yes"}, ["/isActive"]),
    ({"is_active": True}, ["/is_active"]),
    ({"colour": "blue"}, ["/colour"]),
    ({"id": 7}, ["/id"]),
    ({"source": None}, ["/source/type"]),
    ({"source": {"type": "fax"}}, ["/source/type"]),
    ({"source": {**SOURCE, "tables": []}}, ["/source/tables"]),
    ({"source": {**SOURCE, "extra": 1}}, ["/source/extra"]),
    ({"destination": {"type": "duckdb"}}, ["/destination/path"]),
    ({"datasetName": "Not Good"}, ["/datasetName"]),
    ({"runPolicy": {"retries": -1}}, ["/runPolicy/retries"]),
    ({"runPolicy": {"missedRuns": "all"}}, ["/runPolicy/missedRuns"]),
    ({"workPoolName": " "}, ["/workPoolName"]),
    ({"description": "NUL \0 byte"}, ["/description"]),
    ({"source": {**SOURCE, "schema": "\ud800"}}, ["/source/schema"]),
    ({"name": "", "schedule": "nope", "workQueueName": ""}, ["/name", "/schedule", "/workQueueName"]),
]


async def test_what_is_not_valid_is_refused_by_its_pointer_and_changes_nothing(api: httpx.AsyncClient) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    headers = {"Content-Type": "application/json"}
    for changes, pointers in REFUSED:
        content = json.dumps({**BODY, **changes})
        assert_problem(await api.post(CONNECTORS, content=content, headers=headers), 422, *pointers)
        assert_problem(await api.put(where, content=content, headers=headers), 422, *pointers)
        assert_problem(await api.patch(where, content=json.dumps(changes), headers=headers), 422, *pointers)
    assert (await api.get(CONNECTORS)).json()["items"] == [made]


async def test_a_refusal_speaks_in_the_names_of_the_api(api: httpx.AsyncClient) -> None:
    problem = assert_problem(
        await api.post(CONNECTORS, json={**BODY, "runPolicy": {"retries": 101}}), 422, "/runPolicy/retries"
    )
    assert problem["detail"] == "runPolicy.retries must be at most 100."
    unknown = {**BODY, "runPolicy": {"dataset_name": 1}, "source": {**SOURCE, "run_policy": 1}}
    problem = assert_problem(
        await api.post(CONNECTORS, json=unknown), 422, "/source/run_policy", "/runPolicy/dataset_name"
    )
    assert [error["detail"].split()[0] for error in problem["errors"]] == [
        "source.run_policy",
        "runPolicy.dataset_name",
    ], "a key of the connector's own JSON is told as it was sent"


async def test_every_sentence_of_the_api_speaks_in_its_names(database_url: str, store: Store) -> None:
    """Of a row that a back end wrote badly: wherever it is told, the API's own names are what its user knows."""
    async with client(database_url, tester=looks_of(Settings()).reach) as api:
        made = await create(api)
        where = f"{CONNECTORS}/{made['id']}"
        async with store.engine.begin() as connection:
            await connection.execute(sa.text("""UPDATE cai_connectors SET run_policy = '{"retries": 101}'"""))
        wrong = "run_policy.retries must be at most 100."
        await record(store, Status(made["id"], Phase.INVALID, Reason.INVALID_RUN_POLICY, wrong, observed_generation=2))
        shown = (await api.get(where)).json()["status"]
        told = [
            shown["message"],
            shown["summary"],
            shown["obstacles"][0]["message"],
            (await api.get(CONNECTORS)).json()["items"][0]["status"]["message"],
            (await api.post(f"{where}/test")).json()["message"],
        ]
        assert told == ["runPolicy.retries must be at most 100."] * 5
        problem = assert_problem(await api.post(f"{where}/run"), 409)
        assert problem["detail"].endswith("runPolicy.retries must be at most 100.")
    assert (await store.statuses())[made["id"]].message == wrong, "in the table it is told in the table's names"


def test_what_a_user_named_is_not_taken_for_a_column() -> None:
    for sentence in (
        "Table 'dataset_name' is not there.",
        'column "run_policy" does not exist',
        "source.tables.0.work_pool_name is not a known setting.",
        "my_dataset_name and dataset_names",
    ):
        assert in_camel_case(sentence) == sentence


async def test_a_secret_in_the_wrong_place_is_not_repeated(api: httpx.AsyncClient) -> None:
    for body in (
        {**BODY, "source": {**SOURCE, "credentials": "postgresql://me:hunter2@db/emr"}},
        {**BODY, "source": "hunter2"},
        {**BODY, "timezone": "hunter2"},
        {**BODY, "schedule": "hunter2"},
        {**BODY, "isActive": "hunter2"},
    ):
        assert "hunter2" not in (await api.post(CONNECTORS, json=body)).text


async def test_a_name_is_unique_without_the_blanks_around_it(api: httpx.AsyncClient) -> None:
    made = await create(api)
    other = await create(api, name="Other")
    assert_problem(await api.post(CONNECTORS, json={**BODY, "name": f"  {BODY['name']} "}), 409)
    assert_problem(await api.patch(f"{CONNECTORS}/{other['id']}", json={"name": BODY["name"]}), 409)
    assert (await api.patch(f"{CONNECTORS}/{made['id']}", json={"name": BODY["name"]})).status_code == 200


ODD: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/nowhere", {}, 404),
    ("GET", "/api/v1/connectors/7", {}, 404),
    ("GET", "/api/v1/connectors/abc", {}, 422),
    ("GET", f"/api/v1/connectors/{2**63}", {}, 422),
    ("GET", "/api/v1/connectors?limit=0", {}, 422),
    ("GET", "/api/v1/connectors?cursor=%C2%B2", {}, 422),
    ("GET", "/api/v1/connectors?q=%00", {}, 422),
    ("GET", "/api/v1/connectors?phase=gone", {}, 422),
    ("GET", "/api/v1/connectors?isactive=true", {}, 422),
    ("DELETE", "/api/v1/connectors", {}, 405),
    ("POST", "/api/v1/connectors", {"content": "{", "headers": {"Content-Type": "application/json"}}, 400),
    (
        "POST",
        "/api/v1/connectors",
        {"content": "[" * 100_000, "headers": {"Content-Type": "application/json"}},
        400,
    ),
    ("POST", "/api/v1/connectors", {"content": "name=x"}, 415),
    ("POST", "/api/v1/connectors", {}, 415),
    ("POST", "/api/v1/connectors", {"json": []}, 422),
    ("POST", "/api/v1/connectors", {"headers": {"Content-Type": "application/json"}}, 422),
    ("GET", "/api/v1/connectors?freshness=stale", {}, 422),
    ("POST", "/api/v1/connectors/7/run", {"headers": {"Idempotency-Key": "x" * 201}}, 422),
    ("POST", "/api/v1/connectors/7/run", {"headers": {"Idempotency-Key": ""}}, 422),
    ("POST", "/api/v1/connectors", {"content": b"x" * (LONGEST_BODY + 1)}, 413),
    ("POST", "/api/v1/connectors/7/run", {}, 404),
    ("POST", "/api/v1/connectors/7/test", {}, 404),
    ("POST", "/api/v1/connectors/7/retry", {}, 404),
]


async def test_head_answers_as_get_without_the_body(api: httpx.AsyncClient) -> None:
    made = await create(api)
    for path in ("/health", "/ready", "/metrics", "/openapi.json", CONNECTORS, f"{CONNECTORS}/{made['id']}"):
        read, asked = await api.get(path), await api.head(path)
        assert (asked.status_code, asked.content) == (read.status_code, b""), path
        assert asked.headers["content-type"] == read.headers["content-type"]
        assert asked.headers.get("etag") == read.headers.get("etag")
    assert (await api.head("/nowhere")).status_code == 404
    assert (await api.head(f"{CONNECTORS}/{made['id']}/run")).status_code == 405


async def test_the_frameworks_own_errors_are_problems_too(api: httpx.AsyncClient) -> None:
    for method, path, sent, status in ODD:
        answer = await api.request(method, path, **sent)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        if status == 405:
            assert answer.headers["Allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("method", "path", "sent", "sentence"),
    [
        ("POST", "", {"headers": {"Content-Type": "application/json"}}, "The body must be a JSON object."),
        ("POST", "", {"json": []}, "The body must be a JSON object."),
        ("POST", "", {"json": "text"}, "The body must be a JSON object."),
        ("GET", "?limit=201", {}, "limit must be at most 200."),
        ("GET", "?limit=many", {}, "limit must be a whole number."),
        (
            "GET",
            "?phase=gone",
            {},
            "phase must be 'pending', 'synced', 'paused', 'invalid', 'retrying', 'conflict' or 'deleting'.",
        ),
        (
            "GET",
            "?freshness=stale",
            {},
            "freshness must be 'invalid', 'paused', 'failing', 'overdue', 'late', 'manual' or 'on time'.",
        ),
        ("GET", "?q=%00", {}, "q holds a character that no name has."),
        ("GET", "/0", {}, "connectorId must be at least 1."),
        (
            "POST",
            "/7/run",
            {"headers": {"Idempotency-Key": "x" * 201}},
            "Idempotency-Key is too long: at most 200 characters.",
        ),
    ],
)
async def test_a_malformed_request_is_told_in_a_sentence(
    api: httpx.AsyncClient, method: str, path: str, sent: dict[str, Any], sentence: str
) -> None:
    answer = await api.request(method, CONNECTORS + path, **sent)
    assert (answer.status_code, answer.json()["detail"]) == (422, sentence)


async def test_a_database_that_is_down_is_a_503_and_not_ready(database_url: str) -> None:
    dead = database_url.rpartition("/")[0] + "/no_such_database"
    async with client(dead) as api:
        assert_problem(await api.get("/ready"), 503)
        assert_problem(await api.post(CONNECTORS, json=BODY), 503)
        assert (await api.get("/health")).status_code == 200


async def test_a_bug_of_ours_tells_nothing_of_what_it_held(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(row: ConnectorRow, *, both: bool = False) -> ProbeAnswer:
        raise RuntimeError("hunter2")

    async with client(database_url, tester=broken) as api:
        made = await create(api)
        answer = await api.post(f"{CONNECTORS}/{made['id']}/test")
    assert_problem(answer, 500)
    assert "hunter2" not in answer.text
    assert "RuntimeError" in caplog.text, "operations find it in the log"


# --- change ----------------------------------------------------------------------------------------------------------


async def test_a_patch_changes_what_it_names_and_a_put_all(api: httpx.AsyncClient) -> None:
    made = await create(api, description="Visits", timezone="Europe/Berlin")
    where = f"{CONNECTORS}/{made['id']}"
    patched = await api.patch(where, json={"schedule": None})
    assert patched.headers["ETag"] == '"2"'
    changed = {"schedule", "updatedAt", "generation", "status"}
    assert {key: v for key, v in patched.json().items() if key not in changed} == {
        key: v for key, v in made.items() if key not in changed
    }
    assert patched.json()["status"]["freshness"] == "manual"
    replaced = (await api.put(where, json=BODY)).json()
    assert (replaced["description"], replaced["timezone"], replaced["schedule"]) == (None, "UTC", "0 */4 * * *")


async def test_an_empty_patch_changes_no_generation(api: httpx.AsyncClient) -> None:
    made = await create(api)
    answer = await api.patch(f"{CONNECTORS}/{made['id']}", json={})
    assert answer.headers["ETag"] == '"1"'


async def test_a_stale_etag_changes_nothing(api: httpx.AsyncClient) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    for stale in ('"7"', "7", 'W/"7"', '"abc"', '"7", "8"'):
        headers = {"If-Match": stale}
        assert_problem(await api.patch(where, json={"schedule": None}, headers=headers), 412)
        assert_problem(await api.put(where, json=BODY, headers=headers), 412)
        assert_problem(await api.delete(where, headers=headers), 412)
        assert_problem(await api.post(f"{where}/deactivate", headers=headers), 412)
    assert (await api.get(where)).headers["ETag"] == '"1"'
    for fresh in ("*", '"1"', '"7", "1"'):
        assert (await api.patch(where, json={}, headers={"If-Match": fresh})).status_code == 200


async def test_two_clients_that_race_lose_nothing(api: httpx.AsyncClient) -> None:
    """Each adds to the description what it has, on what it has read: with ETags, no addition may be lost."""
    made = await create(api, description="")
    where = f"{CONNECTORS}/{made['id']}"

    async def add(mark: str, times: int) -> None:
        done = 0
        while done < times:
            seen = await api.get(where)
            body = {"description": seen.json()["description"] + mark}
            answer = await api.patch(where, json=body, headers={"If-Match": seen.headers["ETag"]})
            assert answer.status_code in {200, 412}
            done += answer.status_code == 200

    await asyncio.gather(add("a", 20), add("b", 20))
    description = (await api.get(where)).json()["description"]
    assert (description.count("a"), description.count("b")) == (20, 20)


async def test_racing_patches_of_different_fields_both_stand(api: httpx.AsyncClient) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    await asyncio.gather(
        *(api.patch(where, json={"description": "both"}) for _ in range(10)),
        *(api.patch(where, json={"datasetName": "both"}) for _ in range(10)),
    )
    shown = (await api.get(where)).json()
    assert (shown["description"], shown["datasetName"]) == ("both", "both")


async def test_delete_removes_the_row(api: httpx.AsyncClient, store: Store) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    answer = await api.delete(where, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.content) == (204, b"")
    assert_problem(await api.get(where), 404)
    assert_problem(await api.delete(where), 404)
    assert await store.row(made["id"]) is None


async def test_deactivate_and_activate(api: httpx.AsyncClient) -> None:
    made = await create(api)
    where = f"{CONNECTORS}/{made['id']}"
    off = await api.post(f"{where}/deactivate")
    assert (off.status_code, off.json()["isActive"], off.headers["ETag"]) == (200, False, '"2"')
    shown = (await api.get(where)).json()["status"]
    assert shown["obstacles"][0]["obstacle"] == "Inactive"
    on = await api.post(f"{where}/activate")
    assert (on.json()["isActive"], on.headers["ETag"]) == (True, '"3"')
    again = await api.post(f"{where}/activate")
    assert again.headers["ETag"] == '"3"', "nothing changed, so nobody's ETag is stale"


# --- lists -----------------------------------------------------------------------------------------------------------


async def test_pages_hold_each_connector_once(api: httpx.AsyncClient) -> None:
    made = [(await create(api, name=f"Connector {number}"))["id"] for number in range(7)]
    seen: list[int] = []
    cursor = None
    while True:
        page = (await api.get(CONNECTORS, params={"limit": 3} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == made


async def test_lists_are_narrowed(api: httpx.AsyncClient, store: Store) -> None:
    labs = await create(api, name="Lab results 100%", description="From the LIS")
    visits = await create(api, name="Visits", isActive=False)
    await record(store, Status(visits["id"], Phase.PAUSED))

    async def listed(**params: Any) -> list[int]:
        return [item["id"] for item in (await api.get(CONNECTORS, params=params)).json()["items"]]

    assert await listed(isActive="true") == [labs["id"]]
    assert await listed(isActive="false") == [visits["id"]]
    assert await listed(phase="paused") == [visits["id"]]
    for phase in Phase:
        assert await listed(phase=phase) == {"paused": [visits["id"]], "pending": [labs["id"]]}.get(phase, [])
    assert await listed(phase="pending") == [labs["id"]], "one without a status row is pending"
    assert await listed(q="lis") == [labs["id"]]
    assert await listed(q="VISIT") == [visits["id"]]
    assert await listed(q="0%") == [labs["id"]]
    assert await listed(q="%") == [labs["id"]], "a wildcard of SQL is a plain sign here"


# --- schedules -------------------------------------------------------------------------------------------------------


async def test_a_preview_says_words_dates_and_herds(api: httpx.AsyncClient) -> None:
    for number in range(27):
        await create(api, name=f"Nightly {number}", schedule="0 2 * * *")
    preview = (await api.post("/api/v1/schedules/preview", json={"cron": "0 2 * * *", "timezone": "UTC"})).json()
    assert preview["words"] == "every day at 02:00 (UTC)"
    assert len(preview["nextRuns"]) == 5
    assert all("T02:00:00" in run for run in preview["nextRuns"])
    assert preview["warnings"] == ["27 connectors start at 02:00; minute 30 is free."]


@pytest.mark.parametrize(
    ("body", "pointer"), [({"cron": "5-1 * * * *"}, "/cron"), ({"cron": "@daily", "timezone": "X"}, "/timezone")]
)
async def test_a_preview_refuses_what_a_connector_would(
    api: httpx.AsyncClient, body: dict[str, str], pointer: str
) -> None:
    assert_problem(await api.post("/api/v1/schedules/preview", json=body), 422, pointer)


# --- Prefect is down -------------------------------------------------------------------------------------------------


async def test_everything_but_runs_works_while_prefect_is_stopped(database_url: str) -> None:
    """Nothing listens at PREFECT_API_URL: two hundred creates are saved, and only what needs Prefect is a 503."""
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        async with client(database_url, open_runs=open_runs) as api:
            creates = (api.post(CONNECTORS, json={**BODY, "name": f"Connector {number}"}) for number in range(200))
            answers = await asyncio.gather(*creates)
            assert {answer.status_code for answer in answers} == {201}
            connector = answers[0].json()["id"]
            where = f"{CONNECTORS}/{connector}"
            assert (await api.get("/ready")).status_code == 200
            assert (await api.get(f"{where}/runs")).json() == {"items": []}, "without a deployment there is no run"
            assert_problem(await api.post(f"{where}/run"), 409)
            assert (await api.post(f"{where}/retry")).status_code == 202


async def test_a_key_starts_one_run_however_often_it_is_sent(
    database_url: str, store: Store, prefect_server: PrefectServer
) -> None:
    async with client(database_url, open_runs=open_runs) as api:
        made = await create(api)
        where = f"{CONNECTORS}/{made['id']}/run"
        async with httpx.AsyncClient(base_url=prefect_server.url, transport=AsyncPatient(), timeout=60) as prefect:
            flow = (await prefect.post("/flows/", json={"name": FLOW_NAME})).json()["id"]
            body = {"name": "x", "flow_id": flow, "work_pool_name": "default", "work_queue_name": "default"}
            deployment = (await prefect.post("/deployments/", json=body)).json()["id"]
        async with store.engine.begin() as connection:
            await connection.execute(sa.text(f"UPDATE cai_connectors SET prefect_deployment_id = '{deployment}'"))
        keyed = [await api.post(where, headers={"Idempotency-Key": "monday"}) for _ in range(3)]
        assert {(answer.status_code, answer.json()["id"]) for answer in keyed} == {(202, keyed[0].json()["id"])}
        others = [await api.post(where), await api.post(where), await api.post(where, headers={"Idempotency-Key": "2"})]
        assert len({answer.json()["id"] for answer in [*keyed, *others]}) == 4
        listed = (await api.get(f"{CONNECTORS}/{made['id']}/runs")).json()["items"]
        assert len(listed) == 4


async def test_runs_are_503_while_prefect_is_stopped(database_url: str, store: Store) -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        async with client(database_url, open_runs=open_runs) as api:
            made = await create(api)
            where = f"{CONNECTORS}/{made['id']}"
            deployment = "7a0f1c3e-0000-4000-8000-000000000001"
            async with store.engine.begin() as connection:
                await connection.execute(sa.text(f"UPDATE cai_connectors SET prefect_deployment_id = '{deployment}'"))
            assert "Retry-After" in (await api.post(f"{where}/run")).headers
            assert "may have been started" in assert_problem(await api.post(f"{where}/run"), 503)["detail"]
            assert_problem(await api.get(f"{where}/runs"), 503)
            shown = (await api.get(where)).json()["status"]
            assert "PrefectUnavailable" in [each["obstacle"] for each in shown["obstacles"]]


async def test_a_row_that_a_back_end_holds_is_said_so_and_soon(api: httpx.AsyncClient, database_url: str) -> None:
    made, other = await create(api), await create(api, name="Other")
    holder = await asyncpg.connect(database_url)
    try:
        await holder.execute("BEGIN")
        await holder.execute("SELECT * FROM cai_connectors WHERE id = $1 FOR UPDATE", made["id"])
        async with asyncio.timeout(10):
            held = await api.patch(f"{CONNECTORS}/{made['id']}", json={"description": "x"})
        problem = assert_problem(held, 503)
        assert problem["type"].endswith("row-locked")
        assert "left a transaction open" in problem["detail"]
        assert held.headers["Retry-After"] == "5"
        assert (await api.patch(f"{CONNECTORS}/{other['id']}", json={"description": "x"})).status_code == 200
    finally:
        await holder.close()


# --- what a FHIR server offers ---------------------------------------------------------------------------------------


def fhir(url: str, *types: str, **keys: Any) -> dict[str, Any]:
    """A body with a FHIR source."""
    return {**BODY, "source": {"type": "fhir", "base_url": f"{url}/fhir", "resource_types": list(types), **keys}}


async def test_what_a_fhir_server_does_not_offer_is_refused_when_saved(api: httpx.AsyncClient) -> None:
    parameters = [{"name": "code"}, {"name": "patient"}]
    rest = [{"mode": "server", "resource": [{"type": "Patient"}, {"type": "Observation", "searchParam": parameters}]}]
    statement = {"resourceType": "CapabilityStatement", "rest": rest}
    with WebServer(lambda _: statement) as web:
        refused = await api.post(CONNECTORS, json=fhir(web.url, "Patient", "Immunization"))
        assert_problem(refused, 422, "/source/resource_types")
        assert "does not offer the search of Immunization" in refused.text

        made = (await api.post(CONNECTORS, json=fhir(web.url, "Patient", "Observation"))).json()
        one = f"{CONNECTORS}/{made['id']}"
        filters = {"mode": "bulk", "type_filters": ["Observation?status=final&code=1"]}
        refused = await api.patch(one, json={"source": fhir(web.url, "Observation", **filters)["source"]})
        assert "asks for Observation by status, which the server" in refused.text
        asked = len(web.asked)
        # What stays as it is is not looked at again.
        assert (await api.patch(one, json={"source": made["source"]})).status_code == 200
        assert (await api.patch(one, json={"description": "mine"})).status_code == 200
        assert len(web.asked) == asked
        assert "authorization" not in web.asked[-1].headers


@pytest.mark.parametrize("answer", [Answer(b"no", 503), Answer(b"no", 401), {"resourceType": "Bundle"}, None])
async def test_a_fhir_server_that_says_nothing_keeps_nobody_from_saving(api: httpx.AsyncClient, answer: Any) -> None:
    with WebServer(lambda _: answer) as web:
        url = f"http://127.0.0.1:{free_port()}" if answer is None else web.url
        assert (await api.post(CONNECTORS, json=fhir(url, "Immunization"))).status_code == 201
