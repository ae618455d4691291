"""Limits of sources: shown, kept and deleted. Each holds for every team's connectors."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.errors import ForbiddenError, NoSuchSourceLimitError
from connectors.history import Action
from connectors.people import Act, Person, Verdict, may
from database import audit
from database.access import source_limits
from database.access.source_limits import StoredLimit
from use_cases.queries import require_reason, too_low


class SourceLimits:
    """The use cases, for one person."""

    def __init__(self, engine: AsyncEngine, person: Person, *, reason_required: bool = False) -> None:
        self._engine = engine
        self._person = person
        self._reason_required = reason_required

    async def listed(self) -> list[StoredLimit]:
        """All limits, by name."""
        async with self._engine.connect() as connection:
            return await source_limits.listed(connection)

    async def one(self, name: str) -> StoredLimit:
        """The limit of this name.

        Raises:
            NoSuchSourceLimitError: there is none.
        """
        async with self._engine.connect() as connection:
            return _seen(await source_limits.one(connection, name))

    async def put(self, name: str, values: Mapping[str, Any]) -> StoredLimit:
        """Keep a limit under a name, in place of what has it.

        Args:
            name: of the limit.
            values: its `hosts`, `credentials`, `loads` and `quiet_hours`, as JSON has them.

        Raises:
            ForbiddenError: the role is too low.
            ReasonRequiredError: none is given, and one is asked for.
        """
        self._refuse()
        async with self._engine.begin() as connection:
            before = await source_limits.one(connection, name)
            await source_limits.put(connection, name, values, self._person.actor.name)
            after = _seen(await source_limits.one(connection, name))
            await audit.record(
                connection, self._person.actor, Action.SOURCE_LIMIT_KEPT, before=_told(before), after=_told(after)
            )
            return after

    async def delete(self, name: str) -> None:
        """Delete a limit.

        Raises:
            NoSuchSourceLimitError: there is none.
            ForbiddenError: the role is too low.
            ReasonRequiredError: none is given, and one is asked for.
        """
        self._refuse()
        async with self._engine.begin() as connection:
            known = _seen(await source_limits.one(connection, name))
            await source_limits.delete(connection, name)
            await audit.record(connection, self._person.actor, Action.SOURCE_LIMIT_DELETED, before=_told(known))

    def _refuse(self) -> None:
        require_reason(self._person.actor, self._reason_required)
        if may(self._person, Act.KEEP_LIMITS, None) is not Verdict.ALLOWED:
            raise ForbiddenError(too_low(Act.KEEP_LIMITS))


def _seen(found: StoredLimit | None) -> StoredLimit:
    if found is None:
        raise NoSuchSourceLimitError
    return found


def _told(known: StoredLimit | None) -> Mapping[str, Any] | None:
    """What the history says of a limit."""
    names = ("name", "hosts", "credentials", "loads", "quiet_hours")
    return None if known is None else {name: getattr(known, name) for name in names}
