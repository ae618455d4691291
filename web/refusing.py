"""Refusals as pages: whatever a use case refuses is a sentence with a way back, and never a bare error."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from connectors.connector import InvalidConnectorError
from connectors.errors import (
    ForbiddenError,
    NoSuchChangeError,
    NoSuchCredentialError,
    NoSuchHeldLoadError,
    NoSuchProtectionError,
    NoSuchRunError,
    NoSuchSourceLimitError,
    NoSuchTokenError,
    NotFoundError,
    PrefectUnavailableError,
    RequestError,
    StaleError,
)
from database.connection.engine import DATABASE_ERRORS
from web.rendering import page

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

STATUSES: tuple[tuple[type[Exception], int, str], ...] = (
    (NotFoundError, 404, "There is nothing here"),
    (NoSuchRunError, 404, "There is no such run"),
    (NoSuchChangeError, 404, "Nothing waits here"),
    (NoSuchHeldLoadError, 404, "Nothing waits here"),
    (NoSuchTokenError, 404, "There is nothing here"),
    (NoSuchCredentialError, 404, "There is nothing here"),
    (NoSuchProtectionError, 404, "There is nothing here"),
    (NoSuchSourceLimitError, 404, "There is nothing here"),
    (ForbiddenError, 403, "That is somebody else's to do"),
    (StaleError, 409, "Somebody was faster"),
    (PrefectUnavailableError, 503, "Prefect does not answer"),
    (InvalidConnectorError, 422, "That can't be saved"),
    (RequestError, 409, "That was not done"),
)
"""What each kind of refusal is called, the most special first."""


class PageRoute(APIRoute):
    """A route whose refusals are pages."""

    def get_route_handler(self) -> Handler:
        """The handler, with its refusals as pages."""
        asked = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await asked(request)
            except (RequestError, InvalidConnectorError) as error:
                for kind, status, title in STATUSES:
                    if isinstance(error, kind):
                        return page(request, "refusal.html", status=status, title=title, sentence=str(error))
                raise
            except DATABASE_ERRORS as error:
                logger.warning("A page could not be made: %s.", type(error).__name__)
                sentence = "Nothing is lost: try again in a moment. What is saved stays saved, and loads go on."
                title = "The database does not answer"
                return page(request, "refusal.html", status=503, title=title, sentence=sentence)

        return handler
