"""Counts of the fleet for the metrics, read from the database now and then. No cycle waits for it."""

import asyncio
import logging

from sqlalchemy.ext.asyncio import AsyncEngine

from database.connection.engine import DATABASE_ERRORS
from database.fleet import Totals, totals
from deployments.monitoring.metrics import Metrics

logger = logging.getLogger(__name__)

FLEET_SECONDS = 15.0
"""How often a leader that is scraped reads the fleet's numbers: three aggregates and what has loaded since."""


async def count_fleet(engine: AsyncEngine, metrics: Metrics, *, scraped: bool) -> None:
    """Read the fleet's numbers again and again, until cancelled; at once at an end where nobody scrapes them."""
    read: Totals | None = None
    while scraped:
        try:
            read = await totals(engine, None if read is None else read.at)
            metrics.fleet(read)
        except DATABASE_ERRORS as error:
            logger.debug("The fleet could not be counted: %s", type(error).__name__)  # the cycles log it
        except Exception:  # a fault of ours here must not take the control plane down
            logger.exception("The fleet could not be counted, as nobody expected; it is tried again.")
        await asyncio.sleep(FLEET_SECONDS)
