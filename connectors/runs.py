"""Runs of a connector in Prefect, and what stands between it and its next one: the questions that people's doors ask.

Only questions, the start and the end of a run: what Prefect must *hold* is the controller's business. The types are
ours, so that `connectors.judging.diagnosis` judges them without Prefect and tests put their own behind the protocol.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from connectors.refusals import Refusal
from connectors.sources.write_rules import Comparison


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is asked for; all of its connector, when nothing is said."""

    full_refresh: bool = False
    tables: tuple[str, ...] = ()
    row_limit: int | None = None
    backfill_from: datetime | None = None
    backfill_to: datetime | None = None
    reconcile: Comparison | None = None
    """Load nothing, and compare what the source has with what has landed."""
    allow_mass_delete: bool = False
    """Somebody has looked: rows that are gone at the source go here, however many they are."""
    ignore_quiet_hours: bool = False
    """Somebody has said so: the source is asked in its quiet hours, too."""

    @property
    def partial(self) -> bool:
        """Whether the run looks at a part of the source only, so that a cursor must not move."""
        return self.backfill_from is not None or self.backfill_to is not None

    @property
    def of_everything(self) -> bool:
        """Whether the run says how the connector does; one of a part, asked for by hand, does not."""
        return not (self.partial or self.tables or self.row_limit or self.reconcile)

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked beside the connector's own settings, as JSON has it: the flow's own parameters."""
        asked = {
            "full_refresh": self.full_refresh,
            "tables": list(self.tables),
            "row_limit": self.row_limit,
            "backfill_from": self.backfill_from and self.backfill_from.isoformat(),
            "backfill_to": self.backfill_to and self.backfill_to.isoformat(),
            "reconcile": self.reconcile,
            "allow_mass_delete": self.allow_mass_delete,
            "ignore_quiet_hours": self.ignore_quiet_hours,
        }
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True, slots=True)
class Run:
    """One flow run. `state` is Prefect's name (`Late`), `state_type` of a closed set (`SCHEDULED`); times are UTC."""

    id: UUID
    name: str
    state_type: str
    state: str
    message: str | None
    expected_start_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    url: str | None
    rows_loaded: int | None = None
    """By the load history; None: not known, which is all that Prefect says of it."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing comes after its state."""
        return self.state_type in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass(frozen=True, slots=True)
class Pool:
    """The work pool and queue where a deployment's runs wait. `polled`: a worker asked it within the last minute."""

    name: str
    queue: str
    exists: bool = True
    paused: bool = False
    polled: bool = True


@dataclass(frozen=True, slots=True)
class Held:
    """What Prefect holds for a connector at this moment."""

    paused: bool
    pool: Pool
    open_runs: tuple[Run, ...] = ()
    """Those that have not ended, the one expected first in front."""
    ended_runs: tuple[Run, ...] = ()
    """The last ones that have ended, the newest in front."""


def refused_options(options: Options, now: datetime) -> list[Refusal]:
    """Why no run can do what is asked for; the run says the rest, which needs its source.

    Args:
        options: what is asked for. A moment without a zone is UTC.
        now: this moment, at which a backfill without an end ends.
    """
    start, end = _aware(options.backfill_from), _aware(options.backfill_to)
    refusals = []
    if options.row_limit is not None and options.row_limit < 1:
        refusals.append(Refusal("/row_limit", "row_limit must be at least 1."))
    if end is not None and start is None:
        refusals.append(Refusal("/backfill_from", "backfill_from is missing: the moment at which a backfill begins."))
    if start is not None and start >= (end or now):
        refusals.append(Refusal("/backfill_from", "backfill_from must be before backfill_to, and in the past."))
    return refusals


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


EVERYTHING = Options()
"""All of a connector, as its schedule asks for."""


class PrefectRuns(Protocol):
    """What is asked. Every call may raise `PrefectUnavailableError`, and soon rather than late."""

    async def start(
        self, deployment_id: UUID, key: str | None = None, actor: str | None = None, options: Options = EVERYTHING
    ) -> Run | None:
        """Start a run of the deployment now; None when Prefect does not hold it any more.

        One `key` starts one run of a deployment, however often it is sent: the run of the first time is answered. The
        load history names `actor` as who started it.
        """

    async def of_deployment(self, deployment_id: UUID, run_id: UUID) -> Run | None:
        """A run of this deployment; None when Prefect holds no such run of it."""

    async def progress(self, run_id: UUID) -> str | None:
        """What a run has told of how far it is; None: nothing."""

    async def cancel(self, run_id: UUID) -> Run | None:
        """Have a run end: its process is told to, and what waits does not begin. One that has ended stays as it is.

        Returns how it stands then; None when Prefect does not hold it any more.
        """

    async def last(self, deployment_id: UUID, limit: int) -> list[Run]:
        """The runs that were due until now, the newest first."""

    async def held(self, deployment_id: UUID) -> Held | None:
        """What Prefect holds; None when it does not hold the deployment."""
