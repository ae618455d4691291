"""The REST API in this process on a real PostgreSQL, for tests: a client, and what stands behind it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
from pydantic import SecretStr

from api.answers import ProbeAnswer
from api.app import OpenRuns, create_app
from api.routes import Tester
from connectors.connector import ConnectorRow
from connectors.errors import PrefectUnavailableError
from connectors.runs import EVERYTHING, Held, Options, Run
from settings import Settings
from use_cases.sources import Asker

BODY: dict[str, Any] = {
    "name": "Customer Data Pipeline",
    "schedule": "0 */4 * * *",
    "isActive": True,
    "source": {
        "type": "sql_database",
        "credentials": {"block": "sqlalchemy-connector/emr"},
        "schema": "public",
        "tables": [{"name": "visit", "primary_key": ["id"], "cursor_column": "updated_at"}],
    },
}
"""The payload of issue 5, with a source of section 6."""

TOKEN = "a-token-of-the-tests"
CONNECTORS = "/api/v1/connectors"


class DeadPrefect:
    """Prefect that never answers."""

    async def start(
        self, deployment_id: UUID, key: str | None = None, actor: str | None = None, options: Options = EVERYTHING
    ) -> Run | None:
        """Raises."""
        raise PrefectUnavailableError("it cannot be reached.")

    async def last(self, deployment_id: UUID, limit: int) -> list[Run]:
        """Raises."""
        raise PrefectUnavailableError("it cannot be reached.")

    async def of_deployment(self, deployment_id: UUID, run_id: UUID) -> Run | None:
        """Raises."""
        raise PrefectUnavailableError("it cannot be reached.")

    async def progress(self, run_id: UUID) -> str | None:
        """Raises."""
        raise PrefectUnavailableError("it cannot be reached.")

    async def cancel(self, run_id: UUID) -> Run | None:
        """Raises."""
        raise PrefectUnavailableError("it cannot be reached.")

    async def held(self, deployment_id: UUID) -> Held | None:
        """Raises."""
        raise PrefectUnavailableError("it cannot be reached.")


@asynccontextmanager
async def no_prefect() -> AsyncIterator[DeadPrefect]:
    """Runs of a Prefect that never answers."""
    yield DeadPrefect()


async def reached(row: ConnectorRow, *, both: bool = False) -> ProbeAnswer:
    """A source that answers with nothing."""
    del both
    return ProbeAnswer(ok=True, message=f"The source of {row.name} answers.", tables=[])


async def unreachable(row: ConnectorRow, cursor: str | None) -> Mapping[str, Any]:
    """A source that nobody reaches."""
    del row, cursor
    return {"message": "The source cannot be reached."}


@asynccontextmanager
async def client(
    database_url: str,
    *,
    open_runs: OpenRuns = no_prefect,
    tester: Tester = reached,
    asker: Asker = unreachable,
    tokens: tuple[str, ...] = (),
    reason_required: bool = False,
    public_keys: Sequence[dict[str, Any]] = (),
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API, which sends the first token where there are some."""
    configured = Settings(
        database_url=SecretStr(database_url),
        api_token=[SecretStr(token) for token in tokens],
        reason_required=reason_required,
        public_keys=list(public_keys),
    )
    app = create_app(configured, open_runs, tester, asker)
    headers = {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080", headers=headers) as http:
            yield http


async def create(api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """Create a connector; its answer."""
    answer = await api.post(CONNECTORS, json={**BODY, **changes})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def assert_problem(answer: httpx.Response, status: int, *pointers: str) -> dict[str, Any]:
    """`answer` is a problem of this status about these fields; it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = dict(answer.json())
    assert problem["status"] == status
    assert " " in problem["detail"], "a problem is told in a sentence"
    assert [error.get("pointer") for error in problem.get("errors", [])] == list(pointers)
    return problem
