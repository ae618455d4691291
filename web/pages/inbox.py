"""For you: every connector that waits for a person, each with its sentence and its button."""

from fastapi import APIRouter, Request, Response

from connectors.freshness import Freshness
from database.connectors import Filter
from web.refusing import PageRoute
from web.rendering import UseCases, page

router = APIRouter(route_class=PageRoute)

WAITING = (Freshness.FAILING, Freshness.INVALID, Freshness.OVERDUE, Freshness.LATE)
MOST = 50
"""Of each judgement: whoever has more begins with these."""


@router.get("/for-you")
async def inbox(request: Request, service: UseCases) -> Response:
    """What waits for somebody, the gravest first."""
    groups = []
    for judged in WAITING:
        found = await service.page(Filter(freshness=judged), limit=MOST)
        if found.entries:
            groups.append((judged, found.entries, found.after is not None))
    return page(request, "inbox.html", groups=groups)
