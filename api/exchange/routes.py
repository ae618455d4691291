"""The routes of documents: one connector written out, and many taken in."""

import json
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import HTTPException
from pydantic import Field, ValidationError
from pydantic.alias_generators import to_camel

from api.bodies import Body, ConnectorInput, Input
from api.exchange.documents import UnreadableDocumentError, read, write
from api.history.bodies import ChangeAnswer
from api.routes import BODY, SIGNED_IN, Changing, ConnectorId, Connectors, needs, problems
from connectors.connector import InvalidConnectorError
from connectors.people import Act
from connectors.refusals import Refusal, from_pydantic
from use_cases.exchange import Exchange, Outcome, Taken, document_of

router = APIRouter(prefix="/api/v1", dependencies=[SIGNED_IN], responses=problems(401, 403, 422, 500, 503))

YAML, JSON = "application/yaml", "application/json"


class DocumentFormat(StrEnum):
    """How a document is written."""

    YAML = "yaml"
    JSON = "json"


class ExportQuery(Input):
    """How a connector is written out."""

    format: Annotated[DocumentFormat, Field(description="As what.")] = DocumentFormat.YAML


class ImportQuery(Input):
    """Whether something is done."""

    dry_run: Annotated[bool, Field(description="true: only say what would be done, and save nothing.")] = False


class DocumentInput(Input):
    """A document of connectors, each known by its name."""

    connectors: Annotated[list[ConnectorInput], Field(description="The connectors.", min_length=1, max_length=1000)]


class TakenAnswer(Body):
    """What becomes of one connector of the document."""

    name: Annotated[str, Field(description="Its name.")]
    outcome: Annotated[Outcome, Field(description="It is new, changes, or is as the document says.")]
    id: Annotated[int | None, Field(description="Its number; null: it is new, and was not saved.")]
    changes: Annotated[list[ChangeAnswer], Field(description="What differs from what is there, or from the defaults.")]

    @classmethod
    def of(cls, taken: Taken) -> "TakenAnswer":
        """A connector as it is answered."""
        changes = [ChangeAnswer(path=_path(each.path), from_=each.old, to=each.new) for each in taken.changes]
        return cls(name=taken.name, outcome=taken.outcome, id=taken.connector_id, changes=changes)


class ImportAnswer(Body):
    """What becomes of a document."""

    items: Annotated[list[TakenAnswer], Field(description="The connectors, in the document's order.")]


@router.get(
    "/connectors/{connectorId}/export",
    tags=["documents"],
    dependencies=[needs(Act.READ)],
    responses={200: {"content": {YAML: {}, JSON: {}}}, **problems(404)},
    response_class=Response,
)
async def export_connector(
    connector_id: ConnectorId, service: Connectors, query: Annotated[ExportQuery, Query()]
) -> Response:
    """Write a connector out, as `import` takes it in: what it says, without what is as usual, and without secrets."""
    row = (await service.get(connector_id)).row
    said = {to_camel(name): value for name, value in document_of(row).items()}
    document = {"connectors": [said]}
    name = f"connector-{row.id}.{query.format}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if query.format is DocumentFormat.YAML:
        return Response(write(document), media_type=YAML, headers=headers)
    return Response(json.dumps(document, ensure_ascii=False, indent=2), media_type=JSON, headers=headers)


@router.post(
    "/connectors/import",
    tags=["documents"],
    dependencies=[needs(Act.CHANGE)],
    responses=problems(404, 409, *BODY),
    openapi_extra={"requestBody": {"required": True, "content": {YAML: {"schema": {"type": "string"}}}}},
)
async def import_connectors(
    request: Request, service: Changing, query: Annotated[ImportQuery, Query()]
) -> ImportAnswer:
    """Have connectors as a document says, in YAML or JSON: those of new names are made, the others changed.

    Nothing is saved while any of them is refused. What a connector leaves out has its default, but for whose it is,
    which stays. `dryRun` says what would be done.
    """
    documents = await _documents(request)
    try:
        taken = await Exchange(service, request.app.state.engine).take_in(documents, dry_run=query.dry_run)
    except InvalidConnectorError as error:
        named = (Refusal(f"/connectors{_below(each.pointer)}", each.message) for each in error.refusals)
        raise InvalidConnectorError(tuple(named)) from None
    return ImportAnswer(items=[TakenAnswer.of(each) for each in taken])


async def _documents(request: Request) -> list[dict[str, Any]]:
    """The columns of each connector of the body. Raises what is answered as a problem."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {YAML, JSON, "application/x-yaml", "text/yaml"}:
        raise HTTPException(415, f"Send the document as YAML or JSON, with the header 'Content-Type: {YAML}'.")
    try:
        return documents_of((await request.body()).decode())
    except UnicodeDecodeError:
        raise HTTPException(400, "The document is not written in UTF-8.") from None
    except UnreadableDocumentError as error:
        raise HTTPException(400, str(error)) from None


def documents_of(text: str) -> list[dict[str, Any]]:
    """The columns of each connector of a document, as the page takes it in too.

    Raises:
        UnreadableDocumentError, InvalidConnectorError: it is none.
    """
    try:
        return [each.given() for each in DocumentInput.model_validate(read(text)).connectors]
    except ValidationError as error:
        raise InvalidConnectorError(tuple(from_pydantic(error))) from None


def _path(pointer: str) -> str:
    _, column, *below = pointer.split("/")
    return "/".join(["", to_camel(column), *below])


def _below(pointer: str) -> str:
    """A pointer that begins with a place, with the column after it as the API names it."""
    _, place, *rest = pointer.split("/")
    return f"/{place}{_path('/' + '/'.join(rest)) if rest else ''}"
