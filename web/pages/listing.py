"""The list of connectors: how each stands, page by page, and the week's starts."""

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from connectors.freshness import Freshness
from connectors.limits.ids import parse_number
from database.connectors import Filter
from web.presenting import week
from web.refusing import PageRoute
from web.rendering import UseCases, page

router = APIRouter(route_class=PageRoute)

SHOWN = 50
"""Connectors on one page."""


@router.get("/")
async def connectors(
    request: Request, service: UseCases, q: str = "", freshness: str = "", after: str = ""
) -> Response:
    """The connectors that fit, in the order in which they were made."""
    judged = Freshness(freshness) if freshness in set(Freshness) else None
    found = await service.page(
        Filter(text=q.strip() or None, freshness=judged), limit=SHOWN, after=parse_number(after) if after else None
    )
    return page(
        request,
        "connectors.html",
        entries=[(entry, service.freshness(entry)) for entry in found.entries],
        after=found.after,
        first=not after,
        q=q,
        freshness=freshness,
        choices=list(Freshness),
    )


@router.get("/week")
async def starts(request: Request, service: UseCases) -> Response:
    """When how many connectors start, in the next seven days."""
    schedules, now = await service.scheduled(), datetime.now(UTC)
    # A thousand schedules of a week are seconds of computing: not in the event loop.
    counts = await asyncio.to_thread(week, schedules, now)
    return page(request, "week.html", counts=counts, most=max(map(max, counts), default=0))
