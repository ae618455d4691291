"""Log lines that people and machines read."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local.processes import Child
from logs import CONSOLE, LOGGERS, show_logs
from settings import ROOT
from tests.support.api_rig import CONNECTORS, client, create
from tests.support.servers.prefect_server import free_port
from tests.support.waiting import until


@pytest.fixture
def _as_before() -> Iterator[None]:
    """Loggers are of the whole process: leave them as they were."""
    loggers = [logging.getLogger(name) for name in (*LOGGERS, None)]
    before = [(each, each.level, list(each.handlers)) for each in loggers]
    yield
    logging.captureWarnings(False)
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers


@pytest.mark.usefixtures("_as_before")
def test_a_json_line_has_the_connectors_id_beside_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    show_logs(as_json=True)
    show_logs(as_json=True)
    logging.getLogger("deployments.reconciling.reconciler").info("connector 7: pause", extra={"connector_id": 7})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert (line["connector_id"], line["message"], line["level"]) == (7, "connector 7: pause", "INFO")


@pytest.mark.usefixtures("_as_before")
def test_a_text_line_says_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    show_logs(as_json=False)
    logging.getLogger("deployments.leadership.lease").warning("The lease could not be renewed")
    assert "WARNING deployments.leadership.lease: The lease could not be renewed" in capsys.readouterr().err


@pytest.mark.usefixtures("_as_before")
def test_what_libraries_warn_of_is_in_the_same_form_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    show_logs(as_json=True)
    logging.getLogger("prefect.client").warning("heard")
    warnings.warn("old", DeprecationWarning, stacklevel=1)
    logging.getLogger("sqlalchemy.pool").info("not heard")
    try:
        int("why")
    except ValueError:
        logging.getLogger("asyncio").exception("failed")
    heard, old, failed = map(json.loads, capsys.readouterr().err.splitlines())
    assert (heard["logger"], heard["message"]) == ("prefect.client", "heard")
    assert (old["logger"], "DeprecationWarning: old" in old["message"]) == ("py.warnings", True)
    assert "ValueError" in failed["exception"]
    assert not [each for each in logging.getLogger().handlers if type(each).__name__ == "PrefectConsoleHandler"]
    assert sum(each.get_name() == CONSOLE for each in logging.getLogger().handlers) == 1


async def test_each_request_that_changes_something_or_is_refused_is_one_line(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "api.middleware")
    async with client(database_url) as api:
        number = (await create(api))["id"]
        for path in (f"{CONNECTORS}/{number}", CONNECTORS, "/health", "/metrics"):
            await api.get(path)
        await api.post(f"{CONNECTORS}/{number}/deactivate")
        await api.get(f"{CONNECTORS}/{number + 1}")
        await api.delete(f"{CONNECTORS}/{number}")
        await api.get(f"{CONNECTORS}/x%0Ay")
    said = [(each.getMessage().partition(" in ")[0], getattr(each, "connector_id", None)) for each in caplog.records]
    one = "/api/v1/connectors/{connectorId}"
    assert said == [
        (f"connector {number}: POST /api/v1/connectors: 201", number),
        (f"connector {number}: POST {one}/deactivate: 200", number),
        (f"connector {number + 1}: GET {one}: 404", number + 1),
        (f"connector {number}: DELETE {one}: 204", number),
        (f"GET {one}: 422", None),
    ]


async def test_the_apis_process_writes_json_and_nothing_else(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "api.log"
    settings = {"CAI_DATABASE_URL": database_url, "CAI_API_PORT": str(port), "CAI_LOG_FORMAT": "json"}
    child = Child(
        name="api",
        command=[sys.executable, "-m", "api"],
        environment={**os.environ, **settings},
        directory=ROOT,
        log=log,
        restarts=False,
    )
    child.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as api:

            async def answers() -> bool:
                try:
                    return (await api.get("/health")).is_success
                except httpx.TransportError:
                    return False

            await until("the API answers", answers, 120)
            number = (await create(api))["id"]
    finally:
        child.end(grace_seconds=20)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (made,) = [line for line in lines if line.get("connector_id") == number]
    assert (made["method"], made["route"], made["status"]) == ("POST", "/api/v1/connectors", 201)
    assert any(line["logger"] == "uvicorn.error" for line in lines)
