"""Bodies of the routes on access: tokens and credentials."""

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, TypeAdapter, ValidationError, model_validator

from api.bodies import Body, Input
from connectors.connector import TEAM_LENGTH, why_no_team
from connectors.credentials import NO_HOST, CredentialKind, host_named, why_no_name
from connectors.limits.jsonb import is_text
from connectors.people import Role
from connectors.sources.secret_references import Credential, refused
from database.access.credentials import StoredCredential
from database.access.tokens import Token


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


def _host_name(value: str) -> str:
    host = host_named(value)
    if host is None:
        raise refused("{field} " + NO_HOST)
    return host


def _credential_name(value: str) -> str:
    why = why_no_name(value)
    if why is not None:
        raise refused("{field} " + why)
    return value


_VALUE = "The secret itself. It is stored in a Prefect block, and no answer and no log ever shows it."
_HOSTS = "The only hosts that it may be sent to, redirects and next pages included; none: any."
_KIND = "Where it is: a Prefect Secret block, a block of another type (`type/name`), or a variable of the worker."


class CredentialInput(Input):
    """A credential to be registered: its value, or a reference to what is there already."""

    name: Annotated[
        PlainName, AfterValidator(_credential_name), Field(description="What people call it.", examples=["emr"])
    ]
    kind: Annotated[CredentialKind, Field(description=_KIND)] = CredentialKind.SECRET
    value: Annotated[
        Annotated[SecretStr, Field(min_length=1, max_length=100_000)] | None, Field(description=_VALUE)
    ] = None
    reference: Annotated[
        Annotated[str, Field(min_length=1, max_length=200)] | None,
        Field(description="The block's or variable's name, for an admin for all teams: it may be anybody's."),
    ] = None
    hosts: Annotated[list[Annotated[str, AfterValidator(_host_name)]], Field(description=_HOSTS, max_length=100)] = (
        Field(default_factory=list)
    )
    team: Annotated[PlainName | None, Field(description="Whose connectors may name it; null: everybody's.")] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.value is None) == (self.reference is None):
            raise refused("The body must have either `value` or `reference`.")
        if self.value is not None:
            if self.kind is not CredentialKind.SECRET:
                raise refused("A `value` is stored as a Secret block: leave `kind` out, or send a `reference`.")
            if not is_text(self.value.get_secret_value()):
                raise refused("`value` holds a character that cannot be stored.")
        if self.reference is not None:
            try:
                TypeAdapter(Credential).validate_python({self.kind.value: self.reference})
            except ValidationError:
                raise refused(
                    "`reference` must be a block's name ('emr-token'), a block's type and name "
                    "('sqlalchemy-connector/emr'), or a variable that starts with CAI_SECRET_, as `kind` says."
                ) from None
        return self


class CredentialAnswer(Body):
    """A credential, without its value."""

    name: Annotated[str, Field(description="What people call it.")]
    team: Annotated[str | None, Field(description="Whose connectors may name it; null: everybody's.")]
    reference: Annotated[dict[str, str], Field(description="What a connector names it by.")]
    hosts: Annotated[list[str], Field(description=_HOSTS)]
    created_at: Annotated[datetime | None, Field(description="When it was registered.")]
    created_by: Annotated[str, Field(description="Who registered it.")]

    @classmethod
    def of(cls, stored: StoredCredential) -> "CredentialAnswer":
        """A credential as it is answered."""
        return cls(
            name=stored.name,
            team=stored.team,
            reference={stored.kind.value: stored.reference},
            hosts=list(stored.hosts),
            created_at=stored.created_at,
            created_by=stored.created_by,
        )


class CredentialsAnswer(Body):
    """The credentials of your teams, and everybody's."""

    items: Annotated[list[CredentialAnswer], Field(description="The credentials, by name.")]
