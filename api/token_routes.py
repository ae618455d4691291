"""The routes of `/api/v1/tokens`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BeforeValidator

from api.access_bodies import NewToken, TokenAnswer, TokenInput, TokensAnswer
from api.bodies import plain_digits
from api.routes import SIGNED_IN, changing, needs, problems, seeing
from connectors.limits.ids import LARGEST_ID
from connectors.people import Act
from use_cases.tokens import Tokens

router = APIRouter(prefix="/api/v1", dependencies=[SIGNED_IN], responses=problems(401, 403, 422, 500, 503))

Managed = Annotated[Tokens, Depends(seeing(Tokens))]
Changing = Annotated[Tokens, Depends(changing(Tokens))]
TokenId = Annotated[
    int,
    Path(alias="tokenId", ge=1, le=LARGEST_ID, description="The token's number."),
    BeforeValidator(plain_digits),
]


@router.post(
    "/tokens",
    status_code=201,
    tags=["tokens"],
    dependencies=[needs(Act.MANAGE_TOKENS)],
    responses=problems(400, 409, 413, 415),
)
async def make_token(body: TokenInput, tokens: Changing) -> NewToken:
    """Make a token, with a role for one team or for all. It is shown in this answer and never again."""
    token, text = await tokens.make(body.name, body.role, body.team, body.expires_at)
    return NewToken(**TokenAnswer.of(token).model_dump(), token=text)


@router.get("/tokens", tags=["tokens"], dependencies=[needs(Act.MANAGE_TOKENS)])
async def list_tokens(tokens: Managed) -> TokensAnswer:
    """List the tokens that you may manage: an admin of a team those of that team. No token itself is shown."""
    return TokensAnswer(items=[TokenAnswer.of(token) for token in await tokens.listed()])


@router.delete(
    "/tokens/{tokenId}",
    status_code=204,
    tags=["tokens"],
    dependencies=[needs(Act.MANAGE_TOKENS)],
    responses=problems(404),
)
async def revoke_token(token_id: TokenId, tokens: Changing) -> None:
    """Revoke a token: the next request that is sent with it is a 401."""
    await tokens.revoke(token_id)
