"""The routes of `/api/v1/credentials`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from api.access_bodies import CredentialAnswer, CredentialInput, CredentialsAnswer
from api.routes import SIGNED_IN, WithReason, needs, problems
from connectors.people import Act
from use_cases.credentials import Credentials

router = APIRouter(prefix="/api/v1", dependencies=[SIGNED_IN], responses=problems(401, 403, 422, 500, 503))


def _credentials(request: Request) -> Credentials:
    return Credentials(request.app.state.engine, request.app.state.blocks, request.state.person)


def _changing(request: Request, person: WithReason) -> Credentials:
    state = request.app.state
    return Credentials(state.engine, state.blocks, person, reason_required=state.service.reason_required)


Kept = Annotated[Credentials, Depends(_credentials)]
Changing = Annotated[Credentials, Depends(_changing)]
CredentialName = Annotated[str, Path(alias="name", max_length=200, description="The credential's name.")]


@router.post(
    "/credentials",
    status_code=201,
    tags=["credentials"],
    dependencies=[needs(Act.KEEP_CREDENTIALS)],
    responses=problems(400, 409, 413, 415),
)
async def make_credential(body: CredentialInput, credentials: Changing, request: Request) -> CredentialAnswer:
    """Register a credential, by its `value` or by a `reference` to what is there already.

    A value is stored in a Prefect block and never shown again. A connector names the credential by the `reference` of
    this answer.
    """
    team = body.team if "team" in body.model_fields_set else request.state.person.home
    if body.value is not None:
        made = await credentials.keep(body.name, body.value.get_secret_value(), team, body.hosts)
    else:
        made = await credentials.register(body.name, body.kind, body.reference or "", team, body.hosts)
    return CredentialAnswer.of(made)


@router.get("/credentials", tags=["credentials"], dependencies=[needs(Act.SEE_CREDENTIALS)])
async def list_credentials(credentials: Kept) -> CredentialsAnswer:
    """List the credentials of your teams and everybody's, without their values."""
    return CredentialsAnswer(items=[CredentialAnswer.of(each) for each in await credentials.listed()])


@router.delete(
    "/credentials/{name}",
    status_code=204,
    tags=["credentials"],
    dependencies=[needs(Act.KEEP_CREDENTIALS)],
    responses=problems(404),
)
async def delete_credential(name: CredentialName, credentials: Changing) -> None:
    """Forget a credential, and its value where it was stored here. Connectors that name it fail from then on."""
    await credentials.forget(name)
