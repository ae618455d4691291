"""The routes of the history: one connector's, everybody's, its proof, and a connector as it was."""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import StreamingResponse

from api.answers import ConnectorAnswer
from api.history.bodies import (
    AuditEntryAnswer,
    AuditPage,
    AuditQuery,
    Format,
    HistoryPage,
    HistoryQuery,
    RestoreInput,
    VerificationAnswer,
)
from api.history.timeline import TimelineAnswer, TimelineQuery
from api.routes import SIGNED_IN, Changing, ConnectorId, answer_of, needs, problems, responses_of
from connectors.history import AuditEntry
from connectors.limits.ids import parse_number
from connectors.people import Act
from database.audit import AuditFilter
from use_cases.history import History
from use_cases.timeline import timeline

CSV_COLUMNS = (
    "id", "at", "connectorId", "connectorName", "generation", "action", "actor", "via", "reason", "requestId", "before",
    "after", "digest",
)  # fmt: skip

router = APIRouter(prefix="/api/v1", dependencies=[SIGNED_IN], responses=problems(401, 403, 422, 500, 503))


def _history(request: Request) -> History:
    return History(request.app.state.engine, request.state.person)


Told = Annotated[History, Depends(_history)]


@router.get(
    "/connectors/{connectorId}/history", tags=["history"], dependencies=[needs(Act.READ)], responses=problems(404)
)
async def list_history(
    connector_id: ConnectorId, history: Told, query: Annotated[HistoryQuery, Query()]
) -> HistoryPage:
    """List what became of a connector: who changed what, when and why, the newest first. Of a deleted one too."""
    page = await history.of_connector(connector_id, limit=query.limit, before=_number(query.cursor))
    return HistoryPage.of(page)


@router.get(
    "/connectors/{connectorId}/timeline", tags=["history"], dependencies=[needs(Act.READ)], responses=problems(404)
)
async def list_timeline(
    connector_id: ConnectorId, history: Told, query: Annotated[TimelineQuery, Query()]
) -> TimelineAnswer:
    """List all that became of a connector, the newest first: loads, changes and who made them, phases and alerts."""
    return TimelineAnswer.of(await timeline(history, connector_id, limit=query.limit, place=query.place))


@router.post(
    "/connectors/{connectorId}/restore",
    tags=["history"],
    dependencies=[needs(Act.CHANGE)],
    responses=responses_of(200, 404, 409, 400, 413, 415),
)
async def restore_connector(
    connector_id: ConnectorId, body: RestoreInput, service: Changing, response: Response
) -> ConnectorAnswer:
    """Have a connector as it was at a generation of its history; a deleted one comes back under its number.

    It is a save like any other: what may not be saved now is refused, and the connector's generation goes up.
    """
    return answer_of(await service.restore(connector_id, body.generation), service, response)


@router.get(
    "/audit",
    tags=["history"],
    dependencies=[needs(Act.READ_AUDIT)],
    response_model=AuditPage,
    responses={200: {"content": {"text/csv": {}, "application/x-ndjson": {}}}},
)
async def list_audit(request: Request, history: Told, query: Annotated[AuditQuery, Query()]) -> Any:
    """List what was done to all connectors, the newest first: a page, or all that fit as CSV or lines of JSON.

    `Accept: text/csv` or `application/x-ndjson` says the same as `format`.
    """
    which = AuditFilter(query.from_, query.to, query.actor, query.action)
    match _asked(query.format, request.headers.get("accept", "")):
        case Format.CSV:
            return _streamed(_csv(history.export(which)), "text/csv; charset=utf-8", "audit.csv")
        case Format.NDJSON:
            return _streamed(_lines(history.export(which)), "application/x-ndjson", "audit.ndjson")
    return AuditPage.of(await history.page(which, limit=query.limit, before=_number(query.cursor)))


@router.get("/audit/verify", tags=["history"], dependencies=[needs(Act.READ_AUDIT)])
async def verify_audit(history: Told) -> VerificationAnswer:
    """Verify the history of all connectors: names the first entry that was changed, removed or put in between."""
    return VerificationAnswer.of(await history.verify())


def _number(cursor: str | None) -> int | None:
    return None if cursor is None else parse_number(cursor)


def _asked(said: Format, accept: str) -> Format:
    if said is Format.JSON and "text/csv" in accept:
        return Format.CSV
    return Format.NDJSON if said is Format.JSON and "application/x-ndjson" in accept else said


def _streamed(lines: AsyncIterator[str], media_type: str, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines, media_type=media_type, headers=headers)


async def _csv(entries: AsyncIterator[AuditEntry]) -> AsyncIterator[str]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    async for entry in entries:
        answer = AuditEntryAnswer.of(entry).model_dump(mode="json", by_alias=True)
        writer.writerow(_cell(answer[name]) for name in CSV_COLUMNS)
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def _cell(value: Any) -> Any:
    """A value as a cell. A spreadsheet takes a text that begins with one of these for a formula, and runs it."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


async def _lines(entries: AsyncIterator[AuditEntry]) -> AsyncIterator[str]:
    async for entry in entries:
        yield AuditEntryAnswer.of(entry).model_dump_json(by_alias=True) + "\n"
