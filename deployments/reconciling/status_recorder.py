"""Status recorder: what is known of every connector, and what follows a change: status row, retry, events, alerts.

Recorded is what was carried out, never what is about to be: if the process dies in between, Prefect is ahead of the
tables, and the next cycle sees that nothing differs and records it.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from connectors.status import Phase, Reason, Status, Unrecorded
from database.connection.engine import Fence
from database.statuses import StatusRecord
from database.store import Store
from deployments.monitoring.alerts import Alerts
from deployments.planning.connector_events import carried_out, fallen
from deployments.planning.plan import Decision, Delete, Desired
from deployments.planning.wording import describe
from deployments.reconciling import failures
from deployments.reconciling.apply import ActionOutcome
from deployments.reconciling.retry_queue import RetryQueue
from prefect_api.deployment import Patch
from prefect_api.event_feed import Events, ToldOfConnector

logger = logging.getLogger(__name__)


TOLD_ONE_BY_ONE = 10
"""Connectors that were changed alike in one batch, of which each has an event of its own."""


class StatusRecorder:
    """The statuses as they were last read or written, and the only one who writes them."""

    def __init__(
        self,
        *,
        store: Store,
        fence: Fence,
        events: Events,
        alerts: Alerts,
        clock: Callable[[], datetime],
        backoff: Callable[[int], float],
    ) -> None:
        """`backoff` gives the seconds to wait after so many failures in a row."""
        self._store = store
        self._fence = fence
        self._events = events
        self._alerts = alerts
        self._clock = clock
        self._backoff = backoff
        self.known: dict[int, Status] = {}
        self._names: dict[int, str] = {}
        """The connectors' names, for events; of those that were read."""
        self._queue = RetryQueue()
        self._past_is_open = True
        self._unstamped: set[int] = set()
        self._changed = True

    async def start(self) -> None:
        """Take over where the last controller stopped: its open alerts, its statuses, and with them its backoff."""
        await self._alerts.load()
        self.known = await self._store.statuses()
        self._queue.load(self.known.values())
        self._past_is_open = self._changed = True

    @property
    def past_is_open(self) -> bool:
        """Nobody has looked yet for the runs that were missed before a recovery, or the start."""
        return self._past_is_open

    @property
    def waiting_count(self) -> int:
        """How many connectors wait for their next try."""
        return len(self._queue)

    def due(self) -> set[int]:
        """The connectors whose next try is due."""
        return self._queue.due(self._clock())

    def seconds_until_due(self) -> float | None:
        """Seconds until the next one's is; None when nothing waits."""
        return self._queue.seconds_until_next(self._clock())

    def prefect_is_back(self) -> None:
        """What waited for Prefect is due, and what was missed meanwhile is to be looked for."""
        self._queue.hurry(self._clock())
        self._past_is_open = True

    def learn(self, names: Mapping[int, str]) -> None:
        """Remember the names of connectors, for their events."""
        self._names |= names

    async def close_past(self) -> None:
        """The missed runs are made: from now on a connector's past begins when it was last brought in line."""
        self._past_is_open = False
        now, late = self._clock(), self._unstamped & self.known.keys()
        self._unstamped = set()
        await self._record([StatusRecord(i, replace(self.known[i], last_synced_at=now)) for i in sorted(late)])

    async def settle(self, decisions: Iterable[Decision], desired: Mapping[int, Desired]) -> None:
        """Record the decisions that need no call, where they differ from what is known."""
        records = []
        for decision in decisions:
            if decision.action is not None:
                continue
            wanted, known = desired.get(decision.connector_id), self.known.get(decision.connector_id)
            status = decision.status
            if status is None:
                if known is not None:
                    records.append(StatusRecord(decision.connector_id, None))
                continue
            stored = wanted.recorded_id if wanted is not None else None
            if _same(status, known) and (wanted is None or stored == status.deployment_id):
                continue
            records.append(StatusRecord(decision.connector_id, self._stamped(decision, status, wanted)))
        await self._record(records)

    async def conclude(self, outcomes: Iterable[ActionOutcome], desired: Mapping[int, Desired]) -> list[str]:
        """Record what became of actions, and send events of it; returns what was done, as lines for people."""
        done: list[str] = []
        told: dict[str, list[ToldOfConnector]] = defaultdict(list)
        records = []
        for outcome in outcomes:
            decision = outcome.decision
            if outcome.error is not None:
                records.append(StatusRecord(decision.connector_id, self._failure(decision, outcome.error)))
                continue
            done += self._report(outcome, told)
            status = decision.status
            if status is None or (isinstance(decision.action, Delete) and status.phase is Phase.DELETING):
                records.append(StatusRecord(decision.connector_id, None))
                continue
            status = replace(status, deployment_id=outcome.deployment_id)
            wanted = desired.get(decision.connector_id)
            records.append(StatusRecord(decision.connector_id, self._stamped(decision, status, wanted)))
        for event, of_connectors in told.items():
            self._send_events(event, of_connectors)
        await self._record(records)
        return done

    async def wait(self, ids: Iterable[int], desired: Mapping[int, Desired], next_probe_at: datetime | None) -> None:
        """Say of this work that it waits for Prefect, and until when."""
        records = []
        for i in sorted(ids):
            status = failures.waiting(i, desired.get(i), self.known.get(i), next_probe_at)
            if status is not None and status != self.known.get(i):
                records.append(StatusRecord(i, status))
        await self._record(records)

    def alert_withheld(self, count: int) -> None:
        """Alert operations to deletes that are withheld, and to the end of it."""
        if count:
            sentence = (
                f"{count} deletes were withheld because they are too many at once. If they are meant, run the "
                "controller with allow_mass_prune."
            )
            self._alerts.begin("prune", sentence)
        else:
            self._alerts.end("prune", "No deletes are withheld any more.")

    def alert(self) -> None:
        """Alert operations to connectors that cannot be synced: by reason, when it begins and when they are many.

        Were there one alert when it begins alone, one connector that nobody mends would hide all that fail after it.
        """
        if not self._changed:
            return
        self._changed = False
        stuck: dict[Reason, list[Status]] = defaultdict(list)
        for status in self.known.values():
            if status.phase in failures.STUCK_PHASES and status.reason in failures.STUCK_REASONS:
                stuck[status.reason].append(status)
        for reason in failures.STUCK_REASONS:
            few, many = f"sync:{reason}", f"sync:{reason}:many"
            found = stuck[reason]
            lasting = [status for status in found if failures.lasts(status)]
            if len(lasting) >= failures.MANY:
                self._alerts.begin(many, failures.alert_sentence(reason, found))
            elif lasting:
                self._alerts.begin(few, failures.alert_sentence(reason, found))
            none = f"No connector fails with {reason} any more."
            if len(found) < failures.MANY:
                self._alerts.end(many, f"Fewer than {failures.MANY} connectors fail with {reason}." if found else none)
            if not found:
                self._alerts.end(few, none)

    def _report(self, outcome: ActionOutcome, told: Mapping[str, list[ToldOfConnector]]) -> list[str]:
        """What was done, as lines; logged, and put to what Prefect's feed is `told`, by event."""
        decision = outcome.decision
        known = self.known.get(decision.connector_id)
        lines = describe(decision, self.known)
        for line in lines:
            logger.info(line, extra={"connector_id": decision.connector_id})
        if (event := carried_out(decision, known)) is not None:
            deployment_id = failures.deployment_of(decision, None) or outcome.deployment_id
            title = self._names.get(decision.connector_id)
            told[event].append(ToldOfConnector(decision.connector_id, title, deployment_id, "; ".join(lines)))
        return lines

    def _failure(self, decision: Decision, error: Exception) -> Status:
        """The status of a connector whose action failed; logged."""
        known = self.known.get(decision.connector_id)
        attempts = failures.attempts_after(decision, known)
        wait = self._backoff(attempts)
        status = failures.failed(decision, error, known, attempts=attempts, wait_seconds=wait, now=self._clock())
        line = f"connector {decision.connector_id}: {status.message} Next try in {wait:.0f} s."
        logger.warning(line, extra={"connector_id": decision.connector_id})
        return status

    def _stamped(self, decision: Decision, status: Status, wanted: Desired | None) -> Status:
        """`status` with the time at which Prefect was seen to match, if it does.

        That time is where a connector's past begins. While the past is open, one that wants all its missed runs keeps
        the time that it has, whatever else was changed during the outage, until these runs are made. If the process
        dies before that, the next leader finds the past as it was.
        """
        known = self.known.get(status.connector_id)
        before = None if known is None else known.last_synced_at
        if status.phase not in {Phase.SYNCED, Phase.PAUSED}:
            return replace(status, last_synced_at=before)
        same = known is not None and known.deployment_id == status.deployment_id and _keeps_its_dates(decision)
        if self._past_is_open and before is not None and same and wanted is not None and wanted.catch_up is not None:
            self._unstamped.add(status.connector_id)
            return replace(status, last_synced_at=before)
        return replace(status, last_synced_at=self._clock())

    def _send_events(self, event: str, told: Sequence[ToldOfConnector]) -> None:
        """An event of each connector; of many in one batch, one for all of them."""
        if len(told) > TOLD_ONE_BY_ONE:
            self._events.of_connectors(event, told)
            return
        for each in told:
            self._send_event(event, each.connector_id, each.deployment_id, each.message)

    def _send_event(self, event: str, connector_id: int, deployment_id: UUID | None, message: str) -> None:
        title, payload = self._names.get(connector_id), {"message": message}
        self._events.of_connector(event, connector_id, title=title, deployment_id=deployment_id, payload=payload)

    async def _record(self, records: Sequence[StatusRecord]) -> None:
        lost = {each.connector_id: each for each in await self._store.record(records, self._fence)}
        if lost:
            records = [self._unrecorded(each, lost.get(each.connector_id)) for each in records]
            waiting = [each.status for each in records if each.status is not None and each.connector_id in lost]
            # What the table cannot hold is remembered here, so that it is tried again.
            await self._store.note(waiting, self._fence)
        self._changed = self._changed or bool(records)
        for record in records:
            self._queue.follow(record.connector_id, record.status)
            if record.status is None:
                self.known.pop(record.connector_id, None)
                self._names.pop(record.connector_id, None)
                continue
            before, after = self.known.get(record.connector_id), record.status
            if (event := fallen(before, after)) is not None:
                self._send_event(event, record.connector_id, after.deployment_id, after.message or "")
            self.known[record.connector_id] = after

    def _unrecorded(self, record: StatusRecord, lost: Unrecorded | None) -> StatusRecord:
        """What stands instead of a record that could not be written; the record itself where it could."""
        if lost is None:
            return record
        known = self.known.get(record.connector_id)
        attempts = known.attempts + 1 if known is not None and known.reason is lost.reason else 1
        wait = self._backoff(attempts)
        status = failures.unrecorded(
            lost, record.status, known, attempts=attempts, wait_seconds=wait, now=self._clock()
        )
        logger.warning(
            "connector %s: %s", record.connector_id, lost.message, extra={"connector_id": record.connector_id}
        )
        return StatusRecord(record.connector_id, status)


def _same(status: Status, known: Status | None) -> bool:
    return known is not None and status == replace(known, last_synced_at=status.last_synced_at)


def _keeps_its_dates(decision: Decision) -> bool:
    """Whether the deployment was to run at the same dates before: neither new, nor paused, nor rescheduled."""
    match decision.action:
        case None:
            return True
        case Patch(changes=changes):
            return not {"schedules", "paused"} & {change.field for change in changes}
        case _:
            return False
