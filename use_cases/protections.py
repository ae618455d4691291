"""Profiles of what may land: shown, kept and deleted. Those that are shipped are everybody's and stay as they are."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from connectors.errors import ForbiddenError, NoSuchProtectionError, ProtectionNameTakenError
from connectors.history import Action
from connectors.people import Act, Person, Verdict, may
from connectors.sources.protection.profiles import SHIPPED
from connectors.sources.protection.rules import Profile
from database import audit
from database.access import protections
from database.access.protections import StoredProtection
from use_cases.queries import require_reason, too_low

_OF_US = "the platform"


class Protections:
    """The use cases, for one person."""

    def __init__(self, engine: AsyncEngine, person: Person, *, reason_required: bool = False) -> None:
        self._engine = engine
        self._person = person
        self._reason_required = reason_required

    async def listed(self) -> list[StoredProtection]:
        """The profiles that are shipped, those of the person's teams, and everybody's, by name."""
        stored = await protections.listed(self._engine, self._person.teams)
        return sorted((*map(_shipped, SHIPPED), *stored), key=lambda each: each.name)

    async def one(self, name: str) -> StoredProtection:
        """The profile of this name.

        Raises:
            NoSuchProtectionError: there is none, or it is another team's.
        """
        if name in SHIPPED:
            return _shipped(name)
        async with self._engine.connect() as connection:
            return self._seen(await protections.one(connection, name))

    async def put(self, name: str, profile: Profile, team: str | None) -> StoredProtection:
        """Keep a profile under a name, in place of what has it. Connectors that name it load by it from then on.

        Raises:
            ForbiddenError: the role is too low, of the team that has it or of the one that is to have it.
            ProtectionNameTakenError: the name is that of a shipped profile, or of another team's.
            ReasonRequiredError: none is given, and one is asked for.
        """
        require_reason(self._person.actor, self._reason_required)
        if name in SHIPPED:
            raise ProtectionNameTakenError
        self._refuse_other_teams(team)
        rules = profile.model_dump(mode="json", exclude_unset=True)
        async with self._engine.begin() as connection:
            known = await protections.one(connection, name)
            if known is not None:
                if may(self._person, Act.READ, known.team) is Verdict.HIDDEN:
                    raise ProtectionNameTakenError
                self._refuse_other_teams(known.team)
            actor = self._person.actor
            await protections.put(connection, name, team, rules, actor.name)
            await audit.record(
                connection, actor, Action.PROTECTION_KEPT, before=_told(known), after=_told_of(name, team, rules)
            )
            return self._seen(await protections.one(connection, name))

    async def delete(self, name: str) -> None:
        """Delete a profile. Connectors that name it fail from then on, and load nothing.

        Raises:
            NoSuchProtectionError: there is none, or it is another team's.
            ForbiddenError: the role is too low, or the profile is shipped.
            ReasonRequiredError: none is given, and one is asked for.
        """
        require_reason(self._person.actor, self._reason_required)
        if name in SHIPPED:
            raise ForbiddenError("That profile comes with the platform, and stays: name another one in its place.")
        async with self._engine.begin() as connection:
            known = self._seen(await protections.one(connection, name))
            self._refuse_other_teams(known.team)
            await protections.delete(connection, name)
            await self._record_deletion(connection, known)

    async def _record_deletion(self, connection: AsyncConnection, known: StoredProtection) -> None:
        await audit.record(connection, self._person.actor, Action.PROTECTION_DELETED, before=_told(known))

    def _seen(self, found: StoredProtection | None) -> StoredProtection:
        if found is None or may(self._person, Act.READ, found.team) is Verdict.HIDDEN:
            raise NoSuchProtectionError
        return found

    def _refuse_other_teams(self, team: str | None) -> None:
        if may(self._person, Act.KEEP_PROTECTIONS, team) is not Verdict.ALLOWED:
            raise ForbiddenError(too_low(Act.KEEP_PROTECTIONS))


def _shipped(name: str) -> StoredProtection:
    rules = SHIPPED[name].model_dump(mode="json", exclude_defaults=True)
    return StoredProtection(name, None, rules, None, _OF_US)


def _told(known: StoredProtection | None) -> Mapping[str, Any] | None:
    """What the history says of a profile."""
    return None if known is None else _told_of(known.name, known.team, known.rules)


def _told_of(name: str, team: str | None, rules: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"name": name, "team": team, "rules": rules}
