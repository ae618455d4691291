"""Bodies of the routes on access: tokens and credentials."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from api.bodies import Body, Input
from connectors.connector import TEAM_LENGTH, why_no_team
from connectors.limits.jsonb import is_text
from connectors.people import Role
from connectors.sources.secret_references import refused
from database.tokens import Token


def _team_name(value: str) -> str:
    why = why_no_team(value) if is_text(value) else "holds a character that cannot be stored: remove it."
    if why is not None:
        raise refused("{field} " + why)
    return value


def _to_come(value: datetime) -> datetime:
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        raise refused("{field} is too far away: leave it out for a token that never expires.") from None
    if not datetime.now(UTC) < moment < datetime(9999, 1, 1, tzinfo=UTC):
        raise refused("{field} must be a time to come, such as '2031-01-31T00:00:00Z'.")
    return moment


PlainName = Annotated[
    str,
    AfterValidator(_team_name),
    Field(json_schema_extra={"minLength": 1, "maxLength": TEAM_LENGTH}),
]
_ROLE = "What whoever holds it may do: each role includes those before it."
_OF_TEAM = "For which team it is; null: for all of them."


class TokenInput(Input):
    """A token to be made."""

    name: Annotated[
        PlainName, Field(description="Who or what holds it: its name in the history.", examples=["nightly"])
    ]
    role: Annotated[Role, Field(description=_ROLE)]
    team: Annotated[PlainName | None, Field(description=_OF_TEAM)] = None
    expires_at: Annotated[
        Annotated[AwareDatetime, AfterValidator(_to_come)] | None,
        Field(description="When it ends by itself; null: when it is revoked."),
    ] = None


class TokenAnswer(Body):
    """A token, without itself."""

    id: Annotated[int, Field(description="Its number, by which it is revoked.")]
    name: Annotated[str, Field(description="Who or what holds it.")]
    role: Annotated[Role, Field(description=_ROLE)]
    team: Annotated[str | None, Field(description=_OF_TEAM)]
    expires_at: Annotated[datetime | None, Field(description="When it ends by itself.")]
    last_used_at: Annotated[datetime | None, Field(description="When it was last used, to the minute; null: never.")]
    created_at: Annotated[datetime, Field(description="When it was made.")]
    created_by: Annotated[str, Field(description="Who made it.")]

    @classmethod
    def of(cls, token: Token) -> "TokenAnswer":
        """A token as it is answered."""
        return cls(**{name: getattr(token, name) for name in Token.__slots__})


class NewToken(TokenAnswer):
    """A token that was made just now."""

    token: Annotated[str, Field(description="What is sent as `Authorization: Bearer ...`. It is shown this once.")]


class TokensAnswer(Body):
    """The tokens that you may manage, by number."""

    items: Annotated[list[TokenAnswer], Field(description="The tokens.")]
