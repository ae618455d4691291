"""Every refusal of the REST API as RFC 9457 `application/problem+json`, the framework's own included.

`detail` is a sentence that a business user understands; `errors` names each field at fault by its JSON pointer in the
body as it was sent. Nothing that was sent is repeated: it may be a secret in the wrong place.
"""

import http
import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.camel_case import as_sent, in_camel_case
from connectors.connector import InvalidConnectorError
from connectors.errors import (
    ClashError,
    ConstraintError,
    CredentialNameTakenError,
    ForbiddenError,
    NameTakenError,
    NoSuchChangeError,
    NoSuchCredentialError,
    NoSuchGenerationError,
    NoSuchHeldLoadError,
    NoSuchLoadError,
    NoSuchProtectionError,
    NoSuchRunError,
    NoSuchSourceLimitError,
    NoSuchTokenError,
    NotFoundError,
    NotRestorableError,
    NotRunnableError,
    PrefectUnavailableError,
    ProtectionNameTakenError,
    ReasonRequiredError,
    RequestError,
    SourceError,
    StaleError,
    TokenNameTakenError,
)
from connectors.refusals import Refusal, from_details
from database.connection.engine import DATABASE_ERRORS
from database.connection.errors import HELD, Trouble, told, trouble_of

MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger(__name__)


class FieldError(BaseModel):
    """What is wrong with one field of the body or one parameter of the request."""

    pointer: Annotated[str | None, Field(description="JSON pointer (RFC 6901) into the body.")] = None
    parameter: Annotated[str | None, Field(description="Name of the path's, query's or header's parameter.")] = None
    detail: Annotated[str, Field(description="What is wrong, and the way out.")]


class Problem(BaseModel):
    """Why a request was not done (RFC 9457)."""

    type: Annotated[str, Field(description="`about:blank`, or one of the kinds that this API names.")]
    title: Annotated[str, Field(description="The kind of problem in short.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What is wrong, and the way out.")]
    errors: Annotated[list[FieldError] | None, Field(description="Each field at fault, where fields are.")] = None


class ProblemResponse(Response):
    """A problem as a response."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str | None = None,
        errors: Iterable[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        content: dict[str, Any] = {
            "type": "about:blank" if kind is None else f"urn:problem-type:clinical-ai:{kind}",
            "title": http.HTTPStatus(status).phrase if kind is None else kind.replace("-", " ").capitalize(),
            "status": status,
            "detail": detail,
        }
        if listed := list(errors):
            content["errors"] = listed
        super().__init__(content, status, headers)

    def render(self, content: Any) -> bytes:
        # A key that was sent may hold half of a surrogate pair, which UTF-8 has no form for.
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


_REQUEST_ERRORS: Mapping[type[RequestError], tuple[int, str]] = {
    NotFoundError: (404, "no-such-connector"),
    NoSuchTokenError: (404, "no-such-token"),
    NoSuchCredentialError: (404, "no-such-credential"),
    CredentialNameTakenError: (409, "name-taken"),
    NoSuchProtectionError: (404, "no-such-protection"),
    ProtectionNameTakenError: (409, "name-taken"),
    NoSuchSourceLimitError: (404, "no-such-source-limit"),
    NoSuchLoadError: (404, "no-such-load"),
    NoSuchChangeError: (404, "no-such-change"),
    NoSuchHeldLoadError: (404, "no-such-held-load"),
    NoSuchRunError: (404, "no-such-run"),
    ForbiddenError: (403, "forbidden"),
    TokenNameTakenError: (409, "name-taken"),
    NameTakenError: (409, "name-taken"),
    NotRunnableError: (409, "not-runnable"),
    StaleError: (412, "stale"),
    ClashError: (409, "constraint"),
    ConstraintError: (422, "constraint"),
    NoSuchGenerationError: (404, "no-such-generation"),
    NotRestorableError: (409, "not-restorable"),
    ReasonRequiredError: (422, "reason-required"),
    PrefectUnavailableError: (503, "prefect-unavailable"),
    SourceError: (502, "source-unavailable"),
}

_SENTENCES = {
    404: "There is nothing at this address: the connectors are at /api/v1/connectors.",
    405: "This address does not take this method; the Allow header names those that it takes.",
}


def install(app: FastAPI) -> None:
    """Have the app answer every error as a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(InvalidConnectorError, _invalid)
    app.add_exception_handler(RequestError, _refused)
    for kind in DATABASE_ERRORS:
        app.add_exception_handler(kind, _no_database)
    app.add_exception_handler(Exception, _unexpected)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is installed for
    detail = _SENTENCES.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    if error.status_code == 405 and (allowed := _allowed(request)):
        headers["Allow"] = ", ".join(sorted(allowed))  # the framework names those of one route alone
    return ProblemResponse(error.status_code, detail, headers=headers)


def _allowed(request: Request) -> set[str]:
    """The methods that are documented for the request's path."""
    return {
        method.upper()
        for path, methods in request.app.openapi()["paths"].items()
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.url.path)
        for method in methods
    }


async def _refused(_: Request, error: Exception) -> Response:
    status, kind = next(found for cls, found in _REQUEST_ERRORS.items() if isinstance(error, cls))
    headers = {"Retry-After": "30"} if status == 503 else None
    sentence = in_camel_case(str(error))
    at_fault = [{"parameter": "X-Reason", "detail": sentence}] if isinstance(error, ReasonRequiredError) else []
    return ProblemResponse(status, sentence, kind=kind, errors=at_fault, headers=headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidConnectorError)  # noqa: S101 - what it is installed for
    return _unprocessable([as_sent(refusal) for refusal in error.refusals])


async def _malformed(request: Request, error: Exception) -> Response:
    """What FastAPI says of a request that does not have the documented shape."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is installed for
    details = error.errors()
    if any(detail["type"] == "json_invalid" for detail in details):
        return ProblemResponse(400, "The body is not valid JSON.")
    in_body = [detail for detail in details if detail["loc"][0] == "body"]
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if in_body and not re.fullmatch(r"application/(json|.+\+json)", media_type):
        return ProblemResponse(415, "Send the body as JSON, with the header 'Content-Type: application/json'.")
    refusals = from_details({**detail, "loc": detail["loc"][1:]} for detail in in_body)
    errors = [_field_error(refusal) for refusal in refusals]
    for detail in details:
        if detail["loc"][0] != "body":
            name = str(detail["loc"][-1])
            sentence = from_details([{**detail, "loc": (name,)}])[0].message
            errors.append({"parameter": name, "detail": sentence})
    return ProblemResponse(422, " ".join(each["detail"] for each in errors), kind="invalid-request", errors=errors)


async def _no_database(request: Request, error: Exception) -> Response:
    logger.error("%s %s: the database %s", request.method, request.url.path, told(error))
    if trouble_of(error) is Trouble.LOCKED:
        return ProblemResponse(503, HELD, kind="row-locked", headers={"Retry-After": "5"})
    away = trouble_of(error) is Trouble.AWAY
    return ProblemResponse(
        503,
        "The database does not answer: try again in a moment."
        if away
        else f"The database {told(error)} Operations must see to it.",
        kind="database-unavailable",
        headers={"Retry-After": "5"},
    )


async def _unexpected(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed.", request.method, request.url.path, exc_info=error)
    return ProblemResponse(500, "Something is wrong on our side. Operations find it in the API's log.")


def _unprocessable(refusals: list[Refusal]) -> Response:
    errors = [_field_error(refusal) for refusal in refusals]
    detail = " ".join(refusal.message for refusal in refusals)
    return ProblemResponse(422, detail, kind="invalid-connector", errors=errors)


def _field_error(refusal: Refusal) -> dict[str, str]:
    return {"pointer": refusal.pointer, "detail": refusal.message}
