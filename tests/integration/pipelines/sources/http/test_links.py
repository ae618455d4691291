"""Addresses that a server names, how long it is waited for, and logins: the connector's own host, and no other."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from connectors.sources.http import Auth
from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError, Fields, RunError, TransientError
from pipelines.sources import Context
from pipelines.sources.http import waiting
from pipelines.sources.http.client import source_client
from pipelines.sources.http.links import followed
from pipelines.sources.http.waiting import Patience, in_words, is_passing, retry_after
from pipelines.sources.paging.repeats import Seen, mark_of
from tests.support.servers.http_server import Answer, Asked, WebServer

FIELDS = Fields("source.base_url", "the path", "source.auth", "the request")
LOGINS: TypeAdapter[Any] = TypeAdapter(Auth)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_WAIT", 0.001)


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("https://ehr.example/fhir?page=2", "https://ehr.example/fhir?page=2"),
        ("https://EHR.example.:443/fhir?page=2", "https://EHR.example.:443/fhir?page=2"),
        ("https://ehr.example:443:443/fhir?page=2", "https://ehr.example:443/fhir?page=2"),
        ("http://ehr.example/fhir?page=2", "https://ehr.example/fhir?page=2"),
        ("http://ehr.example:80/fhir?page=2", "https://ehr.example/fhir?page=2"),
        ("http://ehr.example:443/fhir?page=2", "https://ehr.example/fhir?page=2"),
        ("https://x:y@ehr.example/fhir?page=2", "https://ehr.example/fhir?page=2"),
        ("/fhir?page=2", "https://ehr.example/fhir?page=2"),
        ("?page=2", "https://ehr.example/fhir/Patient?page=2"),
        ("Visit?page=2", "https://ehr.example/fhir/Visit?page=2"),
        ("//ehr.example/fhir?page=2", "https://ehr.example/fhir?page=2"),
    ],
)
def test_a_next_page_is_asked_for_on_the_connectors_own_host_and_scheme(there: str, asked: str) -> None:
    assert followed("https://ehr.example/fhir", there, FIELDS, "https://ehr.example/fhir/Patient?page=1") == asked


@pytest.mark.parametrize(
    "there",
    [
        "https://elsewhere.example/fhir",
        "https://ehr.example:8443/fhir",
        "http://ehr.example:8080/fhir",
        "https://ehr.example@elsewhere.example/",
        "https://ehr.example.elsewhere.example/",
        "//elsewhere.example/fhir",
        "ftp://ehr.example/",
        "javascript:alert(1)",
        "https://ehr.example:port/",
        "https://ehr.example:443:8443/",
    ],
)
def test_any_other_host_is_refused(there: str) -> None:
    with pytest.raises(ConfigurationError, match="credentials are not sent there"):
        followed("https://ehr.example/fhir", there, FIELDS)


def test_a_host_that_is_asked_by_http_may_send_to_its_https() -> None:
    assert followed("http://h/a", "https://h/b", FIELDS) == "https://h/b"
    with pytest.raises(ConfigurationError):
        followed("http://h/a", "https://h:9/b", FIELDS)


def test_a_wait_is_what_the_server_asks_for_in_seconds_or_as_a_moment() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for said, seconds in (
        ("30", 30.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ):
        assert retry_after({"Retry-After": said}, now) == seconds
    patience = Patience()
    assert (patience.wait(1, 300), patience.wait(1, 301), patience.wait(99, 1)) == (300, None, None)
    assert (patience.wait(3, None), in_words(1200), in_words(0)) == (None, "20 minutes", "1 second")
    assert is_passing(403, {"X-RateLimit-Remaining": "0"})
    assert not is_passing(403, {})
    assert all(is_passing(status, {}) for status in (423, 429, 503, 520, 524, 529))


def test_a_circle_is_noticed_however_long_it_is() -> None:
    seen, steps = Seen(), 0
    while (mark := mark_of(steps % 25_000)) not in seen:
        seen.add(mark)
        steps += 1
    assert 25_000 <= steps < 100_000


def ask(answer: Any, auth: dict[str, Any] | None = None, method: str = "GET") -> tuple[Any, list[str]]:
    context = Context(Secrets(), rehearsal=True)
    with WebServer(answer) as server:
        if auth is not None and "access_token_url" in auth:
            auth = {**auth, "access_token_url": server.url + auth["access_token_url"]}
        login = LOGINS.validate_python(auth) if auth else None
        client = source_client(server.url + "/api", {}, login, context, FIELDS)
        return client.answer(client.request("v", method)).json(), list(context.remarks)


OAUTH = {
    "type": "oauth2_client_credentials",
    "access_token_url": "/token",
    "client_id": "me",
    "client_secret": {"env": "CAI_SECRET_T"},
}


def by_token(token: Any) -> Any:
    def answer(asked: Asked) -> Any:
        if asked.path == "/token":
            return token
        return [{"token": asked.headers.get("authorization")}]

    return answer


def test_a_token_that_never_ends_is_used_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_T", "s3cret")
    value, remarks = ask(by_token({"access_token": "t0ken-1", "expires_in": "never"}), OAUTH)
    assert value == [{"token": "Bearer t0ken-1"}]
    assert remarks == ["The token's expires_in is no number of seconds: 3600 seconds were taken instead."]


@pytest.mark.parametrize(
    ("token", "kind", "words"),
    [
        ({"error": "canary"}, ConfigurationError, "holds no access_token: check source.auth"),
        ({"access_token": None}, ConfigurationError, "holds no access_token: check source.auth"),
        (["canary"], ConfigurationError, "holds no access_token"),
        (Answer(b"<html>canary</html>"), ConfigurationError, "check source.auth.access_token_url"),
        (Answer(b'{"access_token": "canary'), TransientError, "broken JSON"),
        (Answer({"error": "invalid_client"}, 401), ConfigurationError, "did not accept the credentials"),
        (Answer({}, 503), TransientError, "overloaded or down"),
    ],
)
def test_a_token_that_is_none_is_told_by_its_own_address(
    monkeypatch: pytest.MonkeyPatch, token: Any, kind: type[RunError], words: str
) -> None:
    monkeypatch.setenv("CAI_SECRET_T", "s3cret")
    with pytest.raises(kind) as caught:
        ask(by_token(token), OAUTH)
    assert words in str(caught.value)
    assert "/token" in str(caught.value) or "source.auth" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_token_that_is_refused_early_is_renewed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_T", "s3cret")
    given: list[str] = []

    def answer(asked: Asked) -> Any:
        if asked.path == "/token":
            given.append(f"t0ken-{len(given)}")
            return {"access_token": given[-1], "expires_in": 3600}
        return [1] if asked.headers["authorization"] == "Bearer t0ken-1" else Answer({}, 401)

    assert ask(answer, OAUTH)[0] == [1]
    assert len(given) == 2


def test_credentials_for_a_token_do_not_follow_a_redirect_to_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_T", "s3cret")
    with WebServer(lambda asked: {"access_token": "t0ken"}) as thief:
        redirect = Answer({}, 307, {"Location": thief.url + "/token"})
        with pytest.raises(ConfigurationError, match=r"not the host of source\.auth\.access_token_url"):
            ask(by_token(redirect), OAUTH)
        assert not thief.asked


def test_what_is_posted_does_not_get_lost_by_a_redirect() -> None:
    def answer(asked: Asked) -> Any:
        return [asked.method] if asked.path == "/api/v/" else Answer({}, 301, {"Location": "/api/v/"})

    with pytest.raises(ConfigurationError, match=r"what was posted would be lost on the way: set source\.base_url"):
        ask(answer, method="POST")
    assert ask(answer)[0] == ["GET"]


def test_a_cookie_stays_on_a_redirect_of_the_same_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAI_SECRET_T", "s3cret")

    def answer(asked: Asked) -> Any:
        if asked.path == "/api/v/":
            return [asked.headers.get("cookie")]
        return Answer({}, 302, {"Location": "/api/v/"})

    key = {"type": "api_key", "api_key": {"env": "CAI_SECRET_T"}, "name": "k", "location": "cookie"}
    assert ask(answer, key)[0] == ["k=s3cret"]
