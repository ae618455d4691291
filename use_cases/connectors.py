"""Use cases that change connectors, whichever door they come through: save, change, delete.

The REST API and the forms in the Prefect UI call these and nothing beneath them, so both say the same sentence. Saving
is one transaction on the table and never asks Prefect: the table's trigger wakes the controller, which does the rest.
If the process dies before the commit, nothing has happened; after it, all has.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from connectors.connector import ConnectorRow, InvalidConnectorError, validate
from connectors.credentials import CredentialRules, is_nobodys, refuse_uses, uses_of, uses_of_policy
from connectors.destinations.places import outside
from connectors.errors import ForbiddenError, NotFoundError, StaleError
from connectors.history import Action, restorable, team_of
from connectors.limits.ids import is_id
from connectors.limits.jsonb import unstorable
from connectors.people import Act, Verdict, may, may_for_all
from connectors.refusals import Refusal
from connectors.shared_tables import clash, writer_of, writers_of
from connectors.sources.fhir import FhirSource
from connectors.sources.protection.profiles import SHIPPED
from database import audit, connectors, loads
from database.access import credentials, protections
from use_cases.decisions import Decisions
from use_cases.follow_ups import refuse_follow_ups
from use_cases.queries import Entry, require_reason, too_low

DEFAULTS: Mapping[str, Any] = {
    "description": None,
    "schedule": None,
    "timezone": "UTC",
    "is_active": True,
    "destination": None,
    "dataset_name": None,
    "run_policy": {},
    "work_pool_name": None,
    "work_queue_name": None,
}
"""What a connector has where the user says nothing; `name` and `source` have no default."""

WHOSE: Mapping[str, Any] = {"team": None, "owner": None, "tags": []}
"""The same of whose it is. It stays as it is when a connector is replaced: what is a team's must not become everybody's
because somebody left it out."""

Values = Mapping[str, Any]
"""Columns of `cai_connectors` that users own, by name, with what is to stand in them."""

Versions = Collection[str] | None
"""The versions that the caller has seen, one of which the row must still have; None when it does not care."""

_USER_COLUMNS = ("name", "source", *DEFAULTS, *WHOSE)


class Service(Decisions):
    """The use cases on one database. Every method may raise what SQLAlchemy and the driver do when it is down."""

    async def create(self, values: Values) -> Entry:
        """Save a new connector, of the person's own team where none is named.

        Raises:
            InvalidConnectorError, NameTakenError, ForbiddenError: and nothing is saved.
        """
        complete = _complete({**WHOSE, "team": self._person.home, **values})
        self._require_team(None, complete["team"], new=True)
        self._judge(complete, connector_id=0)  # whether an `H` is valid does not depend on the id that there is to be
        await self._refuse_unoffered(complete["source"])
        async with self._changing(complete["name"], None) as connection:
            row = await connectors.insert(connection, complete)
            await self._require_what_is_named(connection, row)
            await self._refuse_shared(connection, row)
            await refuse_follow_ups(connection, row, self._follow_deployments)
        return Entry(row, None)

    async def update(self, connector_id: int, values: Values, seen: Versions = None) -> Entry:
        """Change the given columns and leave the rest as it is.

        Deactivating alone is not refused, whatever else is wrong with the row: to stop must always be possible.

        Raises:
            NotFoundError, ForbiddenError, StaleError, InvalidConnectorError, NameTakenError: and nothing has changed.
        """
        changes = _stripped(values)
        if "source" in changes:
            await self._refuse_unoffered(changes["source"], connector_id)
        async with self._changing(changes.get("name"), connector_id) as connection:
            row = await self._lock(connection, connector_id, seen)
            self._require_team(row.team, changes.get("team", row.team))
            judged = changes != {"is_active": False}
            if judged:
                self._judge({**_user_values(row), **changes}, connector_id)
            if changes:
                row = await connectors.update(connection, connector_id, changes)
            if changes.keys() & {"source", "destination", "run_policy", "team"}:
                await self._require_what_is_named(connection, row)
            if judged:
                await self._refuse_shared(connection, row)
            if changes.keys() & {"name", "run_policy", "team"}:
                await refuse_follow_ups(connection, row, self._follow_deployments)
        return (await self._entries([row]))[0]

    async def replace(self, connector_id: int, values: Values, seen: Versions = None) -> Entry:
        """Change everything: what is not given gets its default. Raises what `update` does."""
        return await self.update(connector_id, _complete(values), seen)

    async def set_active(self, connector_id: int, is_active: bool, seen: Versions = None) -> Entry:
        """Activate or deactivate. Where the row already says so, the controller looks at once what Prefect says.

        Raises:
            NotFoundError, ForbiddenError, StaleError: and, when activating, InvalidConnectorError.
        """
        entry = await self.get(connector_id, Act.CHANGE)
        already = entry.row.is_active is is_active
        entry = await self.update(connector_id, {"is_active": is_active}, seen)
        if already:
            if is_active:
                await loads.forgive(self._engine, connector_id)
            await connectors.hint(self._engine, connector_id)
        return entry

    async def delete(self, connector_id: int, seen: Versions = None) -> None:
        """Remove the row; the controller then removes the deployment.

        Raises:
            NotFoundError, ForbiddenError, StaleError: and nothing has changed.
        """
        async with self._changing(None, connector_id) as connection:
            await self._lock(connection, connector_id, seen)
            await connectors.delete(connection, connector_id)

    async def restore(self, connector_id: int, generation: int) -> Entry:
        """Have a connector as it was at a generation; a deleted one comes back under its number, with all it had.

        It is judged like any save. Columns that are younger than the generation keep what they have.

        Raises:
            NotFoundError, ForbiddenError: and
            NoSuchGenerationError: its history does not tell of that generation.
            NotRestorableError: it held a secret in plain text, which the history does not keep.
            InvalidConnectorError, NameTakenError: it may not be saved any more.
        """
        values = await self._kept(connector_id, generation)
        async with self._changing(values["name"], connector_id) as connection:
            if await connectors.exists(connection, connector_id):
                row = await self._lock(connection, connector_id, None)
                self._require_team(row.team, values.get("team", row.team))
                self._judge({**_user_values(row), **values}, connector_id)
                row = await connectors.update(connection, connector_id, values)
            else:
                complete = _complete({**WHOSE, **values})
                self._require_team(None, complete["team"], new=True)
                self._judge(complete, connector_id)
                row = await connectors.insert(connection, {"id": connector_id, **complete})
            await self._require_what_is_named(connection, row)
            await self._refuse_shared(connection, row)
            await refuse_follow_ups(connection, row, self._follow_deployments)
            await audit.record_of(connection, self._person.actor, Action.RESTORE, row, {"generation": generation})
        return (await self._entries([row]))[0]

    async def _kept(self, connector_id: int, generation: int) -> dict[str, Any]:
        """The columns of a connector at a generation, as far as its history has them. Raises as `restore` does."""
        if not is_id(connector_id):
            raise NotFoundError(connector_id)
        async with self._engine.connect() as connection:
            newest = await audit.newest_change(connection, connector_id)
            kept = await audit.newest_of_generation(connection, connector_id, generation)
        verdict = Verdict.HIDDEN if newest is None else may(self._person, Act.CHANGE, team_of(newest))
        if verdict is Verdict.HIDDEN:
            raise NotFoundError(connector_id)
        if verdict is Verdict.REFUSED:
            raise ForbiddenError(too_low(Act.CHANGE))
        return restorable(kept, generation, _USER_COLUMNS)

    @asynccontextmanager
    async def _changing(self, name: str | None, own_id: int | None) -> AsyncIterator[AsyncConnection]:
        """One transaction that changes a connector, and tells its history who does it.

        Raises:
            ReasonRequiredError: before it begins. And what `database.connectors.changing` does.
        """
        require_reason(self._person.actor, self.reason_required)
        async with connectors.changing(self._engine, name=name, own_id=own_id) as connection:
            await audit.act_as(connection, self._person.actor)
            yield connection

    def _require_team(self, before: str | None, after: str | None, *, new: bool = False) -> None:
        """Return when the person may make a connector of team `before` one of team `after`. Raises `ForbiddenError`."""
        if before == after and not new:
            return
        if may(self._person, Act.CHANGE, after) is not Verdict.ALLOWED:
            raise ForbiddenError(f"You may not {Act.CHANGE} of that team: name a team that you are an editor of.")
        if not new and before is None and not may_for_all(self._person, Act.CHANGE):
            raise ForbiddenError(
                "This connector is everybody's, and only an editor for all teams may give it to one of them."
            )

    async def _lock(self, connection: AsyncConnection, connector_id: int, seen: Versions) -> ConnectorRow:
        """The row, kept for this transaction: whoever else would change it waits, and then sees what we wrote."""
        if not is_id(connector_id):
            raise NotFoundError(connector_id)
        row = await connectors.lock(connection, connector_id)
        if row is None:
            raise NotFoundError(connector_id)
        self._require(Act.CHANGE, row)
        if seen is not None and row.version not in seen:
            raise StaleError(row.generation)
        return row

    async def _refuse_unoffered(self, source: Any, connector_id: int | None = None) -> None:
        """Refuse what a FHIR server says that it does not offer. A source that stays as it is is not looked at again.

        Raises:
            InvalidConnectorError, NotFoundError, ForbiddenError: it was refused.
        """
        try:
            found = FhirSource.model_validate(source)
        except ValidationError:
            return  # of another kind, or refused where everything is
        before = None if connector_id is None else (await self.get(connector_id, Act.CHANGE)).row.source
        if before != source and (refusals := await self._offers(found)):
            raise InvalidConnectorError(tuple(refusals))

    def judged(self, values: Values) -> InvalidConnectorError | None:
        """What would keep a new connector of these values from being saved; None: nothing does. Nothing is saved."""
        try:
            self._judge(_complete({**WHOSE, **values}), connector_id=0)
        except InvalidConnectorError as error:
            return error
        return None

    def _judge(self, values: Values, connector_id: int) -> None:
        """Refuse what may not be saved. Raises `InvalidConnectorError`."""
        refusals = [refusal for name in _USER_COLUMNS for refusal in unstorable(values[name], name)]
        if refusals:
            raise InvalidConnectorError(tuple(refusals))
        connector = validate(ConnectorRow(id=connector_id, prefect_deployment_id=None, generation=1, **values))
        if self._places is not None and connector.destination is not None:
            sentence = outside(connector.destination, self._places)
            if sentence:
                raise InvalidConnectorError((Refusal(f"/{sentence.partition(' ')[0].replace('.', '/')}", sentence),))

    async def _require_what_is_named(self, connection: AsyncConnection, row: ConnectorRow) -> None:
        """Refuse a connector that names a credential or a profile which it may not, or which there is none of."""
        await self._require_credentials(connection, row)
        said = row.source.get("protect") if isinstance(row.source, Mapping) else None
        name = said.get("profile") if isinstance(said, Mapping) else None
        if isinstance(name, str) and name not in SHIPPED and not await protections.exists(connection, name, row.team):
            sentence = (
                "names no profile that this connector's team has: make it at /api/v1/protections, or name another."
            )
            raise InvalidConnectorError((Refusal("/source/protect/profile", f"source.protect.profile {sentence}"),))

    async def _require_credentials(self, connection: AsyncConnection, row: ConnectorRow) -> None:
        """Refuse a connector that names what it may not have. What an admin for all teams names is registered by it.

        Raises:
            InvalidConnectorError: with each reference that it may not name. No secret was looked at.
        """
        uses = [*uses_of(row.source, row.destination), *uses_of_policy(row.run_policy)]
        known = await credentials.registered(connection, {use.reference for use in uses})
        if not self._open_credentials and may_for_all(self._person, Act.REGISTER_CREDENTIALS):
            have = {(each.kind, each.reference) for each in known}
            for kind, reference in {use.key for use in uses} - have:
                if not is_nobodys(kind, reference):
                    name = f"{kind}:{reference}".replace("/", ":")
                    by = self._person.actor.name
                    values = {"name": name, "team": row.team, "kind": kind.value, "reference": reference}
                    await credentials.insert(connection, **values, created_by=by)
            known = await credentials.registered(connection, {use.reference for use in uses})
        refuse_uses(uses, CredentialRules(tuple(known), row.team, self._open_credentials))

    async def _refuse_shared(self, connection: AsyncConnection, row: ConnectorRow) -> None:
        """Refuse a connector that would write another one's tables. Raises `InvalidConnectorError`.

        Two that are saved in the same moment don't see each other: the run looks again.
        """
        mine = None if self._places is None else writer_of(validate(row), self._places)
        if mine is None or self._places is None:
            return
        found = await connectors.others_of_dataset(connection, mine.dataset, row.id)
        if (refusal := clash(mine, writers_of(found, self._places))) is not None:
            raise InvalidConnectorError((refusal,))


def _user_values(row: ConnectorRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _USER_COLUMNS}


def _complete(values: Values) -> dict[str, Any]:
    """`values` with the defaults for what is not given."""
    return {"name": "", "source": None, **DEFAULTS, **_stripped(values)}


def _stripped(values: Values) -> dict[str, Any]:
    """`values` without the blanks around the name: two connectors that look the same must not be two."""
    changes = dict(values)
    if "name" in changes:
        changes["name"] = changes["name"].strip()
    return changes
