"""Tokens (JWT) of an OpenID Connect provider: whose one is, or that it is nobody's.

Every claim that counts is named: the library checks none by itself. The provider's keys are read when the first token
comes, again each hour, and when a token names a key that is not known, at most once a minute: a key that is rotated in
is known at once, one that was withdrawn within the hour, and strangers' tokens cost the provider nothing.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from connectors.people import Actor, Grant, Person, Via

logger = logging.getLogger(__name__)

ALGORITHMS = ["RS256", "ES256", "PS256", "EdDSA"]
LEEWAY_SECONDS = 30
KEYS_LAST_SECONDS = 3600.0
ASKED_AGAIN_SECONDS = 60.0
"""Between two looks for a key that is not known."""
TIMEOUT_SECONDS = 5.0
ACCESS_TOKEN = "at+jwt"  # noqa: S105  # a media type
LONGEST_NAME = 200


class ProviderUnavailableError(Exception):
    """The provider's keys cannot be read, so nobody's token can be judged."""


class Provider:
    """One provider, as far as its tokens are judged."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        *,
        audience: str | None,
        roles: Mapping[str, Grant],
        groups_claim: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._audience = audience or client_id
        # An ID token has the client as its audience: where access tokens have it too, their type tells them apart.
        self._typed = self._audience == client_id
        self._roles = roles
        self._groups_claim = groups_claim
        self._clock = clock
        self._keys: KeySet | None = None
        self._metadata: Mapping[str, Any] = {}
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def person(self, token: str, request_id: str) -> Person | None:
        """Whoever holds this token; None when it is nobody's. Raises `ProviderUnavailableError`."""
        claims = await self._claims(token)
        if claims is None:
            return None
        return self.person_of(claims, request_id)

    def person_of(self, claims: Mapping[str, Any], request_id: str) -> Person:
        """Somebody of whom the provider tells this."""
        name = claims.get("email") or claims.get("preferred_username") or claims["sub"]
        groups = claims.get(self._groups_claim)
        return person_of(str(name), groups if isinstance(groups, list) else [], self._roles, request_id)

    async def metadata(self) -> Mapping[str, Any]:
        """What the provider tells of itself. Raises `ProviderUnavailableError`."""
        await self._known(KEYS_LAST_SECONDS)
        return self._metadata

    async def logged_in(self, id_token: str, nonce: str) -> Mapping[str, Any] | None:
        """The claims of an ID token that answers this log-in; None when it is none. Raises like `metadata`."""
        decoded = await self._checked(id_token, audience=self._client_id, nonce={"essential": True, "value": nonce})
        if decoded is None or decoded.claims.get("azp", self._client_id) != self._client_id:
            return None
        return decoded.claims

    async def _checked(self, token: str, *, audience: str, **more: Any) -> jwt.Token | None:
        try:
            decoded = await self._decoded(token)
            rules = jwt.JWTClaimsRegistry(
                leeway=LEEWAY_SECONDS,
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": audience},
                exp={"essential": True},
                sub={"essential": True},
                **more,
            )
            rules.validate(decoded.claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            logger.info("A provider's token was refused: %s.", type(error).__name__)
            return None
        return decoded

    async def _claims(self, token: str) -> Mapping[str, Any] | None:
        decoded = await self._checked(token, audience=self._audience)
        if decoded is None:
            return None
        kind = str(decoded.header.get("typ", "")).lower().removeprefix("application/")
        if self._typed and kind != ACCESS_TOKEN:
            logger.info("A bearer token was refused: it is no access token.")
            return None
        return decoded.claims

    async def _decoded(self, token: str) -> jwt.Token:
        keys = await self._known(KEYS_LAST_SECONDS)
        try:
            return jwt.decode(token, keys, algorithms=ALGORITHMS)
        except InvalidKeyIdError:
            return jwt.decode(token, await self._known(ASKED_AGAIN_SECONDS), algorithms=ALGORITHMS)

    async def _known(self, for_seconds: float) -> KeySet:
        """The provider's keys, not older than that."""
        async with self._reading:
            if self._keys is None or self._clock() - self._read_at >= for_seconds:
                try:
                    self._keys = await self._read()
                except (httpx.HTTPError, ValueError, KeyError, TypeError, JoseError) as error:
                    logger.warning("The provider's keys could not be read: %s.", type(error).__name__)
                    if self._keys is None:
                        raise ProviderUnavailableError from None
                # One that is down is not asked by each request: the keys that are known serve on.
                self._read_at = self._clock()
            return self._keys

    async def _read(self) -> KeySet:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            found = await client.get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            metadata = found.raise_for_status().json()
            if metadata["issuer"] != self._issuer:
                raise ValueError("another issuer")
            keys = KeySet.import_key_set((await client.get(metadata["jwks_uri"])).raise_for_status().json())
            self._metadata = metadata
            return keys


def person_of(name: str, groups: list[Any], roles: Mapping[str, Grant], request_id: str) -> Person:
    """Somebody with the roles of their groups: a group that is not listed gives none, and no group no role."""
    grants = dict.fromkeys(roles[group] for group in groups if isinstance(group, str) and group in roles)
    return Person(Actor(name[:LONGEST_NAME], Via.REST, None, request_id), tuple(grants))
