"""Sessions of the page: begun by a log-in, ended by a log-out or with the life of what began them.

The browser holds a random text, the database its digest. Each log-in, each refused one and each log-out is an entry of
the history; of refused ones as many a minute as a person can make, for strangers must not be able to fill a disk.
"""

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.history import Action
from connectors.people import EVERYTHING, Actor, Grant, Person, Via
from database import audit
from database.access import sessions, tokens
from database.access.sessions import StoredSession
from use_cases.tokens import digest, grants_of, is_one

logger = logging.getLogger(__name__)

ENVIRONMENT = "environment"
"""The name of whoever holds a token of CAI_API_TOKEN."""

LONGEST = timedelta(hours=12)
"""A session lasts no longer, whatever began it."""

LINK_LASTS = timedelta(hours=1)
REFUSED_A_MINUTE = 30
NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that has begun: what the browser keeps, for how long."""

    text: str
    lasts: timedelta


class RefusedTally:
    """How many refused log-ins are written, and how many were only counted. One for a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minute = -1
        self._written = 0
        self._counted = 0

    def next(self) -> int | None:
        """How many have only been counted since the last one that was written; None: this one is only counted."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._written = minute, 0
        if self._written >= REFUSED_A_MINUTE:
            self._counted += 1
            return None
        self._written += 1
        counted, self._counted = self._counted, 0
        return counted


class Sessions:
    """The use cases.

    Args:
        engine: of the database.
        environment: the tokens of CAI_API_TOKEN.
    """

    def __init__(self, engine: AsyncEngine, environment: Sequence[str] = ()) -> None:
        self._engine = engine
        self._environment = [digest(token) for token in environment]
        self._tally = RefusedTally()

    async def of(self, text: str) -> StoredSession | None:
        """The session of what a browser sends; None when it has ended, or there never was one."""
        found = await sessions.alive(self._engine, digest(text))
        if found is None or found.proof is None:
            return found
        fits = [hmac.compare_digest(found.proof, _proof(text, each)) for each in self._environment]
        return found if any(fits) else None

    async def begin(self, person: Person, expires_at: datetime | None, *, by: str) -> Opened:
        """Begin a session of somebody whom a provider knows.

        Args:
            person: whose it is.
            expires_at: when the life of his token ends; None: it does not.
            by: what was shown, for the history.
        """
        return await self._begin(person.actor, person.grants, expires_at, by=by)

    async def begin_by_token(self, text: str, request_id: str) -> Opened | None:
        """Begin a session of whoever holds this token, which ends with it; None when the token is nobody's."""
        given = digest(text)
        matches = [hmac.compare_digest(given, each) for each in self._environment]
        if any(matches):
            actor = Actor(ENVIRONMENT, Via.PAGE, None, request_id)
            return await self._begin(actor, EVERYTHING, None, by="CAI_API_TOKEN", of_environment=given)
        known = await tokens.used(self._engine, given) if is_one(text) else None
        if known is None:
            return None
        actor = Actor(known.name, Via.PAGE, None, request_id)
        try:
            return await self._begin(actor, grants_of(known), known.expires_at, by="token", token_id=known.id)
        except IntegrityError:  # it was revoked just now
            return None

    async def begin_by_link(self, key: str, request_id: str) -> Opened | None:
        """Begin the session that a link stands for, which is used up by that; None when there is no such link."""
        async with self._engine.begin() as connection:
            found = await sessions.take_link(connection, digest(key))
        if found is None:
            return None
        return await self._begin(Actor(found.name, Via.PAGE, None, request_id), found.grants, None, by="link")

    async def make_link(self, name: str, grants: tuple[Grant, ...]) -> str:
        """A key that begins one session of somebody, within the hour."""
        key = secrets.token_urlsafe(32)
        async with self._engine.begin() as connection:
            await sessions.insert(connection, digest(key), grants, LINK_LASTS, name=name, csrf="", is_link=True)
        return key

    async def end(self, text: str, actor: Actor) -> None:
        """End a session: what the browser holds is worth nothing from then on."""
        async with self._engine.begin() as connection:
            if await sessions.end(connection, digest(text)):
                await audit.record(connection, actor, Action.LOG_OUT)

    async def refused(self, why: str, request_id: str, name: str = NOBODY) -> None:
        """Write down that somebody was not let in. No text that was sent may be in `why`."""
        counted = self._tally.next()
        logger.info("A log-in was refused: %s.", why)
        if counted is None:
            return
        told = {"why": why} | ({"refused before without an entry": counted} if counted else {})
        async with self._engine.begin() as connection:
            actor = Actor(name, Via.PAGE, None, request_id)
            await audit.record(connection, actor, Action.LOG_IN_REFUSED, after=told)

    async def _begin(
        self,
        actor: Actor,
        grants: tuple[Grant, ...],
        expires_at: datetime | None,
        *,
        by: str,
        token_id: int | None = None,
        of_environment: bytes | None = None,
    ) -> Opened:
        left = LONGEST if expires_at is None else min(LONGEST, expires_at - datetime.now(UTC))
        opened = Opened(secrets.token_urlsafe(32), left)
        values = {
            "name": actor.name,
            "csrf": secrets.token_urlsafe(32),
            "token_id": token_id,
            "proof": None if of_environment is None else _proof(opened.text, of_environment),
        }
        async with self._engine.begin() as connection:
            await sessions.insert(connection, digest(opened.text), grants, left, **values)
            roles = [{"role": grant.role.value, "team": grant.team} for grant in grants]
            await audit.record(connection, actor, Action.LOG_IN, after={"by": by, "roles": roles})
        return opened


def _proof(text: str, token: bytes) -> bytes:
    """Tells, with what the browser holds and not without, which token began a session."""
    return hmac.digest(text.encode(), token, hashlib.sha256)
