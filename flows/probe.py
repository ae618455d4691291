"""`probe-source`: a look at a source that is not saved, or of which nothing is loaded, from where loads run.

The API writes a question into `cai_probes` and starts a run of this with the question's number: that number is all that
Prefect learns. The answer goes the same way back. If the process dies, the API says that no answer came, and the
question goes after minutes.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from prefect_api.names import PROBE_FLOW

SECONDS = 120.0
"""What takes longer nobody waits for."""

logger = logging.getLogger("prefect.pipelines")

NO_ANSWER = "The source was asked, and this program failed: operations must look into the log of the worker's run."


@flow(name=PROBE_FLOW, flow_run_name="look at a source", persist_result=False, timeout_seconds=SECONDS)
def probe_source(probe_id: UUID) -> State[Any]:
    """Look at a source for somebody who is about to make a connector of it. Started by the REST API alone.

    Args:
        probe_id: The number of the question.
    """
    from database.control import probes  # noqa: PLC0415  # the controller imports this module for its parameters
    from settings import Settings  # noqa: PLC0415

    settings = Settings()
    with _session(settings.resolved_database_url()) as query:
        request = probes.take(query, probe_id)
        if request is None:
            return Completed(message="Nobody waits for this any more.")
        try:
            said = _answer(request, settings)
        except Exception as error:  # whatever it is: its words may quote rows, and Prefect must not have them
            logger.error("The question could not be answered: %s.", type(error).__name__)  # noqa: TRY400
            probes.give(query, probe_id, json.dumps({"ok": False, "message": NO_ANSWER, "tables": []}))
            return Failed(message="The question could not be answered.")
        waited = probes.give(query, probe_id, said)
    return Completed(message="Answered." if waited else "Answered, and nobody waits for it any more.")


def _answer(request: str, settings: Any) -> str:
    from connectors.connector import ConnectorRow  # noqa: PLC0415
    from connectors.discovery import Question  # noqa: PLC0415
    from pipelines.answering import answer  # noqa: PLC0415  # what reads sources costs seconds

    said = json.loads(request)
    row = ConnectorRow(prefect_deployment_id=None, **said["row"])
    return answer(Question(said["question"]), row, said["cursor"], settings)


@contextmanager
def _session(url: str) -> Iterator[Any]:
    """A session that runs statements, each in a transaction of its own."""
    import psycopg2  # type: ignore[import-untyped]  # noqa: PLC0415
    import psycopg2.extras  # type: ignore[import-untyped]  # noqa: PLC0415

    connection = psycopg2.connect(url, connect_timeout=10, cursor_factory=psycopg2.extras.RealDictCursor)
    connection.autocommit = True

    def query(statement: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            found: dict[str, Any] | None = cursor.fetchone()
            return found

    try:
        yield query
    finally:
        connection.close()
