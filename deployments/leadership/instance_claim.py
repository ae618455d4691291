"""Claim of an instance: its deployments in Prefect belong to one database, and a Prefect Variable says which.

So a laptop with an empty table, pointed at the shared server, deletes nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from database.connection.engine import DATABASE_ERRORS
from database.store import Store
from deployments.leadership.start_options import StartOptions
from deployments.monitoring.alerts import Alerts
from prefect_api.deployment_calls import PrefectGateway
from prefect_api.errors import ReconcileError, WrongInstanceError
from prefect_api.names import owner_variable

logger = logging.getLogger(__name__)

ALERT_KEY = "instance"

CLAIM_SECONDS = 60.0
"""How often a controller that found another database's deployments looks whether they are ours by now."""


async def claim(
    gateway: PrefectGateway, store: Store, instance: str, alerts: Alerts, start_options: StartOptions
) -> None:
    """Make sure that the deployments are this database's; operations are alerted when they are not, and when they are.

    The permission to take over is good once.

    Raises:
        WrongInstanceError: when they belong to another database.
    """
    owner = await store.database_id()
    try:
        await gateway.claim(owner_variable(instance), owner, take_over=start_options.take_over)
    except WrongInstanceError as error:
        alerts.begin(ALERT_KEY, str(error))
        raise
    start_options.take_over = False
    alerts.end(ALERT_KEY, "This instance's deployments in Prefect belong to this database.")


async def wait_for_claim(
    gateway: PrefectGateway, store: Store, instance: str, stop: asyncio.Event, turned: Callable[[], None]
) -> None:
    """Wait until Prefect's deployments of this instance are ours or nobody's, or until `stop`.

    Nothing is written, and the lease is left to whoever may lead. A process that ended instead would be started again
    and again, and alert operations each time. `turned` is called as long as the loop moves.
    """
    while not stop.is_set():
        turned()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), CLAIM_SECONDS)
        try:
            if await gateway.owner(owner_variable(instance)) in {None, await store.database_id()}:
                return
        except (ReconcileError, *DATABASE_ERRORS) as error:
            logger.info("Whose Prefect's deployments are could not be asked: %s", type(error).__name__)
