"""Looks at sources for the REST API and the page: where they are made, by CAI_PROBE, and what the answers become."""

from collections.abc import Mapping
from typing import Any, Protocol

from api.answers import ProbeAnswer, ProbedTable, WrittenTo
from api.sources import process
from api.sources.on_a_worker import OnAWorker
from connectors.connector import ConnectorRow, InvalidConnectorError, validate
from connectors.discovery import Probe, Question
from connectors.errors import PrefectUnavailableError, Unanswered
from settings import Settings


class Ask(Protocol):
    """A way to have a question about a source answered."""

    async def __call__(self, question: Question, row: ConnectorRow, cursor: str | None) -> Mapping[str, Any]:
        """The answer as JSON (`pipelines.answering`). Raises `Unanswered`, `PrefectUnavailableError`."""


class Looks:
    """Looks at sources by one way to ask. What is wrong with a source is an answer, not an error."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def reach(self, row: ConnectorRow, *, both: bool = False) -> ProbeAnswer:
        """Reach a connector's source, and show its first rows; with `both`, see whether its destination takes them."""
        question = Question.TEST_BOTH if both else Question.TEST
        try:
            validate(row)
            found = await self._ask(question, row, None)
        except (InvalidConnectorError, Unanswered, PrefectUnavailableError) as error:
            return ProbeAnswer(ok=False, message=str(error), tables=[])
        tables = [ProbedTable(name=each["name"], rows=each["rows"]) for each in found["tables"]]
        written = WrittenTo(**found["destination"]) if "destination" in found else None
        return ProbeAnswer(ok=found["ok"], message=found["message"], tables=tables, destination=written)

    async def discovered(self, row: ConnectorRow, cursor: str | None) -> Mapping[str, Any]:
        """A page of what a source has, as JSON; its sentence where it can't be asked."""
        try:
            return await self._ask(Question.DISCOVER, row, cursor)
        except (Unanswered, PrefectUnavailableError) as error:
            return {"message": str(error)}


def looks_of(settings: Settings) -> Looks:
    """Looks as an installation has them made: beside the API, or by a run where loads run."""
    if settings.probe is Probe.WORKER:
        return Looks(OnAWorker(settings))

    async def beside(question: Question, row: ConnectorRow, cursor: str | None) -> Mapping[str, Any]:
        return await process.ask(question, row, cursor, settings.probe_seconds)

    return Looks(beside)
