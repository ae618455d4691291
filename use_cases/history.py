"""Use cases of the history: one connector's, everybody's, and its proof."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.errors import ForbiddenError, NotFoundError
from connectors.history import AuditEntry, Verification, team_of
from connectors.limits.ids import is_id
from connectors.people import LEAST_ROLE, Act, Person, Verdict, may, may_for_all
from database import audit, audit_proof, connectors
from database.audit import AuditFilter
from use_cases.queries import too_low

BATCH = 500
"""Entries that an export reads at once."""


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Some entries, the newest first; `before` is the last one's number when there are more."""

    entries: tuple[AuditEntry, ...]
    before: int | None


class History:
    """The use cases, for one person."""

    def __init__(self, engine: AsyncEngine, person: Person) -> None:
        self.engine = engine
        self._person = person

    async def of_connector(self, connector_id: int, *, limit: int, before: int | None = None) -> EntryPage:
        """The entries of one connector, also of one that was deleted. Raises `NotFoundError`."""
        if not is_id(connector_id):
            raise NotFoundError(connector_id)
        async with self.engine.connect() as connection:
            newest = await audit.newest_change(connection, connector_id)
            if newest is not None:
                team = team_of(newest)
            else:  # all of its entries were moved out, or there is no such connector
                rows = await connectors.rows(self.engine, [connector_id])
                if not rows:
                    raise NotFoundError(connector_id)
                team = rows[0].team
            if may(self._person, Act.READ, team) is Verdict.HIDDEN:
                raise NotFoundError(connector_id)
            found = await audit.history(connection, connector_id, limit=limit + 1, before_id=before)
        return _page(found, limit)

    async def page(self, which: AuditFilter, *, limit: int, before: int | None = None) -> EntryPage:
        """The entries that fit, of all connectors. Raises `ForbiddenError`."""
        which = self._theirs(which)
        async with self.engine.connect() as connection:
            found = await audit.entries(connection, which, limit=limit + 1, before_id=before)
        return _page(found, limit)

    def export(self, which: AuditFilter) -> AsyncIterator[AuditEntry]:
        """Every entry that fits, the newest first, as of when it is read. Raises `ForbiddenError`."""
        return self._all(self._theirs(which))

    async def _all(self, which: AuditFilter) -> AsyncIterator[AuditEntry]:
        before: int | None = None
        while True:
            async with self.engine.connect() as connection:
                found = await audit.entries(connection, which, limit=BATCH, before_id=before)
            for entry in found:
                yield entry
            if len(found) < BATCH:
                return
            before = found[-1].id

    async def verify(self) -> Verification:
        """The proof of the whole history, for an admin of all teams. Raises `ForbiddenError`."""
        if not may_for_all(self._person, Act.READ_AUDIT):
            raise ForbiddenError(too_low(Act.READ_AUDIT))
        return await audit_proof.verify(self.engine)

    def _theirs(self, which: AuditFilter) -> AuditFilter:
        """The filter, with what an admin of some teams alone may see: entries of their connectors and everybody's."""
        if may_for_all(self._person, Act.READ_AUDIT):
            return which
        teams = frozenset(
            grant.team
            for grant in self._person.grants
            if grant.role.includes(LEAST_ROLE[Act.READ_AUDIT]) and grant.team
        )
        if not teams:
            raise ForbiddenError(too_low(Act.READ_AUDIT))
        return replace(which, teams=teams)


def _page(found: list[AuditEntry], limit: int) -> EntryPage:
    shown = found[:limit]
    return EntryPage(tuple(shown), shown[-1].id if len(found) > limit else None)
