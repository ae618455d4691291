"""HTTP sources: ways to authenticate, ways to page, and headers.

The names are dlt's own (`http_basic`, `json_link`, ...), so that its documentation explains them. This module is pure.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from connectors.limits.closed_sets import ClosedSet
from connectors.sources.secret_references import Credential, HttpUrl, Name, TextOrCredential, refuse_plain_secrets
from connectors.sources.unions import ByType, OfAKind


class BearerAuth(OfAKind):
    """`Authorization: Bearer ...`."""

    type: Literal["bearer"]
    token: Credential


class BasicAuth(OfAKind):
    """User and password."""

    type: Literal["http_basic", "basic"]
    username: TextOrCredential
    password: Credential


class KeyLocation(ClosedSet):
    """Where in a request a key stands."""

    HEADER = "header"
    QUERY = "query"
    COOKIE = "cookie"


class ApiKeyAuth(OfAKind):
    """A key in a header, in the query or in a cookie."""

    type: Literal["api_key"]
    api_key: Credential
    name: Name = "Authorization"
    location: KeyLocation = KeyLocation.HEADER


class OAuth2Auth(OfAKind):
    """OAuth2 client credentials."""

    type: Literal["oauth2_client_credentials", "oauth2"]
    access_token_url: HttpUrl
    client_id: TextOrCredential
    client_secret: Credential
    scope: Name | None = None
    default_token_expiration: Annotated[int, Field(gt=0)] = 3600


class SmartBackendAuth(OfAKind):
    """SMART Backend Services of HL7: a token for an assertion that is signed with a private key."""

    type: Literal["smart_backend"]
    client_id: Annotated[TextOrCredential, Field(description="The name that the server gave to this client.")]
    private_key: Annotated[
        Credential,
        Field(description="The key that signs, as PEM or JWK: RSA (RS384) or of the curve P-384 (ES384)."),
    ]
    key_id: Annotated[
        Name | None,
        Field(description="The `kid` under which the server knows the public key. null: the private key's own."),
    ] = None
    scope: Annotated[Name, Field(description="What the token may do, such as `system/Patient.rs`.")] = "system/*.rs"


Auth = Annotated[BearerAuth | BasicAuth | ApiKeyAuth | OAuth2Auth, ByType()]
"""A way to authenticate."""

FhirAuth = Annotated[BearerAuth | BasicAuth | ApiKeyAuth | OAuth2Auth | SmartBackendAuth, ByType()]
"""A way to authenticate at a FHIR server, which tells where it gives tokens."""


class PlainPaginator(OfAKind):
    """`auto` finds out from the first answer; `single_page` asks once."""

    type: Literal["auto", "single_page"]


class JsonLinkPaginator(OfAKind):
    """The next page's address stands in the body."""

    type: Literal["json_link"]
    next_url_path: Name = "next"


class HeaderLinkPaginator(OfAKind):
    """The next page's address stands in the Link header."""

    type: Literal["header_link"]
    links_next_key: Name = "next"


class HeaderCursorPaginator(OfAKind):
    """The next page's cursor stands in a header."""

    type: Literal["header_cursor"]
    cursor_key: Name = "next"
    cursor_param: Name = "cursor"


class CursorPaginator(OfAKind):
    """The next page's cursor stands in the body."""

    type: Literal["cursor"]
    cursor_path: Name = "cursors.next"
    cursor_param: Name | None = None
    cursor_body_path: Name | None = None
    stop_after_empty_page: bool = False
    has_more_path: Name | None = None


class OffsetPaginator(OfAKind):
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


class PageNumberPaginator(OfAKind):
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
    PlainPaginator
    | JsonLinkPaginator
    | HeaderLinkPaginator
    | HeaderCursorPaginator
    | CursorPaginator
    | OffsetPaginator
    | PageNumberPaginator,
    ByType(),
]
"""A way to find the next page."""

Headers = Annotated[dict[Name, TextOrCredential], AfterValidator(lambda value: refuse_plain_secrets(value) or value)]

BaseUrl = Annotated[HttpUrl, Field(description="Its address, http or https, without a password in it.")]
Login = Annotated[Auth | None, Field(description="How to log in. null: not at all.")]
FhirLogin = Annotated[FhirAuth | None, Field(description="How to log in. null: not at all.")]
MoreHeaders = Annotated[Headers, Field(description="Headers that are sent with each request.")]
