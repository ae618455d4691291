"""Testing a connector: the first rows as they would land, or why not."""

from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from api.camel_case import in_camel_case
from connectors.sources import Source
from pipelines.access.secrets import Secrets
from pipelines.load_history import Told
from pipelines.protection.masking import masking_key
from pipelines.protection.methods.hashing import hashed
from pipelines.source_test import Probe, probe
from tests.support.data_plane.platform import Platform, Sql
from tests.support.data_plane.samples import omop
from tests.support.servers.http_server import Answer, Asked, WebServer

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


def look(platform: Platform, source: dict[str, Any]) -> Probe:
    return probe(SOURCE.validate_python(source), platform.settings)


def test_the_first_rows_are_shown_as_they_would_land(platform: Platform, clinic: dict[str, str]) -> None:
    found = look(platform, omop(clinic, "person", "visit_occurrence") | {"mask": ["gender_concept_id"]})
    assert (found.ok, [sample.table for sample in found.samples]) == (True, ["person", "visit_occurrence"])
    assert [len(sample.rows) for sample in found.samples] == [10, 10]
    key = masking_key(platform.settings.data_dir)
    assert found.samples[0].rows[0]["gender_concept_id"] in {hashed(8507, key), hashed(8532, key)}
    assert "person_id" in found.samples[0].columns


def test_an_appending_api_is_tested_too(platform: Platform) -> None:
    rows = [{"id": number, "at": "2024-01-01T00:00:00Z", "who": {"n": 1}} for number in range(30)]
    source = {"type": "rest_api", "resources": [{"name": "visits", "path": "v", "cursor_path": "at"}]}
    with WebServer(lambda asked: rows) as web:
        found = look(platform, source | {"base_url": web.url})
    assert (found.ok, len(found.samples[0].rows), found.samples[0].columns) == (True, 10, ("id", "at", "who"))


@pytest.mark.parametrize("status", [401, 404])
def test_what_is_wrong_is_said_in_a_sentence(platform: Platform, status: int) -> None:
    source = {"type": "rest_api", "resources": [{"name": "visits", "path": "v"}]}
    with WebServer(lambda asked: Answer({}, status)) as web:
        found = look(platform, source | {"base_url": web.url})
    assert not found.ok
    assert str(status) in found.message


def test_the_mask_is_told_with_what_it_met(platform: Platform, clinic: dict[str, str]) -> None:
    with WebServer(lambda asked: [{"id": 1, "ssn": "canary"}]) as web:
        source = {"type": "rest_api", "base_url": web.url, "resources": [{"name": "visits", "path": "v"}]}
        found = look(platform, source | {"mask": ["SSN", "nmae"]})
    assert found.ok
    assert "Masked: 'SSN'. source.mask also names 'nmae', which none of these rows has" in found.message
    assert "canary" not in str(found.samples)
    found = look(platform, omop(clinic, "person") | {"mask": ["nmae"]})
    assert (found.ok, "source.mask names 'nmae', which no table" in found.message) == (False, True)


def test_a_masked_column_that_a_table_has_and_nobody_reads_is_not_called_missing(
    platform: Platform, clinic: dict[str, str]
) -> None:
    source = omop(clinic, "person")
    source["tables"][0]["columns"] = ["person_id"]
    found = look(platform, source | {"mask": ["gender_concept_id"]})
    assert (found.ok, found.message) == (True, "The source can be read: 1 tables, 1 columns.")


def test_a_sentence_keeps_the_names_of_the_users_columns(platform: Platform, emr: Sql) -> None:
    emr("CREATE TABLE visit (is_active int)")
    emr("INSERT INTO visit VALUES (1)")
    source = {"type": "sql_database", "credentials": {"env": "CAI_SECRET_EMR"}}
    for more in (
        {"tables": [{"name": "visit", "primary_key": "run_policy"}]},
        {"tables": [{"name": "visit"}], "mask": ["run_policy"]},
        {"tables": [{"name": "visit"}], "mask": ["is_active"]},
    ):
        message = look(platform, source | more).message
        assert ("is_active" in message or "run_policy" in message, in_camel_case(message)) == (True, message)


def echo(asked: Asked) -> Any:
    """Repeats all that it was told, as some test servers and misconfigured gateways do."""
    headers = {name: str(value) for name, value in asked.headers.items()}
    return [
        {"id": 1, "at": headers.get("Authorization", ""), "headers": headers, "query": asked.query, "path": asked.path}
    ]


LOGINS = [
    {"type": "bearer", "token": {"env": "CAI_SECRET_ECHO"}},
    {"type": "http_basic", "username": "nurse", "password": {"env": "CAI_SECRET_ECHO"}},
    {"type": "api_key", "api_key": {"env": "CAI_SECRET_ECHO"}, "name": "key", "location": "query"},
]


@pytest.mark.parametrize("auth", LOGINS, ids=lambda auth: str(auth["type"]))
def test_a_source_that_echoes_its_request_shows_no_secret(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, auth: dict[str, Any]
) -> None:
    secret = "swordfish/one two+3"
    monkeypatch.setenv("CAI_SECRET_ECHO", secret)
    resource = {"name": "visits", "path": "v", "primary_key": "id", "cursor_path": "at", "cursor_type": "text"}
    source = {"type": "rest_api", "auth": auth, "resources": [resource], "paginator": {"type": "single_page"}}
    told: list[Told] = []
    with WebServer(echo) as web:
        found = look(platform, source | {"base_url": web.url})
        connector = platform.add(source | {"base_url": web.url})
        summaries = [platform.run(connector, tell=told.append) for _ in range(2)]
    said = [repr(found), *(repr(each) + each.markdown for each in summaries), repr(told)]
    forms = {secret, quote(secret, safe=""), quote_plus(secret), b64encode(f"nurse:{secret}".encode()).decode()[12:-4]}
    assert [form for form in forms for text in said if form in text] == []
    assert found.ok
    assert "***" in repr(found.samples)


@given(st.text(min_size=5, max_size=40), st.binary(max_size=7), st.binary(max_size=7))
def test_a_secret_is_found_in_base64_whatever_stands_around_it(secret: str, before: bytes, behind: bytes) -> None:
    secrets = Secrets()
    secrets.hide("word" + secret)
    for encode in (b64encode, urlsafe_b64encode):
        text = encode(before + ("word" + secret).encode() + behind).decode()
        assert "***" in secrets.redact(f"Basic {text}.")
