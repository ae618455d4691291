"""The connectors' tables as one collaborator: what controller, use cases and tests hand around and stand in for.

Every statement stands in the module of its table; here is none.
"""

from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.connector import ConnectorRow
from connectors.freshness import Promise
from connectors.judging.standing import Standing
from connectors.loads import Load
from connectors.status import Status, Unrecorded
from database import connectors, fleet, loads, promises, statuses
from database.connection.engine import Fence
from database.connectors import Mark
from database.control.identity import database_id
from database.statuses import StatusRecord


class Store:
    """The connectors' tables, as the controller and the use cases see them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def marks(self) -> dict[int, Mark]:
        """The mark of every connector by its id: the one query of a quiet cycle."""
        return await connectors.marks(self.engine)

    async def contents(self, ids: Collection[int]) -> dict[int, str]:
        """A hash of what stands in the rows of these connectors, by id."""
        return await connectors.contents(self.engine, ids)

    async def rows(self, ids: Collection[int] | None = None) -> list[ConnectorRow]:
        """The rows of these connectors (of all for None), in one snapshot, by id."""
        return await connectors.rows(self.engine, ids)

    async def row(self, connector_id: int) -> ConnectorRow | None:
        """The row of one connector, or None when it is gone."""
        found = await self.rows([connector_id])
        return found[0] if found else None

    async def statuses(self, ids: Collection[int] | None = None) -> dict[int, Status]:
        """The status rows of these connectors (of all for None), by connector id."""
        return await statuses.statuses(self.engine, ids)

    async def record(self, records: Sequence[StatusRecord], fence: Fence) -> tuple[Unrecorded, ...]:
        """Write statuses and deployment ids, guarded by the fence; returns those of which nothing could be written."""
        return await statuses.record(self.engine, records, fence)

    async def note(self, noted: Sequence[Status], fence: Fence) -> None:
        """Write statuses alone, as far as nobody holds their rows: why a connector cannot be recorded."""
        await statuses.note(self.engine, noted, fence)

    async def loads(self, ids: Collection[int] | None = None) -> dict[int, Load]:
        """How the loads of these connectors (of all for None) go, by connector id; none for one that never ran."""
        return await loads.loads(self.engine, ids)

    async def fleet(self) -> list[Standing]:
        """How every connector stands, by id; those too that are gone and of which something was told."""
        return await fleet.standings(self.engine)

    async def promises(self, ids: Collection[int]) -> dict[int, Promise]:
        """What is promised of these connectors, by connector id, as far as the controller has judged them."""
        return await promises.promises(self.engine, ids)

    async def keep_promises(self, kept: Sequence[Promise], gone: Sequence[int], fence: Fence) -> None:
        """Write what is promised and was told, and forget the connectors that are gone, guarded by the fence."""
        await promises.keep(self.engine, kept, gone, fence)

    async def database_id(self) -> str:
        """The UUID of this database, which tells a shared Prefect server whose deployments it holds."""
        return await database_id(self.engine)
