"""Gateway to Prefect: the one interface between deciding and doing.

Two protocols: deployments, which a plan changes, and runs, which are swept and caught up. `PrefectGateway` is the real
one; the tests have a working fake, and one contract suite holds both to this.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from prefect_api.deployment import Changed, Limit, Listing, Observed, Patch, Spec, WorkPool
from prefect_api.run_calls import PendingRun, ScheduledRun


class DeploymentGateway(Protocol):
    """Prefect's deployments and work pools."""

    async def probe(self) -> None:
        """Return when Prefect answers and lets us in; raise `ServerUnavailableError` otherwise."""

    async def list_deployments(self) -> Listing:
        """Every deployment of the flow `run_connector_pipeline`."""

    async def list_changed(self, since: datetime) -> Changed | None:
        """Those that were changed after a moment of the server's clock; None when that cannot be told."""

    async def read_deployments(self, names: Sequence[str]) -> list[Observed]:
        """Those deployments of these names that exist."""

    async def read_deployments_by_id(self, ids: Sequence[UUID]) -> list[Observed]:
        """Those deployments of these ids that exist."""

    async def all_tagged(self, ids: Sequence[UUID], tag: str) -> bool:
        """Whether each of these deployments, at most 200, stands, is of our flow and carries a tag."""

    async def read_pools(self, names: Sequence[str]) -> list[WorkPool]:
        """Those work pools of these names that exist."""

    async def create(self, wanted: Spec) -> UUID:
        """Make the deployment and return its id. Only for a name that was just seen to be free."""

    async def patch(self, patch: Patch) -> None:
        """Carry out one patch of a plan."""

    async def pause(self, deployment_id: UUID) -> None:
        """Pause; future and late runs go, finished ones stay."""

    async def delete(self, deployment_ids: Sequence[UUID]) -> None:
        """Delete deployments with their scheduled runs; an id that does not exist is no error."""


class RunGateway(Protocol):
    """The runs of our flow, their slots and their workers."""

    async def scheduled_runs(
        self, *, deployment_ids: Sequence[UUID] | None = None, paused: bool = False
    ) -> list[ScheduledRun]:
        """Automatic runs of our flow that have not started: of these deployments, or of paused ones only."""

    async def count_scheduled_runs(self) -> tuple[int, int]:
        """How many runs of our flow wait to start, and how many of these have a deployment."""

    async def delete_runs(self, ids: Sequence[UUID]) -> None:
        """Delete runs; an id that does not exist is no error."""

    async def busy_deployments(self, ids: Sequence[UUID]) -> set[UUID]:
        """Those of these deployments that have a pending or running run."""

    async def pending_runs(self, ids: Sequence[UUID]) -> list[PendingRun]:
        """The pending runs of these deployments."""

    async def workers_since(self, work_pool: str) -> list[datetime]:
        """Since when each worker of a pool that is alive has been known; none for a pool that is gone."""

    async def crash_run(self, run_id: UUID, message: str) -> None:
        """Mark a run as crashed, with a sentence; one that has ended meanwhile stays as it is."""

    async def limits(self) -> list[Limit]:
        """The concurrency limits of all deployments, whosever they are."""

    async def free_slots(self, limit_id: UUID) -> None:
        """Set a concurrency limit's taken slots to none."""

    async def run_dates(self, deployment_id: UUID, since: datetime, until: datetime) -> set[datetime]:
        """When the runs of a deployment that exist were due, between two moments."""

    async def create_run(self, deployment_id: UUID, due: datetime, key: str) -> None:
        """Make a run that was due at a moment; one with the same key is made once only."""


class Gateway(DeploymentGateway, RunGateway, Protocol):
    """What the controller needs of Prefect."""
