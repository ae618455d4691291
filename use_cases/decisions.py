"""Use cases of what waits for a person: a load whose checks failed is let through, or refused."""

from connectors.errors import NoSuchChangeError, NoSuchHeldLoadError, NotRunnableError, PrefectUnavailableError
from connectors.history import Action
from connectors.loads import Decision, HeldLoad, SchemaChange
from connectors.people import Act
from connectors.runs import Run
from database import audit
from database.decisions import by_people as decisions
from use_cases.queries import Entry, require_reason
from use_cases.runs import Runs

ACTIONS = {Decision.APPROVED: Action.APPROVE, Decision.REFUSED: Action.REFUSE}


class Decisions(Runs):
    """The use cases. A decision and its entry in the history are one transaction."""

    async def held_loads(self, connector_id: int) -> list[HeldLoad]:
        """The tables for whose sake a connector's load waits, or that have not loaded since. Raises what `get` does."""
        await self.get(connector_id)
        return await decisions.held_of(self._engine, connector_id)

    async def waiting(self, limit: int) -> list[tuple[Entry, HeldLoad]]:
        """The loads that wait for a person, with their connectors, the longest first, as far as they are seen."""
        held = await decisions.held_waiting(self._engine, self._person.teams, limit)
        rows = await self._store.rows(sorted({each.connector_id for each in held}))
        entries = {entry.row.id: entry for entry in await self._entries(rows)}
        return [(entries[each.connector_id], each) for each in held if each.connector_id in entries]

    async def schema_changes(self, connector_id: int) -> list[SchemaChange]:
        """What has changed at a connector's source, the newest first. Raises what `get` does."""
        await self.get(connector_id)
        return await decisions.changes_of(self._engine, connector_id)

    async def changes_waiting(self, limit: int) -> list[tuple[Entry, SchemaChange]]:
        """The changes that wait for a person, with their connectors, the oldest first, as far as they are seen."""
        found = await decisions.changes_waiting(self._engine, self._person.teams, limit)
        rows = await self._store.rows(sorted({each.connector_id for each in found}))
        entries = {entry.row.id: entry for entry in await self._entries(rows)}
        return [(entries[each.connector_id], each) for each in found if each.connector_id in entries]

    async def decide_change(self, connector_id: int, change_id: int, decision: Decision) -> SchemaChange:
        """Approve a change at the source, so that the next run lands it, or refuse it.

        Raises:
            NotFoundError, ForbiddenError, ReasonRequiredError: and
            NoSuchChangeError: nobody was asked about such a change.
        """
        entry = await self.get(connector_id, Act.CHANGE)
        actor = self._person.actor
        require_reason(actor, self.reason_required)
        async with self._engine.begin() as connection:
            change = await decisions.decide_change(connection, connector_id, change_id, decision, actor.name)
            if change is None:
                raise NoSuchChangeError
            about = {"table": change.table_name, "column": change.column_name, "change": change.kind.value}
            await audit.record_of(
                connection, actor, ACTIONS[decision], entry.row, {"schema_change": change.id, **about}
            )
        return change

    async def decide_load(self, connector_id: int, held_id: int, decision: Decision) -> tuple[HeldLoad, Run | None]:
        """Let a held load through, which starts a run, or refuse it; the run is None where none could be started.

        What is let through are these checks of this table, once: the run reads the source again, and what fails another
        check waits anew. If the process dies after the decision, the connector's next run lands it.

        Raises:
            NotFoundError, ForbiddenError, ReasonRequiredError: and
            NoSuchHeldLoadError: it does not wait any more.
        """
        entry = await self.get(connector_id, Act.CHANGE)
        actor = self._person.actor
        require_reason(actor, self.reason_required)
        async with self._engine.begin() as connection:
            held = await decisions.decide_held(connection, connector_id, held_id, decision, actor.name)
            if held is None:
                raise NoSuchHeldLoadError
            about = {"held_load": held.id, "table": held.table_name, "checks": held.sentence}
            await audit.record_of(connection, actor, ACTIONS[decision], entry.row, about)
        return held, await self._started(held) if decision is Decision.APPROVED else None

    async def _started(self, held: HeldLoad) -> Run | None:
        try:
            return await self.run(held.connector_id, f"held-{held.id}-{held.decided_at}")
        except (NotRunnableError, PrefectUnavailableError):
            return None
