"""What only HTTP sources take: ways to authenticate, ways to page, and a resource.

The names are dlt's own (`http_basic`, `json_link`, ...), so that its documentation explains them. This module is pure.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from connectors.sources.secret_references import (
    Credential,
    HttpUrl,
    Name,
    Strict,
    TextOrCredential,
    refuse_plain_secrets,
    refuse_secret_in_url,
    refused,
)
from connectors.sources.write_rules import (
    CursorType,
    InitialValue,
    Lag,
    Landing,
    TableName,
    refuse_beginning_without_order,
)


class BearerAuth(Strict):
    """`Authorization: Bearer ...`."""

    type: Literal["bearer"]
    token: Credential


class BasicAuth(Strict):
    """User and password."""

    type: Literal["http_basic", "basic"]
    username: TextOrCredential
    password: Credential


class ApiKeyAuth(Strict):
    """A key in a header, in the query or in a cookie."""

    type: Literal["api_key"]
    api_key: Credential
    name: Name = "Authorization"
    location: Literal["header", "query", "cookie"] = "header"


class OAuth2Auth(Strict):
    """OAuth2 client credentials."""

    type: Literal["oauth2_client_credentials", "oauth2"]
    access_token_url: HttpUrl
    client_id: TextOrCredential
    client_secret: Credential
    scope: Name | None = None
    default_token_expiration: Annotated[int, Field(gt=0)] = 3600


def chooser(**tags: str) -> Callable[[object], str | None]:
    """A discriminator on `type`: the tag of a kind (wrapped in <>, so that no pointer shows it), or None."""

    def choose(value: object) -> str | None:
        kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
        return tags.get(kind) if isinstance(kind, str) else None

    return choose


def by_type(choose: Callable[[object], str | None], kinds: str) -> Discriminator:
    return Discriminator(
        choose, custom_error_type="kind", custom_error_message=f"{{field}} must say which kind it is, one of: {kinds}."
    )


Auth = Annotated[
    Annotated[BearerAuth, Tag("<bearer>")]
    | Annotated[BasicAuth, Tag("<basic>")]
    | Annotated[ApiKeyAuth, Tag("<api_key>")]
    | Annotated[OAuth2Auth, Tag("<oauth2>")],
    by_type(
        chooser(
            bearer="<bearer>",
            basic="<basic>",
            http_basic="<basic>",
            api_key="<api_key>",
            oauth2="<oauth2>",
            oauth2_client_credentials="<oauth2>",
        ),
        "bearer, http_basic, api_key, oauth2_client_credentials",
    ),
]


class PlainPaginator(Strict):
    """`auto` finds out from the first answer; `single_page` asks once."""

    type: Literal["auto", "single_page"]


class JsonLinkPaginator(Strict):
    """The next page's address stands in the body."""

    type: Literal["json_link"]
    next_url_path: Name = "next"


class HeaderLinkPaginator(Strict):
    """The next page's address stands in the Link header."""

    type: Literal["header_link"]
    links_next_key: Name = "next"


class HeaderCursorPaginator(Strict):
    """The next page's cursor stands in a header."""

    type: Literal["header_cursor"]
    cursor_key: Name = "next"
    cursor_param: Name = "cursor"


class CursorPaginator(Strict):
    """The next page's cursor stands in the body."""

    type: Literal["cursor"]
    cursor_path: Name = "cursors.next"
    cursor_param: Name | None = None
    cursor_body_path: Name | None = None
    stop_after_empty_page: bool = False
    has_more_path: Name | None = None


class OffsetPaginator(Strict):
    """Pages by offset and limit. Without `total_path` it goes on until a page is empty."""

    type: Literal["offset"]
    limit: Annotated[int, Field(gt=0)]
    offset: Annotated[int, Field(ge=0)] = 0
    offset_param: Name | None = None
    offset_body_path: Name | None = None
    limit_param: Name | None = None
    limit_body_path: Name | None = None
    total_path: Name | None = None
    maximum_offset: Annotated[int, Field(gt=0)] | None = None
    stop_after_empty_page: bool = True
    has_more_path: Name | None = None


class PageNumberPaginator(Strict):
    """Pages by number. Without `total_path` it goes on until a page is empty."""

    type: Literal["page_number"]
    base_page: Annotated[int, Field(ge=0)] = 0
    page: Annotated[int, Field(ge=0)] | None = None
    page_param: Name | None = None
    page_body_path: Name | None = None
    total_path: Name | None = None
    maximum_page: Annotated[int, Field(gt=0)] | None = None
    stop_after_empty_page: bool = True
    has_more_path: Name | None = None


Paginator = Annotated[
    Annotated[PlainPaginator, Tag("<plain>")]
    | Annotated[JsonLinkPaginator, Tag("<json_link>")]
    | Annotated[HeaderLinkPaginator, Tag("<header_link>")]
    | Annotated[HeaderCursorPaginator, Tag("<header_cursor>")]
    | Annotated[CursorPaginator, Tag("<cursor>")]
    | Annotated[OffsetPaginator, Tag("<offset>")]
    | Annotated[PageNumberPaginator, Tag("<page_number>")],
    by_type(
        chooser(
            auto="<plain>",
            single_page="<plain>",
            **{
                kind: f"<{kind}>"
                for kind in ("json_link", "header_link", "header_cursor", "cursor", "offset", "page_number")
            },
        ),
        "auto, single_page, json_link, header_link, header_cursor, cursor, offset, page_number",
    ),
]

Headers = Annotated[dict[Name, TextOrCredential], AfterValidator(lambda value: refuse_plain_secrets(value) or value)]


class RestResource(Landing):
    """One path of a REST API and the table that it fills."""

    name: Annotated[TableName, Field(description="The table that it fills.")]
    path: Annotated[Name, Field(description="Below the source's base_url, such as `visits`.")]
    method: Annotated[Literal["GET", "POST"], Field(description="How it is asked.")] = "GET"
    params: Annotated[dict[Name, Any], Field(description="Parameters of the query.")] = Field(default_factory=dict)
    body: Annotated[dict[str, Any] | None, Field(description="JSON that is sent with POST.")] = None
    data_selector: Annotated[
        Name | None, Field(description="Where in an answer the rows stand, such as `$.items`. null: it is found out.")
    ] = None
    paginator: Annotated[Paginator | None, Field(description="How the next page is found. null: the source's way.")] = (
        None
    )
    check_complete: Annotated[
        bool,
        Field(
            description="Whether a run fails when the source says that there are more rows or pages than came. false: "
            "what it says counts something else."
        ),
    ] = True
    cursor_path: Annotated[
        Name | None,
        Field(description="Where in a row a value stands that grows with each change: a run goes on from its newest."),
    ] = None
    cursor_param: Annotated[
        Name | None, Field(description="The query's parameter that takes the cursor's newest value, such as `since`.")
    ] = None
    initial_value: InitialValue = None
    lag: Lag = None
    cursor_type: CursorType = None

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        return refuse_secret_in_url(value)

    @field_validator("params", "body")
    @classmethod
    def _no_plain_secrets(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        refuse_plain_secrets(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cursor_path is None:
            for name in ("cursor_param", "initial_value", "lag", "cursor_type"):
                if getattr(self, name) is not None:
                    raise refused(
                        "{field} needs a cursor_path, which says where the newest value stands in a row.", name
                    )
        refuse_beginning_without_order(self.initial_value, self.cursor_type)
        if self.body is not None and self.method != "POST":
            raise refused('{field} is sent by POST only: set "method": "POST".', "body")
        return self
