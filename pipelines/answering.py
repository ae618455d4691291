"""Answering a question about a source, saved or not: what it has, whether it can be read, whether its rows can land.

Asked by the API beside it, or by a run on a worker; the answer is JSON and has no secret in it. It may have first rows
of the source in it, masked as they would land: whoever takes it keeps it out of logs and of Prefect.
"""

import json
from dataclasses import asdict
from typing import Any

from connectors.connector import ConnectorRow
from connectors.discovery import Question
from pipelines.destination_test import writable
from pipelines.discovery import discover_for
from pipelines.errors import RunError
from pipelines.source_test import probe_connector
from settings import Settings


def answer(question: Question, row: ConnectorRow, cursor: str | None, settings: Settings) -> str:
    """The answer as JSON: what was found, or `{"message": ...}` alone where the source can't be asked.

    Args:
        question: what is asked.
        row: the connector, valid or not saved at all.
        cursor: of the page before, of a discovery.
        settings: of where this runs.

    Raises:
        InvalidConnectorError: a saved connector is not valid.
    """
    if question is Question.DISCOVER:
        try:
            return json.dumps(asdict(discover_for(row, settings, cursor)))
        except RunError as error:
            return json.dumps({"message": str(error)})
    found = probe_connector(row, settings)
    tables = [{"name": sample.table, "rows": sample.rows} for sample in found.samples]
    said: dict[str, Any] = {"ok": found.ok, "message": found.message, "tables": tables}
    if question is Question.TEST_BOTH:
        ok, message = writable(row, settings)
        said["destination"] = {"ok": ok, "message": message}
    return json.dumps(said, default=_shown)


def _shown(value: Any) -> str:
    """A value that JSON has no form for."""
    return f"({len(value)} bytes)" if isinstance(value, bytes) else str(value)
