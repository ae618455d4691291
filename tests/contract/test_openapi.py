"""The REST API against its own OpenAPI: whatever is sent, no 500 and no answer that is not documented."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from tests.support.api_rig import BODY, TOKEN
from tests.support.servers.api_process import served

schemathesis: Any = pytest.importorskip("schemathesis")

EXAMPLES = 15
EXAMPLES_OF_A_PROBE = 3
"""Each starts a process that reaches for the source: seconds, and more on a busy machine."""
PROBE_SECONDS = 90
OPERATIONS = 51
CONNECTORS = "/api/v1/connectors"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}

# What is well-formed may still be no valid cron, time zone or connector, and OpenAPI has no words for that.
BEYOND_OPENAPI = (schemathesis.checks.positive_data_acceptance,)


@pytest.fixture
def address(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of the API, served as `python -m api` serves it."""
    with served(database_url, tmp_path, TOKEN) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_every_answer_is_as_documented(address: str, mode: str) -> None:
    """With what the schema allows, and with what it does not; half of it on a connector that exists."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    examined = [result.ok() for result in schema.get_all_operations()]
    assert len(examined) == OPERATIONS, "every operation is examined"
    for number, operation in enumerate(examined):
        existing = httpx.post(f"{address}{CONNECTORS}", headers=HEADERS, json={**BODY, "name": f"Connector {number}"})
        with contextlib.suppress(Unsatisfiable):  # of a route without parameters nothing can be wrong
            examine(operation, mode, existing.json()["id"])


def examine(operation: Any, mode: str, existing: int) -> None:
    """Try many requests of one operation."""

    examples = EXAMPLES_OF_A_PROBE if operation.path.endswith("/test") else EXAMPLES

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode[mode]), exists=st.booleans())
    def check(case: Any, exists: bool) -> None:
        if exists and mode == "POSITIVE" and "connectorId" in (case.path_parameters or {}):
            case.path_parameters["connectorId"] = existing
        case.call_and_validate(headers=HEADERS, timeout=PROBE_SECONDS, excluded_checks=list(BEYOND_OPENAPI))

    check()
