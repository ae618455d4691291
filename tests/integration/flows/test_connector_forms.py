"""The forms of the Prefect UI: drawn as forms, refused in the API's sentences, and what they leave behind."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
import yaml
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.utilities.callables import parameter_schema
from prefect.utilities.urls import url_for
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.connector import ConnectorRow, InvalidConnectorError, validate
from connectors.people import Actor, Via
from connectors.status import Phase, Reason, Status
from database.store import Store
from database.tables import connectors
from flows import connector_forms
from flows.forms.changes import lost
from flows.forms.pages import connector_page
from flows.forms.shapes import (
    DuckdbForm,
    FhirForm,
    FilesForm,
    JsonForm,
    PostgresForm,
    RedcapForm,
    ResourceForm,
    RestApiForm,
    SqlDatabaseForm,
    TableForm,
    TypeForm,
    label,
    sentence,
)
from prefect_api.artifacts import Artifact, Artifacts
from prefect_api.calls import PrefectCalls
from prefect_api.client import open_client
from prefect_api.names import page_key
from settings import ROOT
from tests.support.api_rig import client
from tests.support.control_plane.samples import row as sample
from tests.support.servers.prefect_server import AsyncPatient, PrefectServer

SOURCE = SqlDatabaseForm(
    credentials="sqlalchemy-connector/emr",
    database_schema="public",
    tables=[TableForm(name="visit", primary_key=["id"], cursor_column="updated_at")],
)
FORMS: list[Flow[..., Any]] = [
    connector_forms.create_connector,
    connector_forms.update_connector,
    connector_forms.activate_connector,
    connector_forms.deactivate_connector,
    connector_forms.delete_connector,
    connector_forms.test_connector,
    connector_forms.decide_connector,
]


# --- how they are drawn ----------------------------------------------------------------------------------------------


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema within a schema."""
    if isinstance(schema, dict):
        yield schema
        for below in schema.values():
            yield from nodes(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from nodes(below)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_is_no_raw_json(form: Flow[..., Any]) -> None:
    """The UI draws oneOf as a JSON editor, and an optional text as tabs that say "str" and "None"."""
    schema = parameter_schema(form).model_dump()
    for node in nodes(schema):
        assert "oneOf" not in node
        assert "discriminator" not in node
        assert {"type": "string"} not in (node.get("anyOf") or [])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_field_has_a_help_text_and_keeps_its_place(form: Flow[..., Any]) -> None:
    properties = parameter_schema(form).model_dump()["properties"]
    assert [field["position"] for field in properties.values()] == list(range(len(properties)))
    for name, field in properties.items():
        assert field.get("description"), f"{form.name}: say in Args what {name} is"


def test_prefect_yaml_deploys_every_form() -> None:
    listed = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    forms = [entry for entry in listed if entry["name"] == "form"]
    flows: list[Flow[..., Any]] = [load_flow_from_entrypoint(str(ROOT / entry["entrypoint"])) for entry in forms]
    assert [flow.name for flow in flows] == [form.name for form in FORMS]
    for entry in forms:
        pool = entry["work_pool"]
        assert (pool["name"], pool["work_queue_name"]) == ("default", "default")


# --- what they say ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            SOURCE,
            {
                "type": "sql_database",
                "credentials": {"block": "sqlalchemy-connector/emr"},
                "schema": "public",
                "tables": [{"name": "visit", "primary_key": ["id"], "cursor_column": "updated_at"}],
            },
        ),
        (
            SqlDatabaseForm(
                credentials=" CAI_SECRET_EMR ",
                tables=[TableForm(name="visit", types=[TypeForm(column="id", type="text")])],
                mask=["name"],
            ),
            {
                "type": "sql_database",
                "credentials": {"env": "CAI_SECRET_EMR"},
                "tables": [{"name": "visit", "types": {"id": "text"}}],
                "mask": ["name"],
            },
        ),
        (
            RestApiForm(
                base_url="https://emr.example.org",
                bearer_token="emr-token",
                resources=[
                    ResourceForm(
                        name="visits",
                        path="visits",
                        cursor_path="updated",
                        cursor_param="since",
                        types=[TypeForm(column="id", type="text")],
                    )
                ],
                mask=["name"],
            ),
            {
                "type": "rest_api",
                "base_url": "https://emr.example.org",
                "auth": {"type": "bearer", "token": {"secret": "emr-token"}},
                "resources": [
                    {
                        "name": "visits",
                        "path": "visits",
                        "cursor_path": "updated",
                        "cursor_param": "since",
                        "types": {"id": "text"},
                    }
                ],
                "mask": ["name"],
            },
        ),
        (
            FhirForm(
                base_url="http://fhir.local",
                resource_types=["Patient"],
                since="2024-01-01",
                mask=["name"],
                types=[TypeForm(column="birthDate", type="text")],
            ),
            {
                "type": "fhir",
                "base_url": "http://fhir.local",
                "resource_types": ["Patient"],
                "since": "2024-01-01",
                "mask": ["name"],
                "types": {"birthDate": "text"},
            },
        ),
        (
            RedcapForm(
                api_url="https://redcap.example.org/api/",
                token="redcap",
                mask=["name"],
                types=[TypeForm(column="code", type="text"), TypeForm(column="code", type="text")],
            ),
            {
                "type": "redcap",
                "api_url": "https://redcap.example.org/api/",
                "token": {"secret": "redcap"},
                "mask": ["name"],
                "types": {"code": "text"},
            },
        ),
        (
            FilesForm(
                url="/data/labs", format="csv", table="labs", mask=["name"], types=[TypeForm(column="n", type="bool")]
            ),
            {
                "type": "files",
                "url": "/data/labs",
                "format": "csv",
                "table": "labs",
                "mask": ["name"],
                "types": {"n": "bool"},
            },
        ),
        (
            JsonForm(value={"type": "files", "url": "/data/labs", "mask": ["name"]}),
            {"type": "files", "url": "/data/labs", "mask": ["name"]},
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else "",
)
def test_a_source_says_what_a_connector_may_say(form: Any, expected: dict[str, Any]) -> None:
    said = form.connector_json()
    assert said == expected
    assert validate(sample(source=said))


BEHIND = PostgresForm(
    credentials="warehouse", ssh_host="bastion", ssh_port=2222, ssh_user="loader", ssh_private_key="bastion-key"
)


@pytest.mark.parametrize("form", [DuckdbForm(path="labs.duckdb"), PostgresForm(credentials="warehouse"), BEHIND])
def test_a_destination_says_what_a_connector_may_say(form: Any) -> None:
    assert validate(sample(destination=form.connector_json()))


# --- what a tab would take away --------------------------------------------------------------------------------------

SQL = SOURCE.connector_json()
REST = RestApiForm(base_url="https://emr.example.org", resources=[ResourceForm(name="visits", path="visits")])


@pytest.mark.parametrize(
    ("saved", "form", "expected"),
    [
        (SQL, SOURCE, []),
        (SQL | {"mask": ["name"]}, SOURCE, ["Masked columns"]),
        (SQL | {"mask": ["name"]}, SOURCE.model_copy(update={"mask": ["birth_date"]}), []),
        (SQL | {"schema_contract": "freeze"}, SOURCE, ["schema_contract"]),
        (SQL, SOURCE.model_copy(update={"database_schema": ""}), ["Schema"]),
        (
            SQL,
            SOURCE.model_copy(update={"tables": [TableForm(name="visit")]}),
            ["table 1, Primary key", "table 1, Cursor column"],
        ),
        (SQL, SOURCE.model_copy(update={"tables": [TableForm(name="lab")]}), []),
        (SQL | {"tables": [{"name": "x"}, {**SQL["tables"][0], "columns": ["id"]}]}, SOURCE, ["table 1, columns"]),
        (SQL | {"tables": [{**SQL["tables"][0], "initial_value": 0}]}, SOURCE, ["table 1, initial_value"]),
        (
            SQL | {"tables": [{**SQL["tables"][0], "write_disposition": "replace"}]},
            SOURCE,
            ["table 1, write_disposition"],
        ),
        (SQL | {"tables": [{**SQL["tables"][0], "write_disposition": "merge"}], "mask": []}, SOURCE, []),
        (REST.connector_json() | {"auth": {"type": "bearer", "token": {"secret": "x"}}}, REST, ["Bearer token"]),
        (REST.connector_json() | {"auth": {"type": "http_basic"}, "headers": {"a": "b"}}, REST, ["auth", "headers"]),
        (REST.connector_json() | {"mask": ["name"], "headers": {"a": "b"}}, SOURCE, ["Masked columns"]),
        ({"type": "duckdb", "path": "a", "schema_contract": "freeze"}, DuckdbForm(path="b"), ["schema_contract"]),
        ({"type": "filesystem", "url": "/lake", "format": "delta"}, DuckdbForm(path="b"), []),
        (SQL | {"ssh": BEHIND.connector_json()["ssh"]}, SOURCE, ["SSH server"]),
        (BEHIND.connector_json(), BEHIND.model_copy(update={"ssh_port": None}), ["SSH port"]),
        (BEHIND.connector_json(), BEHIND, []),
        ("not even an object", SOURCE, []),
        ({"type": "sql_database", "tables": "none", "typo": 1}, SOURCE, []),
    ],
)
def test_what_a_tab_has_no_field_for_is_told_before_it_is_lost(saved: Any, form: Any, expected: list[str]) -> None:
    said = form.connector_json()
    side = "destination" if isinstance(form, DuckdbForm | PostgresForm) else "source"
    meant = getattr(validate(sample(**{side: said})), side).model_dump(mode="json", by_alias=True)
    assert [label(form, way) for way in lost(saved, said, meant)] == expected


# --- what they do ----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(
    monkeypatch: pytest.MonkeyPatch, database_url: str, store: Store, prefect_server: PrefectServer
) -> Iterator[Store]:
    """The tables of this test, which the forms write: they read the settings as a worker does."""
    monkeypatch.setenv("CAI_DATABASE_URL", database_url)
    monkeypatch.setattr(connector_forms, "SETTLING_SECONDS", 0)  # there is no controller
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
        yield store


async def submit(form: Any, **fields: Any) -> State[Any]:
    """Fill in and submit a form; the state in which its run ends."""
    state: State[Any] = await form(**fields, return_state=True)
    return state


async def test_a_form_saves_the_connector_and_shows_it(store: Store, prefect_server: PrefectServer) -> None:
    state = await submit(
        connector_forms.create_connector,
        name="Visits",
        source=SOURCE,
        schedule="0 2 * * *",
        timezone="Europe/Berlin",
        description="Every visit",
        destination=DuckdbForm(path="visits.duckdb"),
        timeout_seconds=600,
    )
    assert state.is_completed(), state.message
    (row,) = await store.rows()
    assert state.message == f"Connector {row.id} was created."
    assert (row.name, row.schedule, row.timezone, row.is_active) == ("Visits", "0 2 * * *", "Europe/Berlin", True)
    assert row.source == SOURCE.connector_json()
    assert row.destination == {"type": "duckdb", "path": "visits.duckdb"}
    assert row.run_policy == {"overlap": "queue", "missed_runs": "latest", "retries": 3, "timeout_seconds": 600}

    artifact = shown(prefect_server, f"connector-{row.id}-form")
    assert artifact["type"] == "markdown"
    page = artifact["data"]
    assert page.startswith("# Visits\n")
    assert (
        f"Connector **{row.id}**, active: from a SQL database into a DuckDB file, dataset `connector_{row.id}`." in page
    )
    assert "Runs **every day at 02:00 (Europe/Berlin)**." in page
    assert page.count(", 02:00 |") == 5, "the next five runs"
    assert '"type": "sql_database"' in page


async def test_a_form_acts_as_whoever_started_its_run_where_prefect_knows_it(store: Store, engine: AsyncEngine) -> None:
    state = await submit(
        connector_forms.create_connector, name="Visits", source=SOURCE, is_active=False, reason=" a new study "
    )
    assert state.is_completed(), state.message
    async with engine.connect() as connection:
        said = (await connection.exec_driver_sql("SELECT actor, via, reason, request_id FROM cai_audit")).one()
    # A server without accounts knows nobody.
    assert tuple(said) == ("prefect", "form", "a new study", str(state.state_details.flow_run_id))
    who = {"id": UUID(int=1), "type": "USER", "display_value": "ann@example.org"}
    run = FlowRun.model_validate({"id": UUID(int=7), "flow_id": UUID(int=8), "created_by": who})
    context: Any = FlowRunContext
    with context.model_construct(flow_run=run):
        assert connector_forms._actor("") == Actor("prefect:ann@example.org", Via.FORM, None, str(run.id))


def shown(server: PrefectServer, key: str) -> dict[str, Any]:
    """The latest artifact of this key."""
    body = {"artifacts": {"key": {"any_": [key]}}}
    (artifact,) = httpx.post(f"{server.url}/artifacts/latest/filter", json=body).json()
    return dict(artifact)


async def test_the_page_says_when_nothing_is_left_to_do(prefect_server: PrefectServer) -> None:
    deployment = UUID(int=7)
    row = sample(source=SOURCE.connector_json(), schedule="@daily", prefect_deployment_id=deployment)
    status = Status(1, Phase.SYNCED, Reason.IN_SYNC, "Runs every day at 00:00 (UTC).", observed_generation=1)

    def page(row: ConnectorRow, status: Status | None) -> str:
        link = url_for("deployment", obj_id=row.prefect_deployment_id) if row.prefect_deployment_id else None
        return connector_page(row, status, link, datetime.now(UTC))

    ready = page(row, status)
    assert "from a SQL database into the platform's own destination, dataset `connector_1`." in ready
    assert "Ready: it runs by itself." in ready
    assert f"/deployments/deployment/{deployment})" in ready
    assert "(/artifacts/key/connector-1)" in ready
    assert "nothing is left to do for you" in page(replace(row, generation=2), status)
    by_hand = page(replace(row, schedule=None), status)
    assert "only when started by hand" in by_hand
    assert "by itself" not in by_hand
    off = replace(status, phase=Phase.PAUSED, reason=Reason.INACTIVE, message="Deactivated: nothing is scheduled.")
    assert "Connector **1**, deactivated: from" in page(replace(row, is_active=False), off)
    assert str(off.message) in page(replace(row, is_active=False), off)


async def test_the_fleet_keeps_its_page_of_a_connector_that_a_form_has_made(
    store: Store, prefect_server: PrefectServer
) -> None:
    """The controller leaves alone what others wrote under its keys, so a form must not write there."""
    await submit(connector_forms.create_connector, name="Visits", source=SOURCE)
    (row,) = await store.rows()
    key = page_key(row.id)
    async with open_client(transport=AsyncPatient()) as prefect:
        fleet = Artifacts(PrefectCalls(prefect, 60), "managed-by:forms")
        assert await fleet.show({key: Artifact("markdown", "# Visits, on time", "Visits (managed-by:forms)")})
        assert shown(prefect_server, key)["data"] == "# Visits, on time"
        await submit(connector_forms.update_connector, connector_id=row.id, description="New")
        fleet.forget()
        assert await fleet.show({key: Artifact("markdown", "# Visits, late", "Visits (managed-by:forms)")})
        assert shown(prefect_server, key)["data"] == "# Visits, late"
        await fleet.show({})
    assert shown(prefect_server, f"{key}-form")


async def test_an_update_changes_only_what_is_filled_in(store: Store) -> None:
    await submit(connector_forms.create_connector, name="Visits", source=SOURCE, schedule="0 2 * * *", retries=7)
    (before,) = await store.rows()
    state = await submit(connector_forms.update_connector, connector_id=before.id, description="New", overlap="skip")
    assert state.is_completed(), state.message
    (after,) = await store.rows()
    assert (after.description, after.run_policy) == ("New", {**before.run_policy, "overlap": "skip"})
    assert (after.name, after.schedule, after.source) == (before.name, before.schedule, before.source)


async def test_what_was_given_can_be_taken_away(store: Store) -> None:
    await submit(
        connector_forms.create_connector,
        name="Visits",
        source=SOURCE,
        schedule="0 2 * * *",
        description="Every visit",
        destination=DuckdbForm(path="visits.duckdb"),
        dataset_name="emr",
        timeout_seconds=600,
    )
    (row,) = await store.rows()
    state = await submit(
        connector_forms.update_connector,
        connector_id=row.id,
        take_away=["schedule", "description", "destination", "dataset_name"],
        timeout_seconds=0,
    )
    assert state.is_completed(), state.message
    (row,) = await store.rows()
    assert (row.schedule, row.description, row.destination, row.dataset_name) == (None, None, None, None)
    assert row.run_policy == {"overlap": "queue", "missed_runs": "latest", "retries": 3}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "You filled in nothing, so nothing was changed."),
        (
            {"schedule": "0 3 * * *", "name": "Other", "take_away": ["schedule", "description"]},
            "You filled in schedule, and chose the same under take_away, so nothing was changed: do one of the two.",
        ),
    ],
    ids=["empty", "contradiction"],
)
async def test_a_form_that_asks_for_nothing_or_for_both_changes_nothing(
    store: Store, fields: dict[str, Any], says: str
) -> None:
    await submit(connector_forms.create_connector, name="Visits", source=SOURCE, schedule="0 2 * * *")
    (row,) = await store.rows()
    state = await submit(connector_forms.update_connector, connector_id=row.id, **fields)
    assert (state.is_failed(), state.message) == (True, says)
    assert await store.rows() == [row]


def test_a_column_with_two_types_is_refused_in_the_forms_words() -> None:
    types = [TypeForm(column="code", type="text"), TypeForm(column="code", type="bigint")]
    form = FhirForm(base_url="http://fhir.local", types=types)
    with pytest.raises(InvalidConnectorError) as refused:
        validate(replace(sample(1), source=form.connector_json()))
    (refusal,) = refused.value.refusals
    assert sentence(refusal, form).startswith("Source, Column types, code: ")


async def test_another_list_of_tables_does_not_unmask_a_column(store: Store) -> None:
    saved = {**SOURCE.connector_json(), "mask": ["name"], "schema_contract": "freeze"}
    await submit(connector_forms.create_connector, name="Visits", source=JsonForm(value=saved))
    (row,) = await store.rows()
    more = SOURCE.model_copy(update={"tables": [*SOURCE.tables, TableForm(name="lab")]})
    state = await submit(connector_forms.update_connector, connector_id=row.id, source=more)
    assert state.is_failed()
    assert "take away what is saved: Source, Masked columns; Source, schema_contract." in str(state.message)
    assert "Other (JSON)" in str(state.message)
    assert await store.rows() == [row]

    whole = JsonForm(value={**more.connector_json(), "schema_contract": "freeze", "mask": ["name"]})
    for form in (whole, JsonForm(value=more.connector_json())):
        state = await submit(connector_forms.update_connector, connector_id=row.id, source=form)
        assert state.is_completed(), state.message
        assert (await store.rows())[0].source == form.value
    masked = more.model_copy(update={"mask": ["name"]})
    assert (await submit(connector_forms.update_connector, connector_id=row.id, source=masked)).is_completed()


async def test_activate_and_deactivate(store: Store) -> None:
    await submit(connector_forms.create_connector, name="Visits", source=SOURCE)
    (row,) = await store.rows()
    assert (await submit(connector_forms.deactivate_connector, connector_id=row.id)).is_completed()
    assert (await store.rows())[0].is_active is False
    assert (await submit(connector_forms.activate_connector, connector_id=row.id)).is_completed()
    assert (await store.rows())[0].is_active is True


async def test_what_a_back_end_wrote_badly_can_be_deactivated_and_is_not_shown(
    store: Store, prefect_server: PrefectServer
) -> None:
    source = {"type": "sql_database", "credentials": "postgresql://me:hunter2@db/emr"}
    async with store.engine.begin() as connection:
        await connection.execute(sa.insert(connectors).values(name="Bad", source=source, schedule="61 * * * *"))
    (row,) = await store.rows()
    refused = await submit(connector_forms.activate_connector, connector_id=row.id)
    assert refused.is_failed()
    assert (await submit(connector_forms.deactivate_connector, connector_id=row.id)).is_completed()
    assert (await store.rows())[0].is_active is False
    assert (await submit(connector_forms.delete_connector, connector_id=row.id, name="Bad")).is_completed()
    for page in ("form", "deleted"):
        assert "hunter2" not in str(shown(prefect_server, f"connector-{row.id}-{page}"))


async def test_a_delete_wants_the_name_typed_again(store: Store) -> None:
    await submit(connector_forms.create_connector, name="Visits", source=SOURCE)
    (row,) = await store.rows()
    refused = await submit(connector_forms.delete_connector, connector_id=row.id, name="visit")
    assert refused.is_failed()
    assert "nothing was deleted" in str(refused.message)
    assert await store.rows() == [row]
    done = await submit(connector_forms.delete_connector, connector_id=row.id, name="Visits")
    assert done.is_completed()
    assert f"Its rows stay in dataset connector_{row.id}." in str(done.message)
    assert await store.rows() == []


async def test_a_deleted_connector_can_be_made_again_from_what_its_delete_left(
    store: Store, database_url: str, prefect_server: PrefectServer
) -> None:
    await submit(
        connector_forms.create_connector, name="Visits", source=SOURCE, schedule="0 2 * * *", timeout_seconds=600
    )
    (before,) = await store.rows()
    await submit(connector_forms.delete_connector, connector_id=before.id, name="Visits")
    page = shown(prefect_server, f"connector-{before.id}-deleted")["data"]
    assert f"Its rows stay in dataset `connector_{before.id}`." in page
    body = json.loads(page.partition("```json")[2].partition("```")[0])
    async with client(database_url) as api:
        answer = await api.post("/api/v1/connectors", json=body)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    (after,) = await store.rows()
    assert after.dataset_name == f"connector_{before.id}"
    same: dict[str, Any] = {
        "id": before.id,
        "dataset_name": None,
        "created_at": before.created_at,
        "updated_at": before.updated_at,
    }
    assert replace(after, **same) == before


async def test_a_test_shows_columns_and_no_values(
    store: Store, prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a patient's record holds has no place in Prefect's database."""
    (tmp_path / "labs.csv").write_text("id,diagnosis\n1,measles\n")
    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", str(tmp_path))
    monkeypatch.setenv("CAI_DATA_DIR", str(tmp_path / "data"))
    source = FilesForm(url=str(tmp_path), glob="*.csv", table="labs")
    await submit(connector_forms.create_connector, name="Labs", source=source)
    (row,) = await store.rows()
    state = await submit(connector_forms.test_connector, connector_id=row.id)
    assert state.is_completed(), state.message
    artifact = shown(prefect_server, f"connector-{row.id}-test")
    assert "| labs | id, diagnosis |" in artifact["data"]
    assert "measles" not in str(artifact)

    monkeypatch.setenv("CAI_LOCAL_FILE_ROOTS", "")
    state = await submit(connector_forms.test_connector, connector_id=row.id)
    assert state.is_failed()
    assert "CAI_LOCAL_FILE_ROOTS" in str(state.message)


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "61 * * * *"},
        {"timezone": "Mars/Olympus"},
        {"name": ""},
        {"name": "Taken"},
        {"source": JsonForm(value={"type": "sql_database", "credentials": {"secret": "emr"}, "tables": []})},
    ],
    ids=lambda fields: json.dumps(list(fields)),
)
async def test_a_refused_form_says_what_the_api_would(store: Store, database_url: str, fields: dict[str, Any]) -> None:
    await submit(connector_forms.create_connector, name="Taken", source=SOURCE)
    fields = {"name": "Visits", "source": SOURCE, **fields}
    state = await submit(connector_forms.create_connector, **fields)
    assert state.is_failed()
    async with client(database_url) as api:
        body = {**fields, "source": fields["source"].connector_json()}
        problem = (await api.post("/api/v1/connectors", json=body)).json()
    assert state.message == problem["detail"]
    assert len(await store.rows()) == 1


STORED = "What you typed is now stored in Prefect: if it is a password or token, replace it where it is used."


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"source": SqlDatabaseForm(credentials="emr", tables=[TableForm(name="visit"), TableForm(name=" ")])},
            "Source, table 2, Table: must not be empty.",
        ),
        (
            {"source": SqlDatabaseForm(credentials="emr", tables=[TableForm(name="visit"), TableForm(name="Visit")])},
            "Source, table 2, Table: is there twice: both would land as 'visit'; give one another name.",
        ),
        ({"source": SqlDatabaseForm(credentials="emr", tables=[])}, "Source, Tables: must not be empty."),
        (
            {"source": SqlDatabaseForm(credentials="emr", tables=[TableForm(name="visit", primary_key=["id", ""])])},
            "Source, table 1, Primary key 2: must not be empty.",
        ),
        ({"source": FhirForm(base_url="fhir.local")}, "Source, Base address: must be an address that starts with"),
        (
            {"source": FhirForm(base_url="http://fhir", resource_types=["pat"])},
            "Source, Resource types 1: must be a FHIR",
        ),
        (
            {"source": FhirForm(base_url="https://me:hunter2@fhir.local")},
            "Source, Base address: must not hold a user or password: take it out of the address, create a Secret block "
            f"in Prefect and fill in its name where there is a field. {STORED}",
        ),
        (
            {"source": FhirForm(base_url="http://fhir", bearer_token="Hunter2")},
            "Source, Bearer token: it takes the name of a Secret block",
        ),
        (
            {"source": SqlDatabaseForm(credentials="postgresql://me:hunter2@db/emr", tables=[TableForm(name="visit")])},
            "Source, Credentials: it takes the name of a Secret block",
        ),
        (
            {"source": JsonForm(value={"type": "sql_database", "credentials": "hunter2", "tables": [{"name": "a"}]})},
            "source.credentials must be a reference and never the value itself: create a Secret block in Prefect and "
            f'refer to it as {{"secret": "its-name"}}. {STORED}',
        ),
        (
            {"destination": PostgresForm(credentials="postgresql://me:hunter2@db/emr")},
            "Destination, Credentials: it takes the name of a Secret block",
        ),
        (
            {"destination": BEHIND.model_copy(update={"ssh_private_key": "-----BEGIN hunter2"})},
            "Destination, SSH private key: it takes the name of a Secret block",
        ),
        ({"timeout_seconds": -1}, "timeout_seconds must be more than 0."),
    ],
)
async def test_a_refusal_speaks_of_the_fields_of_the_form_and_repeats_no_secret(
    store: Store, prefect_server: PrefectServer, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], says: str
) -> None:
    state = await submit(connector_forms.create_connector, **{"name": "Visits", "source": SOURCE, **fields})
    assert state.is_failed()
    assert str(state.message).startswith(says)
    if "hunter2" in repr(fields).lower():
        assert STORED in str(state.message)
    assert await store.rows() == []
    artifacts = httpx.post(f"{prefect_server.url}/artifacts/filter", json={}).text
    assert "hunter2" not in f"{state} {caplog.text} {artifacts}".lower()


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        (connector_forms.update_connector, {"name": "x"}),
        (connector_forms.activate_connector, {}),
        (connector_forms.deactivate_connector, {}),
        (connector_forms.delete_connector, {"name": "x"}),
        (connector_forms.test_connector, {}),
    ],
    ids=lambda value: value.name if isinstance(value, Flow) else "",
)
async def test_a_connector_that_is_not_there_is_told(store: Store, form: Any, fields: dict[str, Any]) -> None:
    state = await submit(form, connector_id=7, **fields)
    assert (state.is_failed(), state.message) == (True, "There is no connector 7.")
