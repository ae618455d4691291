"""Load history, as a run writes it into `cai_loads`: a row when it starts, and at its end how it went.

That row is what tells of a run that died without a word (out of memory, a lost machine): whoever has the connector's
turn next finds it, counts a failure and tells it. It also proves to a run that lost its lock whether it may go on: not
when somebody has ended its row meanwhile. Keeping this record never harms a load: what cannot be written is a line in
the log.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from connectors.connector import ConnectorRow, RunPolicy
from connectors.loads import Decision, FailureKind, Outcome
from database import runs
from database.decisions import by_runs
from pipelines.connector_lock import Locks, RowHeldError
from pipelines.errors import HeldError, RunError
from pipelines.loading.summary import Summary

logger = logging.getLogger("prefect.pipelines")

T = TypeVar("T")

END_TRIES = 60
"""How often the end of a load is tried while somebody holds its row, five minutes in all: not written down, the next
run would take this one for dead."""

DIED = "The run before this one died without a word: out of memory, or its machine went away."


@dataclass(frozen=True, slots=True)
class Told:
    """How a load ended, for whoever tells others."""

    outcome: str
    """`completed`, `failed` or `skipped`; or, before `completed`, `withheld`: of too many rows that are gone;
    `changed`, of columns that are not what they were; or, before `failed`, `held`: of checks that failed, whose load a
    person may let through."""
    connector_id: int
    message: str
    connector_name: str | None = None
    rows: int = 0
    kind: FailureKind | None = None
    """Of a failure."""
    failures: int = 0
    """Failures in a row, this one included; of a success, those before it."""
    seconds: dict[str, float] = field(default_factory=dict)


Tell = Callable[[Told], None]
"""Takes how a load ended. Must not raise."""


def nobody(told: Told) -> None:
    """Tells nobody."""
    del told


@dataclass(frozen=True, slots=True)
class Started:
    """What is known of a run as it starts, beside its connector's row."""

    run_id: UUID | None = None
    """Prefect's."""
    actor: str | None = None
    """Who or what started it."""
    code_version: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """What was asked of it, as JSON has it."""
    traced: bool = False
    """Its lineage is told."""
    is_whole: bool = True
    """It says how the connector does. One of a part, asked for by hand, does not, and nobody is told of it."""


class LoadRecord:
    """The record of one load. `succeeded` is called by the one who knows its rows."""

    def __init__(self, locks: Locks, row: ConnectorRow, policy: RunPolicy, tell: Tell) -> None:
        self._locks = locks
        self._row = row
        self._pause_after = policy.auto_pause_after
        self._tell = tell
        self._begun: runs.Begun | None = None
        self._run_id: str | None = None

    def started(self, run: Started) -> None:
        """Mark the start."""
        self._run_id = None if run.run_id is None else str(run.run_id)
        about = {
            "run_id": self._run_id,
            "actor": run.actor,
            "code_version": run.code_version,
            "options": json.dumps(run.options),
            "traced": run.traced,
        }
        if not run.is_whole:
            self._tell = nobody
        self._begun = _written(lambda: runs.begin_load(self._locks.query, self._row, about, is_whole=run.is_whole))
        if self._begun is not None and run.is_whole:
            self._locks.prove_by(runs.STILL_OURS, {"load": self._begun.load_id})

    @property
    def load_id(self) -> int | None:
        """The load's row; None where its start could not be noted."""
        return None if self._begun is None else self._begun.load_id

    @property
    def sees_left_export(self) -> bool:
        """Whether a deleted connector has left an export that is to be ended now."""
        return self._begun is not None and self._begun.sees_left_export

    @property
    def sees_limits(self) -> bool:
        """There may be limits of sources: where the start could not be noted, nobody knows."""
        return self._begun is None or self._begun.sees_limits

    def noted(self, summary: Summary) -> Summary:
        """Note what was compared and what has changed at the source, and tell once what nobody has heard of.

        The summary says that, too.
        """
        if summary.comparisons:
            found = json.dumps([asdict(each) for each in summary.comparisons], default=str)
            _written(lambda: by_runs.note_comparisons(self._locks.query, self._row.id, found, self._run_id))
        if not summary.changes:
            return summary
        changes = json.dumps([asdict(change) for change in summary.changes])
        state = (Decision.WAITING if summary.asks else Decision.APPLIED).value
        query, number, run_id = self._locks.query, self._row.id, self._run_id
        told = summary.telling(_written(lambda: by_runs.note_changes(query, number, changes, state, run_id)) or ())
        if told is not summary:
            self._tell(Told("changed", number, told.news, self._row.name))
        return told

    def succeeded(self, summary: Summary) -> None:
        """The load is done."""
        failures, of_configuration = self._ended(
            Outcome.COMPLETED,
            summary.sentence,
            rows=summary.total_rows,
            rejected=summary.total_rejected,
            bytes=summary.size_bytes,
            seconds=json.dumps(summary.seconds),
            destination=summary.destination,
            dataset_name=summary.dataset,
            tables=json.dumps([asdict(table) for table in summary.tables]),
            sweeps=json.dumps([asdict(sweep) for sweep in summary.sweeps]),
            anew=summary.full_refresh,
            settled=list(summary.settled),
            columns=json.dumps(summary.columns),
        ) or (0, 0)
        self._wake_controller_if_paused(of_configuration)
        if summary.withheld:
            self._tell(Told("withheld", self._row.id, summary.sentence, self._row.name))
        self._tell(
            Told(
                "completed",
                self._row.id,
                summary.sentence,
                self._row.name,
                rows=summary.total_rows,
                failures=failures,
                seconds=summary.seconds,
            )
        )

    def failed(self, error: RunError) -> None:
        """The load failed, or waits for a person."""
        if isinstance(error, HeldError):
            self._hold(error)
        ended = self._ended(Outcome.FAILED, str(error), kind=error.kind.value)
        failures, of_configuration = ended or (1, 0)
        self._wake_controller_if_paused(of_configuration)
        self._tell(Told("failed", self._row.id, str(error), self._row.name, kind=error.kind, failures=failures))

    def _hold(self, error: HeldError) -> None:
        """Note which tables wait for a person, and tell it once."""
        query, number, run_id = self._locks.query, self._row.id, self._run_id
        new = [
            _written(partial(by_runs.hold_table, query, number, asdict(held) | {"run_id": run_id}), END_TRIES)
            for held in error.held
        ]
        if any(new):
            self._tell(Told("held", number, str(error), self._row.name, kind=error.kind))

    def waiting(self, message: str) -> None:
        """Nothing was loaded, for the source has not made the rows, or can't be asked yet: that says nothing of the
        connector. However often runs look, one row tells of it."""
        begun = self._begun
        if self._ended(Outcome.WAITING, message) is not None and begun is not None:
            _written(lambda: runs.forget_waits_before(self._locks.query, begun))

    def cancelled(self) -> None:
        """Somebody ended the run: that says nothing of the connector."""
        self._ended(Outcome.CANCELLED, "Cancelled.")

    def _wake_controller_if_paused(self, configuration_failures: int) -> None:
        """The controller pauses or resumes at once, not at its next audit."""
        if self._pause_after and configuration_failures >= self._pause_after:
            _written(lambda: runs.wake_controller(self._locks.query, self._row.id))

    def _ended(self, outcome: Outcome, message: str, **known: Any) -> tuple[int, int] | None:
        """The failures and the configuration failures that stand now; None where the load isn't ours any more."""
        begun = self._begun
        if begun is None:
            return None
        end = {**dict.fromkeys(_OF_THE_END), "message": message, **known}
        row = _written(lambda: runs.end_load(self._locks.query, begun, outcome, end), END_TRIES)
        return None if row is None else (row["failures"], row["configuration_failures"])


_OF_THE_END = (
    "message", "kind", "rows", "rejected", "bytes", "seconds", "destination", "dataset_name", "tables", "sweeps",
    "anew", "settled",
)  # fmt: skip


def count_the_dead(locks: Locks, row: ConnectorRow, tell: Tell) -> None:
    """Count and tell a run that marked its start and never its end. Needs the connector's lock.

    It died, or it lives and lost its lock: once its row is ended it writes nothing more.
    """
    found = _written(lambda: runs.close_dead_loads(locks.query, row.id, DIED))
    if found is not None:
        tell(Told("failed", row.id, DIED, row.name, kind=FailureKind.DIED, failures=found["failures"]))


def _written(write: Callable[[], T], tries: int = 1) -> T | None:
    """What the statement answers with, if anything; None too when nothing could be written."""
    for tried in range(1, tries + 1):
        try:
            return write()
        except RowHeldError as error:
            if tried in {1, tries}:
                logger.warning("How this load went could not be recorded: %s", error)
        except RunError as error:
            logger.warning("How this load went could not be recorded: %s", error)
            break
    return None


@contextmanager
def recorded(locks: Locks, row: ConnectorRow, policy: RunPolicy, run: Started, tell: Tell) -> Iterator[LoadRecord]:
    """Record the load inside: its start, and its end unless that is a success, which `LoadRecord.succeeded` is told."""
    record = LoadRecord(locks, row, policy, tell)
    record.started(run)
    try:
        yield record
    except RunError as error:
        record.failed(error)
        raise
    except BaseException:
        record.cancelled()
        raise
