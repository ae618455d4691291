"""Credentials: registered, listed and forgotten. A value goes into a Prefect block and is never read back here."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.credentials import CredentialKind, is_nobodys
from connectors.errors import CredentialNameTakenError, ForbiddenError, NoSuchCredentialError
from connectors.history import Action
from connectors.limits.jsonb import is_text
from connectors.people import Act, Person, Verdict, may, may_for_all
from database import audit
from database.access import credentials
from database.access.credentials import StoredCredential
from use_cases.queries import require_reason, too_low

MADE = "cai-credential-"
"""What the name of a block begins with that was made here, and that goes with its credential."""


class Blocks(Protocol):
    """Where values are kept. Both may raise `PrefectUnavailableError`."""

    async def keep(self, name: str, value: str) -> None:
        """Put a value into a new Secret block of this name."""

    async def forget(self, name: str) -> None:
        """Delete a Secret block; one that is gone already is no error."""


class Credentials:
    """The use cases, for one person."""

    def __init__(self, engine: AsyncEngine, blocks: Blocks, person: Person, *, reason_required: bool = False) -> None:
        self._engine = engine
        self._blocks = blocks
        self._person = person
        self._reason_required = reason_required

    async def keep(self, name: str, value: str, team: str | None, hosts: Sequence[str]) -> StoredCredential:
        """Store a value and register it. If the process dies in between, a block is left that no connector may name.

        Raises:
            ForbiddenError, CredentialNameTakenError, ReasonRequiredError, PrefectUnavailableError: and nothing is
                registered.
        """
        require_reason(self._person.actor, self._reason_required)
        if may(self._person, Act.KEEP_CREDENTIALS, team) is not Verdict.ALLOWED:
            raise ForbiddenError(
                f"You may not {Act.KEEP_CREDENTIALS} of that team: name a team that you are an editor of."
            )
        if await credentials.one(self._engine, name) is not None:
            raise CredentialNameTakenError
        reference = f"{MADE}{secrets.token_hex(8)}"
        await self._blocks.keep(reference, value)
        try:
            return await self._register(name, CredentialKind.SECRET, reference, team, hosts)
        except BaseException:
            await self._blocks.forget(reference)
            raise

    async def register(
        self, name: str, kind: CredentialKind, reference: str, team: str | None, hosts: Sequence[str]
    ) -> StoredCredential:
        """Register a block or variable that is there already: whoever may name any could name another team's.

        Raises:
            ForbiddenError: it takes an admin for all teams; or it is the platform's own.
            CredentialNameTakenError: another credential has the name.
            ReasonRequiredError: none is given, and one is asked for.
        """
        require_reason(self._person.actor, self._reason_required)
        if not may_for_all(self._person, Act.REGISTER_CREDENTIALS):
            raise ForbiddenError(
                f"You may not {Act.REGISTER_CREDENTIALS}: that takes an admin for all teams. Send its `value` instead."
            )
        if is_nobodys(kind, reference):
            raise ForbiddenError("That variable is the platform's own: no connector may have it.")
        return await self._register(name, kind, reference, team, hosts)

    async def _register(
        self, name: str, kind: CredentialKind, reference: str, team: str | None, hosts: Sequence[str]
    ) -> StoredCredential:
        values = {"name": name, "team": team, "kind": kind.value, "reference": reference, "hosts": list(hosts)}
        async with self._engine.begin() as connection:
            if not await credentials.insert(connection, **values, created_by=self._person.actor.name):
                raise CredentialNameTakenError
            await audit.record(connection, self._person.actor, Action.CREDENTIAL_CREATED, after=values)
        kept = await credentials.one(self._engine, name)
        if kept is None:
            raise NoSuchCredentialError
        return kept

    async def listed(self) -> list[StoredCredential]:
        """The credentials of the person's teams, and everybody's, by name."""
        return await credentials.listed(self._engine, self._person.teams)

    async def named(self) -> Mapping[tuple[CredentialKind, str], Sequence[tuple[int, str]]]:
        """The connectors that the person sees, by the blocks and variables that they name: their numbers and names."""
        return await credentials.named(self._engine, self._person.teams)

    async def forget(self, name: str) -> None:
        """Forget a credential, and its value where it was kept here. Connectors that name it fail from then on.

        Raises:
            NoSuchCredentialError: there is none, or it is another team's.
            ForbiddenError: the role is too low, or only an admin for all teams could register it again.
            ReasonRequiredError: none is given, and one is asked for.
        """
        known = await credentials.one(self._engine, name) if is_text(name) else None
        if known is None or may(self._person, Act.SEE_CREDENTIALS, known.team) is Verdict.HIDDEN:
            raise NoSuchCredentialError
        made = known.kind is CredentialKind.SECRET and known.reference.startswith(MADE)
        if may(self._person, Act.KEEP_CREDENTIALS, known.team) is not Verdict.ALLOWED:
            raise ForbiddenError(too_low(Act.KEEP_CREDENTIALS))
        if not made and not may_for_all(self._person, Act.REGISTER_CREDENTIALS):
            raise ForbiddenError(too_low(Act.REGISTER_CREDENTIALS))
        require_reason(self._person.actor, self._reason_required)
        async with self._engine.begin() as connection:
            if not await credentials.delete(connection, name):
                raise NoSuchCredentialError
            before = {"name": name, "team": known.team, "kind": known.kind.value, "reference": known.reference}
            await audit.record(connection, self._person.actor, Action.CREDENTIAL_DELETED, before=before)
        if made:
            await self._blocks.forget(known.reference)
