"""Exports of a FHIR server: what is asked for, what covers it, what an answer means. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.sources.fhir_offers import read
from pipelines.errors import ConfigurationError
from pipelines.sources.fhir.bulk.asking import Wanted, as_instant, begins_at, covers, earliest
from pipelines.sources.fhir.bulk.manifest import File, manifest_of
from pipelines.sources.fhir.bulk.status import Failed, Gone, Later, judged

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WANTED = Wanted("host/fhir", "$export", ("Patient", "Observation"), ("Patient?active=true",), "2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("given", "instant"),
    [
        ("2024", "2024-01-01T00:00:00Z"),
        ("2024-03", "2024-03-01T00:00:00Z"),
        ("2024-03-05", "2024-03-05T00:00:00Z"),
        ("2024-03-05T10:00Z", "2024-03-05T10:00:00Z"),
        ("2024-03-05T10:00:00.123-05:00", "2024-03-05T10:00:00.123-05:00"),
        ("2024-03-05T10:00+01:00", "2024-03-05T10:00:00+01:00"),
        ("2024-03-05T10:00:00", "2024-03-05T10:00:00Z"),
    ],
)
def test_a_date_is_the_instant_at_which_it_begins(given: str, instant: str) -> None:
    assert as_instant(given) == instant


@pytest.mark.parametrize(
    ("asked", "is_enough"),
    [
        ({}, True),
        ({"since": None}, True),
        ({"since": "2025-01-01T01:00:00+01:00"}, True),
        ({"since": "2026-01-01T00:00:00.001Z"}, False),
        ({"types": ["Patient"]}, False),
        ({"types": ["Patient", "Observation", "Device"]}, True),
        ({"filters": []}, False),
        ({"path": "Patient/$export"}, False),
        ({"place": "other/fhir"}, False),
    ],
)
def test_an_export_is_gone_on_with_when_it_brings_all_that_is_wanted(asked: dict[str, Any], is_enough: bool) -> None:
    assert covers(WANTED.as_json() | asked, WANTED) is is_enough


def test_everything_is_wanted_where_a_type_was_never_loaded() -> None:
    assert earliest(["2026-01-01T00:00:00Z", "2025-12-31T20:00:00-08:00"]) == "2026-01-01T00:00:00Z"
    assert earliest(["2026-01-01T00:00:00Z", None]) is None
    assert not covers(WANTED.as_json(), Wanted(WANTED.place, WANTED.path, WANTED.types, WANTED.filters))


def test_an_export_goes_on_from_its_own_time_and_a_search_with_a_lag() -> None:
    value = "2026-01-01T00:10:00Z"
    assert begins_at({"value": value, "exported": value}, None) == value
    assert begins_at({"value": value, "exported": "2025-01-01T00:00:00Z"}, None) == "2026-01-01T00:05:00Z"
    assert begins_at({}, None) is None


def test_lists_are_one_value_in_a_get_and_several_in_a_post() -> None:
    assert WANTED.query() == {
        "_type": "Patient,Observation",
        "_since": "2026-01-01T00:00:00Z",
        "_typeFilter": ["Patient?active=true"],
    }
    assert WANTED.parameters()["parameter"] == [
        {"name": "_type", "valueString": "Patient"},
        {"name": "_type", "valueString": "Observation"},
        {"name": "_since", "valueInstant": "2026-01-01T00:00:00Z"},
        {"name": "_typeFilter", "valueString": "Patient?active=true"},
    ]


def issue(code: str) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}


@pytest.mark.parametrize(
    ("status", "headers", "body", "found"),
    [
        (202, {"Retry-After": "120"}, None, Later(timedelta(seconds=120))),
        (202, {"Retry-After": "Thu, 01 Jan 2026 00:10:00 GMT"}, None, Later(timedelta(minutes=10))),
        (202, {"Retry-After": "9999999"}, None, Later(timedelta(days=1))),
        (202, {}, None, Later(timedelta(minutes=10))),
        (429, {}, None, Later(timedelta(minutes=5), "it answered 429")),
        (503, {"Retry-After": "7"}, None, Later(timedelta(seconds=7), "it answered 503")),
        (500, {}, issue("transient"), Later(timedelta(minutes=5), "it answered 500")),
        (404, {}, issue("not-found"), Gone()),
        (410, {}, None, Gone()),
    ],
)
def test_what_an_answer_without_a_manifest_means(
    status: int, headers: dict[str, str], body: Any, found: Later | Gone
) -> None:
    assert judged(status, headers, body, NOW, NOW - timedelta(hours=2)) == found


@pytest.mark.parametrize(("status", "body"), [(500, issue("processing")), (500, None), (400, issue("invalid"))])
def test_an_error_of_the_job_ends_it(status: int, body: Any) -> None:
    assert isinstance(judged(status, {}, body, NOW, NOW), Failed)


def test_a_manifest_is_read_in_each_version() -> None:
    found = manifest_of(
        {
            "transactionTime": "2026-01-01T00:00:00Z",
            "requiresAccessToken": False,
            "output": [{"type": "Patient", "url": "../f/1", "count": 3}, {"type": "Patient", "url": "http://s/2"}],
            "error": [{"type": "OperationOutcome", "url": "/e"}],
            "outcome": [{"url": "/o"}],
            "link": [{"relation": "next", "url": "2"}],
        },
        "https://h/fhir/jobs/1",
    )
    assert found.output == (File("Patient", "https://h/fhir/f/1", 3), File("Patient", "http://s/2", None))
    assert [each.url for each in found.outcome] == ["https://h/e", "https://h/o"]
    assert (found.needs_token, found.next) == (False, "https://h/fhir/jobs/2")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"output": []}, "no transactionTime"),
        ({"transactionTime": "yesterday", "output": []}, "no transactionTime"),
        ([], "gives no manifest"),
        ({"transactionTime": "2026-01-01T00:00:00Z", "outputFormat": "text/csv"}, "not NDJSON"),
        ({"transactionTime": "2026-01-01T00:00:00Z", "output": [{"type": "Patient"}]}, "without its address"),
    ],
)
def test_what_is_no_manifest_is_told(manifest: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        manifest_of(manifest, "https://h/")


@pytest.mark.parametrize(
    ("statement", "exports", "posts"),
    [
        ({"rest": [{"mode": "server", "operation": [{"name": "export", "definition": "x/group-export|2.0"}]}]},
         {"group"}, False),
        ({"rest": [{"operation": [{"name": "export"}], "resource": [
            {"type": "Patient", "operation": [{"name": "export"}]}, {"type": "Device"}]}]},
         {"system", "patient"}, False),
        ({"instantiates": ["http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data|4.0.0-ballot"], "rest": []},
         {"system", "patient", "group"}, True),
        ({"rest": [{"operation": [{"name": "everything"}], "resource": None}]}, set(), False),
    ],
)  # fmt: skip
def test_exports_are_found_in_a_capability_statement(statement: Any, exports: set[str], posts: bool) -> None:
    found = read(statement)
    assert ({level.value for level in found.exports}, found.posts) == (exports, posts)
