"""One FHIR search: what the server says of it is compared with what came, and told without a patient."""

from typing import Any

import pytest

from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError, RunError, TransientError
from pipelines.sources import Context
from pipelines.sources.fhir import FIELDS
from pipelines.sources.fhir.bundles import MOST_SEARCHES, resources_in, searched
from pipelines.sources.http import waiting
from pipelines.sources.http.client import source_client
from tests.support.servers.http_server import Answer, Asked, WebServer


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAIT", 0.001)


def search(answer: Any) -> tuple[list[str], list[str]]:
    """The ids that a search finds, and the remarks."""
    context = Context(Secrets(), rehearsal=True)
    with WebServer(answer) as server:
        client = source_client(server.url + "/fhir", {}, None, context, FIELDS)
        bundles = searched(client, "Patient", {"_count": 50, "_sort": "_lastUpdated"})
        found = [resource["id"] for bundle in bundles for resource in resources_in(bundle, "Patient")]
    return found, list(context.remarks)


def bundle(*numbers: int, **more: Any) -> dict[str, Any]:
    entries = [{"resource": {"resourceType": "Patient", "id": f"p{number}"}} for number in numbers]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries, **more}


def outcome(severity: str, code: str, diagnostics: str = "Unknown search parameter for Mary Canary") -> dict[str, Any]:
    issue = {"severity": severity, "code": code, "diagnostics": diagnostics}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def test_a_total_above_what_came_fails() -> None:
    with pytest.raises(ConfigurationError, match=r"at 'total' that there are 408 rows of Patient, and 50 came"):
        search(lambda asked: bundle(*range(50), total=408))


def test_a_total_that_is_met_is_right_on_one_page_and_on_many() -> None:
    def answer(asked: Asked) -> Any:
        start = int(asked.query.get("at", 0))
        link = [{"relation": "next", "url": f"?at={start + 2}"}] if start < 4 else []
        return bundle(*range(start, start + 2), total=6, link=[{"relation": "self", "url": "x"}, *link])

    assert search(answer) == ([f"p{number}" for number in range(6)], [])
    assert search(lambda asked: bundle(1, 2, total=2))[0] == ["p1", "p2"]
    assert search(lambda asked: bundle(total=0, link=[]))[0] == []


def test_a_full_page_without_a_total_or_a_next_one_is_told() -> None:
    _, remarks = search(lambda asked: bundle(*range(50)))
    assert len(remarks) == 1
    assert "one page of 50 rows, which is full" in remarks[0]
    assert remarks[0].endswith(
        "Raise source.page_size, or set source.check_complete to false if the server counts something else."
    )


@pytest.mark.parametrize(
    ("severity", "code", "kind"),
    [("error", "processing", ConfigurationError), ("fatal", "timeout", TransientError)],
)
def test_an_error_within_a_bundle_fails(severity: str, code: str, kind: type[RunError]) -> None:
    entry = [{"resource": outcome(severity, code), "search": {"mode": "outcome"}}]
    with pytest.raises(kind, match=rf"\({code}\).* It says: Unknown search parameter for") as caught:
        search(lambda asked: bundle(entry=entry))
    assert "Canary" not in str(caught.value)


def test_a_warning_within_a_bundle_is_told_and_information_is_not() -> None:
    entries = [
        {"resource": {"resourceType": "Patient", "id": "p1"}},
        {"resource": outcome("warning", "not-supported"), "search": {"mode": "outcome"}},
        {"resource": outcome("information", "informational"), "search": {"mode": "outcome"}},
    ]
    found, remarks = search(lambda asked: bundle(entry=entries))
    assert found == ["p1"]
    assert remarks == [
        "The FHIR server warns of the search of Patient (not-supported). It says: Unknown search parameter for."
    ]


def test_a_code_of_nobodys_is_not_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"\(unknown\)"):
        search(lambda asked: outcome("error", "canary", "canary"))


def test_a_refusal_says_why_without_a_patient() -> None:
    said = outcome("error", "invalid", "Invalid value for parameter _sort: 'Mary Canary' not supported")
    with pytest.raises(ConfigurationError, match=r"It says: invalid\. Invalid value for parameter _sort") as caught:
        search(lambda asked: Answer(said, 400))
    assert "Canary" not in str(caught.value)


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("times", [1, MOST_SEARCHES])
def test_a_search_that_expires_begins_again(times: int, status: int) -> None:
    expired: list[Asked] = []

    def answer(asked: Asked) -> Any:
        if "at" not in asked.query:
            return bundle(1, link=[{"relation": "next", "url": "?at=1"}])
        if len(expired) < times:
            expired.append(asked)
            return Answer(outcome("error", "expired"), status)
        return bundle(2)

    if times == MOST_SEARCHES:
        with pytest.raises(TransientError, match="has expired meanwhile" if status == 410 else "sent us itself"):
            search(answer)
    else:
        assert search(answer)[0] == ["p1", "p1", "p2"]


def test_what_is_no_bundle_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no FHIR Bundle"):
        search(lambda asked: {"resourceType": "CapabilityStatement"})
    with pytest.raises(ConfigurationError, match="set the header Accept"):
        search(lambda asked: Answer(b'<Bundle xmlns="http://hl7.org/fhir"/>'))


def test_links_in_a_circle_end() -> None:
    with pytest.raises(ConfigurationError, match="same next page again and again"):
        search(lambda asked: bundle(1, link=[{"relation": "next", "url": "?at=1"}]))
