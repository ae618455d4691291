"""Runs of Prefect as a test says they are."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from connectors.errors import (
    PrefectUnavailableError,
)
from connectors.runs import EVERYTHING, Held, Options, Run

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


DEPLOYMENT = UUID(int=7)


RUN = Run(UUID(int=1), "run", "SCHEDULED", "Scheduled", None, NOW, None, None, "http://prefect/runs/1")


@dataclass
class KnownRuns:
    """Prefect as a test says it is."""

    holds: Held | None = None
    down: bool = False
    started: list[tuple[UUID, str | None]] = field(default_factory=list)
    asked: list[Options] = field(default_factory=list)
    cancelled: list[UUID] = field(default_factory=list)
    run: Run = RUN
    """The one run that there is."""

    async def start(
        self, deployment_id: UUID, key: str | None = None, actor: str | None = None, options: Options = EVERYTHING
    ) -> Run | None:
        """A run, where the deployment is held."""
        self._answer()
        self.started.append((deployment_id, key))
        self.asked.append(options)
        return RUN if self.holds is not None else None

    async def last(self, deployment_id: UUID, limit: int) -> list[Run]:
        """One run."""
        self._answer()
        return [self.run][:limit]

    async def of_deployment(self, deployment_id: UUID, run_id: UUID) -> Run | None:
        """The one run, where the deployment is held."""
        self._answer()
        return self.run if self.holds is not None and run_id == self.run.id else None

    async def progress(self, run_id: UUID) -> str | None:
        """Nothing yet."""
        self._answer()
        return None

    async def cancel(self, run_id: UUID) -> Run | None:
        """The run, as it was."""
        self._answer()
        self.cancelled.append(run_id)
        return self.run

    async def held(self, deployment_id: UUID) -> Held | None:
        """What the test says."""
        self._answer()
        return self.holds

    def _answer(self) -> None:
        if self.down:
            raise PrefectUnavailableError("it cannot be reached.")
