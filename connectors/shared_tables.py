"""Connectors that write one table: refused, unless each of them says that it is meant.

A dataset is shared when connectors name the same `dataset_name`. Their tables must not collide: each connector would
merge, append and replace among rows that it does not know. Who wants that sets `shared_tables` in the destination of
each. A table that is replaced can't be shared at all. This module is pure.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from connectors.connector import Connector, ConnectorRow, InvalidConnectorError, validate_for_load
from connectors.destinations import Destination
from connectors.destinations.places import Places, identity
from connectors.refusals import Refusal
from connectors.sources.write_rules import WriteDisposition, normalised

_DESTINATION: TypeAdapter[Destination] = TypeAdapter(Destination)


@dataclass(frozen=True, slots=True)
class Writer:
    """A connector as a writer: where, into which tables, and how."""

    connector_id: int
    name: str
    place: tuple[str, ...]
    dataset: str
    replaced: Mapping[str, bool]
    """Its tables by the name under which they land, and whether each load replaces them."""
    shares: bool
    """Whether it says that others may write them too."""
    team: str | None = None
    """Whose it is; None: everybody's."""

    def called(self, team: str | None) -> str:
        """How a connector of `team` is told of this one: another team's is not named."""
        if self.team not in {None, team}:
            return "a connector of another team"
        return f"connector {self.connector_id} ('{self.name}')"


def writer_of(connector: Connector, places: Places) -> Writer | None:
    """What a connector writes, or None when the platform's default destination can't be read."""
    destination = connector.destination
    if destination is None:
        try:
            destination = _DESTINATION.validate_python(places.default)
        except ValidationError:
            return None
    return Writer(
        connector.id,
        connector.name,
        identity(destination, places),
        connector.dataset,
        {
            normalised(table): landing is not None and landing.write_disposition is WriteDisposition.REPLACE
            for table, landing in connector.source.landings().items()
        },
        destination.shared_tables,
        connector.team,
    )


def writers_of(rows: Iterable[ConnectorRow], places: Places) -> Iterator[Writer]:
    """What those of these connectors write that are valid: the others load nothing."""
    for row in rows:
        with contextlib.suppress(InvalidConnectorError):
            if (found := writer_of(validate_for_load(row), places)) is not None:
                yield found


def clash(mine: Writer, others: Iterable[Writer]) -> Refusal | None:
    """Why a connector may not write its tables, or None."""
    for other in others:
        if other.connector_id == mine.connector_id or (other.place, other.dataset) != (mine.place, mine.dataset):
            continue
        both = [table for table in mine.replaced if table in other.replaced]
        if not both:
            continue
        tables = ", ".join(f"'{table}'" for table in both)
        if not (mine.shares and other.shares):
            return Refusal(
                "/dataset_name",
                f"dataset_name is the dataset of {other.called(mine.team)} too, which also "
                f"writes "
                f"{tables}: their rows would mix or replace each other's. Choose another dataset_name, or other "
                f"tables; "
                "where it is meant, set shared_tables to true in the destination of both.",
            )
        if replaced := [table for table in both if mine.replaced[table] or other.replaced[table]]:
            return Refusal(
                "/dataset_name",
                f"dataset_name holds '{replaced[0]}', which {other.called(mine.team)} writes too "
                "and one of the two replaces: a replaced table can't be shared, so choose another dataset_name.",
            )
    return None


def sharing(mine: Writer, others: Iterable[Writer]) -> list[str]:
    """The tables that other connectors write too, on purpose."""
    there = {
        table
        for other in others
        if other.connector_id != mine.connector_id and (other.place, other.dataset) == (mine.place, mine.dataset)
        for table in other.replaced
    }
    return [table for table in mine.replaced if table in there]
