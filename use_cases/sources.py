"""Use cases of sources that are not saved yet: what one has, and whether it can be read. Each is an entry first."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.connector import ConnectorRow, InvalidConnectorError
from connectors.credentials import host_of
from connectors.destinations import Destination
from connectors.discovery import Column, Discovery, Item, ItemKind
from connectors.errors import ForbiddenError, SourceError
from connectors.history import Action
from connectors.limits.jsonb import unstorable
from connectors.people import Act, Person, Verdict, may
from connectors.refusals import from_pydantic
from connectors.sources import Source
from database import audit
from use_cases.connectors import DEFAULTS
from use_cases.queries import too_low

Asker = Callable[[ConnectorRow, str | None], Awaitable[Mapping[str, Any]]]
"""Asks the source of a row for a page of what it has, where loads run; `{"message": ...}` where it can't be asked."""

_STAND_IN: Mapping[str, Mapping[str, Any]] = {"sql_database": {"tables": [{"name": "any"}]}}
"""What a kind must name and discovery is there to find out."""


def askable(
    source: Mapping[str, Any], team: str | None = None, destination: Mapping[str, Any] | None = None
) -> ConnectorRow:
    """A row of a source that names nothing of what it has yet, as if it were a connector of this team.

    Raises:
        InvalidConnectorError: its address, login or another setting is wrong, or one of its destination.
    """
    asked = {"source": source, "destination": destination, "team": team}
    if refusals := [refusal for name, value in asked.items() for refusal in unstorable(value, name)]:
        raise InvalidConnectorError(tuple(refusals))
    said = {**_STAND_IN.get(str(source.get("type")), {}), **{key: each for key, each in source.items() if each != []}}
    unions: list[tuple[str, Any, Any]] = [("source", Source, said), ("destination", Destination, destination)]
    for field, union, value in unions:
        adapter: TypeAdapter[Any] = TypeAdapter(union)
        try:
            if value is not None:
                adapter.validate_python(value)
        except ValidationError as error:
            raise InvalidConnectorError(tuple(from_pydantic(error, field))) from None
    to = None if destination is None else dict(destination)
    values = {**DEFAULTS, "name": "not saved", "source": said, "destination": to, "team": team}
    return ConnectorRow(id=0, prefect_deployment_id=None, generation=1, **values)


class Sources:
    """The use cases."""

    def __init__(self, engine: AsyncEngine, ask: Asker) -> None:
        self._engine = engine
        self._ask = ask

    async def discover(
        self, source: Mapping[str, Any], person: Person, cursor: str | None = None, team: str | None = None
    ) -> Discovery:
        """A page of what a source has, for somebody who may make a connector of it for this team.

        Raises:
            ForbiddenError, InvalidConnectorError: and nothing was asked.
            SourceError: the source can't be reached, or says why not.
        """
        row = await self._asked(Action.DISCOVER, source, person, team)
        found = await self._ask(row, cursor)
        if "items" not in found:
            raise SourceError(str(found.get("message", "The source gave no answer.")))
        return Discovery(tuple(_item(each) for each in found["items"]), found.get("cursor"))

    async def to_test(
        self,
        source: Mapping[str, Any],
        person: Person,
        team: str | None = None,
        destination: Mapping[str, Any] | None = None,
    ) -> ConnectorRow:
        """The row of a source that somebody is about to test, which is not saved.

        Raises:
            ForbiddenError, InvalidConnectorError: it may not be asked.
        """
        return await self._asked(Action.TEST, source, person, team, destination)

    async def _asked(
        self,
        action: Action,
        source: Mapping[str, Any],
        person: Person,
        team: str | None,
        destination: Mapping[str, Any] | None = None,
    ) -> ConnectorRow:
        """The row of a source that may be asked, with an entry of the history that says who asks where."""
        team = team or person.home
        if may(person, Act.CHANGE, team) is not Verdict.ALLOWED:
            raise ForbiddenError(too_low(Act.CHANGE))
        row = askable(source, team, destination)
        async with self._engine.begin() as connection:
            where = {"type": source.get("type"), "host": host_of(source) or None, "team": team}
            await audit.record(connection, person.actor, action, after={"source": where})
        return row


def _item(said: Mapping[str, Any]) -> Item:
    return Item(
        said["name"],
        ItemKind(said["kind"]),
        tuple(Column(**each) for each in said["columns"]),
        said["rows"],
        tuple(said["primary_key"]),
        tuple(said["cursor_candidates"]),
    )
