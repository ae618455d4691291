"""A canary for a password, in every kind, failing in every way: it must turn up nowhere."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.dlt_pipeline_flow import run_connector_pipeline
from tests.support.data_plane.platform import Platform
from tests.support.servers.http_server import Answer, Asked, WebServer
from tests.support.servers.prefect_server import PrefectServer

Sql = Callable[[str], list[tuple[Any, ...]]]
CANARY = "canary-7f3a9c"
SECRET = {"env": "CAI_SECRET_CANARY"}
TABLES = [{"name": "person"}]
NOWHERE = "127.0.0.1:1"


def sql(**keys: Any) -> dict[str, Any]:
    return {"type": "sql_database", "credentials": SECRET, "tables": TABLES, **keys}


def rest(url: str, **auth: Any) -> dict[str, Any]:
    return {
        "type": "rest_api", "base_url": url, "auth": auth, "paginator": {"type": "single_page"},
        "resources": [{"name": "visits", "path": "visits"}],
    }  # fmt: skip


def refuse(asked: Asked) -> Any:
    """Says no, and repeats all that it was told."""
    told = f"{asked.path} {asked.query} {asked.headers} {asked.body!r}"
    return Answer({"error": told}, {"/400/visits": 400, "/503/visits": 503}.get(asked.path, 403))


KEY = {"type": "api_key", "api_key": SECRET, "name": "k", "location": "query"}
BEARER = {"type": "bearer", "token": SECRET}
PG = "postgresql://person:{}@"

SOURCES: dict[str, tuple[str, Callable[[str, str], dict[str, Any]]]] = {
    "sql bad login": (PG + "{host}/postgres", lambda web, host: sql()),
    "sql no host": (PG + NOWHERE + "/d", lambda web, host: sql()),
    "sql unknown host": (PG + "no.such.host.invalid/d", lambda web, host: sql()),
    "sql password with an @": ("postgresql://u:p@{}/x@{host}/d", lambda web, host: sql()),
    "sql no port": ("postgresql://u:{}@h:port/d", lambda web, host: sql()),
    "sql unknown dialect": ("sap://u:{}@h/d", lambda web, host: sql()),
    "sql no address at all": ("{}", lambda web, host: sql()),
    "sql missing driver": ("mssql+pyodbc://u:{}@h/d", lambda web, host: sql()),
    "rest 403": ("{}", lambda web, host: rest(web, **BEARER)),
    "rest 400, key in the query": ("{}", lambda web, host: rest(web + "/400", **KEY)),
    "rest 503, key in the query": ("{}", lambda web, host: rest(web + "/503", **KEY)),
    "rest no host, key in the query": ("{}", lambda web, host: rest("http://" + NOWHERE, **KEY)),
    "rest a header with a line break": ("{}\nx", lambda web, host: rest(web, **BEARER)),
    "rest a password": ("{}", lambda web, host: rest(web, type="http_basic", username="u", password=SECRET)),
    "rest oauth2": (
        "{}",
        lambda web, host: rest(
            web, type="oauth2_client_credentials", access_token_url=web + "/token", client_id="c", client_secret=SECRET
        ),
    ),
    "fhir 403": ("{}", lambda web, host: {"type": "fhir", "base_url": web, "auth": BEARER}),
    "redcap 403": ("{}", lambda web, host: {"type": "redcap", "api_url": web + "/api/", "token": SECRET}),
    "redcap no host": ("{}", lambda web, host: {"type": "redcap", "api_url": f"http://{NOWHERE}/", "token": SECRET}),
    "files, credentials of another cloud": (
        '{"aws_access_key_id": "a", "aws_secret_access_key": "{}", "endpoint_url": "http://' + NOWHERE + '"}',
        lambda web, host: {"type": "files", "url": "gs://bucket/x", "credentials": SECRET},
    ),
}

DESTINATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "postgres bad login": (PG + "{host}/postgres", {"type": "postgres", "credentials": SECRET}),
    "postgres no host": (PG + NOWHERE + "/d", {"type": "postgres", "credentials": SECRET}),
    "postgres no port": ("postgresql://u:{}@h:port/d", {"type": "postgres", "credentials": SECRET}),
    "postgres no address": ("{}", {"type": "postgres", "credentials": SECRET}),
    "snowflake": ("snowflake://u:{}@a/d?warehouse=w", {"type": "snowflake", "credentials": SECRET}),
    "bigquery": ('{"project_id": "p", "private_key": "{}"}', {"type": "bigquery", "credentials": SECRET}),
}


@pytest.mark.slow
def test_a_password_turns_up_nowhere(
    platform: Platform,
    prefect_server: PrefectServer,
    clinic: dict[str, str],
    clinic_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    host = clinic_url.rpartition("@")[2].partition("/")[0]
    policy = {"retries": 0}
    messages: dict[str, str] = {}

    def fail(name: str, secret: str, source: dict[str, Any], destination: dict[str, Any] | None = None) -> None:
        monkeypatch.setenv("CAI_SECRET_CANARY", secret.replace("{host}", host).replace("{}", CANARY))
        connector = platform.add(source, destination=destination, run_policy=policy)
        state: State[Any] = run_connector_pipeline(connector, return_state=True)
        assert state.is_failed(), (name, state)
        messages[name] = str(state.message)

    with WebServer(refuse) as web:
        for name, (secret, source) in SOURCES.items():
            fail(name, secret, source(web.url, host))
    for name, (secret, destination) in DESTINATIONS.items():
        fail(name, secret, {"type": "sql_database", "credentials": clinic, "tables": TABLES}, destination)

    for name, message in messages.items():
        assert CANARY not in message, name
        assert message.endswith("."), (name, message)
        assert "Error:" not in message, (name, message)
    printed = capfd.readouterr()
    assert CANARY not in printed.out + printed.err + caplog.text
    for directory in (tmp_path, prefect_server.home):
        for path in directory.rglob("*"):
            if path.is_file():
                assert CANARY.encode() not in path.read_bytes(), path
