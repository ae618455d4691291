"""The log-in at a provider, by a browser: OpenID Connect's authorization code with PKCE, state and nonce.

What ties the answer to the browser that asked (`Attempt`) is kept by that browser in a cookie: no server remembers
strangers, and several servers need not know of each other.
"""

import hmac
import json
import logging
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

import httpx
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from api.sign_in.bearer import Provider, ProviderUnavailableError
from connectors.people import Person

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0


class LogInRefusedError(Exception):
    """Nobody is logged in by this. The message says why, and holds nothing that was sent."""

    def __init__(self, why: str, name: str | None = None) -> None:
        super().__init__(why)
        self.name = name
        """Whom the provider has named, where it has."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One log-in that has begun."""

    state: str
    nonce: str
    verifier: str
    leads_to: str
    """The page that was asked for."""

    def written(self) -> str:
        """As a cookie holds it."""
        return urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The attempt that a cookie holds; None for what is none."""
        try:
            said = json.loads(urlsafe_b64decode(text.encode()))
            found = cls(**said)
        except (ValueError, TypeError):
            return None
        return found if all(isinstance(each, str) for each in said.values()) else None


class CodeFlow:
    """Log-ins at one provider, for this installation as its client."""

    def __init__(self, provider: Provider, client_id: str, client_secret: str | None, scopes: str) -> None:
        self._provider = provider
        self._client_id = client_id
        self._client_secret = client_secret
        self._scopes = scopes

    async def begin(self, comes_back_to: str, leads_to: str) -> tuple[str, Attempt]:
        """Where the browser goes, and what it keeps until it comes back. Raises `ProviderUnavailableError`."""
        metadata = await self._provider.metadata()
        attempt = Attempt(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), leads_to)
        async with self._client(metadata, comes_back_to) as client:
            address, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return str(address), attempt

    async def finish(
        self, attempt: Attempt | None, answer: Mapping[str, str], comes_back_to: str, request_id: str
    ) -> tuple[Person, datetime]:
        """Whoever the provider says has logged in, and when the life of his token ends.

        Raises:
            LogInRefusedError: nobody has.
            ProviderUnavailableError: it does not answer.
        """
        if attempt is None or not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise LogInRefusedError("the log-in was not begun in this browser, or longer ago than ten minutes")
        if "code" not in answer:
            raise LogInRefusedError("the sign-in service let nobody in")
        metadata = await self._provider.metadata()
        token, told = await self._exchanged(metadata, answer["code"], attempt, comes_back_to)
        claims = await self._provider.logged_in(str(token.get("id_token", "")), attempt.nonce)
        if claims is None:
            raise LogInRefusedError("the sign-in service's answer is not for this log-in")
        if told.get("sub") == claims["sub"]:
            claims = {**told, **claims}
        person = self._provider.person_of(claims, request_id)
        if not person.grants:
            raise LogInRefusedError("none of the groups has a role here", person.actor.name)
        ends = float(token.get("expires_at") or claims["exp"])
        return person, datetime.fromtimestamp(ends, UTC)

    async def _exchanged(
        self, metadata: Mapping[str, Any], code: str, attempt: Attempt, comes_back_to: str
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The tokens for a code, and what the provider tells of the user besides."""
        try:
            async with self._client(metadata, comes_back_to) as client:
                token: Mapping[str, Any] = await client.fetch_token(
                    metadata["token_endpoint"], code=code, code_verifier=attempt.verifier
                )
                told: Mapping[str, Any] = {}
                if "userinfo_endpoint" in metadata:
                    answer = await client.get(metadata["userinfo_endpoint"])
                    told = answer.raise_for_status().json()
                return token, told if isinstance(told, Mapping) else {}
        except OAuthError as error:
            logger.info("The provider gave no token: %s.", type(error).__name__)
            raise LogInRefusedError("the sign-in service gave no token for this log-in") from None
        except (httpx.HTTPError, ValueError) as error:
            logger.warning("The provider could not be asked for a token: %s.", type(error).__name__)
            raise ProviderUnavailableError from None

    def _client(self, metadata: Mapping[str, Any], comes_back_to: str) -> AsyncOAuth2Client:
        supported = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        method = "client_secret_basic" if "client_secret_basic" in supported else "client_secret_post"
        return AsyncOAuth2Client(
            self._client_id,
            self._client_secret,
            token_endpoint_auth_method=method if self._client_secret else "none",
            scope=self._scopes,
            redirect_uri=comes_back_to,
            code_challenge_method="S256",
            leeway=0,  # a token of a minute's life is no expired one: Authlib's own leeway is a minute
            timeout=TIMEOUT_SECONDS,
        )
