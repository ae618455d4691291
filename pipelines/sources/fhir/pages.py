"""Pages of a FHIR search whose order changes while it is read.

A resource that is updated between two pages moves to the end of the order, all that follows moves up, and a page that
is found by its offset begins one resource too late: that one would be missing for good, for the cursor goes past it. So
the next search begins at the last `lastUpdated` seen, by what stands there and not by how many stood before it. Links
are followed where that can't be: in a page of one moment only, and where a server does not sort or does not filter.
That one sorts is asked and not guessed from a page, for the resources of one may ascend by chance: what it did not give
before such a page's end would be missing for good.

A server that counts more resources than its page has and links to no other is read in the same way, and has to send as
many as it has counted: else it does not sort, and those that it left out came nowhere.
"""

from collections.abc import Callable, Iterator
from typing import Any

from pipelines.sources.cursors.values import Kind, Order, instant_of
from pipelines.sources.paging.moving import MOST_READINGS, Versions


def by_last_updated(
    search: Callable[[Any], Iterator[Any]],
    resources: Callable[[Any], list[dict[str, Any]]],
    since: Any,
    remark: Callable[[], None],
    *,
    merges: bool = True,
    short: Callable[[int, int], None] = lambda counted, came: None,
    newest: Callable[[Any], dict[str, Any] | None] = lambda start: None,
) -> Iterator[list[dict[str, Any]]]:
    """The resources, page by page; those from a moment on once more, when one has moved between linked pages.

    Args:
        search: the bundles of a search from a moment on, each the next by its link, read as they are asked for.
        resources: those in a bundle.
        since: the moment to begin at; None: the very first.
        remark: tells that some may be missing, since each reading had one that moved.
        short: told when fewer came than a server without links has counted; raises, unless that may be.
        newest: the first resource of a search from a moment on that is sorted the other way round; None where a server
            gives none.
    """
    start = since
    sorts = _Sorts(newest)
    # Where rows are not merged, those that come again would be there twice.
    for _ in range(MOST_READINGS if merges else 1):
        versions = Versions()
        yield from _read(search, resources, start, versions, short=short, sorts=sorts)
        again = versions.begin_again_at()
        if again is None:
            return
        (start,) = again
    remark()


def _read(
    search: Callable[[Any], Iterator[Any]],
    resources: Callable[[Any], list[dict[str, Any]]],
    start: Any,
    versions: Versions,
    *,
    short: Callable[[int, int], None],
    sorts: "_Sorts",
) -> Iterator[list[dict[str, Any]]]:
    known = set[tuple[Any, Any]]()
    follows = False
    counted = came = 0
    while True:
        resumed = None
        begun = None if start is None else instant_of(start)
        versions.begin(start)
        for number, bundle in enumerate(search(start)):
            found = resources(bundle)
            moments = [_last_updated(resource) for resource in found]
            orders = [instant_of(moment) for moment in moments]
            named = [(resource.get("id"), moment) for resource, moment in zip(found, moments, strict=True)]
            versions.add(named, linked=number > 0)
            # What the page before ended with comes again.
            yield (new := [resource for resource, version in zip(found, named, strict=True) if version not in known])
            came += len(new)
            more = _goes_on(bundle)
            if alone := not more and number == 0 and _counted(bundle) > len(found):
                more, counted = True, max(counted, _counted(bundle))
            follows = follows or not _ascends(orders) or (number == 0 and _ignored(orders, begun))
            if follows or not more or not orders or orders[-1] <= (begun or orders[0]):
                continue
            if not alone and not sorts.by(start, named[0][0], orders[0]):
                follows = True
                continue
            resumed = moments[-1]
            break
        if resumed is None:
            if came < counted:
                short(counted, came)
            return
        known = {version for version, order in zip(named, orders, strict=True) if order == orders[-1]}
        start = resumed


class _Sorts:
    """Whether a server sorts, asked once: then another resource, and a newer one, is the first the other way round."""

    def __init__(self, newest: Callable[[Any], dict[str, Any] | None]) -> None:
        self._newest = newest
        self._known: bool | None = None

    def by(self, start: Any, name: Any, order: Order) -> bool:
        """`name` and `order` are of the first resource of a page."""
        if self._known is None:
            other = self._newest(start)
            self._known = other is not None and other.get("id") != name and order < instant_of(_last_updated(other))
        return self._known


def _last_updated(resource: dict[str, Any]) -> Any:
    meta = resource.get("meta")
    return meta.get("lastUpdated") if isinstance(meta, dict) else None


def _ascends(orders: list[Order]) -> bool:
    """Whether a page is sorted by its moments."""
    return all(order.kind is Kind.MOMENT for order in orders) and orders == sorted(orders)


def _ignored(orders: list[Order], begun: Order | None) -> bool:
    """Whether a server answers with what lies before the moment that it was asked for."""
    return bool(orders) and begun is not None and orders[0] < begun


def _counted(bundle: Any) -> int:
    """How many resources a search has found by the server's own word; 0 where it says nothing."""
    total = bundle.get("total") if isinstance(bundle, dict) else None
    return total if type(total) is int else 0


def _goes_on(bundle: Any) -> bool:
    """Whether a bundle has a next page."""
    links = bundle.get("link") if isinstance(bundle, dict) else None
    return any(isinstance(link, dict) and link.get("relation") == "next" for link in links or ())
