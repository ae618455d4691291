"""The list of connectors: how each stands, page by page, and the week's starts."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from connectors.freshness import Freshness
from connectors.limits.ids import parse_number
from connectors.status import Phase
from database.connectors import Filter
from web import presenting
from web.presenting import week
from web.refusing import PageRoute
from web.rendering import UseCases, page

router = APIRouter(route_class=PageRoute)

SHOWN = 50
"""Connectors on one page."""

NOBODYS = "-"
"""Instead of a team: what is everybody's."""


@router.get("/")
async def connectors(
    request: Request,
    service: UseCases,
    q: str = "",
    freshness: str = "",
    phase: str = "",
    team: str = "",
    after: str = "",
) -> Response:
    """The connectors that fit, in the order in which they were made."""
    which = Filter(
        phase=Phase(phase) if phase in set(Phase) else None,
        freshness=Freshness(freshness) if freshness in set(Freshness) else None,
        text=q.strip() or None,
        team="" if team == NOBODYS else team or None,
    )
    found = await service.page(which, limit=SHOWN, after=parse_number(after) if after else None)
    asked = {"q": q, "freshness": freshness, "phase": phase, "team": team}
    query = urlencode({name: text for name, text in asked.items() if text})
    return page(
        request,
        "connectors.html",
        entries=[(entry, service.freshness(entry)) for entry in found.entries],
        after=found.after,
        first=not after,
        asked=asked,
        query=query,
        more=urlencode({**{name: text for name, text in asked.items() if text}, "after": found.after or ""}),
        choices={
            "freshness": [(each.value, each.value) for each in Freshness],
            "phase": [(each.value, presenting.PHASES[each][0]) for each in Phase if each is not Phase.DELETING],
            "team": [(name, name) for name in await service.teams()] + [(NOBODYS, "everybody's")],
        },
    )


@router.get("/week")
async def starts(request: Request, service: UseCases) -> Response:
    """When how many connectors start, in the next seven days."""
    schedules, now = await service.scheduled(), datetime.now(UTC)
    # A thousand schedules of a week are seconds of computing: not in the event loop.
    counts = await asyncio.to_thread(week, schedules, now)
    return page(request, "week.html", counts=counts, most=max(map(max, counts), default=0))
