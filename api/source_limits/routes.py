"""The routes of `/api/v1/source-limits`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from api.routes import SIGNED_IN, changing, needs, problems, seeing
from api.source_limits.bodies import SourceLimitAnswer, SourceLimitInput, SourceLimitsAnswer
from connectors.people import Act
from use_cases.rules.source_limits import SourceLimits

router = APIRouter(prefix="/api/v1", dependencies=[SIGNED_IN], responses=problems(401, 403, 422, 500, 503))

Kept = Annotated[SourceLimits, Depends(seeing(SourceLimits))]
Changing = Annotated[SourceLimits, Depends(changing(SourceLimits))]
LimitName = Annotated[
    str,
    Path(
        alias="name",
        max_length=100,
        pattern="^[a-z0-9]+([._-][a-z0-9]+)*$",
        description="The limit's name: small letters and digits, with ., _ or - between them.",
    ),
]


@router.get("/source-limits", tags=["source limits"], dependencies=[needs(Act.READ)])
async def list_source_limits(limits: Kept) -> SourceLimitsAnswer:
    """List the limits of sources: how many loads may go on at once, and when none may."""
    return SourceLimitsAnswer(items=[SourceLimitAnswer.of(each) for each in await limits.listed()])


@router.get("/source-limits/{name}", tags=["source limits"], dependencies=[needs(Act.READ)], responses=problems(404))
async def get_source_limit(name: LimitName, limits: Kept) -> SourceLimitAnswer:
    """Show a limit of a source."""
    return SourceLimitAnswer.of(await limits.one(name))


@router.put(
    "/source-limits/{name}",
    tags=["source limits"],
    dependencies=[needs(Act.KEEP_LIMITS)],
    responses=problems(400, 413, 415),
)
async def put_source_limit(name: LimitName, body: SourceLimitInput, limits: Changing) -> SourceLimitAnswer:
    """Keep a limit under this name, in place of the one that has it.

    It holds for every connector, whoever's it is, from its next run on; loads that are under way go on.
    """
    values = body.model_dump(mode="json")
    return SourceLimitAnswer.of(await limits.put(name, values))


@router.delete(
    "/source-limits/{name}",
    status_code=204,
    tags=["source limits"],
    dependencies=[needs(Act.KEEP_LIMITS)],
    responses=problems(404),
)
async def delete_source_limit(name: LimitName, limits: Changing) -> None:
    """Delete a limit. Runs that wait for it load the next time that they look."""
    await limits.delete(name)
