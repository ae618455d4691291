"""Authentication: each request under `/api` is somebody's, or is answered with 401 before its body is read.

A bearer token is one of CAI_API_TOKEN, which is an admin named `environment`, or one that an admin has made
(`cai_tokens`), or a JWT of the provider that the installation trusts. Where the installation has no way to tell people
apart, whoever reaches it on this machine is an admin; but a token that is sent is judged all the same, so that one that
was revoked does not go on working.
"""

import hashlib
import hmac
import logging
import uuid
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import ProblemResponse
from api.sign_in.bearer import Provider, ProviderUnavailableError
from api.sign_in.proxy import TrustedProxy
from connectors.people import EVERYTHING, Actor, Person, Via
from database.access import tokens as kept_tokens
from database.connection.engine import DATABASE_ERRORS
from use_cases.sessions import ENVIRONMENT
from use_cases.tokens import digest, grants_of, is_one

logger = logging.getLogger(__name__)

PROTECTED = "/api"

THIS_MACHINE = "this machine"
"""The name of whoever asks an API that asks for no token."""

LONGEST_TOKEN = 16_384
"""Characters. What is longer is nobody's."""


def is_protected(path: str) -> bool:
    """Whether an address belongs to somebody: all of `/api`."""
    return path == PROTECTED or path.startswith(PROTECTED + "/")


class Authenticated:
    """Tells each request under `/api` whose it is, in `request.state.person`; answers 401 to a stranger's."""

    def __init__(
        self,
        app: ASGIApp,
        tokens: Sequence[str],
        provider: Provider | None = None,
        proxy: TrustedProxy | None = None,
    ) -> None:
        self._app = app
        self._provider = provider
        self._proxy = proxy
        self._tokens = [hashlib.sha256(token.encode()).digest() for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 or 503 itself, or passes the request on."""
        if scope["type"] != "http" or not is_protected(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            person = await self._person(scope)
        except DATABASE_ERRORS as error:
            logger.warning("Whose token it is could not be looked up: %s.", type(error).__name__)
            detail = "The database does not answer, so nobody can be told apart: try again in a moment."
            response = ProblemResponse(503, detail, kind="database-unavailable", headers={"Retry-After": "5"})
            await response(scope, receive, send)
            return
        except ProviderUnavailableError:
            detail = "The sign-in service does not answer, so nobody's token can be judged: try again in a moment."
            headers = {"Retry-After": "5"}
            await ProblemResponse(503, detail, kind="sign-in-unavailable", headers=headers)(scope, receive, send)
            return
        if person is None:
            response = ProblemResponse(
                401,
                "Send one of the API's tokens in the header 'Authorization: Bearer ...'; one that was revoked or has "
                "expired is none.",
                headers={"WWW-Authenticate": 'Bearer realm="connectors"'},
            )
            await response(scope, receive, send)
            return
        scope.setdefault("state", {})["person"] = person
        await self._app(scope, receive, send)

    async def _person(self, scope: Scope) -> Person | None:
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")[:100] or str(uuid.uuid4())
        sent = headers.get("authorization")
        if sent is None:
            return self._without_token(scope, request_id)
        scheme, _, token = sent.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or len(token) > LONGEST_TOKEN:
            return None
        if self._of_environment(token):
            return Person(Actor(ENVIRONMENT, Via.REST, None, request_id), EVERYTHING)
        if not is_one(token):
            looks_like_one = self._provider is not None and token.count(".") == 2
            return await self._provider.person(token, request_id) if self._provider and looks_like_one else None
        engine: AsyncEngine = scope["app"].state.engine
        known = await kept_tokens.used(engine, digest(token))
        return None if known is None else Person(Actor(known.name, Via.REST, None, request_id), grants_of(known))

    def _without_token(self, scope: Scope, request_id: str) -> Person | None:
        if self._proxy is not None:
            return self._proxy.person(scope, request_id)
        is_open = not self._tokens and self._provider is None
        return Person(Actor(THIS_MACHINE, Via.REST, None, request_id), EVERYTHING) if is_open else None

    def _of_environment(self, token: str) -> bool:
        given = hashlib.sha256(token.encode("latin-1")).digest()
        # Digests are of one length, and all of them are compared: how long it takes tells nothing of a token.
        matches = [hmac.compare_digest(given, each) for each in self._tokens]
        return any(matches)
