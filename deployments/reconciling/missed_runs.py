"""Missed runs: those that Prefect never scheduled because it was down, made afterwards for who wants them all.

Prefect schedules a few runs ahead, and these are there, late, when it comes back. What lies beyond them was never made.
Connectors with `missed_runs: all` get them now, under keys that make each of them once however often this is tried.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from connectors.schedules.cron import Schedule
from connectors.schedules.dates import next_runs
from connectors.status import Phase, Status
from deployments.planning.plan import Desired
from deployments.reconciling.gateway import RunGateway
from prefect_api.errors import RefusedError

logger = logging.getLogger(__name__)

MOST_RUNS = 100
"""Most runs that are made for one connector; the newest ones."""

LONGEST_OUTAGE = timedelta(days=7)
"""What is older is not made up for. Prefect must keep its runs for longer than this, or they look as if missed."""

SETTLING = timedelta(minutes=1)
"""What was due this lately, the scheduler may still make by itself."""


def missed_dates(schedule: Schedule, since: datetime, until: datetime, existing: set[datetime]) -> list[datetime]:
    """The dates of `schedule` in (since, until] that no run exists for: the newest `MOST_RUNS`, oldest first."""
    dates: list[datetime] = []
    after = since + timedelta(seconds=1)
    while True:
        found = next_runs(schedule, after, MOST_RUNS)
        dates += [date for date in found if since < date <= until]
        if found[-1] > until:
            break
        after = found[-1] + timedelta(seconds=1)
    return [date for date in dates if date not in existing][-MOST_RUNS:]


async def catch_up(
    desired: Iterable[Desired],
    known: Mapping[int, Status],
    gateway: RunGateway,
    now: datetime,
    progress: Callable[[], None] = lambda: None,
) -> int:
    """Make the runs that connectors with `missed_runs: all` never got; how many.

    A connector's own past begins when its deployment was last brought in line: before that it may have been paused, or
    have had another schedule. `progress` is called at each connector that has a past: a hundred calls may follow.

    Raises:
        TransientError: what was made until then stays, and its keys keep it from being made twice.
    """
    made = 0
    until = now - SETTLING
    for wanted in desired:
        status = known.get(wanted.connector_id)
        if wanted.catch_up is None or status is None or status.phase is not Phase.SYNCED:
            continue
        if status.deployment_id is None or status.last_synced_at is None:
            continue
        since = max(status.last_synced_at, now - LONGEST_OUTAGE)
        if since >= until:
            continue
        progress()
        of_connector = {"connector_id": wanted.connector_id}
        try:
            existing = await gateway.run_dates(status.deployment_id, since, until)
            dates = missed_dates(wanted.catch_up, since, until, existing)
            if len(dates) == MOST_RUNS:
                line = "connector %s: missed %s runs or more; these newest ones are made."
                logger.warning(line, wanted.connector_id, MOST_RUNS, extra=of_connector)
            for date in dates:
                key = f"missed {status.deployment_id} {date.isoformat()}"
                await gateway.create_run(status.deployment_id, date, key)
                made += 1
        except RefusedError as error:
            # Of this deployment alone (its work pool asks for a job variable, say): no outage, and the others go on.
            line = "connector %s: its missed runs cannot be made: %s"
            logger.warning(line, wanted.connector_id, error, extra=of_connector)
    if made:
        logger.info("Made %s runs that were missed while Prefect was down.", made)
    return made


class MissedRuns:
    """`catch_up` on one gateway, by one clock."""

    def __init__(self, gateway: RunGateway, clock: Callable[[], datetime], progress: Callable[[], None]) -> None:
        self._gateway = gateway
        self._clock = clock
        self._progress = progress

    async def make(self, desired: Iterable[Desired], known: Mapping[int, Status]) -> int:
        """Make the runs that were missed; how many."""
        return await catch_up(desired, known, self._gateway, self._clock(), self._progress)
