"""Use cases that start and end runs, or have a source or the controller look: nothing is saved but the history."""

import contextlib
from typing import Any
from uuid import UUID

from connectors.connector import ConnectorRow, InvalidConnectorError, validate
from connectors.errors import NoSuchRunError, NotRunnableError
from connectors.history import Action
from connectors.people import Act
from connectors.runs import EVERYTHING, Options, Run, refused_options
from database import audit, connectors
from database.connection.engine import DATABASE_ERRORS
from database.control import outbox
from use_cases.queries import Entry, Queries


class Runs(Queries):
    """The use cases. Each writes its entry into the history before it does anything."""

    async def retry(self, connector_id: int) -> Entry:
        """Have the controller reconcile a connector now instead of at its next try. Raises what `get` does."""
        entry = await self.get(connector_id, Act.RUN)
        await self._record(Action.RETRY, entry.row)
        await connectors.hint(self._engine, connector_id)
        return entry

    async def to_test(self, connector_id: int) -> Entry:
        """The connector whose source is about to be reached, which its history tells. Raises what `get` does."""
        entry = await self.get(connector_id, Act.TEST)
        await self._record(Action.TEST, entry.row)
        return entry

    async def run(self, connector_id: int, key: str | None = None, options: Options = EVERYTHING) -> Run:
        """Start a run now; with a `key` one run, however often it is sent.

        Raises:
            NotFoundError, ForbiddenError, PrefectUnavailableError: and
            InvalidConnectorError: it is asked for what no run can do.
            NotRunnableError: it is deactivated or invalid, or Prefect does not hold its deployment (yet).
        """
        entry = await self.get(connector_id, Act.RUN)
        if refusals := refused_options(options, self._clock()):
            raise InvalidConnectorError(tuple(refusals))
        if not entry.row.is_active:
            raise NotRunnableError("The connector is deactivated, and a run would load nothing: activate it first.")
        try:
            validate(entry.row)
        except InvalidConnectorError as error:
            raise NotRunnableError(f"The connector is not valid, and a run would fail: {error}") from None
        deployment_id = entry.deployment_id
        if deployment_id is not None:
            # Before it: what was started has its entry, whatever dies in between.
            await self._record(Action.RUN, entry.row, options.asked or None)
        actor = self._person.actor.name
        run = None if deployment_id is None else await self._runs.start(deployment_id, key, actor, options)
        if run is None:
            await connectors.hint(self._engine, connector_id)
            raise NotRunnableError(
                "Prefect does not hold the connector's deployment yet: the controller makes it in a moment; "
                "the connector's status says what it waits for."
            )
        with contextlib.suppress(*DATABASE_ERRORS):  # it is started: without that, a worker finds it at its next look
            await outbox.tell_workers(self._engine)
        return run

    async def cancel(self, connector_id: int, run_id: UUID) -> Run:
        """End a run: its process is told to end, and its locks fall with it. One that has ended stays as it is.

        What it has loaded stays; what it was about to load is loaded by the next run. If the process dies after the
        entry in the history, the run goes on, and ending it can be asked for again.

        Raises:
            NotFoundError, ForbiddenError, PrefectUnavailableError: and
            NoSuchRunError: the connector has no such run.
        """
        entry = await self.get(connector_id, Act.RUN)
        deployment_id = entry.deployment_id
        run = None if deployment_id is None else await self._runs.of_deployment(deployment_id, run_id)
        if run is None:
            raise NoSuchRunError
        if run.has_ended:
            return run
        await self._record(Action.CANCEL, entry.row, {"run_id": str(run_id)})
        cancelled = await self._runs.cancel(run_id)
        if cancelled is None:
            raise NoSuchRunError
        return cancelled

    async def _record(self, action: Action, row: ConnectorRow, after: Any = None) -> None:
        async with self._engine.begin() as connection:
            await audit.record_of(connection, self._person.actor, action, row, after)
