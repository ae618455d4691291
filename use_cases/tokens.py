"""Tokens of the API: made, listed and revoked by admins. A token is shown once, when it is made."""

import hashlib
import re
import secrets
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.errors import ForbiddenError, NoSuchTokenError, TokenNameTakenError
from connectors.history import Action
from connectors.people import Act, Grant, Person, Role, Verdict, may, may_for_all, may_grant
from database import audit
from database.access import tokens
from database.access.tokens import Token
from use_cases.queries import require_reason

PREFIX = "cai_"
"""What a token of ours begins with, so that scanners of repositories and logs know one when they see it."""

_SHAPE = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


def digest(token: str) -> bytes:
    """What is kept of a token. It is 32 random bytes, so nobody finds it by trying: one round of hashing is enough."""
    return hashlib.sha256(token.encode()).digest()


def is_one(text: str) -> bool:
    """Whether a text looks like a token of ours: for any other, the database need not be asked."""
    return _SHAPE.fullmatch(text) is not None


class Tokens:
    """The use cases, for one person."""

    def __init__(self, engine: AsyncEngine, person: Person, *, reason_required: bool = False) -> None:
        self._engine = engine
        self._person = person
        self._reason_required = reason_required

    async def make(self, name: str, role: Role, team: str | None, expires_at: datetime | None) -> tuple[Token, str]:
        """Make a token; with it the text that must be sent, which cannot be had again.

        Raises:
            ForbiddenError: it would be allowed more than whoever makes it.
            TokenNameTakenError: another token has the name.
            ReasonRequiredError: none is given, and one is asked for.
        """
        require_reason(self._person.actor, self._reason_required)
        if not may_grant(self._person, role, team):
            of = "for all teams" if team is None else "for that team"
            raise ForbiddenError(f"You may not make a token with the role {role} {of}: that takes an admin {of}.")
        text = PREFIX + secrets.token_urlsafe(32)
        values = {"name": name, "role": role.value, "team": team, "expires_at": expires_at}
        try:
            async with self._engine.begin() as connection:
                by = self._person.actor.name
                token = await tokens.insert(connection, digest(text), **values, created_by=by)
                await audit.record(connection, self._person.actor, Action.TOKEN_CREATED, after=_told(token))
        except IntegrityError as error:
            if await tokens.name_taken(self._engine, name):
                raise TokenNameTakenError from error
            raise
        return token, text

    async def listed(self) -> list[Token]:
        """The tokens that the person may manage, by id."""
        if may_for_all(self._person, Act.MANAGE_TOKENS):
            return await tokens.listed(self._engine, None)
        teams = {grant.team for grant in self._person.grants if grant.role is Role.ADMIN}
        return await tokens.listed(self._engine, {team for team in teams if team is not None})

    async def revoke(self, token_id: int) -> None:
        """End a token, from the next request on.

        Raises:
            NoSuchTokenError: there is none, or it is another team's.
            ForbiddenError: the role is too low.
            ReasonRequiredError: none is given, and one is asked for.
        """
        token = await tokens.one(self._engine, token_id)
        if token is None:
            raise NoSuchTokenError(token_id)
        if token.team is None:
            allowed = may_for_all(self._person, Act.MANAGE_TOKENS)
        else:
            allowed = may(self._person, Act.MANAGE_TOKENS, token.team) is Verdict.ALLOWED
        if not allowed:  # whoever may not manage it does not see it either
            raise NoSuchTokenError(token_id)
        require_reason(self._person.actor, self._reason_required)
        async with self._engine.begin() as connection:
            if not await tokens.delete(connection, token_id):
                raise NoSuchTokenError(token_id)
            await audit.record(connection, self._person.actor, Action.TOKEN_REVOKED, before=_told(token))


def _told(token: Token) -> dict[str, Any]:
    """What the history says of a token."""
    expires = token.expires_at.isoformat() if token.expires_at else None
    return {"id": token.id, "name": token.name, "role": token.role.value, "team": token.team, "expires_at": expires}


def grants_of(token: Token) -> tuple[Grant, ...]:
    """What whoever holds a token may do."""
    return (Grant(token.role, token.team),)
