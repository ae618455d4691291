"""Testing a connector's source for the REST API: the same readers as a run's, in a process of its own."""

from collections.abc import Mapping
from typing import Any

from api.answers import ProbeAnswer, ProbedTable
from api.sources.process import Question, Unanswered, ask
from connectors.connector import ConnectorRow, InvalidConnectorError, validate


async def reach(row: ConnectorRow) -> ProbeAnswer:
    """Reach a connector's source, and show its first rows. What is wrong with it is an answer, not an error."""
    try:
        validate(row)
        found = await ask(Question.TEST, row)
    except (InvalidConnectorError, Unanswered) as error:
        return ProbeAnswer(ok=False, message=str(error), tables=[])
    tables = [ProbedTable(name=each["name"], rows=each["rows"]) for each in found["tables"]]
    return ProbeAnswer(ok=found["ok"], message=found["message"], tables=tables)


async def discovered(row: ConnectorRow, cursor: str | None) -> Mapping[str, Any]:
    """A page of what a source has, as JSON; its sentence where it can't be asked."""
    try:
        return await ask(Question.DISCOVER, row, cursor)
    except Unanswered as error:
        return {"message": str(error)}
