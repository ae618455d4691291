"""Use cases of connectors as a document: one or many are written out, compared with what is there, and taken in.

A document says what connectors say, and nothing of how they fare: `{"connectors": [{"name": ..., "source": ...}]}`.
A connector is known by its name. What a document leaves out has its default, so taking in the same document twice
changes nothing the second time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.connector import ConnectorRow, InvalidConnectorError
from connectors.errors import NameTakenError, NotFoundError
from connectors.history import Change, changes_between
from connectors.people import Act
from connectors.refusals import Refusal
from database import connectors
from use_cases.connectors import DEFAULTS, WHOSE, Service

SAID = ("name", *DEFAULTS, *WHOSE, "source")
"""What a document says of a connector."""


class Outcome(StrEnum):
    """What becomes of a connector of a document."""

    CREATE = "create"
    UPDATE = "update"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Taken:
    """One connector of a document, compared with what is there."""

    name: str
    outcome: Outcome
    connector_id: int | None
    """None: it is new, and not saved (yet)."""
    changes: tuple[Change, ...]


def document_of(row: ConnectorRow) -> dict[str, Any]:
    """What a connector says, by column, without what is as it would be if nothing were said."""
    usual = {**DEFAULTS, **WHOSE}
    said = {name: getattr(row, name) for name in SAID}
    return {name: value for name, value in said.items() if name not in usual or value != usual[name]}


class Exchange:
    """The use cases, in the name of whoever the given ones act for."""

    def __init__(self, service: Service, engine: AsyncEngine) -> None:
        self._service = service
        self._engine = engine

    async def take_in(self, documents: Sequence[Mapping[str, Any]], *, dry_run: bool) -> list[Taken]:
        """Have the connectors of a document as it says. Nothing is saved while any of them is refused.

        Each is saved by itself, in the document's order: if the process dies in between, those before are saved, and
        the same document again does the rest.

        Args:
            documents: columns of each connector. Whose it is stays where that is left out.
            dry_run: only say what would be done.

        Raises:
            InvalidConnectorError: with a pointer that begins with the connector's place in the document.
            RequestError: as saving does.
        """
        compared = await self._compared(documents)
        if refusals := self._refusals(documents, compared):
            raise InvalidConnectorError(tuple(refusals))
        if dry_run:
            return compared
        return [await self._saved(each, values) for each, values in zip(compared, documents, strict=True)]

    async def _compared(self, documents: Sequence[Mapping[str, Any]]) -> list[Taken]:
        ids = await connectors.ids_of_names(self._engine, [_name(each) for each in documents])
        return [await self._of(values, ids.get(_name(values))) for values in documents]

    async def _of(self, values: Mapping[str, Any], connector_id: int | None) -> Taken:
        name = _name(values)
        before: dict[str, Any] | None = None
        if connector_id is not None:
            try:
                row = (await self._service.get(connector_id, Act.CHANGE)).row
            except NotFoundError:
                raise NameTakenError from None  # another team has it, and no more is said of it
            before = {column: getattr(row, column) for column in SAID}
        after = {
            **DEFAULTS,
            **(WHOSE if before is None else {key: before[key] for key in WHOSE}),
            **values,
            "name": name,
        }
        changes = tuple(changes_between(before, after))
        if connector_id is None:
            return Taken(name, Outcome.CREATE, None, changes)
        return Taken(name, Outcome.UPDATE if changes else Outcome.NOTHING, connector_id, changes)

    def _refusals(self, documents: Sequence[Mapping[str, Any]], compared: Sequence[Taken]) -> list[Refusal]:
        found = []
        names = [each.name for each in compared]
        for place, (values, each) in enumerate(zip(documents, compared, strict=True)):
            if each.name in names[:place]:
                sentence = "name stands twice in the document: a connector is known by its name."
                found.append(Refusal(f"/{place}/name", sentence))
            error = None if each.outcome is Outcome.NOTHING else self._service.judged(values)
            refusals = () if error is None else error.refusals
            found += [Refusal(f"/{place}{refusal.pointer}", refusal.message) for refusal in refusals]
        return found

    async def _saved(self, each: Taken, values: Mapping[str, Any]) -> Taken:
        if each.outcome is Outcome.CREATE:
            made = await self._service.create(values)
            return replace(each, connector_id=made.row.id)
        if each.outcome is Outcome.UPDATE and each.connector_id is not None:
            await self._service.replace(each.connector_id, values)
        return each


def _name(values: Mapping[str, Any]) -> str:
    return str(values.get("name", "")).strip()
