"""Leader: the loop that runs a cycle whenever there is a reason for one.

Reasons are: the table said that something changed, waiting work is due, a poll, and now and then a full audit. The loop
never ends by an error of the database's or Prefect's; it ends when it is told to, after its allotted time, or with the
lease.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from connectors.status import Phase
from database import events, loads
from database.connection.engine import DATABASE_ERRORS
from database.connection.errors import told
from database.control.cycle_requests import CycleResult, Requests
from deployments.leadership.inbox import Inbox
from deployments.leadership.lease import Lease
from deployments.leadership.start_options import StartOptions
from deployments.monitoring.alerts import Alerts
from deployments.monitoring.database_health import DatabaseHealth
from deployments.reconciling.reconciler import Reconciler
from deployments.reconciling.rounds import Report
from prefect_api.errors import TerminalError
from settings import Settings

logger = logging.getLogger(__name__)

PROBE_SECONDS = 30.0
"""How often a quiet controller asks whether Prefect is there."""

SHORTEST_WAIT_SECONDS = 0.2

DATABASE_RETRY_SECONDS = 2.0

ALERT_AFTER_CYCLES = 3
"""Cycles that fail as nobody expected, in a row, until operations are alerted."""

GOOD_PHASES = frozenset({Phase.SYNCED, Phase.PAUSED, Phase.INVALID})


class BeatsHeart(Protocol):
    """Called as long as a controller's loop moves."""

    def __call__(self, *, leading: bool) -> None:
        """The loop has turned; `leading` says whose loop it is."""


class Ending(StrEnum):
    """Why a controller ended."""

    STOPPED = "stopped"
    EXPIRED = "expired"
    GAVE_WAY = "gave_way"
    LEFT = "left"
    ANSWERED = "answered"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How a controller ended, and what its full cycle came to when it was asked for one."""

    ending: Ending
    result: CycleResult | None = None


class Leader:
    """One term of leading."""

    def __init__(
        self,
        settings: Settings,
        reconciler: Reconciler,
        *,
        start_options: StartOptions,
        lease: Lease,
        requests: Requests,
        inbox: Inbox,
        heartbeat: BeatsHeart,
        database: DatabaseHealth,
        alerts: Alerts,
    ) -> None:
        """`heartbeat` is called as long as the loop moves; `database` takes how the database does."""
        self._settings = settings
        self._reconciler = reconciler
        self._start_options = start_options
        self._lease = lease
        self._requests = requests
        self._inbox = inbox
        self._alerts = alerts
        self._heartbeat = heartbeat
        self._database = database
        self._failures = 0
        inbox.contended = False  # what was said until now was meant for another leader
        started = time.monotonic()
        self._ends_at = started + settings.controller_max_runtime_seconds
        # The second one sees what a leader that was cut off may still have had under way at the first.
        self._settled_at = started + settings.lease_ttl_seconds
        self._audits = [started, self._settled_at]
        self._next_probe = started + PROBE_SECONDS
        # Nobody sets this one: `_loop` is cancelled from outside.
        self._never = asyncio.Event()

    async def once(self) -> Conclusion:
        """One full cycle.

        Raises:
            One of DATABASE_ERRORS: when the database does not answer.
        """
        await self._reconciler.start()
        return Conclusion(Ending.STOPPED, await self._full_cycle(self._start_options.allow_mass_prune))

    async def lead(self) -> Conclusion:
        """Run cycles until the allotted time is over, or one in the foreground stands by; cancelled to stop earlier.

        Raises:
            TerminalError: when this controller may not write any more.
        """
        started = False
        while time.monotonic() < self._ends_at:
            self._heartbeat(leading=True)
            if self._inbox.contended and not self._start_options.foreground:
                return Conclusion(Ending.GAVE_WAY)
            hints, asked = self._inbox.take()
            try:
                if not started:
                    await self._reconciler.start()
                    await self._database.take_over()
                    started = True
                await self._turn(hints, asked)
            except DATABASE_ERRORS as error:
                await self._database.failed(error)
                self._inbox.put_back(hints)
                await self._inbox.wait(DATABASE_RETRY_SECONDS, self._never)
                continue
            except TerminalError:
                raise
            except Exception as error:  # a fault of ours in one cycle must not take the control plane down
                self._failed(error)
                self._inbox.put_back(hints)
                await asyncio.sleep(self._settings.poll_interval_seconds)
                continue
            self._failures = 0
            self._database.answered()
            self._alerts.end("cycle", "The controller's cycles go through again.")
            await self._inbox.wait(self._seconds_until_reason(), self._never)
        return Conclusion(Ending.EXPIRED)

    def _failed(self, error: Exception) -> None:
        """Log a cycle that failed as nobody expected, and alert operations when it goes on."""
        logger.exception("A cycle failed as nobody expected; it is tried again.")
        self._failures += 1
        if self._failures >= ALERT_AFTER_CYCLES:
            sentence = (
                f"The controller's cycles fail by a fault of ours ({type(error).__name__}), and changes of connectors "
                "wait. The controller's log has the traceback."
            )
            self._alerts.begin("cycle", sentence)

    async def _turn(self, hints: set[int], asked: bool) -> None:
        """One cycle, full if one is due or asked for."""
        pending = await self._requests.pending() if asked else []
        if pending:
            allow = self._start_options.allow_mass_prune or any(request.allow_mass_prune for request in pending)
            result = await self._full_cycle(allow)
            await self._requests.answer(pending, result, self._lease.fence)
            return
        wanted = time.monotonic() >= min(self._audits) or self._reconciler.back_from_outage
        due = wanted and self._reconciler.server_answers
        taking_over = min(self._audits) <= self._settled_at
        allow = self._start_options.allow_mass_prune
        report = await self._cycle(audit=due, whole=taking_over, hints=hints, allow_mass_prune=allow)
        now = time.monotonic()
        if report.audited:
            self._audits = [at for at in self._audits if at > now] or [now + self._settings.audit_interval_seconds]
            self._next_probe = now + PROBE_SECONDS
            await self._forget_what_is_old()
        elif due:
            # It could not be finished: try again, but not in the next breath.
            self._audits = [at for at in self._audits if at > now] + [now + self._settings.poll_interval_seconds]
        elif now >= self._next_probe:
            await self._reconciler.probe()
            self._next_probe = now + PROBE_SECONDS

    async def _forget_what_is_old(self) -> None:
        """Prune the load history and the connectors' events. What cannot be pruned now is at the next audit."""
        keep = timedelta(days=self._settings.loads_keep_days)
        try:
            await loads.prune(self._lease.engine, keep, self._lease.fence)
            await events.prune(self._lease.engine, keep, self._lease.fence)
        except DATABASE_ERRORS as error:
            logger.warning("Old loads and events could not be forgotten: the database %s", told(error))

    async def _cycle(self, *, audit: bool, whole: bool, allow_mass_prune: bool, hints: Collection[int] = ()) -> Report:
        """One cycle. What the start options ask and allow is one full cycle, in whichever term that is.

        One that is cut off after it has acted has used its permission up: the next term may find other rows missing.
        """
        report = Report()
        try:
            await self._reconciler.cycle(
                audit=audit, whole=whole, hints=hints, allow_mass_prune=allow_mass_prune, report=report
            )
        except asyncio.CancelledError:
            if audit and report.applied:
                self._start_options.allow_mass_prune = False
            raise
        finally:
            if report.audited:
                self._start_options.fulfilled = True
                self._start_options.allow_mass_prune = False
        return report

    def _seconds_until_reason(self) -> float:
        now = time.monotonic()
        until_audit = max(min(self._audits) - now, self._reconciler.seconds_until_try())
        reasons = [self._settings.poll_interval_seconds, self._next_probe - now, until_audit]
        until_due = self._reconciler.seconds_until_due()
        if until_due is not None:
            reasons.append(until_due)
        return max(SHORTEST_WAIT_SECONDS, min(reasons))

    async def _full_cycle(self, allow_mass_prune: bool) -> CycleResult:
        """A full cycle, with as many turns as a roll-out needs."""
        report = await self._cycle(audit=True, whole=True, allow_mass_prune=allow_mass_prune)
        while report.deferred and report.server_down is None:
            await asyncio.sleep(1)
            self._heartbeat(leading=True)
            turn = await self._reconciler.cycle()
            turn.lines[:0] = report.lines
            turn.withheld, turn.audited = report.withheld, report.audited
            report = turn
        return conclude(self._reconciler, report)


def conclude(reconciler: Reconciler, report: Report) -> CycleResult:
    """What a full cycle came to: good when all of it was seen and every connector is synced, paused or invalid."""
    phases = Counter(status.phase for status in reconciler.known.values())
    counts = ", ".join(f"{phases[phase]} {phase}" for phase in Phase if phases[phase]) or "no connectors"
    ok = report.audited and report.server_down is None and not (phases.keys() - GOOD_PHASES)
    return CycleResult(ok, f"{report.server_down} {counts}" if report.server_down else counts, report.lines)
