"""What every source that speaks HTTP shares: a client with credentials that never leave for another host.

dlt's REST client follows whatever next page a server names. A misconfigured or hostile server could so send the
credentials anywhere; here they stay with the host that the connector names.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
from dlt.common.jsonpath import compile_path
from dlt.sources.helpers.requests import Client as HttpClient
from dlt.sources.helpers.rest_client import auth, paginators
from dlt.sources.helpers.rest_client.client import RESTClient
from requests import HTTPError, PreparedRequest, Request, Response
from requests.auth import AuthBase

from connectors.rest_shapes import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    Headers,
    OAuth2Auth,
    Paginator,
    PlainPaginator,
)
from pipelines.access.denied_hosts import guard
from pipelines.credentials import Secrets
from pipelines.errors import ConfigurationError, Fields, refused
from pipelines.sources import Context

TRIES = 3
"""Tries of one request before its error reaches the run, which Prefect may then try again as a whole."""

TIMEOUT_SECONDS = 60

_PAGINATORS = {
    "single_page": paginators.SinglePagePaginator,
    "json_link": paginators.JSONLinkPaginator,
    "header_link": paginators.HeaderLinkPaginator,
    "header_cursor": paginators.HeaderCursorPaginator,
    "cursor": paginators.JSONResponseCursorPaginator,
    "offset": paginators.OffsetPaginator,
    "page_number": paginators.PageNumberPaginator,
}

_TOKEN = Fields("source.auth.access_token_url", "source.auth.access_token_url", "source.auth", "source.auth")
"""What is to be corrected when no token is given."""


class Client(RESTClient):
    """A REST client for one host. `fields` are what a user can correct when it refuses."""

    def __init__(self, *arguments: Any, fields: Fields, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.fields = fields

    def paginate(self, *arguments: Any, **keywords: Any) -> Iterator[Any]:
        """Pages, as dlt finds them, until the server names the same next page twice: that would never end."""
        before: object = None
        for page in super().paginate(*arguments, **keywords):
            yield page
            asked = page.request
            following = (asked.url, repr(asked.params), repr(asked.json)) if page.paginator.has_next_page else None
            if following is not None and following == before:
                raise ConfigurationError(
                    "The source names the same next page again and again: check the paginator and the path to its link."
                )
            before = following

    def extract_response(self, response: Response, data_selector: Any) -> list[Any]:
        """The rows of an answer. dlt would parse a path that is a text anew for each page."""
        return super().extract_response(response, _compiled(data_selector))

    def _send_request(self, request: Request, **kwargs: Any) -> Response:
        _refuse_other_host(self.base_url, str(request.url), self.fields)
        try:
            response = super()._send_request(request, **kwargs)
        except HTTPError as error:  # of this request, or of the one for its token
            if (answer := error.response) is None:
                raise
            url = str(answer.url)
            token = getattr(self.auth, "access_token_url", None)
            fields = _TOKEN if token and url.startswith(token) else self.fields
            raise refused(answer.status_code, url, "source", fields) from None
        # Read once, by a parser that is fast: the client and the paginator both ask for it.
        response.json = functools.cache(lambda: _parsed(response, self.fields.place))  # type: ignore[method-assign]
        return response


@functools.cache
def _compiled(path: Any) -> Any:
    return compile_path(path)


def _refuse_other_host(home: str, there: str, fields: Fields) -> None:
    """Raise unless an address is of the same host, or of the same host by https."""
    allowed = {_host(home), _host(home.replace("http://", "https://", 1))}
    if _host(there) not in allowed:
        scheme, host, port = _host(there)
        raise ConfigurationError(
            f"The source sends us to {scheme}://{host}:{port}, which is not the host of {fields.url}: "
            "credentials are not sent there. Use the address that the server calls itself by."
        )


def _host(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _parsed(response: Response, place: str) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        where = response.url.partition("?")[0]
        raise ConfigurationError(f"The answer of {where} is no JSON: check {place}.") from None


def source_client(
    base_url: str, headers: Headers, credentials: Auth | None, context: Context, fields: Fields
) -> Client:
    """A client with a connector's headers and credentials, resolved. `fields` are those of its kind of source."""
    secrets = context.secrets
    session = HttpClient(
        raise_for_status=False,
        request_timeout=TIMEOUT_SECONDS,
        request_max_attempts=TRIES,
        request_backoff_factor=0.5,
    ).session

    def rebuild_auth(request: PreparedRequest, _: Response) -> None:
        # For each redirect, before it is followed. requests itself takes away no more than the Authorization header.
        _refuse_other_host(base_url, str(request.url), fields)

    session.rebuild_auth = rebuild_auth  # type: ignore[assignment]
    guard(session, context.denied)
    return Client(
        base_url=base_url,
        headers={name: secrets.plain_or_text(value) for name, value in headers.items()},
        auth=None if credentials is None else _auth(credentials, context),
        session=session,
        fields=fields,
    )


class CookieAuth(AuthBase):
    """A key in a cookie, which dlt's own class does not do."""

    def __init__(self, name: str, value: str) -> None:
        self._cookie = f"{name}={value}"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Adds the cookie to a request."""
        request.headers["Cookie"] = self._cookie
        return request


def _auth(credentials: Auth, context: Context) -> Any:
    secrets = context.secrets
    match credentials:
        case BearerAuth(token=token):
            return auth.BearerTokenAuth(token=secrets.text(token))
        case BasicAuth(username=username, password=password):
            return auth.HttpBasicAuth(username=secrets.plain_or_text(username), password=secrets.text(password))
        case ApiKeyAuth(api_key=key, name=name, location="cookie"):
            return CookieAuth(name, secrets.text(key))
        case ApiKeyAuth(api_key=key, name=name, location=location):
            return auth.APIKeyAuth(name=name, api_key=secrets.text(key), location=location)
        case OAuth2Auth():
            session = HttpClient(request_timeout=TIMEOUT_SECONDS, request_max_attempts=TRIES).session
            guard(session, context.denied)
            return auth.OAuth2ClientCredentials(
                access_token_url=credentials.access_token_url,
                client_id=secrets.plain_or_text(credentials.client_id),
                client_secret=secrets.text(credentials.client_secret),
                access_token_request_data={} if credentials.scope is None else {"scope": credentials.scope},
                default_token_expiration=credentials.default_token_expiration,
                session=session,
            )


def paginator_of(shape: Paginator | None) -> Any:
    """dlt's paginator for a connector's; None finds out from the first answer."""
    if shape is None or (isinstance(shape, PlainPaginator) and shape.type == "auto"):
        return None
    return _PAGINATORS[shape.type](**shape.model_dump(exclude={"type"}, exclude_none=True), **_no_total(shape))


def _no_total(shape: Any) -> dict[str, Any]:
    """dlt looks for a `total` in the body unless told that there is none."""
    return {"total_path": None} if getattr(shape, "total_path", "") is None else {}


def resolved(value: Any, secrets: Secrets) -> Any:
    """Parameters or a body with the references in it resolved."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    from connectors.kinds import Credential  # noqa: PLC0415

    if isinstance(value, Mapping):
        if set(value) & {"secret", "block", "env"} and len(value) == 1:
            try:
                adapter: TypeAdapter[Credential] = TypeAdapter(Credential)
                return secrets.text(adapter.validate_python(value))
            except ValidationError:
                return value
        return {key: resolved(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item, secrets) for item in value]
    return value
