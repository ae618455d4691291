"""Rows: which were changed since they were last read, by one cheap query a poll, and what they ask for.

The generation counts every change that the table's triggers see. With triggers off (a restore, a replica's apply, a
back end's own repair) none is counted, but PostgreSQL itself marks each row with the transaction that wrote it: a row
with another mark and the same generation is looked at, and has changed if its content has. Nothing here needs to
survive: at its start a controller judges every row anyway.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from connectors.connector import ConnectorRow
from connectors.loads import Load
from connectors.status import Phase, Reason, Status
from database.connectors import Mark
from database.store import Store
from deployments.planning.plan import Desired, Invalid, desire
from deployments.planning.spec import Platform

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """The rows as they were last read, by the connector's id."""

    generations: Mapping[int, int] = field(default_factory=dict)
    written: Mapping[int, str] = field(default_factory=dict)
    contents: Mapping[int, str | None] = field(default_factory=dict)


class Changes:
    """The rows as one controller has last read them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._marks: Mapping[int, Mark] = {}
        self.known = Known()

    def put_back(self, known: Known) -> None:
        """Take the rows for read as they were then: all that was found since is found again."""
        self.known = known

    def start(self, statuses: Iterable[Status]) -> None:
        """What was settled for a row's generation needs nothing again; the first audit judges all of it anyway."""
        self.known = Known(
            {
                status.connector_id: status.observed_generation
                for status in statuses
                if status.observed_generation is not None and status.phase is not Phase.DELETING
            }
        )

    async def look(self) -> set[int]:
        """The connectors whose rows were made, changed or deleted since they were last read."""
        self._marks = marks = await self._store.marks()
        known, changed = self.known, set[int]()
        generations = {i: mark.generation for i, mark in marks.items()}
        if generations != known.generations:  # compared as a whole first: mostly nothing has changed
            changed |= {i for i, generation in generations.items() if known.generations.get(i) != generation}
            changed |= known.generations.keys() - generations.keys()
        written = {i: mark.written for i, mark in marks.items()}
        if written != known.written:
            others = (i for i, by in written.items() if known.written.get(i) != by and i in known.contents)
            suspects = set(others) - changed
            found = await self._store.contents(suspects) if suspects else {}
            changed |= {i for i in suspects if found.get(i) != known.contents[i]}
        if not changed:
            self.known = replace(known, written=written)
        return changed

    def read(self, desired: Mapping[int, Desired], waiting: Collection[int]) -> None:
        """From here on a change of these rows is a change against what was just read.

        Args:
            desired: what the rows that were read ask for.
            waiting: what was to be read: those of them without a row are gone.
        """
        left = {i: mark for i, mark in self._marks.items() if i in desired or i not in waiting}
        before = self.known.contents
        self.known = Known(
            {i: desired[i].generation if i in desired else mark.generation for i, mark in left.items()},
            {i: mark.written for i, mark in left.items()},
            {i: desired[i].content if i in desired else before[i] for i in left if i in desired or i in before},
        )


class Rows:
    """What the rows ask for, as they are read now."""

    def __init__(self, store: Store, platform: Platform, learn: Callable[[Mapping[int, str]], None]) -> None:
        """`learn` takes the names of the connectors that were read."""
        self._store = store
        self._platform = platform
        self._learn = learn

    async def desired(self, ids: Collection[int] | None) -> dict[int, Desired]:
        """What the rows of these connectors (of all for None) ask for, by connector id."""
        rows, loads = await self._store.rows(ids), await self._store.loads(ids)
        self._learn({row.id: row.name for row in rows})
        return {row.id: self._judged(row, loads.get(row.id)) for row in rows}

    def _judged(self, row: ConnectorRow, load: Load | None) -> Desired:
        """What a row asks for. One that our own code stumbles over is invalid, and the others go on."""
        try:
            return desire(row, self._platform, load)
        except Exception:
            logger.exception("connector %s could not be judged", row.id, extra={"connector_id": row.id})
            fault = Invalid(
                Reason.INTERNAL_ERROR,
                "This connector cannot be judged, by a fault of ours. Operations find it in the controller's log.",
            )
            return Desired(row.id, row.generation, row.is_active, row.prefect_deployment_id, fault)
