"""Observation of Prefect: of single connectors by name, and in an audit of all of them.

A full listing costs Prefect most of a millisecond of its processor a deployment. So of a large fleet most audits ask
what has changed since the last one, by the server's own clock, and look at that, at what Prefect takes for no change
but tells cheaply (concurrency limits), and at every connector that is not known to be in line. What they rest on is
checked each time: the number of deployments, the last change, and the clock. Where one of these is not as it must be,
in every sixth audit and in any that comes an hour after the last full listing, everything is listed: docs/scale.md says
why.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from connectors.status import Status
from deployments.planning.plan import Desired, Observation, is_in_line
from deployments.planning.spec import CONCURRENCY_LIMIT
from deployments.reconciling.gateway import Gateway
from prefect_api.calls import PAGE_SIZE, chunks
from prefect_api.deployment import Asked, Changed, Observed
from prefect_api.names import connector_id_of, deployment_name

logger = logging.getLogger(__name__)

SMALL = 1000
"""Deployments of which a full listing costs so little that each audit makes one."""

FULL_LISTING_EVERY = 6
"""Audits of a large fleet, of which one lists everything: an hour, at ten minutes each."""

FULL_LISTING_SECONDS = 3600.0
"""The age of a full listing at which the next audit makes another one, however few there were between."""

FEW = 10
"""Deployments to be deleted that are read like all others."""

OVERLAP = timedelta(minutes=5)
"""How much earlier than the last listing changes are asked for: transactions end late, and servers' clocks differ."""

CLOCK_STEP_SECONDS = 60.0
"""The server's clock has been set when it differs by this from what has passed here."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of Prefect."""

    observation: Observation
    scope: frozenset[int]
    """The connectors to plan for; the others of an audit are in line."""
    with_slots: tuple[Observed, ...] = ()
    """Of an audit: the deployments whose slots are taken."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the next audit goes on from."""

    ids: frozenset[UUID]
    """Of all deployments of our flow."""
    asked: Asked
    here: float
    """The same moment by our own clock, in seconds."""
    listed: float
    """When everything was listed last, by our own clock, in seconds."""
    audits: int = 0
    """How many there were since then."""

    def lists_next(self, here: float) -> bool:
        """Whether an audit at this moment of our own clock lists everything again, whatever has changed."""
        return self.audits + 1 >= FULL_LISTING_EVERY or here - self.listed >= FULL_LISTING_SECONDS


class Observer:
    """Looks at Prefect, and remembers of the audit before what the next one goes on from. None of it need survive."""

    def __init__(self, gateway: Gateway, tag: str, clock: Callable[[], float], *, small: int = SMALL) -> None:
        """`tag` marks what is ours. `clock` gives seconds and is never set.

        Of fleets up to `small` each audit lists everything.
        """
        self._gateway = gateway
        self._tag = tag
        self._clock = clock
        self._small = small
        self._seen: _Seen | None = None

    def start(self) -> None:
        """Know nothing: a new term's first audit lists everything."""
        self._seen = None

    def deleted(self, deployment_id: UUID) -> None:
        """We have deleted this one, so that it is not missed."""
        if self._seen is not None:
            self._seen = replace(self._seen, ids=self._seen.ids - {deployment_id})

    async def look(self, scope: Iterable[int], desired: Mapping[int, Desired], known: Mapping[int, Status]) -> Sight:
        """These connectors' deployments. Of many that are to be deleted only whose they are is asked, by one count.

        Args:
            scope: the connectors in question.
            desired: what the rows of the scope ask for.
            known: all statuses.
        """
        ids = frozenset(scope)
        gone = {
            i: status.deployment_id
            for i in sorted(ids - desired.keys())
            if (status := known.get(i)) is not None and status.deployment_id is not None
        }
        ours: dict[int, UUID] = {}
        if len(gone) > FEW:
            for chunk in chunks(list(gone.items()), PAGE_SIZE):
                if await self._gateway.all_tagged([number for _, number in chunk], self._tag):
                    ours |= dict(chunk)
        return Sight(Observation(await self._by_name(ids - ours.keys()), ours=ours), ids)

    async def list_all(self, scope: Set[int]) -> Sight:
        """Everything, with `scope`, the connectors that have a row or a status.

        A name that a listing lacks may have shifted between its pages, and Prefect's create overwrites: such a name is
        read by itself before it counts as free.
        """
        here = self._clock()
        listing = await self._gateway.list_deployments()
        found = _by_connector(listing.deployments)
        found |= await self._by_name(scope - found.keys())
        self._seen = None
        if listing.complete and listing.asked is not None:
            self._seen = _Seen(frozenset(held.id for held in listing.deployments), listing.asked, here, here)
        holding = tuple(held for held in found.values() if held.active_slots)
        return Sight(Observation(found, listing.complete), frozenset(scope | found.keys()), holding)

    async def audit(
        self,
        desired: Mapping[int, Desired],
        known: Mapping[int, Status],
        scope: Set[int],
        pressing: Set[int],
        *,
        whole: bool,
    ) -> Sight:
        """What has changed, or everything: where `whole` asks for it, and where what has changed is no answer.

        Args:
            desired: what all rows ask for.
            known: all statuses.
            scope: the connectors that have a row or a status.
            pressing: those that are looked at in any case.
            whole: whether to list everything.
        """
        seen, here = self._seen, self._clock()
        if whole or seen is None or len(seen.ids) <= self._small or seen.lists_next(here):
            return await self.list_all(scope)
        changed = await self._gateway.list_changed(seen.asked.at - OVERLAP)
        doubt = "pages shifted" if changed is None else _doubt(seen, changed, here - seen.here)
        if changed is None or doubt:
            logger.info("What has changed in Prefect is not certain (%s): everything is listed.", doubt)
            return await self.list_all(scope)
        ids = seen.ids | {held.id for held in changed.deployments}
        limits = await self._gateway.limits()
        free = {each.deployment_id for each in limits if each.limit == CONCURRENCY_LIMIT and not each.active_slots}
        found = _by_connector(await self._gateway.read_deployments_by_id(sorted(ids - free)))
        found = _by_connector(changed.deployments) | found
        restless = {i for i in scope if i in pressing or not is_in_line(desired.get(i), known.get(i), ids)}
        found |= await self._by_name(restless - found.keys())
        self._seen = _Seen(ids, changed.asked, here, seen.listed, seen.audits + 1)
        holding = tuple(held for held in found.values() if held.active_slots)
        return Sight(Observation(found), frozenset(restless | found.keys()), holding)

    async def _by_name(self, connector_ids: Set[int]) -> dict[int, Observed]:
        if not connector_ids:
            return {}
        return _by_connector(await self._gateway.read_deployments([deployment_name(i) for i in sorted(connector_ids)]))


def _doubt(seen: _Seen, changed: Changed, passed: float) -> str:
    """Why what has changed since the last audit may not be all of it; empty when nothing speaks against it.

    Args:
        seen: what the audit before saw.
        changed: what this one was told.
        passed: seconds between the two, by our own clock.
    """
    if changed.count != len(seen.ids | {held.id for held in changed.deployments}):
        return "their number is another"
    if changed.asked.newest < seen.asked.newest:
        return "the last change is gone, as after a restore"
    if abs((changed.asked.at - seen.asked.at).total_seconds() - passed) > CLOCK_STEP_SECONDS:
        return "the server's clock was set"
    return ""


def _by_connector(held: Iterable[Observed]) -> dict[int, Observed]:
    return {i: deployment for deployment in held if (i := connector_id_of(deployment.name)) is not None}
