"""History in the audit cycle: changes made with triggers off are recorded, days that are over are sealed.

Neither has to do with Prefect, and neither keeps a cycle from going on: what a lock keeps from being done is done at
the next audit. If the process dies before a commit, nothing was written, and the next leader finds the same.
"""

import logging

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from connectors.history import Action
from connectors.people import CONTROLLER
from database import audit
from database.connection.engine import Fence
from database.connection.errors import Trouble, trouble_of

logger = logging.getLogger(__name__)


class HistoryWatch:
    """Looks after `cai_audit` for one controller."""

    def __init__(self, engine: AsyncEngine, fence: Fence) -> None:
        self._engine = engine
        self._fence = fence

    async def look(self) -> int:
        """Record and seal what there is; returns how many connectors were changed with triggers off.

        Raises:
            One of DATABASE_ERRORS: when the database does not answer.
        """
        found = 0
        try:
            found = await self._record()
            await self._seal()
        except DBAPIError as error:
            if trouble_of(error) is not Trouble.LOCKED:
                raise
            logger.info("The history is in use: the next audit looks again.")
        return found

    async def allow_mass_prune(self) -> None:
        """Record that a full cycle may delete as many deployments as it likes, before it does."""
        async with self._engine.begin() as connection:
            await audit.record(connection, CONTROLLER, Action.ALLOW_MASS_PRUNE)
            await self._fence(connection)

    async def _record(self) -> int:
        async with self._engine.begin() as connection:
            found = await audit.find_unrecorded(connection)
            if found:
                await self._fence(connection)
        if found:
            logger.warning(
                "%s connectors were changed with the database's triggers off, by whom is not known: their history says "
                "so now.",
                found,
            )
        return found

    async def _seal(self) -> None:
        async with self._engine.begin() as connection:
            sealed = await audit.seal(connection)
            if sealed:
                await self._fence(connection)
        for day, digest in sealed:
            # Here it stands outside of the database as well, whoever rewrites that.
            logger.info("The history of %s is sealed: %s", day, digest)
