"""Constraints and triggers of a back end: refused by name through every door, and never as an outage."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from connectors.errors import ConstraintError
from database.connection.errors import told
from database.store import Store
from tests.support.api_rig import BODY, CONNECTORS, DeadPrefect, assert_problem, client, create
from tests.support.back_end import run
from use_cases.connectors import Service

MINE = "mine, and nobody else's"

CONSTRAINTS = [
    ("ALTER TABLE cai_connectors ALTER COLUMN id RESTART WITH 1", 409, "cai_connectors_pkey", "sequence is behind"),
    ("ALTER TABLE cai_connectors ADD COLUMN clinic text UNIQUE DEFAULT 'x'", 409, "cai_connectors_clinic_key", "once"),
    ("ALTER TABLE cai_connectors ADD COLUMN clinic text NOT NULL DEFAULT 'x'; "
     "ALTER TABLE cai_connectors ALTER COLUMN clinic DROP DEFAULT", 422, "clinic", "must not be empty"),
    ("ALTER TABLE cai_connectors ADD CONSTRAINT polite CHECK (description IS NULL)", 422, "polite", "does not allow"),
    ("CREATE TABLE pools (name text PRIMARY KEY); ALTER TABLE cai_connectors ADD CONSTRAINT of_pool "
     "FOREIGN KEY (work_pool_name) REFERENCES pools", 409, "of_pool", "another table"),
    ("CREATE FUNCTION no_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.description IS NOT NULL THEN "
     "RAISE EXCEPTION 'not %', NEW.description; END IF; RETURN NEW; END $$; "
     "CREATE TRIGGER no_way BEFORE INSERT ON cai_connectors FOR EACH ROW EXECUTE FUNCTION no_way()",
     422, "no_way", "function"),
    ("ALTER TABLE cai_connectors ADD COLUMN short varchar(5) GENERATED ALWAYS AS (description) STORED",
     422, "StringDataRightTruncation", "rule"),
    ("CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.description IS NOT NULL THEN "
     "RAISE check_violation; END IF; RETURN NULL; END $$; CREATE CONSTRAINT TRIGGER late AFTER INSERT ON "
     "cai_connectors DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()", 422, "late", "function"),
]  # fmt: skip


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API, without tokens."""
    async with client(database_url) as http:
        yield http


@pytest.mark.parametrize(("statements", "status", "name", "words"), CONSTRAINTS)
async def test_a_constraint_of_a_back_ends_is_named_and_its_value_is_not_shown(
    api: httpx.AsyncClient, store: Store, database_url: str, statements: str, status: int, name: str, words: str
) -> None:
    await create(api)
    await run(database_url, statements)
    body = {**BODY, "name": "Other", "description": MINE, "workPoolName": "elsewhere"}
    problem = assert_problem(await api.post(CONNECTORS, json=body), status)
    assert problem["type"].endswith(":constraint")
    assert name in problem["detail"]
    assert words in problem["detail"]
    assert MINE not in problem["detail"]
    assert len((await api.get(CONNECTORS)).json()["items"]) == 1
    service = Service(store, DeadPrefect(), instance="clinical-ai")
    values = {"name": "Third", "source": BODY["source"], "description": MINE, "work_pool_name": "elsewhere"}
    if status == 409 and "sequence" in words:
        await run(database_url, "ALTER TABLE cai_connectors ALTER COLUMN id RESTART WITH 1")
    with pytest.raises(ConstraintError) as refused:  # as the forms say it
        await service.create(values)
    assert name in str(refused.value)
    assert MINE not in repr(refused.value)


async def test_a_connector_that_another_table_refers_to_is_not_deleted_and_that_is_said(
    api: httpx.AsyncClient, database_url: str
) -> None:
    made = await create(api)
    await run(
        database_url, "CREATE TABLE invoices (connector bigint CONSTRAINT of_connector REFERENCES cai_connectors)"
    )
    await run(database_url, f"INSERT INTO invoices VALUES ({made['id']})")
    problem = assert_problem(await api.delete(f"{CONNECTORS}/{made['id']}"), 409)
    assert "of_connector" in problem["detail"]
    assert (await api.get(f"{CONNECTORS}/{made['id']}")).status_code == 200


@pytest.mark.parametrize("event", ["INSERT", "UPDATE", "DELETE"])
async def test_a_trigger_that_drops_a_change_without_a_word_is_no_outage_and_no_success(
    api: httpx.AsyncClient, database_url: str, event: str
) -> None:
    made = await create(api)
    one = f"{CONNECTORS}/{made['id']}"
    await run(
        database_url,
        "CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
        f"CREATE TRIGGER aaa_drop_it BEFORE {event} ON cai_connectors FOR EACH ROW EXECUTE FUNCTION drop_it()",
    )
    if event == "INSERT":
        answer = await api.post(CONNECTORS, json={**BODY, "name": "Other"})
    elif event == "UPDATE":
        answer = await api.patch(one, json={"schedule": "7 7 * * *"})
    else:
        answer = await api.delete(one)
    problem = assert_problem(answer, 422)
    assert "without a word" in problem["detail"]
    assert [row["schedule"] for row in (await api.get(CONNECTORS)).json()["items"]] == [BODY["schedule"]]


async def test_a_database_that_is_read_only_is_not_said_to_be_away(api: httpx.AsyncClient, database_url: str) -> None:
    name = database_url.rpartition("/")[2]
    await run(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    problem = assert_problem(await api.post(CONNECTORS, json=BODY), 503)
    assert "takes no writes" in problem["detail"]


async def test_a_name_that_is_taken_is_said_as_ever(api: httpx.AsyncClient) -> None:
    await create(api)
    problem = assert_problem(await api.post(CONNECTORS, json=BODY), 409)
    assert problem["type"].endswith(":name-taken")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (asyncpg.exceptions.DiskFullError("x"), "no room"),
        (asyncpg.exceptions.TooManyConnectionsError("x"), "no connection left"),
        (asyncpg.exceptions.ReadOnlySQLTransactionError("x"), "takes no writes"),
        (asyncpg.exceptions.LockNotAvailableError("x"), "open transaction holds locks"),
        (asyncpg.exceptions.DeadlockDetectedError("x"), "open transaction holds locks"),
        (asyncpg.exceptions.UndefinedColumnError("x"), "refuses a statement (UndefinedColumnError, 42703)"),
        (asyncpg.exceptions.AdminShutdownError("x"), "does not answer (AdminShutdownError)"),
        (ConnectionRefusedError(), "does not answer (ConnectionRefusedError)"),
        (TimeoutError(), "does not answer (TimeoutError)"),
    ],
)
def test_what_else_fails_is_told_by_its_own_name(error: BaseException, words: str) -> None:
    assert words in told(error)
