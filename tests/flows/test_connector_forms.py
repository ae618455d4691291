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
from prefect.client.schemas.objects import State
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.utilities.callables import parameter_schema

from connectors.form_models import (
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
)
from connectors.models import validate
from connectors.service import Entry
from connectors.status import Phase, Reason, Status
from connectors.store import Store
from connectors.tables import connectors
from flows import connector_forms
from settings import ROOT
from tests.connectors.api_rig import client
from tests.deployments.samples import row as sample
from tests.prefect_server import PrefectServer

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
            SqlDatabaseForm(credentials=" CAI_SECRET_EMR ", tables=[TableForm(name="visit")]),
            {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}, "tables": [{"name": "visit"}]},
        ),
        (
            RestApiForm(
                base_url="https://emr.example.org",
                bearer_token="emr-token",
                resources=[ResourceForm(name="visits", path="visits", cursor_path="updated", cursor_param="since")],
            ),
            {
                "type": "rest_api",
                "base_url": "https://emr.example.org",
                "auth": {"type": "bearer", "token": {"secret": "emr-token"}},
                "resources": [{"name": "visits", "path": "visits", "cursor_path": "updated", "cursor_param": "since"}],
            },
        ),
        (
            FhirForm(base_url="http://fhir.local", resource_types=["Patient"], since="2024-01-01"),
            {"type": "fhir", "base_url": "http://fhir.local", "resource_types": ["Patient"], "since": "2024-01-01"},
        ),
        (
            RedcapForm(api_url="https://redcap.example.org/api/", token="redcap"),
            {"type": "redcap", "api_url": "https://redcap.example.org/api/", "token": {"secret": "redcap"}},
        ),
        (
            FilesForm(url="/data/labs", format="csv", table="labs", credentials=""),
            {"type": "files", "url": "/data/labs", "format": "csv", "table": "labs"},
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


@pytest.mark.parametrize("form", [DuckdbForm(path="labs.duckdb"), PostgresForm(credentials="warehouse")])
def test_a_destination_says_what_a_connector_may_say(form: Any) -> None:
    assert validate(sample(destination=form.connector_json()))


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

    body = {"artifacts": {"key": {"any_": [f"connector-{row.id}"]}}}
    (artifact,) = httpx.post(f"{prefect_server.url}/artifacts/filter", json=body).json()
    assert artifact["type"] == "markdown"
    page = artifact["data"]
    assert page.startswith("# Visits\n")
    assert "Runs **at 02:00 (Europe/Berlin)**." in page
    assert page.count(", 02:00 |") == 5, "the next five runs"
    assert '"type": "sql_database"' in page


async def test_the_page_links_the_deployment_once_the_controller_has_made_it(prefect_server: PrefectServer) -> None:
    deployment = UUID(int=7)
    row = sample(source=SOURCE.connector_json(), schedule="@daily", prefect_deployment_id=deployment)
    status = Status(1, Phase.SYNCED, Reason.IN_SYNC, "Runs at 00:00 (UTC).", observed_generation=1)
    page = connector_forms.connector_page(Entry(row, status), datetime.now(UTC))
    assert "In Prefect: synced. Runs at 00:00 (UTC)." in page
    assert f"/deployments/deployment/{deployment})" in page
    later = connector_forms.connector_page(Entry(replace(row, generation=2), status), datetime.now(UTC))
    assert "has not taken it up yet" in later


async def test_an_update_changes_only_what_is_filled_in(store: Store) -> None:
    await submit(connector_forms.create_connector, name="Visits", source=SOURCE, schedule="0 2 * * *", retries=7)
    (before,) = await store.rows()
    state = await submit(connector_forms.update_connector, connector_id=before.id, description="New", overlap="skip")
    assert state.is_completed(), state.message
    (after,) = await store.rows()
    assert (after.description, after.run_policy) == ("New", {**before.run_policy, "overlap": "skip"})
    assert (after.name, after.schedule, after.source) == (before.name, before.schedule, before.source)
    await submit(connector_forms.update_connector, connector_id=before.id, without_schedule=True)
    assert (await store.rows())[0].schedule is None


async def test_activate_and_deactivate(store: Store) -> None:
    await submit(connector_forms.create_connector, name="Visits", source=SOURCE)
    (row,) = await store.rows()
    assert (await submit(connector_forms.deactivate_connector, connector_id=row.id)).is_completed()
    assert (await store.rows())[0].is_active is False
    assert (await submit(connector_forms.activate_connector, connector_id=row.id)).is_completed()
    assert (await store.rows())[0].is_active is True


async def test_what_a_back_end_wrote_badly_can_be_switched_off(store: Store) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(sa.insert(connectors).values(name="Bad", source={}, schedule="61 * * * *"))
    (row,) = await store.rows()
    refused = await submit(connector_forms.activate_connector, connector_id=row.id)
    assert refused.is_failed()
    assert (await submit(connector_forms.deactivate_connector, connector_id=row.id)).is_completed()
    assert (await store.rows())[0].is_active is False


async def test_a_delete_wants_the_name_typed_again(store: Store) -> None:
    await submit(connector_forms.create_connector, name="Visits", source=SOURCE)
    (row,) = await store.rows()
    refused = await submit(connector_forms.delete_connector, connector_id=row.id, name="visit")
    assert refused.is_failed()
    assert "nothing was deleted" in str(refused.message)
    assert await store.rows() == [row]
    assert (await submit(connector_forms.delete_connector, connector_id=row.id, name="Visits")).is_completed()
    assert await store.rows() == []


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
    body = {"artifacts": {"key": {"any_": [f"connector-{row.id}-test"]}}}
    (artifact,) = httpx.post(f"{prefect_server.url}/artifacts/filter", json=body).json()
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
        {"source": SqlDatabaseForm(credentials="postgresql://me:hunter2@db/emr", tables=[])},
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
    assert "hunter2" not in str(state.message)
    assert len(await store.rows()) == 1


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        (connector_forms.update_connector, {}),
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
