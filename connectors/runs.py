"""Runs of a connector in Prefect, and what stands between it and its next one: the questions that people's doors ask.

Only questions and the start of a run: what Prefect must *hold* is the controller's business. The types are ours, so
that `connectors.diagnosis` judges them without Prefect and tests put their own behind the protocol.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


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


class PrefectRuns(Protocol):
    """What is asked. Every call may raise `PrefectUnavailableError`, and soon rather than late."""

    async def start(self, deployment_id: UUID, key: str | None = None, actor: str | None = None) -> Run | None:
        """Start a run of the deployment now; None when Prefect does not hold it any more.

        One `key` starts one run of a deployment, however often it is sent: the run of the first time is answered. The
        load history names `actor` as who started it.
        """

    async def last(self, deployment_id: UUID, limit: int) -> list[Run]:
        """The runs that were due until now, the newest first."""

    async def held(self, deployment_id: UUID) -> Held | None:
        """What Prefect holds; None when it does not hold the deployment."""
