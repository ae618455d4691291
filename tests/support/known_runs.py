"""Runs of Prefect as a test says they are."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from connectors.errors import (
    PrefectUnavailableError,
)
from connectors.runs import Held, Run

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


DEPLOYMENT = UUID(int=7)


RUN = Run(UUID(int=1), "run", "SCHEDULED", "Scheduled", None, NOW, None, None, "http://prefect/runs/1")


@dataclass
class KnownRuns:
    """Prefect as a test says it is."""

    holds: Held | None = None
    down: bool = False
    started: list[tuple[UUID, str | None]] = field(default_factory=list)

    async def start(self, deployment_id: UUID, key: str | None = None, actor: str | None = None) -> Run | None:
        """A run, where the deployment is held."""
        self._answer()
        self.started.append((deployment_id, key))
        return RUN if self.holds is not None else None

    async def last(self, deployment_id: UUID, limit: int) -> list[Run]:
        """One run."""
        self._answer()
        return [RUN][:limit]

    async def held(self, deployment_id: UUID) -> Held | None:
        """What the test says."""
        self._answer()
        return self.holds

    def _answer(self) -> None:
        if self.down:
            raise PrefectUnavailableError("it cannot be reached.")
