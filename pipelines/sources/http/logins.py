"""Logins of sources that speak HTTP: what is added to each request.

Tokens live in this process alone: a run that dies asks for a new one.
"""

from collections.abc import Callable

from dlt.sources.helpers.rest_client import auth
from requests import PreparedRequest
from requests.auth import AuthBase

from connectors.sources.http import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    FhirAuth,
    KeyLocation,
    OAuth2Auth,
    SmartBackendAuth,
)
from pipelines.access.secrets import Secrets
from pipelines.errors import Fields
from pipelines.sources.http.answers import Remark
from pipelines.sources.http.sending import Sender
from pipelines.sources.http.tokens import TokenAuth, TokenRequest

FIELDS = Fields("source.auth.access_token_url", "source.auth.access_token_url", "source.auth", "source.auth")
"""What is to be corrected when no token is given."""


class CookieAuth(AuthBase):
    """A key in a cookie, which dlt's own class does not do."""

    def __init__(self, name: str, value: str) -> None:
        self._cookie = f"{name}={value}"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Adds the cookie to a request."""
        request.headers["Cookie"] = self._cookie
        return request


def login_of(
    credentials: Auth | FhirAuth,
    secrets: Secrets,
    token_sender: Callable[[str, Fields], Sender],
    remark: Remark,
    base_url: str,
) -> AuthBase:
    """The login that is added to each request. `token_sender(url, fields)` makes the sender that asks for tokens.

    Raises:
        ConfigurationError: when a secret is missing, or is no key that can sign.
    """
    match credentials:
        case BearerAuth(token=token):
            return auth.BearerTokenAuth(token=secrets.text(token))
        case BasicAuth(username=username, password=password):
            return auth.HttpBasicAuth(username=secrets.plain_or_text(username), password=secrets.text(password))
        case ApiKeyAuth(api_key=key, name=name, location=KeyLocation.COOKIE):
            return CookieAuth(name, secrets.text(key))
        case ApiKeyAuth(api_key=key, name=name, location=location):
            return auth.APIKeyAuth(name=name, api_key=secrets.text(key), location=location.value)
        case OAuth2Auth():
            request = _client_credentials(credentials, secrets, token_sender)
            return TokenAuth(lambda: request, credentials.default_token_expiration, secrets, remark)
        case SmartBackendAuth():
            from pipelines.sources.http.smart_backend import SmartBackend  # noqa: PLC0415  # ciphers: 12 MB

            backend = SmartBackend(credentials, base_url, secrets, token_sender, remark)
            return TokenAuth(backend.request, SmartBackend.LASTS, secrets, remark)


def _client_credentials(
    login: OAuth2Auth, secrets: Secrets, token_sender: Callable[[str, Fields], Sender]
) -> TokenRequest:
    form = {
        "client_id": secrets.plain_or_text(login.client_id),
        "client_secret": secrets.text(login.client_secret),
        "grant_type": "client_credentials",
        **({} if login.scope is None else {"scope": login.scope}),
    }
    return TokenRequest(token_sender(login.access_token_url, FIELDS), login.access_token_url, form)
