"""The routes of `/api/v1/protections`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from api.protections.bodies import ProtectionAnswer, ProtectionInput, ProtectionsAnswer
from api.routes import SIGNED_IN, changing, needs, problems, seeing
from connectors.people import Act
from use_cases.protections import Protections

router = APIRouter(prefix="/api/v1", dependencies=[SIGNED_IN], responses=problems(401, 403, 422, 500, 503))

Kept = Annotated[Protections, Depends(seeing(Protections))]
Changing = Annotated[Protections, Depends(changing(Protections))]
ProtectionName = Annotated[
    str,
    Path(
        alias="name",
        max_length=100,
        pattern="^[a-z0-9]+([_-][a-z0-9]+)*$",
        description="The profile's name: small letters and digits, with _ or - between them.",
    ),
]


@router.get("/protections", tags=["protections"], dependencies=[needs(Act.READ)])
async def list_protections(protections: Kept) -> ProtectionsAnswer:
    """List the profiles of what may land: those that are shipped, of your teams, and everybody's."""
    return ProtectionsAnswer(items=[ProtectionAnswer.of(each) for each in await protections.listed()])


@router.get("/protections/{name}", tags=["protections"], dependencies=[needs(Act.READ)], responses=problems(404))
async def get_protection(name: ProtectionName, protections: Kept) -> ProtectionAnswer:
    """Show a profile of what may land."""
    return ProtectionAnswer.of(await protections.one(name))


@router.put(
    "/protections/{name}",
    tags=["protections"],
    dependencies=[needs(Act.KEEP_PROTECTIONS)],
    responses=problems(400, 409, 413, 415),
)
async def put_protection(
    name: ProtectionName, body: ProtectionInput, protections: Changing, request: Request
) -> ProtectionAnswer:
    """Keep a profile under this name, in place of the one that has it.

    Connectors that name it load by it from their next run on, and say that rows of loads before stay as they landed.
    """
    team = body.team if "team" in body.model_fields_set else request.state.person.home
    return ProtectionAnswer.of(await protections.put(name, body.rules, team))


@router.delete(
    "/protections/{name}",
    status_code=204,
    tags=["protections"],
    dependencies=[needs(Act.KEEP_PROTECTIONS)],
    responses=problems(404),
)
async def delete_protection(name: ProtectionName, protections: Changing) -> None:
    """Delete a profile. Connectors that name it fail from then on, and load nothing."""
    await protections.delete(name)
