"""Forms made from models: every field of every kind goes out with its value, and comes back as the same JSON."""

from typing import Any

import pytest

from connectors.destinations import Destination
from connectors.destinations.postgres import PostgresDestination
from connectors.sources import Source
from connectors.sources.unions import models_of
from web.fields import Control, Field, fields_of, said, secrets

SOURCES: list[dict[str, Any]] = [
    {
        "type": "sql_database",
        "credentials": {"secret": "emr"},
        "schema": "clinic",
        "tables": [
            {"name": "visit", "primary_key": ["id"], "cursor_column": "at", "lag": 60, "columns": ["id", "at"]},
            {"name": "patient", "types": {"code": "text"}, "allow_empty": True},
        ],
        "mask": ["name", "dob"],
        "ssh": {"host": "bastion", "port": 2222, "user": "reader", "private_key": {"secret": "emr-ssh"}},
    },
    {
        "type": "rest_api",
        "base_url": "https://emr.example.org/api",
        "auth": {"type": "http_basic", "username": "reader", "password": {"block": "secret/emr"}},
        "headers": {"X-Site": "north"},
        "resources": [
            {"name": "visits", "path": "visits", "check_complete": False, "params": {"active": "true"}},
        ],
    },
    {"type": "fhir", "base_url": "https://fhir.example.org/r4", "resource_types": ["Patient"], "page_size": 50},
    {"type": "redcap", "api_url": "https://redcap.example.org/api/", "token": {"env": "CAI_SECRET_REDCAP"}},
    {"type": "files", "url": "s3://clinic/labs", "format": "csv", "header": ["a", "b"], "skip": 2},
]


def flat(fields: list[Field] | tuple[Field, ...]) -> dict[str, str]:
    """What a browser sends of a form that nobody touched."""
    sent: dict[str, str] = {}
    for field in fields:
        if field.control is Control.LIST:
            for item in field.items:
                sent |= flat(item)
        elif field.control is Control.GROUP:
            sent |= flat(field.fields)
        elif field.control is Control.ONE_OF:
            sent[field.name] = field.value
            for _, _, inner in field.variants:
                sent |= flat(inner)
        elif field.control is Control.FLAG:
            sent[f"{field.name}.shown"] = "1"
            sent |= {field.name: "on"} if field.value else {}
        else:
            sent[field.name] = field.value
    return sent


def model_of(union: Any, value: dict[str, Any]) -> Any:
    return next(model for model in models_of(union) if value["type"] in model.kinds())


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source["type"]))
def test_an_untouched_form_says_what_the_connector_says(source: dict[str, Any]) -> None:
    fields = fields_of(model_of(Source, source), "source", source)
    assert {"type": source["type"], **said(fields, flat(fields))} == source


@pytest.mark.parametrize("model", [*models_of(Source), *models_of(Destination)], ids=lambda model: model.__name__)
def test_each_field_of_each_kind_is_shown_with_its_help(model: Any) -> None:
    fields = fields_of(model, "source", {})
    keys = {info.alias or name for name, info in model.model_fields.items()} - {"type"}
    assert {field.name.removeprefix("source.") for field in fields} == keys
    assert [field.name for field in fields if not field.help] == []


def test_what_cannot_be_read_stays_as_it_was_typed() -> None:
    fields = fields_of(model_of(Source, {"type": "fhir"}), "source", {})
    assert said(fields, {"source.page_size": "many", "source.headers": "{broken"}) == {
        "page_size": "many",
        "headers": "{broken",
    }


def test_a_variant_that_was_not_chosen_says_nothing() -> None:
    fields = fields_of(model_of(Source, {"type": "fhir"}), "source", {})
    sent = {"source.auth": "bearer", "source.auth.bearer.token": "emr", "source.auth.http_basic.password": "other"}
    assert said(fields, sent) == {"auth": {"type": "bearer", "token": {"secret": "emr"}}}


def test_an_ssh_server_is_asked_for_by_fields_and_its_key_is_a_stored_secret() -> None:
    (ssh,) = (each for each in fields_of(PostgresDestination, "destination", {}) if each.control is Control.GROUP)
    assert ssh.label == "SSH server"
    assert not any(each.required for each in ssh.fields)
    assert [each.name for each in secrets([ssh], {})] == ["destination.ssh.private_key"]
    assert said([ssh], {}) == {}
    assert said([ssh], {"destination.ssh.host": "bastion"}) == {"ssh": {"host": "bastion"}}
