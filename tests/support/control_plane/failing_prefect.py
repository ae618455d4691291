"""The fake of Prefect, with one method overridden to fail."""

from collections.abc import Sequence
from uuid import UUID

from prefect_api.deployment import Listing, Observed, Patch, Spec
from prefect_api.errors import (
    ServerUnavailableError,
)
from rigs.fake_prefect import FakePrefect


class FailingCreates(FakePrefect):
    """Creates of some connectors raise; with `applied`, after they were carried out."""

    def __init__(self, error: Exception, *connector_ids: int, applied: bool = False) -> None:
        super().__init__()
        self.error = error
        self.failing = set(connector_ids)
        self.applied = applied
        self.tries = 0

    async def create(self, wanted: Spec) -> UUID:
        if wanted.connector_id in self.failing:
            self.tries += 1
            if self.applied:
                await super().create(wanted)
            raise self.error
        return await super().create(wanted)


class Mortal(FakePrefect):
    """A server that may be gone."""

    alive = True
    creates_left = 10**9
    patches_left = 10**9
    probes = 0

    async def probe(self) -> None:
        self.probes += 1
        self._check()

    async def create(self, wanted: Spec) -> UUID:
        self.creates_left -= 1
        if self.creates_left < 0:
            self.alive = False
        self._check()
        return await super().create(wanted)

    async def list_deployments(self) -> Listing:
        self._check()
        return await super().list_deployments()

    async def read_deployments(self, names: Sequence[str]) -> list[Observed]:
        self._check()
        return await super().read_deployments(names)

    async def patch(self, patch: Patch) -> None:
        self.patches_left -= 1
        if self.patches_left < 0:
            self.alive = False
        self._check()
        await super().patch(patch)

    async def delete(self, deployment_ids: Sequence[UUID]) -> None:
        self._check()
        await super().delete(deployment_ids)

    def _check(self) -> None:
        if not self.alive:
            raise ServerUnavailableError("Prefect cannot be reached.")
