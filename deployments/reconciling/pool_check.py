"""Check of a plan's work pools: connectors whose pool can start no run are refused, and Prefect is not asked.

The pools are read in each audit, and again as long as one of them is unfit: so that what operations mend is seen at the
connector's next try. In between they are remembered, and a change of a connector costs no call more.
"""

from collections.abc import Mapping
from dataclasses import replace

from connectors.status import Phase
from deployments.planning.plan import Desired, Plan
from deployments.planning.pools import why_unfit
from deployments.reconciling.apply import ActionOutcome
from deployments.reconciling.gateway import DeploymentGateway
from prefect_api.deployment import Spec
from prefect_api.errors import WorkPoolUnfitError


class PoolCheck:
    """The work pools of one controller's connectors, as they were last read."""

    def __init__(self, gateway: DeploymentGateway) -> None:
        self._gateway = gateway
        self._unfit: dict[str, str | None] = {}
        """Why no run can start in a pool, by its name; None where nothing speaks against it."""

    async def unfit(self, desired: Mapping[int, Desired]) -> set[int]:
        """The connectors whose pool can start no run of theirs, or is gone, as all of their pools are now."""
        pools = {
            i: wanted.wants.fields.work_pool_name or ""
            for i, wanted in desired.items()
            if wanted.runs and isinstance(wanted.wants, Spec)
        }
        there = await self._read(set(pools.values()))
        return {i for i, name in pools.items() if name not in there or self._unfit[name] is not None}

    async def _read(self, names: set[str]) -> set[str]:
        """Read these pools; the names of those that exist."""
        found = await self._gateway.read_pools(sorted(names)) if names else []
        self._unfit |= dict.fromkeys(names) | {pool.name: why_unfit(pool) for pool in found}
        return {pool.name for pool in found}

    async def refuse(self, planned: Plan, desired: Mapping[int, Desired]) -> tuple[Plan, list[ActionOutcome]]:
        """The plan without the connectors whose pool can start no run of theirs, and what became of these.

        One that is deactivated needs no pool, and one that does not exist is found out by whoever writes it.
        """
        running = {d.connector_id: d for d in planned.decisions if d.status and d.status.phase is Phase.SYNCED}
        pools = {
            i: wants.fields.work_pool_name or ""
            for i in running
            if (wanted := desired.get(i)) is not None and isinstance(wants := wanted.wants, Spec)
        }
        if any(self._unfit.get(name, "unread") for name in pools.values()):
            await self._read(set(pools.values()))
        refused = {i: why for i, name in pools.items() if (why := self._unfit[name]) is not None}
        kept = tuple(d for d in planned.decisions if d.connector_id not in refused)
        return replace(planned, decisions=kept), [
            ActionOutcome(running[i], error=WorkPoolUnfitError(why)) for i, why in refused.items()
        ]
